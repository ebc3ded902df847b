"""The wiring of edge: every listener, and the roles behind them (DESIGN 3)."""

from __future__ import annotations

import asyncio
import random
import secrets
import ssl
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Final

import structlog

from gateway.app.peers import caller_of, now
from gateway.app.proofs import answering, caller_at, committing, syncing
from gateway.app.synthetic import SyntheticEdge
from gateway.app.watchdog import Started
from gateway.config import Config, Listen, Ris, Sender, ServerTls, Service, WorklistMode, WorklistPolicy, load_profiles
from gateway.config.mappings import order_senders
from gateway.dicom.associate import UserInformation
from gateway.dicom.part10 import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from gateway.domain.admission import KnownCaller, same_ae
from gateway.domain.hl7 import Message
from gateway.domain.model import Instance, SourceName
from gateway.domain.orders import read as read_message
from gateway.domain.parts import Part
from gateway.domain.profile import GENERIC, Profile
from gateway.domain.synthetic import SCANNER
from gateway.net.dicom_server import DicomServer, Limits
from gateway.net.host import notify
from gateway.net.mllp_server import Limits as MllpLimits
from gateway.net.mllp_server import MllpServer
from gateway.net.tls import server_context
from gateway.net.upkeep import repeat
from gateway.net.wake import Bell
from gateway.roles.doors import Doors, MessageDoors
from gateway.roles.mpps import PerformedSteps
from gateway.roles.orders import Apply, Orders
from gateway.roles.orders import Sender as OrderSender
from gateway.roles.orders.folder import OrderFolder
from gateway.roles.reception import Reception
from gateway.roles.storage import Storage, read_origin
from gateway.roles.worklist import Policy, Retention, Upstream, Worklist
from gateway.roles.worklist.files import FILE_MAX, WorklistFiles
from gateway.spool import Spool, orders, progress
from gateway.spool.peers import scanners
from gateway.spool.recovery import ReadOrigin, Unfinished
from gateway.spool.watched import WatchedFolder

DRAIN_SECONDS: Final = 20.0
CALLERS_SECONDS: Final = 1.0
START_SECONDS: Final = 300
"""How long a start may go on after a sign of life: TimeoutStartSec of the unit, which has only one for the whole."""
SIGN_SECONDS: Final = 10.0
OPERATIONS: Final = 8
"""Operations that a peer may have outstanding, if it negotiates them (PS3.7 D.3.3.3)."""

log = structlog.get_logger()


async def start_edge(
    config: Config, spool: Spool, roles: frozenset[str], stop: asyncio.Event, stack: AsyncExitStack, *, books: Spool
) -> Started:
    """`books`: those of the synthetic patient."""
    swept = await asyncio.to_thread(spool.sweep, _telling(read_origin))
    log.info(
        "swept",
        unfinished=swept.unfinished_removed,
        adopted=swept.adopted,
        missing=swept.missing,
        aside=swept.put_aside,
    )
    bell = Bell(config.box.runtime_folder / "forward.sock")
    stack.callback(bell.close)
    committer = spool.accepting()
    storage = Storage(spool, committer, object_max=config.limits.object_max, now=now, received=bell.ring)
    worklist = _worklist(config, spool) if "worklist" in roles else None
    steps = PerformedSteps(spool, targets=config.mpps_peers, now=now, received=bell.ring)
    synthetic = SyntheticEdge.over(config, books)
    stack.callback(synthetic.close)
    server = DicomServer(_limits(config))
    stack.push_async_callback(server.drain, DRAIN_SECONDS)
    ourselves = secrets.token_hex(8)
    proofs = [syncing(spool, committer)]
    for listen in config.listen:
        scanners = [
            KnownCaller(ae=scanner.ae, networks=scanner.address, called_ae=scanner.called_ae)
            for scanner in config.scanner
        ]
        clinical = _reception(
            config,
            listen,
            spool,
            scanners,
            storage=storage if "storage" in roles else None,
            worklist=worklist,
            steps=steps if worklist is not None else None,
            ourselves=caller_at(listen, ourselves),
        )
        apart = _reception(
            config,
            listen,
            books,
            [synthetic.scanner],
            storage=synthetic.storage if "storage" in roles else None,
            worklist=synthetic.worklist if worklist is not None else None,
            steps=None,
            ourselves=caller_at(listen, ourselves),
        )
        port = await server.listen(Doors(clinical, apart), listen.address, listen.port, tls=_tls(listen))
        log.info("listening", port=port, ae=",".join(listen.ae), tls=listen.tls)
        proofs.append(answering(listen, port, ourselves))
    tasks = [asyncio.create_task(_tell_callers(server, spool, stop, ourselves))]
    if worklist is not None:
        tasks += [
            asyncio.create_task(worklist.run(stop)),
            asyncio.create_task(synthetic.run(stop)),
            *await _start_orders(config, spool, stop, stack, synthetic=synthetic.orders),
        ]
    return Started(tasks=tasks, proofs=proofs, beat=committing(spool, Part.EDGE))


def _telling(read: ReadOrigin) -> ReadOrigin:
    """The same, which tells systemd that the start goes on: with a lost index every object is read, for hours, and a
    start that is ended halfway would begin with the first again."""
    told = float("-inf")

    def look(path: Path) -> Instance | Unfinished | None:
        nonlocal told
        if time.monotonic() - told >= SIGN_SECONDS:
            told = time.monotonic()
            notify(f"EXTEND_TIMEOUT_USEC={START_SECONDS * 1_000_000}")
        return read(path)

    return look


async def _tell_callers(server: DicomServer, spool: Spool, stop: asyncio.Event, ourselves: str) -> None:
    """Keep in the books whose associations stand: forward tells by it whether a scanner may have more to send."""
    told: frozenset[str] | None = None

    async def tell() -> None:
        nonlocal told
        standing = frozenset(one for one in server.callers if one != ourselves and not same_ae(one, SCANNER))
        if standing != told:
            job = partial(progress.connected, calling_aes=standing)
            await asyncio.wrap_future(spool.db.write(job, rebuildable=True))
            told = standing

    await repeat(tell, of="callers", seconds=CALLERS_SECONDS, stop=stop)


async def _start_orders(
    config: Config, spool: Spool, stop: asyncio.Event, stack: AsyncExitStack, *, synthetic: Orders
) -> list[asyncio.Task[None]]:
    """Without a [[sender]] nobody may send, so there is no port."""
    known = {sender.name: sender for sender in order_senders(config)}

    def read(message: Message, name: str, at: datetime) -> Apply:
        sender = known[SourceName(name)]
        return partial(orders.apply_read, asked=read_message(message, sender, at), sender=sender, now=at)

    desk = Orders(
        spool,
        [_sender(sender) for sender in config.sender],
        read=read,
        messages_for=config.retention.messages,
        orders_for=config.retention.orders,
        now=now,
        here=lambda at: at.astimezone(config.site.timezone),
        unknown_kept=config.mllp.unknown_kept,
    )
    mllp = config.mllp
    if mllp.port and known:
        limits = MllpLimits(
            connections=mllp.connections,
            connections_per_address=mllp.connections_per_address,
            message_max=mllp.message_max,
            idle=mllp.idle.total_seconds(),
            stall=mllp.stall.total_seconds(),
        )
        server = MllpServer(MessageDoors(desk, synthetic), limits)
        stack.push_async_callback(server.drain, DRAIN_SECONDS)
        port = await server.listen(mllp.address, mllp.port, tls=_tls(mllp))
        log.info("listening for HL7", port=port, tls=mllp.tls)
    return [asyncio.create_task(desk.run(stop)), *_start_folder(config, spool, desk, stop)]


def _start_folder(config: Config, spool: Spool, desk: Orders, stop: asyncio.Event) -> list[asyncio.Task[None]]:
    path, poll = config.orders.folder, config.orders.poll.total_seconds()
    if path is None:
        return []
    messages = WatchedFolder(path, size_max=config.mllp.message_max)
    orders = OrderFolder(spool, desk, messages, poll=poll, kept_for=config.retention.messages, now=now)
    files = WorklistFiles(spool, WatchedFolder(path, size_max=FILE_MAX), poll=poll, now=now)
    return [asyncio.create_task(orders.run(stop)), asyncio.create_task(files.run(stop))]


def _sender(sender: Sender) -> OrderSender:
    return OrderSender(
        name=sender.name,
        application=sender.application,
        facility=sender.facility,
        networks=sender.address,
        charset=sender.charset,
        fallback_charset=sender.fallback_charset,
        enhanced=sender.ack == "auto",
        processing=frozenset(sender.processing),
        refuse=sender.on_not_understood == "refuse",
    )


def _tls(port: ServerTls) -> ssl.SSLContext | None:
    if not port.tls:
        return None
    assert port.certificate is not None
    assert port.key is not None  # the configuration refuses tls without both
    return server_context(certificate=port.certificate, key=port.key, client_ca=port.client_ca)


def _reception(
    config: Config,
    listen: Listen,
    spool: Spool,
    scanners: Sequence[KnownCaller],
    *,
    storage: Storage | None,
    worklist: Worklist | None,
    steps: PerformedSteps | None,
    ourselves: KnownCaller,
) -> Reception:
    offered = listen.services
    stores = storage is not None and Service.STORAGE in offered
    commits = storage is not None and Service.COMMITMENT in offered
    return Reception(
        spool,
        titles=listen.ae,
        scanners=scanners,
        ourselves=ourselves,
        own_peers=[KnownCaller(ae=ae) for ae in [d.ae for d in config.dicom_nodes] + [r.ae for r in config.ris]],
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
        now=now,
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
        today=lambda: now().astimezone(config.site.timezone).date(),
        now=now,
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
        hide_performed=worklist.hide_performed,
        profile=profile,
        mark=worklist.mark,
    )


def _upstream(config: Config, ris: Ris) -> Upstream:
    seconds = ris.timeout.total_seconds()
    return Upstream(
        name=SourceName(ris.name),
        peer=caller_of(config, ris, connect_timeout=seconds, timeout=seconds),
        refresh=ris.refresh,
        past=ris.window.past,
        ahead=ris.window.ahead,
        most_rows=ris.rows_max,
        probe=ris.probe,
    )
