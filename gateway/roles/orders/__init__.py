"""Orders: HL7 messages in (IHE RAD-4, RAD-12, RAD-13; DESIGN 5).

The message is kept, applied and answered in one durable transaction; only then is it acknowledged. Messages
of one connection are taken in their order. What can't be read or used is kept and shown to a person, and
acknowledged by the sender's policy, so that it does not stop what comes behind it. What is no message, or one of no
sender that is known, is answered AR; the last of these are kept and shown too, under the name "unknown", so that who
connects a system sees what it sends. How many, how long and how often is bounded: anyone may send them.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from ipaddress import IPv4Network, IPv6Network
from typing import Final

import structlog

from gateway.domain.admission import within
from gateway.domain.hl7 import Hl7Error, Message, Segment, Separators, header_of, split_batch
from gateway.domain.hl7_ack import Code, Fault, Outcome, acknowledgement, answers
from gateway.domain.mllp import frame
from gateway.domain.model import TemporaryFailure
from gateway.net.rate import Rate
from gateway.net.upkeep import repeat
from gateway.spool import Connection, Spool, messages, orders
from gateway.spool.messages import Received

MAINTENANCE_SECONDS: Final = 600.0
ERASED_AT_ONCE: Final = 500
FOLDER: Final = "folder"
"""The address of what was put into the watched folder: who may write there is the folder's to say."""
UNKNOWN: Final = "unknown"
"""The sender in the books of what no sender that is known sent."""
LONGEST_UNKNOWN: Final = 65536
"""Bytes of a message of an unknown sender that is kept."""
_NO_HEADER: Final = Segment("MSH|^~\\&", 1, Separators("|"), "latin_1")
LONGEST_ID: Final = 199
"""MSH-10 (HL7 v2.7; 20 before)."""

log = structlog.get_logger()

Apply = Callable[[Connection], Outcome]
"""Do what a message says, in the transaction of the connection."""
Read = Callable[[Message, str, datetime], Apply]
"""Read what a message of the sender of that name says. Raises Hl7Error."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sender:
    """A system that may send, as the endpoint needs it."""

    name: str
    application: str = ""
    """MSH-3.1; empty: any."""
    facility: str = ""
    """MSH-4.1; empty: any."""
    networks: tuple[IPv4Network | IPv6Network, ...] = ()
    """Empty: any address."""
    charset: str = ""
    fallback_charset: str = ""
    enhanced: bool = True
    """Whether MSH-15 and MSH-16 are heeded."""
    processing: frozenset[str] = frozenset({"P"})
    """MSH-11."""
    refuse: bool = False
    """Answer AE to what can't be used, not AA."""

    def calls_from(self, address: str) -> bool:
        """Whether it may call from there."""
        return address == FOLDER or not self.networks or any(within(address, network) for network in self.networks)

    def wrote(self, header: Segment) -> bool:
        """Whether a message is one of its."""
        named = (self.application, header.get("3")), (self.facility, header.get("4"))
        return all(not ours or ours.casefold() == theirs.strip().casefold() for ours, theirs in named)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Incoming:
    """A message whose sender is known."""

    raw: bytes
    header: Segment
    sender: Sender
    address: str

    @property
    def received(self) -> Received:
        return Received(
            sender=self.sender.name,
            address=self.address,
            kind="^".join(filter(None, (self.header.get("9.1"), self.header.get("9.2")))),
            control_id=self.header.get("10")[:LONGEST_ID],
            raw=self.raw,
        )


class Orders:
    """The role: the receiver of the MLLP port, and the keeping of its messages."""

    def __init__(
        self,
        spool: Spool,
        senders: Sequence[Sender],
        *,
        read: Read,
        messages_for: timedelta,
        orders_for: timedelta,
        now: Callable[[], datetime],
        here: Callable[[datetime], datetime],
        unknown_kept: int = 0,
    ) -> None:
        """`now` is UTC-aware; `here` puts a time into the site's zone.

        Of what no known sender sent the last `unknown_kept` are kept until a person has seen them.
        Messages are kept for `messages_for` as received, orders for `orders_for` after their last change and their
        last step.
        """
        self._spool = spool
        self._senders = tuple(senders)
        self._read = read
        self._messages_for = messages_for
        self._orders_for = orders_for
        self._now = now
        self._here = here
        self._unknown_kept = unknown_kept
        self._unknown = Rate(per_second=1.0, burst=20)

    def knows(self, address: str) -> bool:
        """Whether any sender may call from there."""
        return any(sender.calls_from(address) for sender in self._senders)

    def receive(self, message: bytes, address: str) -> Awaitable[bytes]:
        """Take what one frame holds, a message or a batch of them; the frames to answer with, when all is durable."""
        taken = [self._take(part, address) for part in split_batch(message)]
        return _joined(taken)

    async def receive_file(self, content: bytes) -> bytes:
        """The same for the content of a file, always in original mode: one answer to each message.

        Raises TemporaryFailure if one of them can't be stored now; others may be.
        """
        taken = (self._take(part, FOLDER) for part in split_batch(content))
        told = await asyncio.gather(*taken, return_exceptions=True)
        if failures := [one for one in told if isinstance(one, BaseException)]:
            raise failures[0]
        return b"".join(one for one in told if isinstance(one, bytes))

    def too_long(self) -> bytes:
        """The frame that answers a message of more bytes than are read."""
        return self._refusal(None, Fault(code="207", text="the message is longer than this gateway reads"))

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop`: erase what has been kept for long enough."""
        await repeat(partial(self._erase, stop), of="orders", seconds=MAINTENANCE_SECONDS, stop=stop)

    async def _erase(self, stop: asyncio.Event) -> None:
        now = self._now()
        forget = partial(orders.forget, orders_before=now - self._orders_for, now=now)
        await asyncio.wrap_future(self._spool.db.write(forget))
        trim = partial(messages.trim, before=now - self._messages_for, limit=ERASED_AT_ONCE, now=now)
        while not stop.is_set() and await asyncio.wrap_future(self._spool.db.write(trim)) == ERASED_AT_ONCE:
            pass

    def _take(self, raw: bytes, address: str) -> Awaitable[bytes]:
        """Begin one message: what is begun first is committed first."""
        try:
            header = header_of(raw)
        except Hl7Error as error:
            return self._take_unknown(raw, _NO_HEADER, address, _fault(error))
        sender = next((one for one in self._senders if one.calls_from(address) and one.wrote(header)), None)
        if sender is None:
            text = "no [[sender]] of this gateway has this address, application and facility"
            return self._take_unknown(raw, header, address, Fault(code="207", text=text, segment="MSH", field=3))
        if header.get("9.1") == "ACK":
            return _now(b"")  # nobody acknowledges an acknowledgement
        incoming = _Incoming(raw=raw, header=header, sender=sender, address=address)
        return self._answered(self._spool.db.write(partial(self._job, incoming, self._reader(incoming))), incoming)

    def _take_unknown(self, raw: bytes, header: Segment, address: str, fault: Fault) -> Awaitable[bytes]:
        """What nobody we know sent: a file of the watched folder stays there, the rest is kept as far as it may be."""
        keeps = self._unknown_kept and address != FOLDER and len(raw) <= LONGEST_UNKNOWN
        kept = bool(keeps) and self._unknown.allows(self._now().timestamp())
        left_out = self._unknown.take_left_out() if kept else 0
        log.warning("not of a known sender", address=address, size=len(raw), kept=kept, left_out=left_out)
        if not kept:
            return _now(self._refusal(header, fault))
        incoming = _Incoming(raw=raw, header=header, sender=Sender(name=UNKNOWN, enhanced=False), address=address)
        outcome = Outcome(code=Code.AR, faults=(fault,), effect="kept for a person")
        return self._answered(self._spool.db.write(partial(self._unknown_job, incoming, _always(outcome))), incoming)

    def _unknown_job(self, incoming: _Incoming, apply: Apply, c: Connection) -> bytes:
        answer = self._job(incoming, apply, c)
        messages.bound(c, UNKNOWN, most=self._unknown_kept)
        return answer

    def _reader(self, incoming: _Incoming) -> Apply:
        """What is to be done with a message, once there is a transaction."""
        sender = incoming.sender
        processing = incoming.header.get("11").strip().upper()
        if processing and processing not in sender.processing:
            text = "messages of this processing id are not taken here: set processing of this [[sender]]"
            return _always(Outcome(code=Code.AR, faults=(Fault(code="202", text=text, segment="MSH", field=11),)))
        return partial(self._read_and_done, incoming)

    def _read_and_done(self, incoming: _Incoming, c: Connection) -> Outcome:
        """In the writer's thread: the event loop has scanners to answer."""
        sender = incoming.sender
        try:
            message = Message.parse(
                incoming.raw, charset=sender.charset, fallback=sender.fallback_charset, header=incoming.header
            )
            apply = self._read(message, sender.name, self._now())
        except Hl7Error as error:
            return _not_understood(sender, _fault(error))
        return apply(c)

    def _job(self, incoming: _Incoming, apply: Apply, c: Connection) -> bytes:
        answer = partial(self._answer, incoming)
        return messages.receive(c, incoming.received, apply=partial(apply, c), answer=answer, now=self._now())

    def _answer(self, incoming: _Incoming, outcome: Outcome) -> bytes:
        if outcome.silent:
            return b""
        told = answers(
            incoming.header,
            outcome.code,
            outcome.faults,
            now=self._here(self._now()),
            control_id=_control_id,
            enhanced=incoming.sender.enhanced and incoming.address != FOLDER,
        )
        return b"".join(map(frame, told))

    async def _answered(self, committed: Future[bytes], incoming: _Incoming) -> bytes:
        try:
            return await asyncio.wrap_future(committed)
        except TemporaryFailure as error:
            if incoming.address == FOLDER:
                raise
            log.error("message refused for now", sender=incoming.sender.name, code=error.code)
            text = "this gateway can't store it now: send it again"
            return self._refusal(incoming.header, Fault(code="207", text=text))
        except Exception as error:  # noqa: BLE001 -- one message that we fail at must not stop those behind it
            log.error("message failed", sender=incoming.sender.name, error=type(error).__name__)
        fault = Fault(code="207", text="this gateway failed at it: it is kept, tell who services the gateway")
        keep = partial(self._job, incoming, _always(_not_understood(incoming.sender, fault)))
        try:
            return await asyncio.wrap_future(self._spool.db.write(keep))
        except TemporaryFailure:
            if incoming.address == FOLDER:
                raise
            return self._refusal(incoming.header, fault)

    def _refusal(self, header: Segment | None, fault: Fault) -> bytes:
        """An AR that nothing is kept of."""
        at = self._here(self._now())
        return frame(acknowledgement(header, Code.AR, [fault], now=at, control_id=_control_id()))


def _not_understood(sender: Sender, fault: Fault) -> Outcome:
    return Outcome(code=Code.AE if sender.refuse else Code.AA, faults=(fault,), effect="kept for a person")


def _fault(error: Hl7Error) -> Fault:
    segment, _, field = error.location.partition("-")
    return Fault(code=error.code, text=str(error), segment=segment, field=int(field or 0))


def _always(outcome: Outcome) -> Apply:
    return lambda _: outcome


def _control_id() -> str:
    """MSH-10 of an answer: at most 20 characters, never twice."""
    return "GW" + secrets.token_hex(9)


async def _now(answer: bytes) -> bytes:
    return answer


async def _joined(answers: Sequence[Awaitable[bytes]]) -> bytes:
    return b"".join([await answer for answer in answers])
