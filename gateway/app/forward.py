"""The wiring of forward: what leaves the box, and where to."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Final

from gateway.app.destinations import sink_target, target_of
from gateway.app.peers import caller_of, now, tls_of
from gateway.app.proofs import committing, moving, syncing
from gateway.app.synthetic import BELL, KEPT
from gateway.app.watchdog import Started
from gateway.config import Backoff, Config, DicomDestination, Ris, WebDestination, load_check_rules, load_rules
from gateway.domain.completeness import Patience as StudyPatience
from gateway.domain.model import DestinationName, Lane, SourceName
from gateway.domain.order_notice import Format, Header
from gateway.domain.parts import Part
from gateway.domain.synthetic import SENDER, SINK
from gateway.domain.task import Mode, Patience, Resend
from gateway.net.codec import Codecs
from gateway.net.dicom_client import Peer
from gateway.net.mllp_client import Place
from gateway.net.wake import Wake
from gateway.roles.forward import CheckRules, Compressor, Forward, MppsTarget, Policy, Receiver, Telling
from gateway.roles.forward.availability import AvailabilityTarget
from gateway.roles.forward.disk import DiskWatch
from gateway.spool import Spool

SILENCE: Final = timedelta(minutes=30)
"""A thread of forward that gives no sign of life for so long, and for the longest wait configured, is stuck."""


async def start_forward(config: Config, spool: Spool, stop: asyncio.Event) -> Started:
    returns = {scanner.ae.casefold(): scanner for scanner in config.scanner}

    def scanner_peer(ae: str) -> Peer | None:
        """Where a scanner takes storage commitment reports."""
        scanner = returns.get(ae.strip().casefold())
        if scanner is None or not scanner.port or not scanner.address:
            return None
        host = str(scanner.address[0].network_address)
        return Peer(
            host=host,
            port=scanner.port,
            called_ae=scanner.ae,
            calling_ae=config.listen[0].ae[0],
            connect_timeout=10.0,
            timeout=30.0,
        )

    policy = routing_policy(config)
    compressor = _compressor(config, spool)
    asked = {one.compression for one in config.destination} | {rule.compression for rule in policy.rules}
    if "lossless" in asked:
        await asyncio.to_thread(compressor.start)
    forward = Forward(
        spool,
        [target_of(config, destination) for destination in config.destination],
        mpps_targets=[
            *(_mpps_target(config, ris, Backoff(), ris.timeout, ris.timeout) for ris in config.ris if ris.mpps),
            *(
                _mpps_target(config, one, one.retry, one.connect_timeout, one.timeout)
                for one in config.dicom_nodes
                if one.mpps
            ),
        ],
        availability=[_availability_target(config, ris) for ris in config.ris if ris.ian],
        policy=policy,
        check=check_rules(config),
        compressor=compressor,
        retention=max(map(config.retention_of, config.destination), default=config.retention.confirmed),
        disk=DiskWatch(spool, config.disk.watermarks, now=now),
        custody_retention=config.retention.custody,
        mpps_retention=config.retention.mpps,
        telling=_telling(config),
        messages_retention=config.retention.messages,
        scanners=scanner_peer,
        now=now,
        random=random.random,
    )
    wake = await Wake.bind(config.box.runtime_folder / "forward.sock")
    peers = [one for one in config.destination if isinstance(one, DicomDestination | WebDestination)]
    waits = [config.compression.timeout, *(one.timeout for one in peers)]
    silence = (SILENCE + max(waits)).total_seconds()
    return Started(
        tasks=[asyncio.create_task(forward.run(stop, wake))],
        proofs=[syncing(spool, None), moving(forward.silent, silence)],
        beat=committing(spool, Part.FORWARD),
    )


async def start_synthetic_forward(config: Config, books: Spool, stop: asyncio.Event) -> Started:
    """The same role over the books of the synthetic patient: its images go to the loop-back destination alone."""
    rules = check_rules(config)
    forward = Forward(
        books,
        [sink_target(config)],
        mpps_targets=[],
        policy=Policy(
            default=(SINK,), rules=(), lanes_of={SINK: (Lane.ROUTINE,)}, urgency=lambda _: None, unverified=None
        ),
        check=replace(
            rules,
            mode=Mode.APPLY,
            policy=replace(rules.policy, test_patients=()),
            patience=Patience(),
            senders=(SENDER,),
            headers=(),
        ),
        compressor=_compressor(config, books),
        retention=timedelta(0),
        disk=DiskWatch(books, config.disk.watermarks, now=now),
        custody_retention=KEPT,
        mpps_retention=KEPT,
        telling=Telling(receivers=(), patience=StudyPatience(quiet=KEPT, abandoned=KEPT), zone=config.site.timezone),
        messages_retention=KEPT,
        scanners=lambda _: None,
        now=now,
        random=random.random,
    )
    wake = await Wake.bind(config.box.runtime_folder / BELL)
    return Started(tasks=[asyncio.create_task(forward.run(stop, wake))], proofs=[])


def check_rules(config: Config) -> CheckRules:
    """What the site says of the check of images against orders."""
    emergencies = frozenset(scanner.ae for scanner in config.scanner if scanner.emergency)
    constants: dict[str, dict[str, str]] = {scanner.ae: scanner.constants.wanted for scanner in config.scanner}
    return CheckRules(
        mode=Mode(config.check.mode),
        policy=config.check.policy(config.site.timezone, emergencies, constants),
        patience=config.check.patience({one.ae: one.hold for one in config.scanner if one.hold is not None}),
        resend=Resend(config.check.resend),
        senders=tuple(SourceName(one.name) for one in config.sender),
        expects_orders=bool(config.ris or config.sender or config.orders.folder),
        system=config.box.ae,
        headers=load_check_rules(config.check.rules),
    )


def _compressor(config: Config, spool: Spool) -> Compressor:
    limits = config.compression

    def codecs() -> Codecs:
        return Codecs(
            workers=limits.workers,
            memory=limits.memory,
            timeout=limits.timeout.total_seconds(),
            tasks=limits.tasks,
        )

    return Compressor(spool, codecs, most=limits.kept, now=now)


def routing_policy(config: Config) -> Policy:
    """What the site says of where images go. Raises ConfigError if its rules have a fault."""
    urgency = {scanner.ae.casefold(): Lane(scanner.priority) for scanner in config.scanner if scanner.priority}
    return Policy(
        default=_behind(config, config.routing.default),
        rules=tuple(
            replace(rule, to=_behind(config, rule.to)) for rule in load_rules(config.routing.rules, config.places)
        ),
        lanes_of={DestinationName(one.name): one.lanes for one in config.destination},
        urgency=lambda ae: urgency.get(ae.strip().casefold()),
        unverified=DestinationName(config.routing.unverified),
    )


def _behind(config: Config, names: Sequence[str]) -> tuple[DestinationName, ...]:
    """The destinations behind names of destinations and groups, each once."""
    return tuple(dict.fromkeys(DestinationName(one) for name in names for one in config.members(name)))


def _mpps_target(
    config: Config, peer: Ris | DicomDestination, retry: Backoff, connect_timeout: timedelta, timeout: timedelta
) -> MppsTarget:
    return MppsTarget(
        name=peer.name,
        peer=caller_of(config, peer, connect_timeout=connect_timeout.total_seconds(), timeout=timeout.total_seconds()),
        as_scanner=peer.calling_ae == "scanner",
        retry_base=retry.base,
        retry_cap=retry.cap,
    )


def _availability_target(config: Config, ris: Ris) -> AvailabilityTarget:
    timeout, waits = ris.timeout.total_seconds(), Backoff()
    return AvailabilityTarget(
        name=ris.name,
        box=f"{config.site.name}/{config.box.id}",
        peer=caller_of(config, ris, connect_timeout=timeout, timeout=timeout)(""),
        titles={DestinationName(one.name): one.ae for one in config.dicom_nodes},
        retry_base=waits.base,
        retry_cap=waits.cap,
    )


def _telling(config: Config) -> Telling:
    return Telling(
        receivers=tuple(_receiver(config, ris) for ris in config.ris if ris.name in config.order_receivers),
        patience=StudyPatience(quiet=config.orders.quiet, abandoned=config.orders.abandoned),
        zone=config.site.timezone,
    )


def _receiver(config: Config, ris: Ris) -> Receiver:
    out = ris.orders_out
    return Receiver(
        name=ris.name,
        place=Place(
            host=out.host,
            port=out.port,
            connect_timeout=out.connect_timeout.total_seconds(),
            timeout=out.timeout.total_seconds(),
            tls=tls_of(out),
        ),
        format=Format(out.format),
        report=out.report,
        senders=frozenset(out.senders),
        header=Header(
            sending_application=out.sending_application or config.box.ae,
            sending_facility=out.sending_facility or config.site.name,
            receiving_application=out.application,
            receiving_facility=out.facility,
        ),
    )
