"""The page of wiring: Config -> Spool -> roles. Start and stop mirror each other.

`serve` runs any set of roles in one process. Edge (worklist and storage) owns every listener; forward
owns everything that leaves the box. They share the spool and ring each other's door bell, no more.
"""

from __future__ import annotations

import asyncio
import random
import signal
import ssl
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from datetime import UTC, datetime, timedelta
from typing import Final

import structlog
import uvloop

from gateway.config import (
    Backoff,
    Config,
    DicomDestination,
    Listen,
    Ris,
    Service,
    Tls,
    WorklistMode,
    WorklistPolicy,
    load_profiles,
)
from gateway.dicom.associate import UserInformation
from gateway.dicom.part10 import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from gateway.domain.admission import KnownCaller
from gateway.domain.model import DestinationName, SourceName, TemporaryFailure
from gateway.domain.profile import GENERIC, Profile
from gateway.net.dicom_client import Peer
from gateway.net.dicom_server import DicomServer, Limits
from gateway.net.host import notify
from gateway.net.tls import client_context, server_context
from gateway.net.wake import Bell, Wake
from gateway.roles.forward import Forward, MppsTarget, Target
from gateway.roles.mpps import PerformedSteps
from gateway.roles.reception import Reception
from gateway.roles.storage import Storage, read_origin
from gateway.roles.worklist import Policy, Retention, Upstream, Worklist
from gateway.spool import Spool
from gateway.spool.claims import Part
from gateway.spool.peers import scanners

ROLES: Final = ("worklist", "storage", "forward", "console")
EDGE: Final = frozenset({"worklist", "storage"})
DRAIN_SECONDS: Final = 20.0
WATCH_SECONDS: Final = 1.0
OPERATIONS: Final = 8
"""Operations that a peer may have outstanding, if it negotiates them (PS3.7 D.3.3.3)."""

log = structlog.get_logger()


def serve(config: Config, roles: frozenset[str]) -> int:
    """Run `roles` until SIGTERM or SIGINT; the process's exit status. Raises `GatewayError` or OSError
    if it can't start."""
    return uvloop.run(_serve(config, roles))


async def _serve(config: Config, roles: frozenset[str]) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with AsyncExitStack() as stack:
        spool = Spool.open(config.box.state, now=_now, reserve=config.limits.disk_reserve.bytes)
        stack.callback(spool.close)
        if roles & EDGE:
            stack.enter_context(spool.claim(Part.EDGE))
        if "forward" in roles:
            stack.enter_context(spool.claim(Part.FORWARD))
        running = await _start_edge(config, spool, roles, stop, stack) if roles & EDGE else []
        if "forward" in roles:
            running.append(await _start_forward(config, spool, stop))
        if "console" in roles and (config.console.port or len(roles) == 1):
            running.append(_start_console(config, spool, stop))
        running.append(asyncio.create_task(_watch_database(spool, stop)))
        notify("READY=1")
        log.info("ready", roles=",".join(sorted(roles)))
        finished = asyncio.create_task(stop.wait())
        await asyncio.wait({finished, *running}, return_when=asyncio.FIRST_COMPLETED)
        notify("STOPPING=1")
        log.info("stopping")
        stop.set()
        results = await asyncio.gather(*running, return_exceptions=True)
    failures = [result for result in results if isinstance(result, BaseException)]
    for failure in failures:
        log.error("a role ended by a fault", error=type(failure).__name__)
    return 1 if failures else 0


async def _watch_database(spool: Spool, stop: asyncio.Event) -> None:
    """Raises once the database met a disk error: only a start reads its log anew (db.py), so the process ends
    and its supervisor begins again. Until then everything is refused with A700."""
    while not stop.is_set():
        if spool.db.broken:
            raise TemporaryFailure(spool.db.broken, code="broken")
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), WATCH_SECONDS)


# -- edge --


async def _start_edge(
    config: Config, spool: Spool, roles: frozenset[str], stop: asyncio.Event, stack: AsyncExitStack
) -> list[asyncio.Task[None]]:
    swept = await asyncio.to_thread(spool.sweep, read_origin)
    log.info(
        "swept",
        unfinished=swept.unfinished_removed,
        adopted=swept.adopted,
        missing=swept.missing,
        aside=swept.put_aside,
    )
    bell = Bell(config.box.runtime_folder / "forward.sock")
    stack.callback(bell.close)
    storage = Storage(spool, spool.accepting(), object_max=config.limits.object_max, now=_now, received=bell.ring)
    worklist = _worklist(config, spool) if "worklist" in roles else None
    steps = PerformedSteps(spool, targets=config.mpps_peers, now=_now, received=bell.ring)
    server = DicomServer(_limits(config))
    stack.push_async_callback(server.drain, DRAIN_SECONDS)
    for listen in config.listen:
        reception = _reception(
            config,
            listen,
            spool,
            storage=storage if "storage" in roles else None,
            worklist=worklist,
            steps=steps if worklist is not None else None,
        )
        tls = None
        if listen.tls:
            assert listen.certificate is not None
            assert listen.key is not None  # the configuration refuses tls without both
            tls = server_context(certificate=listen.certificate, key=listen.key, client_ca=listen.client_ca)
        port = await server.listen(reception, listen.address, listen.port, tls=tls)
        log.info("listening", port=port, ae=",".join(listen.ae), tls=listen.tls)
    return [asyncio.create_task(worklist.run(stop))] if worklist is not None else []


def _reception(
    config: Config,
    listen: Listen,
    spool: Spool,
    *,
    storage: Storage | None,
    worklist: Worklist | None,
    steps: PerformedSteps | None,
) -> Reception:
    offered = listen.services
    stores = storage is not None and Service.STORAGE in offered
    commits = storage is not None and Service.COMMITMENT in offered
    return Reception(
        spool,
        titles=listen.ae,
        scanners=[
            KnownCaller(ae=scanner.ae, networks=scanner.address, called_ae=scanner.called_ae)
            for scanner in config.scanner
        ],
        own_peers=[KnownCaller(ae=ae) for ae in [d.ae for d in config.destination] + [r.ae for r in config.ris]],
        store=storage if stores else None,
        find=worklist.find if worklist is not None and Service.WORKLIST in offered else None,
        commitment=(storage.commitment_requested, storage.commitment_reported) if storage and commits else None,
        mpps=(steps.created, steps.changed) if steps is not None and Service.MPPS in offered else None,
        standard_only=config.limits.sop_classes == "standard",
        us=UserInformation(
            max_pdu=config.limits.pdu_max,
            implementation_class_uid=IMPLEMENTATION_CLASS_UID,
            implementation_version=IMPLEMENTATION_VERSION_NAME,
            asynchronous=(OPERATIONS, 1),
        ),
        now=_now,
    )


def _limits(config: Config) -> Limits:
    limits = config.limits
    return Limits(
        sockets=limits.sockets,
        sockets_per_address=limits.sockets_per_address,
        associations=limits.associations,
        associations_per_peer=limits.associations_per_peer,
        artim=limits.artim.total_seconds(),
        idle=limits.idle.total_seconds(),
        message=limits.dimse.total_seconds(),
    )


def _worklist(config: Config, spool: Spool) -> Worklist:
    profiles = load_profiles(config.worklist.profiles)
    policies = {
        scanner.ae.casefold(): _policy(scanner.worklist, profiles[scanner.profile]) for scanner in config.scanner
    }

    def policy_of(ae: str) -> Policy:
        """A scanner of the configuration, or one that a command added: that one's profile file may have gone."""
        plain = ae.strip().casefold()
        if plain in policies:
            return policies[plain]
        added = next((one for one in scanners(spool.db.read()) if one.ae.casefold() == plain), None)
        return _policy(WorklistPolicy(), profiles.get(added.profile if added else GENERIC, profiles[GENERIC]))

    return Worklist(
        spool,
        [_upstream(config, ris) for ris in config.ris],
        policy_of=policy_of,
        today=lambda: _now().astimezone(config.site.timezone).date(),
        now=_now,
        random=random.random,
        retention=Retention(queries=config.retention.queries, served=config.retention.served),
        entries_for=config.retention.orders,
        zone=config.site.timezone,
    )


def _policy(worklist: WorklistPolicy, profile: Profile) -> Policy:
    return Policy(
        ask=worklist.mode is WorklistMode.MERGE,
        live=worklist.mode is WorklistMode.LIVE,
        deadline=worklist.deadline,
        fresh_for=worklist.fresh_for,
        max_stale=worklist.max_stale,
        profile=profile,
        mark=worklist.mark,
    )


def _upstream(config: Config, ris: Ris) -> Upstream:
    seconds = ris.timeout.total_seconds()
    return Upstream(
        name=SourceName(ris.name),
        peer=_caller_of(config, ris, connect_timeout=seconds, timeout=seconds),
        refresh=ris.refresh,
        past=ris.window.past,
        ahead=ris.window.ahead,
    )


# -- forward --


async def _start_forward(config: Config, spool: Spool, stop: asyncio.Event) -> asyncio.Task[None]:
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

    forward = Forward(
        spool,
        [_target(config, destination) for destination in config.destination],
        mpps_targets=[
            *(_mpps_target(config, ris, Backoff(), ris.timeout, ris.timeout) for ris in config.ris if ris.mpps),
            *(
                _mpps_target(config, one, one.retry, one.connect_timeout, one.timeout)
                for one in config.destination
                if one.mpps
            ),
        ],
        routes=[DestinationName(name) for name in config.routing.default],
        retention=max(map(config.retention_of, config.destination), default=config.retention.confirmed),
        mpps_retention=config.retention.mpps,
        scanners=scanner_peer,
        now=_now,
        random=random.random,
    )
    wake = await Wake.bind(config.box.runtime_folder / "forward.sock")
    return asyncio.create_task(forward.run(stop, wake))


# -- console --


def _start_console(config: Config, spool: Spool, stop: asyncio.Event) -> asyncio.Task[None]:
    from gateway.roles.console import ConfiguredScanner, Console, Place  # noqa: PLC0415  edge starts without it

    console = Console(
        spool,
        address=config.console.address,
        port=config.console.port,
        place=Place(site=config.site.name, box=config.box.id, zone=config.site.timezone),
        destinations=[destination.name for destination in config.destination],
        refresh={ris.name: ris.refresh for ris in config.ris},
        mpps_peers=config.mpps_peers,
        scanners=[
            ConfiguredScanner(ae=scanner.ae, addresses=tuple(map(str, scanner.address)), profile=scanner.profile)
            for scanner in config.scanner
        ],
        desk=config.desk.policy,
        now=_now,
    )
    log.info("console", address=config.console.address, port=console.port)
    return asyncio.create_task(console.run(stop))


def _target(config: Config, destination: DicomDestination) -> Target:
    return Target(
        name=DestinationName(destination.name),
        peer=_caller_of(
            config,
            destination,
            connect_timeout=destination.connect_timeout.total_seconds(),
            timeout=destination.timeout.total_seconds(),
        ),
        as_scanner=destination.calling_ae == "scanner",
        confirm=destination.confirm,
        lanes=destination.lanes,
        batch=destination.batch,
        retry_base=destination.retry.base,
        retry_cap=destination.retry.cap,
        commitment_wait=destination.commitment_wait,
        commitment_timeout=destination.commitment_timeout,
        expect_refused=frozenset(destination.expect_refused),
    )


def _mpps_target(
    config: Config, peer: Ris | DicomDestination, retry: Backoff, connect_timeout: timedelta, timeout: timedelta
) -> MppsTarget:
    return MppsTarget(
        name=peer.name,
        peer=_caller_of(config, peer, connect_timeout=connect_timeout.total_seconds(), timeout=timeout.total_seconds()),
        as_scanner=peer.calling_ae == "scanner",
        retry_base=retry.base,
        retry_cap=retry.cap,
    )


def _caller_of(
    config: Config, peer: Ris | DicomDestination, *, connect_timeout: float, timeout: float
) -> Callable[[str], Peer]:
    """How to call a peer on behalf of a scanner's AE title; "" where there is no scanner."""
    tls = _tls(peer)

    def call(scanner: str) -> Peer:
        as_scanner = peer.calling_ae == "scanner" and scanner
        return Peer(
            host=peer.host,
            port=peer.port,
            called_ae=peer.ae,
            calling_ae=scanner if as_scanner else config.box.ae,
            connect_timeout=connect_timeout,
            timeout=timeout,
            tls=tls,
        )

    return call


def _tls(peer: Tls) -> ssl.SSLContext | None:
    return client_context(ca=peer.ca, certificate=peer.certificate, key=peer.key) if peer.tls else None


def _now() -> datetime:
    return datetime.now(UTC)
