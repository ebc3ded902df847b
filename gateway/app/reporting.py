"""The wiring of reporting: what central IT is told, by which names, and over which connection."""

from __future__ import annotations

import asyncio
import hashlib
import platform
import random
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from importlib.metadata import distributions, version
from pathlib import Path
from typing import Any

from gateway.app.deeds import deeds
from gateway.app.peers import now, tls_of
from gateway.app.proofs import committing, looking
from gateway.app.updating import Box
from gateway.app.watchdog import Started
from gateway.app.wished_release import facts, runs
from gateway.config import Config, Mqtt, Overlay, faults_over, read_keys, text_of
from gateway.domain.command import CommandName, Standing
from gateway.domain.issues import KINDS
from gateway.domain.model import TemporaryFailure
from gateway.domain.parts import Part
from gateway.domain.telemetry import MESSAGES, Writer
from gateway.domain.telemetry_fields import aliases
from gateway.domain.topics import Leaf
from gateway.net.machine import not_after
from gateway.net.mqtt import Broker, Connection, Incoming, Outgoing, Version, connect
from gateway.roles.reporting import Dial, Host, Policy, Reporting
from gateway.roles.reporting.commands import Commands, Results
from gateway.roles.reporting.configuration import Wishes, digest
from gateway.roles.reporting.measuring import Measuring
from gateway.roles.reporting.pen import Pen
from gateway.spool import Connection as Books
from gateway.spool import Spool
from gateway.spool import commands as books
from gateway.spool.claims import unclaimed
from gateway.spool.outbox import Outbox


async def start_reporting(config: Config, spool: Spool, stop: asyncio.Event, *, source: Path) -> Started:
    peers = peers_of(config)
    named = aliases(peers)
    names = (*named.values(), *Part)
    writer = Writer(box=config.box.id, names=names, codes=KINDS)

    def pen(box: Outbox) -> Pen:
        return Pen(
            site=config.site.name,
            box=config.box.id,
            writer=writer,
            log=box.log,
            start=box.starts,
            now=now,
            monotonic=time.monotonic,
            entropy=secrets.token_bytes,
        )

    wishes = wishes_of(config, spool, source, writer)
    running = runs(Box())
    commands = commands_of(config, spool, wishes)
    reporting = Reporting(
        spool,
        dial=dial(config),
        pen=pen,
        measuring=Measuring(
            destinations=aliases(one.name for one in config.destination),
            sources=[ris.name for ris in config.ris],
            space=spool.files.space,
            now=now,
        ),
        names=names,
        info=inventory(
            config,
            {named[name]: kind for name, kind in peers.items()},
            release=lambda: facts(running, spool.db.read()),
        ),
        parts=config.configured.parts,
        stopped=partial(unclaimed, config.box.state),
        policy=_policy(config.mqtt),
        host=Host(now=now, monotonic=time.monotonic, random=random.random, entropy=secrets.token_bytes, wait=_wait),
        receivers={Leaf.REQUEST: commands.receive, Leaf.DESIRED: commands.receive},
        said=(Results(writer, box=config.box.id, now=now), wishes),
    )
    tasks = [asyncio.create_task(one.run(stop)) for one in (commands, wishes, reporting)]
    proofs = [looking(lambda: reporting.looked)]
    return Started(tasks=tasks, proofs=proofs, beat=committing(spool, Part.REPORTING))


def room_of(config: Config) -> Callable[[Books, datetime], Standing]:
    """What goes on in the rooms of this box."""
    zone, behind, ahead = config.site.timezone, config.commands.exam_behind, config.commands.exam_ahead
    return lambda c, moment: books.room(c, now=moment, zone=zone, behind=behind, ahead=ahead)


@dataclass(frozen=True, slots=True)
class WishedFor:
    """Where central's wish is put: over the box's own file."""

    overlay: Overlay
    source: Path

    def text(self) -> str | None:
        return self.overlay.text(text_of(self.source, remedy="put it back"))

    def put(self, text: str) -> None:
        self.overlay.put(text, over=text_of(self.source, remedy="put it back"))

    def back(self) -> None:
        self.overlay.back()

    def settle(self) -> None:
        self.overlay.settle()


def wishes_of(config: Config, spool: Spool, source: Path, writer: Writer) -> Wishes:
    """The wishes of central for the configuration of this box."""
    place = WishedFor(Overlay(config.box.state), source)
    wish = place.text()
    return Wishes(
        spool,
        faults=partial(faults_over, source),
        place=place,
        running="" if wish is None else digest(wish),
        room=room_of(config),
        whole=lambda: not {Part.EDGE, Part.FORWARD} & {*unclaimed(config.box.state)},
        writer=writer,
        box=config.box.id,
        now=now,
    )


def commands_of(config: Config, spool: Spool, wishes: Wishes) -> Commands:
    """The door for what central asks. The configuration was loaded, so its keys have no fault."""
    section = config.commands
    return Commands(
        spool,
        trusted=read_keys(section.keys)[0],
        site=config.site.name,
        box=config.box.id,
        deeds={**deeds(config, spool), CommandName.APPLY_CONFIG: wishes.ask},
        room=room_of(config),
        kept=section.kept,
        now=now,
    )


def peers_of(config: Config) -> dict[str, str]:
    """The kind of each thing that the configuration names, as central knows it."""
    return {
        **{sender.name: "sender" for sender in config.sender},
        **{scanner.ae: "scanner" for scanner in config.scanner},
        **dict.fromkeys(config.ris_names.values(), "ris"),
        **{one.name: one.kind for one in config.destination},
    }


def dial(config: Config) -> Dial:
    """How the broker is reached, each time with the certificates and the password that are there then."""
    mqtt = config.mqtt
    context = tls_of(mqtt)

    def call(version: Version, will: Outgoing, received: Callable[[Incoming], None]) -> Connection:
        tls = context() if context else None
        try:
            password = _secret(mqtt.password)
        except (OSError, UnicodeDecodeError) as error:
            raise TemporaryFailure(f"mqtt: password can't be read ({type(error).__name__})", code="files") from error
        broker = Broker(
            host=mqtt.host,
            port=mqtt.port,
            client_id=config.box.id,
            keepalive=max(1, round(mqtt.keepalive.total_seconds())),
            connect_timeout=mqtt.connect_timeout.total_seconds(),
            timeout=mqtt.timeout.total_seconds(),
            tls=tls,
            user=mqtt.user,
            password=password,
        )
        return connect(broker, version=version, will=will, on_message=received)

    return call


def inventory(
    config: Config, peers: dict[str, str], *, release: Callable[[], Mapping[str, Any]] = dict
) -> Callable[[], dict[str, Any]]:
    """What the box is: the fields of `Info`. The certificate is read again when its file changes."""
    fixed = {
        "model": platform.machine().lower() or "unknown",
        "sw": version("modality-gateway"),
        "sbom": _digest(sorted(f"{one.name}=={one.version}" for one in distributions())),
        "config": _digest([config.model_dump_json()]),
        "peers": peers,
        "schemas": tuple(f"{kind.__name__.lower()}/1.0" for kind in MESSAGES),
    }
    read_at, ends = 0.0, None

    def look() -> dict[str, Any]:
        nonlocal read_at, ends
        certificate = config.mqtt.certificate
        changed = _changed(certificate)
        if certificate is not None and changed != read_at:
            read_at, ends = changed, not_after(certificate)
        return {**fixed, **release(), "cert_not_after": ends}

    return look


def _policy(mqtt: Mqtt) -> Policy:
    return Policy(
        versions=tuple(Version) if mqtt.version == "auto" else (Version(mqtt.version),),
        health=mqtt.health,
        rate=mqtt.backfill_rate,
        most=mqtt.events_max,
        retry_base=mqtt.retry.base,
        retry_cap=mqtt.retry.cap,
        timeout=mqtt.timeout.total_seconds(),
    )


async def _wait(event: asyncio.Event | None, seconds: float) -> None:
    if event is None:
        await asyncio.sleep(seconds)
        return
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):  # unlike wait_for, it never swallows that we are to stop
            await event.wait()


def _secret(path: Path | None) -> str:
    return "" if path is None else path.read_text("utf-8").strip()


def _digest(lines: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def _changed(path: Path | None) -> float:
    try:
        return 0.0 if path is None else path.stat().st_mtime
    except OSError:
        return 0.0
