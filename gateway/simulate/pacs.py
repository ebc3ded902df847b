"""A PACS as a gateway sees it: storage, C-FIND by UID and storage commitment, and the ways it fails.

What is promised: 0000 only for an object the archive holds (`archive` says what that is worth). A commitment
result names as committed exactly the references that are held with their class, and are not in `fail`
(PS3.4 J.3.3). `behave` takes effect at once for what is switched on or off, and from the next object on for
the rest. Failure of the folder is answered A700.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Collection, Iterable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Final

import structlog

from gateway.dicom.associate import RoleSelection
from gateway.dicom.association import AcceptedContext
from gateway.dicom.dimse import CommandField, CommandSet, Status
from gateway.dicom.elements import DataSet, ElementError, parse, text_of
from gateway.dicom.negotiation import (
    EXPLICIT_VR_LITTLE_ENDIAN,
    STORAGE_COMMITMENT,
    STORAGE_COMMITMENT_INSTANCE,
    STUDY_ROOT_FIND,
    VERIFICATION,
    choose_native,
    choose_transfer_syntax,
    is_storage,
    propose,
)
from gateway.domain import worklist
from gateway.domain.matching import compile_query
from gateway.domain.model import GatewayError
from gateway.domain.worklist import QUERY_RETRIEVE_LEVEL, Element, all_values, project, text
from gateway.net.dicom_client import Peer, Requestor
from gateway.net.dicom_service import Caller, Exchange, Handler, StoreReceiver, StoreRefused
from gateway.simulate import commitment
from gateway.simulate.acceptor import Chooser, Port, Session, never_answer, no_answer
from gateway.simulate.archive import Archive, Arrival, Held
from gateway.simulate.commitment import Reference
from gateway.simulate.keywords import data_set, decoder, encoded, tag

CANNOT_UNDERSTAND: Final = 0xC000
COERCED: Final = 0xB000
_SOP_INSTANCE: Final = tag("SOPInstanceUID")
_RETRIEVE_AE: Final = tag("RetrieveAETitle")

log = structlog.get_logger()
DAMAGED: Final = b"\x08\x00\x95\x11UI\xff\xff1.2"
"""An element that declares more than there is."""


class PacsBehaviour(StrEnum):
    UP = "up"
    DOWN = "down"
    """Not listening, every association gone."""
    REFUSE = "refuse"
    """A700 to every object."""
    FAIL = "fail"
    """C000 to every object."""
    WARN = "warn"
    """Store the object and answer B000 (coercion of data elements)."""
    ABORT_MIDWAY = "abort_midway"
    """A-ABORT once the first bytes of an object have come."""
    DROP_RESPONSE = "drop_response"
    """Store the object, then lose the connection before the response."""
    ABORT = "abort"
    """A-ABORT where the response to the object should be; not stored."""
    HANG = "hang"
    """Take requests and never answer any but C-ECHO; objects are not stored."""
    FLAP = "flap"
    """For each object one of up (half of the time), refuse, drop_response and abort."""


_FLAPS: Final = (
    PacsBehaviour.UP,
    PacsBehaviour.UP,
    PacsBehaviour.UP,
    PacsBehaviour.REFUSE,
    PacsBehaviour.DROP_RESPONSE,
    PacsBehaviour.ABORT,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportTo:
    """Where commitment results are sent on an association of the PACS's own (PS3.4 J.3.3)."""

    host: str
    port: int
    ae: str
    timeout: float = 10.0
    """Seconds for the connection and for each answer."""


class PacsSimulator:
    """The SCP. `start` and `stop`, or `async with`; it can be stopped and started again on its port."""

    def __init__(
        self,
        *,
        ae: str = "PACS",
        host: str = "127.0.0.1",
        port: int = 0,
        folder: Path | None = None,
        transfer_syntaxes: Collection[str] | None = None,
        behaviour: PacsBehaviour = PacsBehaviour.UP,
        seed: int = 0,
        report_to: ReportTo | None = None,
        fail: Collection[str] = (),
    ) -> None:
        """`transfer_syntaxes` are those taken for objects (None: all that are known)."""
        self.ae = ae
        self.transfer_syntaxes = transfer_syntaxes
        self.reports_as = ae
        """Who sends commitment results on associations of its own."""
        self.report_to = report_to
        """None: results come on the association of the request."""
        self.silent = False
        """Commitment requests are accepted and their results never sent."""
        self.damaged = False
        """What we say of what we hold, in reports and in answers to queries, can't be read."""
        self.script: dict[str, PacsBehaviour] = {}
        """What happens to the object of that SOP Instance UID, whatever happens to others."""
        self.refused_classes: set[str] = set()
        """SOP classes of which no presentation context is accepted."""
        self.commitment_seconds = 0.0
        """How long it takes until a commitment result is sent."""
        self.fail = set(fail)
        """SOP Instance UIDs whose commitment fails (Processing failure)."""
        self.queries = 0
        """C-FIND requests so far."""
        self.commitments = 0
        """Commitment requests so far."""
        self.archive = Archive(folder)
        self._behaviour = behaviour
        self._random = random.Random(seed)  # noqa: S311 -- repeatable on purpose
        self._running = False
        self._port = Port(lambda: _PacsSession(self), host, port)

    @property
    def port(self) -> int:
        return self._port.number

    @property
    def held(self) -> Mapping[str, Held]:
        """What is in the archive, by SOP Instance UID."""
        return self.archive.held

    @property
    def behaviour(self) -> PacsBehaviour:
        return self._behaviour

    async def start(self) -> None:
        """Listen, unless it is to be down. Raises OSError if the port can't be had."""
        self._running = True
        if self._behaviour is not PacsBehaviour.DOWN:
            await self._port.open()

    async def stop(self) -> None:
        self._running = False
        await self._port.close()

    async def __aenter__(self) -> PacsSimulator:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def behave(self, behaviour: PacsBehaviour, *, seed: int | None = None) -> None:
        """Change what it does from now on; `seed` begins the order of FLAP anew."""
        self._behaviour = behaviour
        if seed is not None:
            self._random.seed(seed)
        if behaviour is PacsBehaviour.DOWN:
            await self._port.close()
        elif self._running:
            await self._port.open()

    def next_behaviour(self, uid: str) -> PacsBehaviour:
        """What happens to the next object."""
        if uid in self.script:
            return self.script[uid]
        return self._random.choice(_FLAPS) if self._behaviour is PacsBehaviour.FLAP else self._behaviour

    def committed(self, references: Iterable[Reference]) -> tuple[list[Reference], dict[Reference, int]]:
        """Which references are promised, and why the others are not."""
        promised: list[Reference] = []
        failed: dict[Reference, int] = {}
        for one in references:
            held = self.held.get(one.SOPInstanceUID)
            if one.SOPInstanceUID in self.fail:
                failed[one] = commitment.PROCESSING_FAILURE
            elif held is None:
                failed[one] = commitment.NO_SUCH_OBJECT
            elif held.SOPClassUID != one.SOPClassUID:
                failed[one] = commitment.CLASS_CONFLICT
            else:
                promised.append(one)
        return promised, failed

    def matching(self, identifier: worklist.DataSet) -> list[worklist.DataSet]:
        """The answers to an IMAGE level query."""
        wanted = all_values(text(identifier, _SOP_INSTANCE))
        named = [self.held[uid] for uid in dict.fromkeys(wanted) if uid in self.held]
        query = compile_query(identifier, decoder(identifier))
        level = {QUERY_RETRIEVE_LEVEL: Element("CS", b"IMAGE"), _RETRIEVE_AE: Element("AE", self.ae.encode())}
        rows = map(_row, named if wanted and "*" not in wanted else list(self.held.values()))
        return [{**project(identifier, row), **level} for row in rows if query.matches(row, decoder(row))]


def _row(held: Held) -> DataSet:
    return data_set(
        {
            "SOPClassUID": held.SOPClassUID,
            "SOPInstanceUID": held.SOPInstanceUID,
            "StudyInstanceUID": held.StudyInstanceUID,
            "SeriesInstanceUID": held.SeriesInstanceUID,
        }
    )


class _Receiver:
    """One C-STORE (`gateway.net.dicom_service.StoreReceiver`)."""

    def __init__(self, session: _PacsSession, arrival: Arrival, behaviour: PacsBehaviour) -> None:
        self._session = session
        self._arrival = arrival
        self._behaviour = behaviour

    def write(self, views: list[memoryview]) -> None:
        if self._behaviour is PacsBehaviour.ABORT_MIDWAY:
            self._session.link.abort()
        try:
            for view in views:
                self._arrival.write(view)
        except OSError as error:
            raise StoreRefused(Status.OUT_OF_RESOURCES, "the simulated PACS can't write") from error

    def complete(self) -> Future[tuple[int, str]]:
        if self._behaviour in (PacsBehaviour.ABORT, PacsBehaviour.ABORT_MIDWAY, PacsBehaviour.HANG):
            self._arrival.abandon()
            if self._behaviour is PacsBehaviour.ABORT:
                self._session.link.abort()
            return no_answer()
        self._session.pacs.archive.add(self._arrival)
        if self._behaviour is PacsBehaviour.DROP_RESPONSE:
            self._session.link.cut()
            return no_answer()
        answer: Future[tuple[int, str]] = Future()
        warned = self._behaviour is PacsBehaviour.WARN
        answer.set_result((COERCED if warned else int(Status.SUCCESS), ""))
        return answer

    def abandon(self) -> None:
        self._arrival.abandon()


class _PacsSession(Session):
    def __init__(self, pacs: PacsSimulator) -> None:
        self.pacs = pacs
        self.ae = pacs.ae
        self._message_id = 0
        self.handlers: Mapping[int, Handler] = {
            CommandField.C_FIND_RQ: self._find,
            CommandField.N_ACTION_RQ: self._commit,
        }

    def chooser(self, abstract_syntax: str) -> Chooser | None:
        if abstract_syntax in (VERIFICATION, STUDY_ROOT_FIND, STORAGE_COMMITMENT):
            return choose_native
        if abstract_syntax in self.pacs.refused_classes:
            return None
        return self._choose_for_storage if is_storage(abstract_syntax, standard_only=False) else None

    def _choose_for_storage(self, offered: Iterable[str]) -> str | None:
        taken = self.pacs.transfer_syntaxes
        return choose_transfer_syntax(one for one in offered if taken is None or one in taken)

    def begin_store(self, caller: Caller, context: AcceptedContext, command: CommandSet) -> StoreReceiver:
        behaviour = self.pacs.next_behaviour(command.AffectedSOPInstanceUID or "")
        if behaviour is PacsBehaviour.REFUSE:
            raise StoreRefused(Status.OUT_OF_RESOURCES, "the simulated PACS refuses")
        if behaviour is PacsBehaviour.FAIL:
            raise StoreRefused(CANNOT_UNDERSTAND, "the simulated PACS fails")
        try:
            arrival = self.pacs.archive.begin(
                SOPClassUID=command.AffectedSOPClassUID or context.abstract_syntax,
                SOPInstanceUID=command.AffectedSOPInstanceUID or "",
                TransferSyntaxUID=context.transfer_syntax,
                calling_ae=caller.calling_ae,
                called_ae=caller.called_ae,
            )
        except OSError as error:
            raise StoreRefused(Status.OUT_OF_RESOURCES, "the simulated PACS can't write") from error
        return _Receiver(self, arrival, behaviour)

    async def _find(self, exchange: Exchange) -> None:
        self.pacs.queries += 1
        if self.pacs.behaviour is PacsBehaviour.HANG:
            await never_answer(exchange)
            return
        syntax = exchange.context.transfer_syntax
        try:
            identifier = parse(exchange.data_set, syntax)
        except ElementError as error:
            exchange.respond(Status.IDENTIFIER_MISMATCH, comment=str(error))
            return
        if text_of(identifier, QUERY_RETRIEVE_LEVEL) != "IMAGE":
            exchange.respond(Status.IDENTIFIER_MISMATCH, comment="the simulated PACS answers at IMAGE level")
            return
        for row in self.pacs.matching(identifier):
            if exchange.cancelled:
                exchange.respond(Status.CANCEL)
                return
            exchange.respond(Status.PENDING, data_set=DAMAGED if self.pacs.damaged else encoded(row, syntax))
            await exchange.flush()
        exchange.respond(Status.SUCCESS)

    async def _commit(self, exchange: Exchange) -> None:
        silent = self.pacs.silent  # whoever sees the request counted and lets us speak means the next
        self.pacs.commitments += 1
        if self.pacs.behaviour is PacsBehaviour.HANG:
            await never_answer(exchange)
            return
        try:
            transaction, references = commitment.read_request(exchange.data_set, exchange.context.transfer_syntax)
        except ElementError as error:
            exchange.respond(Status.PROCESSING_FAILURE, comment=str(error))
            return
        exchange.respond(Status.SUCCESS)
        await exchange.flush()
        if silent:
            return
        await asyncio.sleep(self.pacs.commitment_seconds)
        promised, failed = self.pacs.committed(references)
        command = CommandSet(
            CommandField=CommandField.N_EVENT_REPORT_RQ,
            MessageID=self._next_message_id(),
            AffectedSOPClassUID=STORAGE_COMMITMENT,
            AffectedSOPInstanceUID=STORAGE_COMMITMENT_INSTANCE,
            EventTypeID=commitment.SOME_FAILED if failed else commitment.ALL_COMMITTED,
            CommandDataSetType=1,
        )
        report: Callable[[str], bytes] = partial(commitment.report, transaction, promised, failed)
        body = _damaged if self.pacs.damaged else report
        if self.pacs.report_to is None:
            exchange.send(command, body(exchange.context.transfer_syntax))
            return
        try:
            await asyncio.to_thread(_report, self.pacs.reports_as, self.pacs.report_to, command, body)
        except GatewayError as error:
            log.warning("commitment result not delivered", error=str(error))

    def _next_message_id(self) -> int:
        self._message_id = self._message_id % 0xFFFF + 1
        return self._message_id


def _damaged(_transfer_syntax: str) -> bytes:
    return DAMAGED


def _report(calling_ae: str, to: ReportTo, command: CommandSet, body: Callable[[str], bytes]) -> None:
    """Send a result on an association of our own, on which we are the SCP (PS3.7 D.3.3.4)."""
    peer = Peer(
        host=to.host,
        port=to.port,
        called_ae=to.ae,
        calling_ae=calling_ae,
        connect_timeout=to.timeout,
        timeout=to.timeout,
    )
    role = RoleSelection(STORAGE_COMMITMENT, scu=False, scp=True)
    contexts = propose({STORAGE_COMMITMENT: [EXPLICIT_VR_LITTLE_ENDIAN]})
    with Requestor.connect(peer, contexts, roles=(role,)) as association:
        context = association.context_for(STORAGE_COMMITMENT)
        if context is None:
            raise GatewayError("the peer takes no storage commitment results; let it accept us as SCP")
        association.request(context, command, body(context.transfer_syntax))
