"""Reception: who may call on a port, what it may ask there, and which role answers.

C-ECHO is answered on every AE title for everybody we admit. Scanners get what the port offers; a
destination or RIS that calls us is one of our own peers and may report storage commitment, no more.
A stranger is refused and remembered, so that a person can add it with one command; a flood of them,
under whatever names and from however many addresses, writes and logs no more than `STRANGERS_PER_SECOND`.
Nothing here waits: it runs on the event loop, for every connection.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Protocol

import structlog

from gateway.dicom.associate import APPLICATION_CONTEXT_NAME, AssociateAccept, AssociateRequest, UserInformation
from gateway.dicom.association import AcceptedContext
from gateway.dicom.dimse import CommandField, CommandSet, Status
from gateway.dicom.negotiation import (
    MODALITY_WORKLIST,
    MPPS,
    STORAGE_COMMITMENT,
    VERIFICATION,
    answer,
    choose_native,
    choose_transfer_syntax,
    is_storage,
)
from gateway.dicom.pdu import (
    APPLICATION_CONTEXT,
    CALLED_AE_UNKNOWN,
    CALLING_AE_UNKNOWN,
    PROTOCOL_VERSION,
    Reject,
)
from gateway.domain.admission import KnownCaller, Refusal, admit, within
from gateway.domain.model import AETitle
from gateway.net.dicom_service import Caller, Exchange, Handler, StoreReceiver, StoreRefused
from gateway.net.rate import Rate
from gateway.spool import Spool, peers

REMEMBER_EVERY = timedelta(seconds=5)
STRANGERS_KEPT = 1000
STRANGERS_PER_SECOND = 2.0
STRANGERS_AT_ONCE = 50
NAMES_PER_SECOND = 0.2
NAMES_AT_ONCE = 10
"""New names under which one address is remembered: one that tries them all must not hide a new scanner."""
LOOK_UP_EVERY = timedelta(seconds=1)

log = structlog.get_logger()
Chooser = Callable[[Iterable[str]], str | None]


class ObjectStore(Protocol):
    """The role that takes objects."""

    def begin_store(self, caller: Caller, context: AcceptedContext, command: CommandSet) -> StoreReceiver: ...


class Reception:
    """The `Services` of one port."""

    def __init__(
        self,
        spool: Spool,
        *,
        titles: Sequence[str],
        scanners: Sequence[KnownCaller],
        own_peers: Sequence[KnownCaller],
        store: ObjectStore | None,
        find: Handler | None,
        commitment: tuple[Handler, Handler] | None,
        mpps: tuple[Handler, Handler] | None,
        standard_only: bool,
        us: UserInformation,
        now: Callable[[], datetime],
        ourselves: KnownCaller | None = None,
    ) -> None:
        """`commitment` handles a scanner's request and a destination's report, `mpps` N-CREATE and N-SET. `ourselves`:
        as whom we call to see whether we answer; it may ask for C-ECHO alone."""
        self._spool = spool
        self._titles = tuple(titles)
        self._scanners = tuple(scanners)
        self._own_peers = tuple(own_peers)
        self._store = store
        self._find = find
        self._commitment = commitment
        self._mpps = mpps
        self._standard_only = standard_only
        self._us = us
        self._ourselves = [ourselves] if ourselves is not None else []
        self._now = now
        self._remembered: dict[tuple[str, str, str], datetime] = {}
        self._names: dict[str, Rate] = {}
        self._strangers = Rate(per_second=STRANGERS_PER_SECOND, burst=STRANGERS_AT_ONCE)
        self._networks: frozenset[IPv4Network | IPv6Network] = frozenset()
        self._looked_up: datetime | None = None
        self._handlers = self._make_handlers()

    @property
    def handlers(self) -> Mapping[int, Handler]:
        return self._handlers

    def expects(self, address: str) -> bool:
        """Whether a scanner is listed with this address, or we call from it."""
        now = self._now()
        if self._looked_up is None or now - self._looked_up >= LOOK_UP_EVERY:
            self._looked_up = now
            with contextlib.suppress(Exception):  # the database fails: those known so far are known still
                known = (*self._ourselves, *self._scanners, *self._added())
                self._networks = frozenset(network for scanner in known for network in scanner.networks)
        return any(within(address, network) for network in self._networks)

    def admit(self, request: AssociateRequest, address: str) -> AssociateAccept | Reject:
        """Decide on an association (PS3.8 9.3.4 for the reasons of a refusal)."""
        if not request.protocol_version & 1:
            return PROTOCOL_VERSION
        if request.application_context != APPLICATION_CONTEXT_NAME:
            return APPLICATION_CONTEXT
        who = partial(
            admit, calling_ae=request.calling_ae, called_ae=request.called_ae, address=address, ours=self._titles
        )
        admitted = who(known=(*self._scanners, *self._added()))
        if isinstance(admitted, KnownCaller):
            return answer(request, self._for_scanner, us=self._us)
        peer = who(known=self._own_peers)
        if isinstance(peer, KnownCaller):
            return answer(request, self._for_own_peer, us=self._us)
        if isinstance(who(known=self._ourselves), KnownCaller):
            return answer(request, _for_echo, us=self._us)
        self._remember(request, address, admitted)
        return CALLED_AE_UNKNOWN if admitted is Refusal.CALLED_AE else CALLING_AE_UNKNOWN

    def begin_store(self, caller: Caller, context: AcceptedContext, command: CommandSet) -> StoreReceiver:
        if self._store is None or not self._stores(context.abstract_syntax):
            raise StoreRefused(Status.SOP_CLASS_NOT_SUPPORTED, "not a storage context")
        return self._store.begin_store(caller, context, command)

    # -- what is offered --

    def _stores(self, abstract_syntax: str) -> bool:
        return is_storage(abstract_syntax, standard_only=self._standard_only)

    def _for_scanner(self, abstract_syntax: str) -> Chooser | None:
        if (
            abstract_syntax == VERIFICATION
            or (abstract_syntax == MODALITY_WORKLIST and self._find is not None)
            or (abstract_syntax == STORAGE_COMMITMENT and self._commitment is not None)
            or (abstract_syntax == MPPS and self._mpps is not None)
        ):
            return choose_native
        return choose_transfer_syntax if self._store is not None and self._stores(abstract_syntax) else None

    def _for_own_peer(self, abstract_syntax: str) -> Chooser | None:
        reports = abstract_syntax == STORAGE_COMMITMENT and self._commitment is not None
        return choose_native if abstract_syntax == VERIFICATION or reports else None

    def _make_handlers(self) -> dict[int, Handler]:
        handlers: dict[int, Handler] = {}
        if self._find is not None:
            handlers[CommandField.C_FIND_RQ] = _on(MODALITY_WORKLIST, self._find)
        if self._commitment is not None:
            requested, reported = self._commitment
            handlers[CommandField.N_ACTION_RQ] = _on(STORAGE_COMMITMENT, requested)
            handlers[CommandField.N_EVENT_REPORT_RQ] = _on(STORAGE_COMMITMENT, reported)
        if self._mpps is not None:
            created, changed = self._mpps
            handlers[CommandField.N_CREATE_RQ] = _on(MPPS, created)
            handlers[CommandField.N_SET_RQ] = _on(MPPS, changed)
        return handlers

    # -- who calls --

    def _added(self) -> list[KnownCaller]:
        """Scanners added by a command; read at each call, as another process adds them."""
        return [
            KnownCaller(ae=scanner.ae, networks=tuple(ip_network(text, strict=False) for text in scanner.addresses))
            for scanner in peers.scanners(self._spool.db.read())
        ]

    def _remember(self, request: AssociateRequest, address: str, refusal: Refusal) -> None:
        """Write the stranger down, at most once in a while: a flood of calls must not become one of writes."""
        now = self._now()
        stranger = (request.calling_ae, request.called_ae, address)
        last = self._remembered.get(stranger)
        if last is not None and now - last < REMEMBER_EVERY:
            return
        if len(self._remembered) >= STRANGERS_KEPT or len(self._names) >= STRANGERS_KEPT:
            self._remembered.clear()
            self._names.clear()
        names = self._names.setdefault(address, Rate(per_second=NAMES_PER_SECOND, burst=NAMES_AT_ONCE))
        if not (names.allows(now.timestamp()) and self._strangers.allows(now.timestamp())):
            return
        self._remembered[stranger] = now
        log.warning("stranger refused", address=address, reason=refusal)
        self._spool.db.write(
            partial(
                peers.record_caller,
                calling_ae=AETitle(_printable(request.calling_ae)),
                called_ae=AETitle(_printable(request.called_ae)),
                address=address,
                reason=refusal,
                now=now,
            )
        )


def _for_echo(abstract_syntax: str) -> Chooser | None:
    return choose_native if abstract_syntax == VERIFICATION else None


def _on(abstract_syntax: str, handler: Handler) -> Handler:
    """`handler`, for exchanges on contexts of that class alone."""

    async def checked(exchange: Exchange) -> None:
        if exchange.context.abstract_syntax != abstract_syntax:
            exchange.respond(Status.SOP_CLASS_NOT_SUPPORTED)
            return
        await handler(exchange)

    return checked


def _printable(title: str) -> str:
    """An AE title from the wire as it may be shown: a stranger chose these characters."""
    return "".join(character if character.isascii() and character.isprintable() else "?" for character in title)
