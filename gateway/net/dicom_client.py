"""The requestor: an association that we asked for, driven by the thread that owns the lane.

What is promised: every wait has an end, given in seconds; every failure is a `TemporaryFailure` that says in
which phase it happened (see `gateway.net.dicom_socket`; also "abort", "closed", "protocol", "context" and
"reject-..."); what a peer sends unasked is bounded; a message cut short never becomes whole at the peer. A
`Requestor` is used by one thread and ends by `release` or `abort`.
"""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from types import TracebackType

from gateway.dicom.associate import (
    AssociateRequest,
    ExtendedNegotiation,
    ProposedContext,
    RoleSelection,
    UserInformation,
)
from gateway.dicom.association import (
    Accepted,
    AcceptedContext,
    Association,
    Closing,
    Event,
    LocalProtocolError,
    Rejected,
    ReleaseRequested,
    State,
)
from gateway.dicom.convert import Segment
from gateway.dicom.dimse import NO_DATA_SET, Command, CommandField, CommandSet, Data
from gateway.dicom.negotiation import VERIFICATION
from gateway.dicom.part10 import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from gateway.domain.model import GatewayError, TemporaryFailure
from gateway.net.dicom_socket import Allow, Peer, PeerSocket, TransportFailure

__all__ = ["AssociationRefused", "Message", "Peer", "Requestor", "TransportFailure"]

RECEIVE_BUFFER = 160 * 1024
MAX_PDU = 128 * 1024
MAX_RESPONSE = 64 * 1024 * 1024
"""Bytes of the longest data set of one response."""
MOST_UNASKED = 1000
"""Messages that may come in place of a response: requests of the peer, answers to nothing, rows after C-CANCEL."""
PENDING = (0xFF00, 0xFF01)


class AssociationRefused(TemporaryFailure):
    """The peer answered, and rejected the association (PS3.8 9.3.4).

    Even a "permanent" rejection is temporary to us: somebody adds our AE title to the peer.
    """


class Message:
    """One whole message of the peer."""

    __slots__ = ("command", "context_id", "data_set")

    def __init__(self, context_id: int, command: CommandSet) -> None:
        self.context_id = context_id
        self.command = command
        self.data_set = bytearray()

    @property
    def status(self) -> int:
        """Of a response, which is none without it."""
        assert self.command.Status is not None
        return self.command.Status


class Requestor:
    """An established association that we asked for."""

    def __init__(self, sock: PeerSocket, association: Association, *, timeout: float) -> None:
        self._socket = sock
        self._association = association
        self._timeout = timeout
        self._buffer = memoryview(bytearray(RECEIVE_BUFFER))
        self._have = 0
        self._partial: Message | None = None
        self._ready: deque[Message] = deque()
        self._inbox: deque[Message] = deque()
        self._message_id = 0
        self._end: TransportFailure | None = None
        """Why the association is over, once all that came before is read."""
        self._torn = False
        """A message was cut short: whatever we send now would be taken for its rest."""

    @classmethod
    def connect(
        cls,
        peer: Peer,
        contexts: Sequence[ProposedContext],
        *,
        roles: tuple[RoleSelection, ...] = (),
        extended: tuple[ExtendedNegotiation, ...] = (),
    ) -> Requestor:
        """Open an association. Raises `TransportFailure`, `AssociationRefused`, or TemporaryFailure "files" of TLS."""
        request = AssociateRequest(
            called_ae=peer.called_ae,
            calling_ae=peer.calling_ae,
            contexts=tuple(contexts),
            user=UserInformation(
                max_pdu=MAX_PDU,
                implementation_class_uid=IMPLEMENTATION_CLASS_UID,
                implementation_version=IMPLEMENTATION_VERSION_NAME,
                roles=roles,
                extended=extended,
            ),
        )
        association = Association.requestor(request)
        requestor = cls(PeerSocket(peer), association, timeout=peer.timeout)
        try:
            requestor._establish()
        except BaseException:
            requestor.abort()
            raise
        return requestor

    def __enter__(self) -> Requestor:
        return self

    def __exit__(self, kind: type[BaseException] | None, _e: BaseException | None, _t: TracebackType | None) -> None:
        if kind is None:
            self.release()
        else:
            self.abort()

    def context_for(self, abstract_syntax: str, transfer_syntax: str | None = None) -> AcceptedContext | None:
        """The accepted context for a class (and a transfer syntax, or any)."""
        return next(
            (
                context
                for context in self._association.contexts.values()
                if context.abstract_syntax == abstract_syntax and transfer_syntax in (None, context.transfer_syntax)
            ),
            None,
        )

    @property
    def contexts(self) -> Iterable[AcceptedContext]:
        return self._association.contexts.values()

    def next_message_id(self) -> int:
        self._message_id = self._message_id % 0xFFFF + 1
        return self._message_id

    def echo(self) -> int:
        """C-ECHO: the status. The association must have a context for Verification."""
        command = CommandSet(
            CommandField=CommandField.C_ECHO_RQ, MessageID=self.next_message_id(), AffectedSOPClassUID=VERIFICATION
        )
        return self.request(self._need(VERIFICATION), command).status

    def request(self, context: AcceptedContext, command: CommandSet, data_set: bytes | None = None) -> Message:
        """Send one request and wait for its one response."""
        self._send_message(context, command, data_set)
        return self._response(command)

    def find(self, context: AcceptedContext, identifier: bytes) -> Generator[Message, None, None]:
        """C-FIND (PS3.7 9.1.2): every response as it comes, the final one last.

        Closing the iterator early sends C-CANCEL; the responses that still come are read and dropped. A peer
        that ignores it is aborted, and the next request fails.
        """
        command = CommandSet(
            CommandField=CommandField.C_FIND_RQ,
            MessageID=self.next_message_id(),
            AffectedSOPClassUID=context.abstract_syntax,
            Priority=0,
            CommandDataSetType=1,
        )
        self._send_message(context, command, identifier)
        pending = True
        try:
            while pending:
                message = self._response(command)
                pending = message.command.Status in PENDING
                yield message
        except GeneratorExit:
            if pending:
                self._cancel(context, command)
            raise

    def store(
        self,
        context: AcceptedContext,
        command: CommandSet,
        segments: Sequence[Segment],
        source: int,
        *,
        meanwhile: Callable[[], None] = lambda: None,
        allow: Allow = int,
    ) -> CommandSet:
        """C-STORE of the data set that `segments` make: bytes, or extents of the file `source`.

        Returns the response; its Status says what became of the object. `meanwhile` is called once all is on its
        way, while the peer works; `allow` says how many of so many bytes may go now, and may wait.
        """
        self._send_message(context, command, None, more=True)
        with self._sending():
            self._socket.send_segments(
                context.id, segments, source, longest=self._association.peer_max_pdu - 6, allow=allow
            )
        meanwhile()
        return self._response(command).command

    def await_message(self, seconds: float) -> Message | None:
        """A request of the peer's own (N-EVENT-REPORT), if one comes within `seconds`."""
        deadline = time.monotonic() + seconds
        try:
            while not self._inbox:
                self._socket.set_timeout(deadline - time.monotonic())
                message = self._next_message()
                if message.command.CommandField & 0x8000 == 0:
                    self._inbox.append(message)
        except TransportFailure as error:
            if error.code == "silence":
                return None
            raise
        finally:
            self._socket.set_timeout(self._timeout)
        return self._inbox.popleft()

    def reply(self, to: Message, command: CommandSet) -> None:
        """Answer a request of the peer."""
        self._send(to.context_id, command, None)
        self._flush()

    def release(self) -> None:
        """Orderly end; whatever goes wrong meanwhile no longer matters, the socket is closed."""
        if self._association.state is State.ESTABLISHED and not self._torn:
            deadline = time.monotonic() + self._timeout
            with contextlib.suppress(GatewayError):
                self._association.release()
                self._flush()
                while not self._association.closed and time.monotonic() < deadline:
                    self._receive()
        self._socket.close()

    def abort(self) -> None:
        """End at once."""
        self._association.abort()
        if not self._torn:
            with contextlib.suppress(GatewayError):
                self._flush()
        self._socket.close()

    # -- inside --

    def _establish(self) -> None:
        self._flush()
        accepted = False
        while not accepted:
            for event in self._receive():
                if isinstance(event, Rejected):
                    result, source, reason = event.reject
                    raise AssociationRefused(
                        f"the association was rejected (result {result}, source {source}, reason {reason})",
                        code=f"reject-{result}-{source}-{reason}",
                    )
                if isinstance(event, Accepted):
                    accepted = True
                else:
                    self._assemble(event)

    def _need(self, abstract_syntax: str) -> AcceptedContext:
        context = self.context_for(abstract_syntax)
        if context is None:
            raise TemporaryFailure(f"the peer accepted no context for {abstract_syntax}", code="context")
        return context

    def _send_message(
        self, context: AcceptedContext, command: CommandSet, data_set: bytes | None, *, more: bool = False
    ) -> None:
        self._send(context.id, command, data_set)
        self._flush(more=more)

    def _send(self, context_id: int, command: CommandSet, data_set: bytes | None) -> None:
        try:
            self._association.send(context_id, command, data_set)
        except LocalProtocolError as error:
            raise self._end or TransportFailure("the association is over", code="closed") from error

    @contextlib.contextmanager
    def _sending(self) -> Iterator[None]:
        """Say what the peer said last, if it broke the connection while we were sending."""
        try:
            yield
        except TransportFailure as error:
            self._torn = True
            if error.code == "send":
                with contextlib.suppress(TransportFailure):
                    for event in self._receive():
                        self._assemble(event)
                if self._end is not None and self._end.code == "abort":
                    raise self._end from error
            self._end = self._end or error
            raise
        except BaseException:
            self._torn = True
            raise

    def _flush(self, *, more: bool = False) -> None:
        out = self._association.data_to_send()
        if out:
            with self._sending():
                self._socket.send(out, more=more)

    def _cancel(self, context: AcceptedContext, command: CommandSet) -> None:
        cancel = CommandSet(
            CommandField=CommandField.C_CANCEL_RQ,
            MessageIDBeingRespondedTo=command.MessageID,
            CommandDataSetType=NO_DATA_SET,
        )
        try:
            self._send_message(context, cancel, None)
            for _ in range(MOST_UNASKED):
                if self._response(command).command.Status not in PENDING:
                    return
        except GatewayError:
            pass  # nobody waits for these responses; whoever asks next is told
        self.abort()

    def _response(self, command: CommandSet) -> Message:
        for _ in range(MOST_UNASKED):
            message = self._next_message()
            if message.command.CommandField & 0x8000 == 0:
                self._inbox.append(message)
            elif message.command.MessageIDBeingRespondedTo == command.MessageID:
                if message.command.Status is None:  # required, and what becomes of the object hangs on it
                    raise TransportFailure("a response without Status (0000,0900)", code="protocol")
                return message
        raise TransportFailure(f"{MOST_UNASKED} messages came, and no response", code="protocol")

    def _next_message(self) -> Message:
        while not self._ready:
            for event in self._receive():
                self._assemble(event)
        return self._ready.popleft()

    def _assemble(self, event: Event) -> None:
        if isinstance(event, Command):
            self._partial = Message(event.context_id, event.command)
            whole = not event.command.has_data_set
        else:
            assert isinstance(event, Data)
            assert self._partial is not None
            if len(self._partial.data_set) + len(event.data) > MAX_RESPONSE:
                raise TransportFailure(f"a response longer than {MAX_RESPONSE} bytes", code="response")
            self._partial.data_set += event.data
            whole = event.last
        if whole:
            self._ready.append(self._partial)
            self._partial = None

    def _receive(self) -> list[Event]:
        """Wait for bytes and return what they mean; the end of the association raises."""
        if self._end is not None:
            raise self._end
        count = self._socket.receive_into(self._buffer[self._have :])
        if count:
            self._have += count
            events, consumed = self._association.receive(self._buffer[: self._have])
            self._settle(events)
            rest = self._have - consumed
            self._buffer[:rest] = bytes(self._buffer[consumed : self._have])
            self._have = rest
        else:
            events = self._association.transport_closed()
            self._end = TransportFailure("the association is over", code="closed")
        for event in events:
            if isinstance(event, Closing) and not event.released:
                self._end = TransportFailure(event.reason, code="abort" if event.by_peer else "protocol")
        found: list[Event] = [event for event in events if not isinstance(event, Closing | ReleaseRequested)]
        if self._end is not None and not found:
            raise self._end
        return found

    def _settle(self, events: list[Event]) -> None:
        """Keep what the events view before the buffer moves, and grant a release at once."""
        for number, event in enumerate(events):
            if isinstance(event, Data):
                events[number] = event._replace(data=memoryview(bytes(event.data)))
            elif isinstance(event, ReleaseRequested) and self._association.owes_release_reply:
                self._association.release_reply()
        with contextlib.suppress(TransportFailure):  # it has said enough: what it said counts
            self._flush()
