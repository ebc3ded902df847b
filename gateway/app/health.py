"""The wiring of health: whom it asks and as whom, whose certificates it watches, its way through our own doors, and the
port at which programs watch the box."""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Final

from gateway.app.peers import caller_of, now
from gateway.app.proofs import committing, looking, port_had, serving
from gateway.app.selftest import selftest
from gateway.app.synthetic import books_of
from gateway.app.watchdog import Started
from gateway.config import Config, DicomDestination
from gateway.domain.parts import Part
from gateway.domain.synthetic import NAME
from gateway.domain.upstream import patient_identifier
from gateway.net.dicom_client import Peer
from gateway.net.http_server import HttpServer
from gateway.net.watch_pages import application
from gateway.roles.health import DicomProbe, Health, Policy
from gateway.roles.health.probing import NOBODY
from gateway.simulate.keywords import data_set
from gateway.simulate.scanner import Scanner
from gateway.simulate.study import Modality, make_study
from gateway.spool import Spool
from gateway.spool.overview import seen
from gateway.spool.reader import Fresh, Reader
from gateway.spool.rows import as_elements

HOP_SECONDS: Final = 10.0
"""For each hop of the synthetic patient."""
_MADE: Final = datetime(2000, 1, 1, tzinfo=UTC)
"""The test image of a box is the same for ever, so that a destination has one of it."""
PIXELS: Final = 64


async def start_health(config: Config, spool: Spool, stop: asyncio.Event) -> Started:
    section = config.health
    health = Health(
        spool,
        probes_of(config),
        once=partial(selftest, config, patience=HOP_SECONDS),
        certificates=certificates_of(config),
        policy=Policy(
            probe=section.probe,
            synthetic=section.synthetic,
            certificate=section.certificate,
            temperature=section.temperature,
        ),
        now=now,
        random=random.random,
    )
    for name, port in (("metrics", config.metrics.port), ("console", config.console.port)):
        if not port:
            port_had(spool, name, True)  # an earlier configuration wanted one
    shown = start_metrics(config, spool, stop) if config.metrics.port else Started(tasks=[], proofs=[])
    tasks = [asyncio.create_task(health.run(stop)), *shown.tasks]
    proofs = [looking(lambda: health.looked), *shown.proofs]
    return Started(tasks=tasks, proofs=proofs, beat=committing(spool, Part.HEALTH))


def start_metrics(config: Config, spool: Spool, stop: asyncio.Event) -> Started:
    """The port at which programs watch the box, whether or not there is a console."""
    reader, configured, place = Reader(spool), config.configured, config.metrics
    look = Fresh(reader, lambda c: seen(c, configured, free_bytes=spool.files.free_bytes(), now=now()))
    server = HttpServer(
        application(look, look.anew),
        address=place.address,
        port=place.port,
        name="metrics",
        told=partial(port_had, spool, "metrics"),
    )

    async def run() -> None:
        try:
            await server.run(stop)
        finally:
            reader.close()

    proof = serving("metrics", server, address=place.address, page="/metrics")
    return Started(tasks=[asyncio.create_task(run())], proofs=[proof])


def probes_of(config: Config) -> list[DicomProbe]:
    """Every RIS, with a question for its worklist, and every destination that speaks DICOM."""
    held = frozenset(config.health.hold)
    found = []
    for node in config.dicom_nodes:
        call = caller_of(
            config,
            node,
            connect_timeout=node.connect_timeout.total_seconds(),
            timeout=node.timeout.total_seconds(),
        )
        stored = _test_store(config, node, call("")) if node.test_store else None
        found.append(DicomProbe(name=node.name, peer=call(""), test_store=stored, hold=node.name in held))
    for ris in config.ris:
        seconds = ris.timeout.total_seconds()
        peer = caller_of(config, ris, connect_timeout=seconds, timeout=seconds)("")
        question = as_elements(patient_identifier(NOBODY))
        name = config.ris_names[ris.name]
        found.append(DicomProbe(name=name, peer=peer, question=question, hold=ris.name in held))
    return found


def certificates_of(config: Config) -> dict[str, Path]:
    """Those that we show, by the section that names each."""
    named = {
        **{f"listen-{one.port}": one.certificate for one in config.listen},
        "mllp": config.mllp.certificate,
        "mqtt": config.mqtt.certificate,
        **{config.ris_names[one.name]: one.certificate for one in config.ris},
        **{one.name: one.certificate for one in config.dicom_nodes},
    }
    return {name: path for name, path in named.items() if path is not None}


def _test_store(config: Config, node: DicomDestination, peer: Peer) -> Callable[[], bool]:
    """Send the box's test image, made once, as any image goes; whether it was taken."""
    scanner = Scanner(
        host=peer.host,
        port=peer.port,
        called_ae=node.ae,
        calling_ae=peer.calling_ae,
        connect_timeout=peer.connect_timeout,
        timeout=peer.timeout,
        tls=peer.tls,
    )
    box = f"{config.site.name}/{config.box.id}"
    uid = f"2.25.{int.from_bytes(hashlib.blake2b(box.encode(), digest_size=15).digest())}"
    entry = data_set({"PatientName": NAME, "PatientID": "SELFTEST", "StudyInstanceUID": uid}, "")

    def store() -> bool:
        folder = books_of(config) / "test-image"
        (path,) = make_study(entry, Modality.CT, folder, at=_MADE, rows=PIXELS, columns=PIXELS)
        (sent,) = scanner.send([path])
        return sent.accepted

    return store
