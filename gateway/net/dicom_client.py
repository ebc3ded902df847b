"""The requestor's socket: one blocking socket, driven by the thread that owns the lane.

What is promised: an object's bytes go from its file to the socket by `sendfile` (uvloop has none,
and few lanes need no loop); headers are held back by MSG_MORE so that a small object is one or two
segments; every wait has an end, given in seconds; and every failure says in which phase it happened
and whether it may pass. A `Requestor` is used by one thread and ends by `release` or `abort`.
"""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import struct
from collections import deque
from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass
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
    Rejected,
    ReleaseRequested,
)
from gateway.dicom.convert import Extent, Segment
from gateway.dicom.dimse import NO_DATA_SET, Command, CommandField, CommandSet, Data
from gateway.dicom.negotiation import VERIFICATION
from gateway.dicom.part10 import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from gateway.dicom.pdu import data_headers
from gateway.domain.model import GatewayError, TemporaryFailure

RECEIVE_BUFFER = 160 * 1024
MAX_PDU = 128 * 1024
MAX_RESPONSE = 64 * 1024 * 1024
"""Bytes of the longest data set of one response."""
TLS_PIECE = 256 * 1024


class AssociationRefused(TemporaryFailure):
    """The peer answered, and rejected the association (PS3.8 9.3.4).

    Even a "permanent" rejection is temporary to us: somebody adds our AE title to the peer.
    """


class TransportFailure(TemporaryFailure):
    """The connection could not be made, broke, or fell silent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """Whom to call, and as whom."""

    host: str
    port: int
    called_ae: str
    calling_ae: str
    connect_timeout: float
    """Seconds for the TCP and TLS connection."""
    timeout: float
    """Seconds without progress before the association is given up."""
    tls: ssl.SSLContext | None = None


class Message:
    """One whole message of the peer."""

    __slots__ = ("command", "context_id", "data_set")

    def __init__(self, context_id: int, command: CommandSet) -> None:
        self.context_id = context_id
        self.command = command
        self.data_set = bytearray()


class Requestor:
    """An established association that we asked for."""

    def __init__(self, sock: socket.socket, association: Association, *, tls: bool, timeout: float) -> None:
        self._socket = sock
        self._association = association
        self._tls = tls
        self._timeout = timeout
        self._buffer = memoryview(bytearray(RECEIVE_BUFFER))
        self._have = 0
        self._partial: Message | None = None
        self._ready: deque[Message] = deque()
        self._inbox: deque[Message] = deque()
        self._message_id = 0
        self._released = False

    @classmethod
    def connect(
        cls,
        peer: Peer,
        contexts: Sequence[ProposedContext],
        *,
        roles: tuple[RoleSelection, ...] = (),
        extended: tuple[ExtendedNegotiation, ...] = (),
    ) -> Requestor:
        """Open an association. Raises `TransportFailure` or `AssociationRefused`."""
        try:
            sock = socket.create_connection((peer.host, peer.port), peer.connect_timeout)
            if peer.tls is not None:
                sock = peer.tls.wrap_socket(sock, server_hostname=peer.host)
        except (OSError, ssl.SSLError) as error:
            raise TransportFailure(f"no connection: {_shape(error)}", code="connect") from error
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
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
        requestor = cls(sock, Association.requestor(request), tls=peer.tls is not None, timeout=peer.timeout)
        try:
            requestor._set_timeout(peer.timeout)
            requestor._establish()
        except GatewayError:
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
        return self.request(self._need(VERIFICATION), command).command.Status or 0

    def request(self, context: AcceptedContext, command: CommandSet, data_set: bytes | None = None) -> Message:
        """Send one request and wait for its one response."""
        self._send_message(context, command, data_set)
        return self._response(command)

    def find(self, context: AcceptedContext, identifier: bytes) -> Generator[Message, None, None]:
        """C-FIND (PS3.7 9.1.2): every response as it comes, the final one last.

        Closing the iterator early sends C-CANCEL; the responses that still come are read and dropped.
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
        while pending:
            message = self._response(command)
            pending = message.command.Status in (0xFF00, 0xFF01)
            try:
                yield message
            except GeneratorExit:
                if pending and not self._association.closed:
                    self._cancel(context, command)
                raise

    def store(
        self, context: AcceptedContext, command: CommandSet, segments: Sequence[Segment], source: int
    ) -> CommandSet:
        """C-STORE of the data set that `segments` make: bytes, or extents of the file `source`.

        Returns the response; its Status says what became of the object.
        """
        self._send_message(context, command, None, more=True)
        try:
            self._send_segments(context.id, segments, source)
        except OSError as error:
            raise TransportFailure(f"sending the object: {_shape(error)}", code="send") from error
        return self._response(command).command

    def await_message(self, seconds: float) -> Message | None:
        """A request of the peer's own (N-EVENT-REPORT), if one comes within `seconds`."""
        if self._inbox:
            return self._inbox.popleft()
        self._set_timeout(seconds)
        try:
            return self._next_message()
        except TransportFailure as error:
            if error.code == "silence":
                return None
            raise
        finally:
            self._set_timeout(self._timeout)

    def reply(self, to: Message, command: CommandSet) -> None:
        """Answer a request of the peer."""
        self._association.send(to.context_id, command)
        self._flush()

    def release(self) -> None:
        """Orderly end; whatever goes wrong meanwhile no longer matters, the socket is closed."""
        if self._released or self._association.closed:
            self._socket.close()
            return
        self._released = True
        with contextlib.suppress(GatewayError, OSError):
            self._association.release()
            self._flush()
            while not self._association.closed:
                self._receive()
        self._socket.close()

    def abort(self) -> None:
        self._association.abort()
        with contextlib.suppress(GatewayError, OSError):
            self._flush()
        self._socket.close()

    # -- inside --

    def _establish(self) -> None:
        self._flush()
        while True:
            for event in self._receive():
                if isinstance(event, Accepted):
                    return
                assert isinstance(event, Rejected)
                result, source, reason = event.reject
                raise AssociationRefused(
                    f"the association was rejected (result {result}, source {source}, reason {reason})",
                    code=f"reject-{result}-{source}-{reason}",
                )

    def _need(self, abstract_syntax: str) -> AcceptedContext:
        context = self.context_for(abstract_syntax)
        if context is None:
            raise TemporaryFailure(f"the peer accepted no context for {abstract_syntax}", code="context")
        return context

    def _send_message(
        self, context: AcceptedContext, command: CommandSet, data_set: bytes | None, *, more: bool = False
    ) -> None:
        self._association.send(context.id, command, data_set)
        self._flush(more=more)

    def _send_segments(self, context_id: int, segments: Sequence[Segment], source: int) -> None:
        """One message's data set, cut into P-DATA of the peer's size across segment borders."""
        size = self._association.peer_max_pdu - 6
        left = sum(segment.length if isinstance(segment, Extent) else len(segment) for segment in segments)
        room = 0
        if not left:
            self._send_bytes(data_headers(context_id, 0, command=False, last=True), more=False)
        for segment in segments:
            position, end = (
                (segment.offset, segment.offset + segment.length) if isinstance(segment, Extent) else (0, len(segment))
            )
            while position < end:
                if not room:
                    room = min(size, left)
                    self._send_bytes(data_headers(context_id, room, command=False, last=room == left), more=True)
                piece = min(room, end - position)
                room -= piece
                left -= piece
                if isinstance(segment, Extent):
                    self._send_file(source, position, piece)
                else:
                    self._send_bytes(segment[position : position + piece], more=bool(left))
                position += piece

    def _send_bytes(self, out: bytes, *, more: bool) -> None:
        if self._tls:
            self._socket.sendall(out)
            return
        sent = self._socket.send(out, socket.MSG_MORE if more else 0)
        while sent < len(out):
            sent += self._socket.send(out[sent:], socket.MSG_MORE if more else 0)

    def _send_file(self, source: int, offset: int, count: int) -> None:
        while count:
            if self._tls:
                piece = os.pread(source, min(count, TLS_PIECE), offset)
                self._socket.sendall(piece)
                sent = len(piece)
            else:
                sent = os.sendfile(self._socket.fileno(), source, offset, count)
            if not sent:
                raise OSError("the spool file is shorter than its data set")
            offset += sent
            count -= sent

    def _flush(self, *, more: bool = False) -> None:
        out = self._association.data_to_send()
        if out:
            try:
                self._send_bytes(out, more=more)
            except OSError as error:
                raise TransportFailure(f"sending: {_shape(error)}", code="send") from error

    def _cancel(self, context: AcceptedContext, command: CommandSet) -> None:
        cancel = CommandSet(
            CommandField=CommandField.C_CANCEL_RQ,
            MessageIDBeingRespondedTo=command.MessageID,
            CommandDataSetType=NO_DATA_SET,
        )
        self._send_message(context, cancel, None)
        while self._response(command).command.Status in (0xFF00, 0xFF01):
            pass

    def _response(self, command: CommandSet) -> Message:
        while True:
            message = self._next_message()
            if message.command.CommandField & 0x8000 == 0:
                self._inbox.append(message)
            elif message.command.MessageIDBeingRespondedTo == command.MessageID:
                return message

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
        try:
            count = self._socket.recv_into(self._buffer[self._have :])
        except (BlockingIOError, TimeoutError) as error:
            raise TransportFailure("the peer fell silent", code="silence") from error
        except OSError as error:
            raise TransportFailure(f"receiving: {_shape(error)}", code="receive") from error
        if not count:
            events = self._association.transport_closed()
        else:
            self._have += count
            events, consumed = self._association.receive(self._buffer[: self._have])
            self._settle(events)
            rest = self._have - consumed
            self._buffer[:rest] = bytes(self._buffer[consumed : self._have])
            self._have = rest
            if not self._tls:
                self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        for event in events:
            if isinstance(event, Closing) and not event.released:
                raise TransportFailure(event.reason, code="abort" if event.by_peer else "protocol")
        return [event for event in events if not isinstance(event, Closing | ReleaseRequested)]

    def _settle(self, events: list[Event]) -> None:
        """Keep what the events view before the buffer moves, and grant a release at once."""
        for number, event in enumerate(events):
            if isinstance(event, Data):
                events[number] = event._replace(data=memoryview(bytes(event.data)))
            elif isinstance(event, ReleaseRequested):
                self._association.release_reply()
                self._flush()

    def _set_timeout(self, seconds: float) -> None:
        if self._tls:
            self._socket.settimeout(seconds)
        else:
            _kernel_timeouts(self._socket, seconds)


def _kernel_timeouts(sock: socket.socket, seconds: float) -> None:
    # The kernel's own timeouts leave the descriptor blocking, as sendfile needs it
    sock.settimeout(None)
    value = struct.pack("ll", int(seconds), int(seconds % 1 * 1_000_000) or int(seconds < 1))
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, value)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, value)


def _shape(error: OSError) -> str:
    """An error in words that hold no address and no name."""
    return error.strerror or type(error).__name__
