"""Accept: every C-STORE, durably, verbatim, whatever its content (IHE RAD-8, PS3.4 B).

Success means durable (invariant 1): the status is given only when the group committer says that
file, name and row are safe. Nothing is refused for what it contains, only for want of resources
(A700, before the reserve is touched) or for a size beyond `object_max`. The same bytes again are a
success without a second row; other bytes under a known SOP Instance UID are kept beside the first,
in quarantine, with an alarm (invariant 11). An association that breaks off loses only the object
that was under way.

Storage commitment (PS3.4 J) is answered from the books of `forward`, never on our own authority: a
request is durable before it is acknowledged, its report follows on this association if the result
comes while it stands, else `forward` delivers it. A report that a destination sends us on an
association of its own is recorded here, as edge owns every listener.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import TypeVar

import structlog

from gateway.dicom import elements, part10
from gateway.dicom.association import AcceptedContext
from gateway.dicom.commitment import (
    CommitmentError,
    event_report,
    parse_request,
    parse_result,
)
from gateway.dicom.dimse import CommandSet, Status
from gateway.domain.model import UID, AETitle, Instance, InstanceId, Origin, TemporaryFailure
from gateway.net.dicom_service import Caller, Exchange, StoreRefused
from gateway.spool import Spool, commitments
from gateway.spool.commit import GroupCommitter, Received
from gateway.spool.files import Incoming, content_hash
from gateway.spool.recovery import Unfinished
from gateway.spool.refusals import Refusals

STUDY_INSTANCE_UID = 0x0020000D
SERIES_INSTANCE_UID = 0x0020000E
_IDENTIFYING = frozenset({STUDY_INSTANCE_UID, SERIES_INSTANCE_UID})
LOOK = 64 * 1024
"""Bytes of a data set in which its Study and Series Instance UID are looked for."""
RESERVE_CHECK = 16 * 1024 * 1024
"""Bytes of one object between two looks at the free space."""
ENTERED_SECONDS = 5.0
"""How long a request waits for the rows of what was acknowledged: on a full disk they wait for space."""
SAME_ASSOCIATION_SECONDS = 10.0
POLL_SECONDS = 0.2

log = structlog.get_logger()
T = TypeVar("T")


class Storage:
    """The role's side of a C-STORE and of storage commitment."""

    def __init__(
        self,
        spool: Spool,
        committer: GroupCommitter,
        *,
        object_max: int,
        now: Callable[[], datetime],
        received: Callable[[], None],
    ) -> None:
        self._spool = spool
        self._committer = committer
        committer.entered = self._entered
        self._object_max = object_max
        self._now = now
        self._received = received
        self._refusals = Refusals(spool.db)
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="commitment-reader")

    def begin_store(self, caller: Caller, context: AcceptedContext, command: CommandSet) -> ObjectReceiver:
        """Open a receiver; raises `StoreRefused` (A700) when the disk reserve would be touched."""
        if self._spool.db.broken:
            raise self.refused("the database met a disk error, send again later")
        if self._spool.files.below_reserve():
            log.error("disk reserve reached", association=caller.association)
            raise self.refused("disk reserve reached, send again later")
        origin = Origin(
            calling_ae=AETitle(caller.calling_ae),
            called_ae=AETitle(caller.called_ae),
            address=caller.address,
            association=caller.association,
            received_at=self._now(),
            priority=command.Priority or 0,
        )
        try:
            return ObjectReceiver(self, origin, context, command)
        except TemporaryFailure as error:
            raise self.refused("the spool can't be written, send again later") from error

    def refused(self, why: str) -> StoreRefused:
        """A700, counted."""
        self._refusals.count()
        return StoreRefused(Status.OUT_OF_RESOURCES, why)

    def open(self, seed: bytes) -> Incoming:
        return self._spool.files.begin(seed=seed)

    def check_size(self, size: int) -> None:
        """Raises `StoreRefused` if an object must not be of `size` bytes."""
        if size > self._object_max:
            raise self.refused(f"object larger than {self._object_max} bytes")

    def check_room(self, size: int, ahead: int) -> None:
        """Raises `StoreRefused` if an object of `size` bytes so far must not grow by `ahead` more."""
        if self._spool.files.below_reserve(ahead):
            log.error("disk reserve reached inside an object", size=size)
            raise self.refused("disk reserve reached, send again later")

    def commit(self, received: Received) -> Future[tuple[int, str]]:
        """The status to answer, once the object is durable."""
        answer: Future[tuple[int, str]] = Future()

        def durable(error: BaseException | None) -> None:
            if error is None:
                answer.set_result((Status.SUCCESS, ""))
            else:
                self._refusals.count()
                log.error("object not stored", code=getattr(error, "code", ""), error=type(error).__name__)
                answer.set_result((Status.OUT_OF_RESOURCES, "not stored, send again later"))

        self._committer.submit(received, durable=durable)
        return answer

    def _entered(self, entered: Sequence[Instance]) -> None:
        """Objects are in the books: `forward` may have them."""
        aside = [instance.id for instance in entered if instance.quarantine]
        log.info(
            "received",
            instances=",".join(instance.id for instance in entered),
            bytes=sum(instance.size for instance in entered),
            quarantine=",".join(aside),
        )
        self._received()

    # -- storage commitment --

    async def commitment_requested(self, exchange: Exchange) -> None:
        """N-ACTION from a scanner (PS3.4 J.3.2): acknowledged when it is durable."""
        try:
            transaction, referenced = await self._parsed(parse_request, exchange)
        except (CommitmentError, elements.ElementError) as error:
            exchange.respond(Status.INVALID_ARGUMENT, comment=str(error))
            return
        scanner = AETitle(exchange.caller.calling_ae)
        items = tuple(
            commitments.Referenced(ReferencedSOPClassUID=UID(c), ReferencedSOPInstanceUID=UID(i)) for c, i in referenced
        )
        try:  # what was acknowledged before this request must be in the books when it is decided
            await asyncio.wait_for(asyncio.wrap_future(self._committer.flush()), ENTERED_SECONDS)
        except TimeoutError:
            exchange.respond(Status.PROCESSING_FAILURE, comment="the spool can't be written, ask again later")
            return
        await asyncio.wrap_future(
            self._spool.db.write(
                lambda c: commitments.record_request(
                    c, transaction_uid=UID(transaction), scanner=scanner, referenced=items, now=self._now()
                )
            )
        )
        exchange.respond(Status.SUCCESS)
        await exchange.flush()
        self._received()
        log.info("commitment requested", association=exchange.caller.association, instances=len(items))
        await self._report_here(exchange, UID(transaction), scanner)

    async def _parsed(self, parse: Callable[[bytes, str], T], exchange: Exchange) -> T:
        """A message read; a long one on a thread, as a hundred thousand references take seconds."""
        if len(exchange.data_set) <= LOOK:
            return parse(exchange.data_set, exchange.context.transfer_syntax)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._reader, parse, exchange.data_set, exchange.context.transfer_syntax)

    async def _report_here(self, exchange: Exchange, transaction: UID, scanner: AETitle) -> None:
        """Report on the association that asked, if the result comes soon and the scanner stays."""
        loop = asyncio.get_running_loop()
        until = loop.time() + SAME_ASSOCIATION_SECONDS
        while not exchange.closed and not exchange.releasing and loop.time() < until:
            request = commitments.get_request(self._spool.db.read(), transaction_uid=transaction, scanner=scanner)
            if request is not None and request.outcome is not None:
                await self._send_report(exchange, request)
                return
            await asyncio.sleep(POLL_SECONDS)

    async def _send_report(self, exchange: Exchange, request: commitments.CommitmentRequest) -> None:
        outcome = request.outcome
        assert outcome is not None
        command, data_set = event_report(
            request.transaction_uid,
            succeeded=[(item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID) for item in outcome.succeeded],
            failed=[(i.ReferencedSOPClassUID, i.ReferencedSOPInstanceUID, why) for i, why in outcome.failed],
            transfer_syntax=exchange.context.transfer_syntax,
            message_id=exchange.next_message_id(),
        )
        response = await exchange.ask(command, data_set)
        if response is not None and response.Status == Status.SUCCESS:
            await asyncio.wrap_future(
                self._spool.db.write(
                    lambda c: commitments.answer_request(
                        c, transaction_uid=request.transaction_uid, scanner=request.scanner, now=self._now()
                    )
                )
            )

    async def commitment_reported(self, exchange: Exchange) -> None:
        """N-EVENT-REPORT from a destination (PS3.4 J.3.3): matched by Transaction UID, not by address."""
        try:
            result = await self._parsed(parse_result, exchange)
        except (CommitmentError, elements.ElementError) as error:
            exchange.respond(Status.INVALID_ARGUMENT, comment=str(error))
            return
        known = await asyncio.wrap_future(
            self._spool.db.write(lambda c: commitments.record_report(c, result, now=self._now()))
        )
        # An unknown Transaction UID is acknowledged too: a report that is refused would come for ever
        exchange.respond(Status.SUCCESS)
        log.info("commitment reported", known=known, ok=len(result.succeeded), failed=len(result.failed))
        self._received()


class ObjectReceiver:
    """One object on its way into the spool."""

    def __init__(self, storage: Storage, origin: Origin, context: AcceptedContext, command: CommandSet) -> None:
        self._storage = storage
        self._origin = origin
        self._syntax = context.transfer_syntax
        self._sop_class = command.AffectedSOPClassUID or context.abstract_syntax
        self._sop_instance = command.AffectedSOPInstanceUID or ""
        meta = part10.build(
            SOPClassUID=self._sop_class,
            SOPInstanceUID=self._sop_instance,
            TransferSyntaxUID=self._syntax,
            calling_ae=origin.calling_ae,
            called_ae=origin.called_ae,
            address=origin.address,
            association=origin.association,
            received_at=origin.received_at,
            priority=origin.priority,
        )
        self._hash_offset = meta.hash_offset
        self._header: bytes | None = meta.header
        self._look = bytearray()
        self._checked = 0
        self._incoming = storage.open(self._syntax.encode("latin-1"))

    def write(self, views: list[memoryview]) -> None:
        try:
            if self._header is not None:
                self._incoming.write([self._header], content=False)
                self._header = None
            self._incoming.write(views)
        except TemporaryFailure as error:
            raise self._storage.refused("the spool can't be written, send again later") from error
        if len(self._look) < LOOK:
            for view in views:
                self._look += view[: LOOK - len(self._look)]
        self._storage.check_size(self._incoming.size)
        if self._incoming.size - self._checked > RESERVE_CHECK:
            self._checked = self._incoming.size
            self._storage.check_room(self._incoming.size, RESERVE_CHECK)

    def complete(self) -> Future[tuple[int, str]]:
        if self._header is not None:  # a data set without a byte is kept too
            self.write([])
        look, self._look = bytes(self._look), bytearray()  # who still knows this receiver must not keep the bytes alive
        found = elements.leading(look, self._syntax, _IDENTIFYING)
        return self._storage.commit(
            Received(
                incoming=self._incoming,
                hash_offset=self._hash_offset,
                SOPClassUID=UID(self._sop_class),
                SOPInstanceUID=UID(self._sop_instance),
                TransferSyntaxUID=UID(self._syntax),
                StudyInstanceUID=_uid(found.get(STUDY_INSTANCE_UID, b"")),
                SeriesInstanceUID=_uid(found.get(SERIES_INSTANCE_UID, b"")),
                origin=self._origin,
            )
        )

    def abandon(self) -> None:
        self._look = bytearray()
        self._incoming.abandon()


def _uid(value: bytes) -> UID:
    return UID(value.decode("latin-1").strip("\0 "))


def read_origin(path: Path) -> Instance | Unfinished | None:
    """What the file of an object tells of itself; None if it is damaged, or not ours.

    For the recovery sweep: the hash in its file meta is compared with its content, so that what is
    adopted is what was received. Raises OSError if the disk can't be read.
    """
    with path.open("rb") as file:
        head = file.read(part10.LONGEST_HEADER + LOOK)
        if not head:
            return Unfinished()
        try:
            meta = part10.read(head)
        except elements.ElementError:
            return None
        if meta.received_at is None:
            return None
        if not meta.content_hash:
            return Unfinished()
        seed = meta.TransferSyntaxUID.encode("latin-1")
        digest, size = content_hash(file.fileno(), seed=seed, start=meta.data_offset)
    if digest != meta.content_hash:
        return None
    found = elements.leading(head[meta.data_offset :], meta.TransferSyntaxUID, _IDENTIFYING)
    return Instance(
        id=InstanceId(path.stem),
        SOPClassUID=UID(meta.SOPClassUID),
        SOPInstanceUID=UID(meta.SOPInstanceUID),
        TransferSyntaxUID=UID(meta.TransferSyntaxUID),
        StudyInstanceUID=_uid(found.get(STUDY_INSTANCE_UID, b"")),
        SeriesInstanceUID=_uid(found.get(SERIES_INSTANCE_UID, b"")),
        content_hash=digest,
        size=size,
        origin=Origin(
            calling_ae=AETitle(meta.calling_ae),
            called_ae=AETitle(meta.called_ae),
            address=meta.address,
            association=meta.association,
            received_at=meta.received_at,
            priority=meta.priority,
        ),
    )
