"""A requestor that costs next to nothing, so that a latency is the server's: bytes made beforehand, PDUs counted.

It sets TCP_NODELAY and re-arms TCP_QUICKACK, trusts the server to keep the protocol, and fails with
`CellFailed` where it does not. Not a client for anything but measuring.
"""

from __future__ import annotations

import socket
import struct
from types import TracebackType
from typing import Final

from bench.measure import CellFailed
from gateway.dicom.associate import AssociateRequest, ProposedContext, UserInformation
from gateway.dicom.dimse import CommandField, CommandSet
from gateway.dicom.negotiation import (
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
    MODALITY_WORKLIST,
    VERIFICATION,
)
from gateway.dicom.part10 import IMPLEMENTATION_CLASS_UID
from gateway.dicom.pdu import RELEASE_RQ, fragment_message
from tests.peers.processes import HOST

_ACCEPTED: Final = 2
_DATA: Final = 4
_RELEASED: Final = 6
_PDU: Final = struct.Struct(">BxL")
_PDV: Final = struct.Struct(">LBB")
_STATUS: Final = b"\x00\x00\x00\x09\x02\x00\x00\x00"
"""(0000,0900) Status in a command set, Implicit VR Little Endian, before its two bytes."""
_PENDING: Final = (0xFF00, 0xFF01)
_PDU_SIZE: Final = 16384
_PIECE: Final = 1 << 18
_SILENCE: Final = 120.0
_ECHO, _FIND = 1, 3


def request(called: str, calling: str) -> bytes:
    """An A-ASSOCIATE-RQ with two contexts: Verification and Modality Worklist."""
    return AssociateRequest(
        called_ae=called,
        calling_ae=calling,
        contexts=(
            ProposedContext(_ECHO, VERIFICATION, (IMPLICIT_VR_LITTLE_ENDIAN,)),
            ProposedContext(_FIND, MODALITY_WORKLIST, (EXPLICIT_VR_LITTLE_ENDIAN,)),
        ),
        user=UserInformation(max_pdu=131072, implementation_class_uid=IMPLEMENTATION_CLASS_UID),
    ).encode()


def echo() -> bytes:
    """A C-ECHO-RQ."""
    command = CommandSet(CommandField=CommandField.C_ECHO_RQ, MessageID=1, AffectedSOPClassUID=VERIFICATION)
    return _message(_ECHO, command, None)


def find(identifier: bytes) -> bytes:
    """A C-FIND-RQ for the worklist; the identifier in Explicit VR Little Endian."""
    command = CommandSet(
        CommandField=CommandField.C_FIND_RQ,
        MessageID=1,
        AffectedSOPClassUID=MODALITY_WORKLIST,
        Priority=0,
        CommandDataSetType=1,
    )
    return _message(_FIND, command, identifier)


def _message(context: int, command: CommandSet, data_set: bytes | None) -> bytes:
    """The PDUs of a message, none longer than any server takes."""
    parts = fragment_message(context, command.encode(), command=True, max_pdu=_PDU_SIZE)
    if data_set is not None:
        parts += fragment_message(context, data_set, command=False, max_pdu=_PDU_SIZE)
    return b"".join(parts)


class Line:
    """An association."""

    def __init__(self, port: int, associate: bytes) -> None:
        """Connect and associate."""
        self._socket = socket.create_connection((HOST, port), _SILENCE)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = bytearray()
        self._socket.sendall(associate)
        kind, _ = self._pdu()
        if kind != _ACCEPTED:
            raise CellFailed(f"the association was answered by PDU type {kind}")

    def __enter__(self) -> Line:
        return self

    def __exit__(self, kind: type[BaseException] | None, _e: BaseException | None, _t: TracebackType | None) -> None:
        """Release, and close in any case."""
        with self._socket:
            if kind is None:
                self._socket.sendall(RELEASE_RQ)
                answer, _ = self._pdu()
                if answer != _RELEASED:
                    raise CellFailed(f"the release was answered by PDU type {answer}")

    def ask(self, message: bytes) -> int:
        """Send a request and wait for its final response; how many pending ones came before it."""
        self._socket.sendall(message)
        pending = 0
        while True:
            kind, body = self._pdu()
            if kind != _DATA:
                raise CellFailed(f"a request was answered by PDU type {kind}")
            for status in _statuses(body):
                if status in _PENDING:
                    pending += 1
                elif status == 0:
                    return pending
                else:
                    raise CellFailed(f"a request was answered with status {status:04X}")

    def _pdu(self) -> tuple[int, bytes]:
        head = self._take(_PDU.size)
        kind, length = _PDU.unpack(head)
        return kind, self._take(length)

    def _take(self, count: int) -> bytes:
        while len(self._buffer) < count:
            piece = self._socket.recv(_PIECE)
            if not piece:
                raise CellFailed("the server closed the connection")
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
            self._buffer += piece
        taken = bytes(self._buffer[:count])
        del self._buffer[:count]
        return taken


def _statuses(body: bytes) -> list[int]:
    """The statuses of the command sets that end in this P-DATA-TF; each is one PDV, as all servers here send it."""
    found = []
    position = 0
    while position < len(body):
        length, _, header = _PDV.unpack_from(body, position)
        if header & 1:
            place = body.find(_STATUS, position, position + 4 + length)
            if place < 0:
                raise CellFailed("a command set without a status")
            found.append(int.from_bytes(body[place + 8 : place + 10], "little"))
        position += 4 + length
    return found
