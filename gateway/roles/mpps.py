"""Performed procedure steps from scanners: N-CREATE and N-SET, kept durably and relayed later (IHE RAD-6, RAD-7).

What is promised (PS3.4 F.7, PS3.7 10.1.3, 10.1.5): 0000 only after message, step and queues are on the disk
(invariant 1). Nothing is refused for what it contains or lacks; a data set that can't be read is kept and relayed
as it came. A scanner that lost our answer and sends again is answered success again. Refusals: 0111, a UID that was
created with other contents; 0110 with Error ID A710, a change of a final step (F.7.2.2.4); 0117, an N-SET that
names no instance, or a UID longer than any may be; 0213, no room, or the database fails: send again later.
What a RIS answers is never the scanner's answer: it may come hours later, and is shown to people instead.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Final
from weakref import WeakValueDictionary

import structlog

from gateway.dicom import charset, elements
from gateway.dicom.dimse import Status, response_to
from gateway.domain import mpps as rules
from gateway.domain.model import UID, AETitle, TemporaryFailure
from gateway.domain.mpps import Performed, Request, Verdict
from gateway.net.dicom_service import Exchange
from gateway.spool import Spool
from gateway.spool import mpps as books

SPECIFIC_CHARACTER_SET: Final = 0x00080005
READ_AT_ONCE: Final = 64 * 1024
"""Bytes of a message that is read on the loop; a longer one, which names thousands of images, on a thread."""
MAX_ELEMENTS: Final = 1_000_000

log = structlog.get_logger()


class PerformedSteps:
    """The handlers of the two requests."""

    def __init__(
        self, spool: Spool, *, targets: Sequence[str], now: Callable[[], datetime], received: Callable[[], None]
    ) -> None:
        """`targets` are the peers that each message is queued for; `received` is called when there is one more."""
        self._spool = spool
        self._targets = tuple(targets)
        self._now = now
        self._received = received
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="mpps-reader")
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        """By association: requests that a scanner did not wait between are kept in the order they came."""

    async def created(self, exchange: Exchange) -> None:
        """N-CREATE: a step begins."""
        digest = rules.digest(exchange.context.transfer_syntax, exchange.data_set)
        uid = UID(exchange.command.AffectedSOPInstanceUID or "")
        await self._take(
            exchange, Request.CREATE, uid or rules.assigned_uid(exchange.caller.calling_ae, digest), digest
        )

    async def changed(self, exchange: Exchange) -> None:
        """N-SET: a step goes on, or ends."""
        digest = rules.digest(exchange.context.transfer_syntax, exchange.data_set)
        await self._take(exchange, Request.SET, UID(exchange.command.RequestedSOPInstanceUID or ""), digest)

    async def _take(self, exchange: Exchange, request: Request, uid: UID, digest: str) -> None:
        association = exchange.caller.association
        if not uid or len(uid) > rules.LONGEST_UID:
            log.warning("performed step without a usable UID", request=request, association=association)
            _respond(exchange, Status.INVALID_OBJECT_INSTANCE, comment=f"a SOP Instance UID of {len(uid)} characters")
            return
        if self._spool.files.below_reserve():
            log.error("disk reserve reached", association=association)
            _respond(exchange, Status.RESOURCE_LIMITATION, comment="disk reserve reached, send again later")
            return
        turn = self._turns.setdefault(association, asyncio.Lock())
        try:
            async with turn:
                verdict, step = await self._keep(exchange, request, uid, digest)
        except TemporaryFailure as error:
            log.error("performed step not kept", association=association, code=error.code)
            _respond(exchange, Status.RESOURCE_LIMITATION, comment="the spool can't be written, send again later")
            return
        log.info("performed step", request=request, step=step, verdict=verdict, association=association)
        _answer(exchange, verdict, uid)
        if verdict is Verdict.KEPT:
            self._received()

    async def _keep(self, exchange: Exchange, request: Request, uid: UID, digest: str) -> tuple[Verdict, int]:
        """The message is in the books, and on the disk, on return. Raises TemporaryFailure."""
        said = await self._read(exchange)
        message = books.Message(
            request=request,
            SOPInstanceUID=uid,
            TransferSyntaxUID=UID(exchange.context.transfer_syntax),
            dataset=exchange.data_set,
            digest=digest,
            calling_ae=AETitle(exchange.caller.calling_ae),
            address=exchange.caller.address,
            received_at=self._now(),
        )
        job = partial(books.accept, message=message, said=said, targets=self._targets)
        return await asyncio.wrap_future(self._spool.db.write(job))

    async def _read(self, exchange: Exchange) -> Performed:
        """What the message says; nothing if it can't be read, which is no reason to lose it."""
        data_set, syntax = exchange.data_set, exchange.context.transfer_syntax
        try:
            if len(data_set) <= READ_AT_ONCE:
                return _read(data_set, syntax)
            return await asyncio.get_running_loop().run_in_executor(self._reader, _read, data_set, syntax)
        except elements.ElementError as error:
            log.warning("performed step can't be read", association=exchange.caller.association, fault=str(error))
            return Performed()


def _read(data_set: bytes, transfer_syntax: str) -> Performed:
    dataset = elements.parse(data_set, transfer_syntax, max_elements=MAX_ELEMENTS)
    declared = dataset.get(SPECIFIC_CHARACTER_SET)
    sets = charset.character_sets(declared.value) if declared and isinstance(declared.value, bytes) else []
    return rules.read(dataset, lambda value, vr: charset.decode(value, vr, sets))


def _answer(exchange: Exchange, verdict: Verdict, uid: UID) -> None:
    match verdict:
        case Verdict.DUPLICATE:
            _respond(exchange, Status.DUPLICATE_SOP_INSTANCE, uid=uid, comment="created before, with other contents")
        case Verdict.FINAL:
            _respond(
                exchange,
                Status.PROCESSING_FAILURE,
                uid=uid,
                comment="the step is completed or discontinued: no longer updated",
                error_id=rules.NO_LONGER_UPDATED,
            )
        case Verdict.KEPT | Verdict.REPEATED:
            _respond(exchange, Status.SUCCESS, uid=uid)


def _respond(
    exchange: Exchange, status: Status, *, uid: str = "", comment: str = "", error_id: int | None = None
) -> None:
    """The one response, with the instance it is about: an N-CREATE may have brought none (PS3.7 10.1.5.1.4)."""
    response = response_to(exchange.command, status, comment=comment)
    exchange.answered = True
    exchange.send(replace(response, AffectedSOPInstanceUID=uid or response.AffectedSOPInstanceUID, ErrorID=error_id))
