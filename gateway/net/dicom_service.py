"""What a listener and the roles behind it say to each other: callers, objects coming in, exchanges.

A role implements `Services`, or parts of it that the wiring puts together; `gateway.net.dicom_server`
calls it. A `StoreReceiver` sees an object's bytes as they arrive, an `Exchange` is any other request
with its data set whole in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Protocol

from gateway.dicom.associate import AssociateAccept, AssociateRequest
from gateway.dicom.association import AcceptedContext
from gateway.dicom.dimse import CommandSet, Status, encoded_response, response_to
from gateway.dicom.pdu import Reject


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """The other side of an accepted association."""

    calling_ae: str
    called_ae: str
    address: str
    association: str
    """Our short identifier, unique while the process lives."""


class StoreRefused(Exception):
    """The object can't be kept: what is left of it is read and discarded, and this status answered."""

    def __init__(self, status: int, comment: str) -> None:
        super().__init__(comment)
        self.status = status
        self.comment = comment


class StoreReceiver(Protocol):
    """Takes one object's data set as it comes in."""

    def write(self, views: list[memoryview]) -> None:
        """Keep these bytes now, as their memory is used again; at most 1,000 pieces. May raise `StoreRefused`."""

    def complete(self) -> Future[tuple[int, str]]:
        """All is there: the status to answer and its comment, once the answer may be given."""

    def abandon(self) -> None:
        """The object will never be whole; drop it."""


class Line(Protocol):
    """The connection an exchange belongs to."""

    @property
    def gone(self) -> bool: ...

    @property
    def releasing(self) -> bool: ...

    def next_message_id(self) -> int: ...

    async def ask(self, context_id: int, command: CommandSet, data_set: bytes | None) -> CommandSet | None: ...

    def send(self, context_id: int, command: CommandSet | bytes, data_set: bytes | None) -> None: ...

    async def flush(self) -> None: ...


class Exchange:
    """One request that is not a C-STORE, and the way to answer it."""

    def __init__(
        self, line: Line, caller: Caller, context: AcceptedContext, command: CommandSet, data_set: bytes
    ) -> None:
        self._line = line
        self.caller = caller
        self.context = context
        self.command = command
        self.data_set = data_set
        self._pending = b""
        self.answered = False
        """The final response is on its way."""
        self.cancelled = False
        """A C-CANCEL named this request (PS3.7 9.3.2.3)."""

    @property
    def closed(self) -> bool:
        """Nobody is left to answer."""
        return self._line.gone

    @property
    def releasing(self) -> bool:
        """The peer wants to end the association, and waits for this exchange."""
        return self._line.releasing

    def next_message_id(self) -> int:
        """A Message ID for a request of ours."""
        return self._line.next_message_id()

    async def ask(self, command: CommandSet, data_set: bytes | None = None) -> CommandSet | None:
        """Send a request of our own (N-EVENT-REPORT) and wait for its response; None if none comes."""
        return await self._line.ask(self.context.id, command, data_set)

    def respond(self, status: int, *, comment: str = "", data_set: bytes | None = None) -> None:
        """Queue a response; it leaves with `flush` or at the end of the exchange."""
        if status == Status.PENDING and data_set is not None and not comment:
            # One of these for each row of an answer, all the same
            self._pending = self._pending or encoded_response(self.command, status, data_set=True)
            return self.send(self._pending, data_set)
        with_data = data_set is not None
        self.answered = self.answered or status not in (Status.PENDING, Status.PENDING_WARNING)
        if comment:
            self.send(response_to(self.command, status, comment=comment, data_set=with_data), data_set)
        else:
            self.send(encoded_response(self.command, status, data_set=with_data), data_set)
        return None

    def send(self, command: CommandSet | bytes, data_set: bytes | None = None) -> None:
        """Queue any message on this exchange's presentation context."""
        if not self.closed:
            self._line.send(self.context.id, command, data_set)

    async def flush(self) -> None:
        """Send what is queued, let a C-CANCEL in, and wait while the peer does not read."""
        await self._line.flush()


Handler = Callable[[Exchange], Coroutine[Any, Any, None]]


class Services(Protocol):
    """What a listener offers."""

    def expects(self, address: str) -> bool:
        """Whether a known caller may come from `address`; asked before anything is read: quick, and it never raises."""

    def admit(self, request: AssociateRequest, address: str) -> AssociateAccept | Reject:
        """Decide on an association; called on the event loop, so it must not wait."""

    def begin_store(self, caller: Caller, context: AcceptedContext, command: CommandSet) -> StoreReceiver:
        """Open a receiver for one object. May raise `StoreRefused`."""

    @property
    def handlers(self) -> Mapping[int, Handler]:
        """Who handles which Command Field; C-ECHO, C-STORE and C-CANCEL are the server's own."""
