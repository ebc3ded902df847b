"""The requestor's blocking socket: bytes and files out, bytes in, every wait with an end.

What is promised: an object's bytes go from its file to the socket by `sendfile`, headers are held back by
MSG_MORE so that a small object is one or two segments, and every failure is a `TransportFailure` whose code
names the phase: "connect", "send", "receive", "silence" (no progress in time) or "spool" (our own object).
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from gateway.dicom.convert import Extent, Segment
from gateway.dicom.pdu import data_headers
from gateway.domain.model import TemporaryFailure
from gateway.net.connection import connected
from gateway.net.tls import Context

Allow = Callable[[int], int]
"""How many of so many bytes may go now, at least one; it may wait."""
TLS_PIECE = 256 * 1024
SHORTEST_WAIT = 0.001
"""Seconds; a timeout of 0 would mean "never" to the kernel and "do not block" to ssl."""


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
    tls: Context | None = None


class PeerSocket:
    """A connection to a peer, for one thread."""

    def __init__(self, peer: Peer) -> None:
        """Connect. Raises `TransportFailure`, or TemporaryFailure "files" of TLS, our own."""
        self._tls = peer.tls is not None
        try:
            self._socket = connected(peer.host, peer.port, within=peer.connect_timeout, tls=peer.tls)
        except OSError as error:
            raise TransportFailure(f"no connection: {_shape(error)}", code="connect") from error
        self.set_timeout(peer.timeout)

    def set_timeout(self, seconds: float) -> None:
        """Seconds that one wait may last."""
        seconds = max(seconds, SHORTEST_WAIT)
        if self._tls:
            self._socket.settimeout(seconds)
            return
        # The kernel's own timeouts leave the descriptor blocking, as sendfile needs it
        self._socket.settimeout(None)
        value = struct.pack("ll", int(seconds), int(seconds % 1 * 1_000_000))
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, value)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, value)

    def send(self, out: bytes, *, more: bool = False) -> None:
        """Send all of `out`; `more` follows at once."""
        try:
            if self._tls:
                self._socket.sendall(out)
                return
            sent = self._socket.send(out, socket.MSG_MORE if more else 0)
            while sent < len(out):
                sent += self._socket.send(out[sent:], socket.MSG_MORE if more else 0)
        except OSError as error:
            raise _failure("send", "sending", error) from error

    def send_file(self, source: int, offset: int, count: int) -> None:
        """Send `count` bytes of the file `source` from `offset`."""
        while count:
            try:
                if self._tls:
                    piece = os.pread(source, min(count, TLS_PIECE), offset)
                    self._socket.sendall(piece)
                    sent = len(piece)
                else:
                    sent = os.sendfile(self._socket.fileno(), source, offset, count)
            except OSError as error:
                raise _failure("send", "sending the object", error) from error
            if not sent:
                raise TransportFailure("the spool file is shorter than its data set", code="spool")
            offset += sent
            count -= sent

    def send_segments(
        self, context_id: int, segments: Sequence[Segment], source: int, *, longest: int, allow: Allow
    ) -> None:
        """One message's data set, cut across segment borders into P-DATA with `longest` bytes of it at most."""
        left = sum(segment.length if isinstance(segment, Extent) else len(segment) for segment in segments)
        room = 0
        if not left:
            self.send(data_headers(context_id, 0, command=False, last=True))
        for segment in segments:
            position, end = (
                (segment.offset, segment.offset + segment.length) if isinstance(segment, Extent) else (0, len(segment))
            )
            while position < end:
                if not room:
                    room = min(longest, left)
                    self.send(data_headers(context_id, room, command=False, last=room == left), more=True)
                piece = allow(min(room, end - position))
                room -= piece
                left -= piece
                if isinstance(segment, Extent):
                    self.send_file(source, position, piece)
                else:
                    self.send(segment[position : position + piece], more=bool(left))
                position += piece

    def receive_into(self, view: memoryview) -> int:
        """How many bytes came; 0 when the peer closed."""
        try:
            count = self._socket.recv_into(view)
            if count and not self._tls:
                self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        except OSError as error:
            raise _failure("receive", "receiving", error) from error
        return count

    def close(self) -> None:
        self._socket.close()


def _failure(code: str, doing: str, error: OSError) -> TransportFailure:
    if isinstance(error, BlockingIOError | TimeoutError):
        return TransportFailure(f"{doing}: the peer fell silent", code="silence")
    return TransportFailure(f"{doing}: {_shape(error)}", code=code)


def _shape(error: OSError) -> str:
    """An error in words that hold no address and no name."""
    return error.strerror or type(error).__name__
