"""Protocol data units of the DICOM upper layer (PS3.8 9.3), as values and bytes. No I/O.

`PduReader` takes whatever bytes have arrived in a caller's buffer and says what they are: whole
control PDUs, and fragments of P-DATA as views into that same buffer, as soon as any of their bytes
are there. Nothing is copied but control PDUs, and nothing is buffered here: what is not consumed
stays with the caller. Every length a peer declares is checked before it is believed, so the most a
peer can make us hold is one control PDU.

Encoding functions return bytes; decoding ones raise `PduError` with the A-ABORT reason of 9.3.8.
"""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import NamedTuple

MAX_CONTROL_PDU = 128 * 1024
"""Bytes of the longest A-ASSOCIATE PDU that is read; 128 contexts of 30 transfer syntaxes fit."""
MAX_DATA_PDU = 4 * 1024 * 1024
"""Bytes of the longest P-DATA-TF that is read. Some peers ignore the length we announce; as
fragments are streamed, a longer PDU costs no memory, but a length beyond this one is an attack."""

_PDU_HEADER = struct.Struct(">BxL")
_PDV_HEADER = struct.Struct(">LBB")
_DATA_HEADERS = struct.Struct(">BxLLBB")

RELEASE_RQ = b"\x05\x00\x00\x00\x00\x04\x00\x00\x00\x00"
RELEASE_RP = b"\x06\x00\x00\x00\x00\x04\x00\x00\x00\x00"


class PduType(IntEnum):
    ASSOCIATE_RQ = 0x01
    ASSOCIATE_AC = 0x02
    ASSOCIATE_RJ = 0x03
    P_DATA = 0x04
    RELEASE_RQ = 0x05
    RELEASE_RP = 0x06
    ABORT = 0x07


class AbortReason(IntEnum):
    """Reasons of the A-ABORT service provider (PS3.8 table 9-26)."""

    NOT_SPECIFIED = 0
    UNRECOGNIZED_PDU = 1
    UNEXPECTED_PDU = 2
    UNRECOGNIZED_PARAMETER = 4
    UNEXPECTED_PARAMETER = 5
    INVALID_PARAMETER = 6


class PduError(ValueError):
    """A peer broke PS3.8; `reason` goes into our A-ABORT."""

    def __init__(self, message: str, reason: AbortReason = AbortReason.INVALID_PARAMETER) -> None:
        super().__init__(message)
        self.reason = reason


class ControlPdu(NamedTuple):
    """A whole PDU that is not P-DATA-TF: its type and everything after its six-byte header."""

    type: int
    body: bytes


class Fragment(NamedTuple):
    """Bytes of one presentation data value, in order; `data` views the caller's buffer."""

    context_id: int
    command: bool
    last: bool
    """These bytes end a command set or a data set."""
    data: memoryview


class PduReader:
    """Finds PDUs and fragments in a stream that arrives in pieces of any size."""

    __slots__ = ("_context_id", "_flags", "_pdu_left", "_pdv_left", "max_control", "max_data")

    def __init__(self, *, max_data: int = MAX_DATA_PDU, max_control: int = MAX_CONTROL_PDU) -> None:
        self.max_data = max_data
        self.max_control = max_control
        self._pdu_left = 0
        self._pdv_left = 0
        self._context_id = 0
        self._flags = 0

    def read(self, view: memoryview) -> tuple[list[ControlPdu | Fragment], int]:
        """What `view` holds, and how many of its bytes were consumed.

        The unconsumed rest (a header or a control PDU cut short) must stand at the start of the
        next view. Raises `PduError` at the first byte that cannot be right; what stands before it is
        returned first, so call again until nothing is found.
        """
        found: list[ControlPdu | Fragment] = []
        position = 0
        try:
            while (after := self._step(view, position, found)) > position:
                position = after
        except PduError:
            if not found:
                raise
        return found, position

    def _step(self, view: memoryview, position: int, found: list[ControlPdu | Fragment]) -> int:
        """Read one header, fragment or control PDU; the position behind it, or `position` if it isn't there yet."""
        room = len(view) - position
        if self._pdv_left:
            taken = min(self._pdv_left, room)
            if taken:
                self._pdv_left -= taken
                self._pdu_left -= taken
                found.append(self._fragment(view[position : position + taken]))
            return position + taken
        if self._pdu_left:
            if room < _PDV_HEADER.size:
                return position
            self._begin_pdv(view, position)
            position += _PDV_HEADER.size
            if not self._pdv_left:
                found.append(self._fragment(view[position:position]))
            return position
        if room < _PDU_HEADER.size:
            return position
        header: tuple[int, int] = _PDU_HEADER.unpack_from(view, position)
        pdu_type, length = header
        if pdu_type == PduType.P_DATA:
            self._begin_data(length)
            return position + _PDU_HEADER.size
        self._check_control(pdu_type, length)
        if room < _PDU_HEADER.size + length:
            return position
        position += _PDU_HEADER.size
        found.append(ControlPdu(pdu_type, bytes(view[position : position + length])))
        return position + length

    def _fragment(self, data: memoryview) -> Fragment:
        flags = self._flags
        return Fragment(self._context_id, bool(flags & 1), bool(flags & 2) and not self._pdv_left, data)

    def _begin_data(self, length: int) -> None:
        if length < _PDV_HEADER.size or length > self.max_data:
            raise PduError(f"P-DATA-TF declares {length} bytes; 6 to {self.max_data} are allowed")
        self._pdu_left = length

    def _begin_pdv(self, view: memoryview, position: int) -> None:
        length, context_id, flags = _PDV_HEADER.unpack_from(view, position)
        if length < 2 or length - 2 > self._pdu_left - _PDV_HEADER.size:
            raise PduError(f"PDV declares {length} bytes in a PDU with {self._pdu_left} left")
        if 0 < self._pdu_left - 4 - length < _PDV_HEADER.size:
            raise PduError("bytes left over behind the last PDV of a P-DATA-TF")
        self._pdu_left -= _PDV_HEADER.size
        self._pdv_left = length - 2
        self._context_id = context_id
        self._flags = flags

    def _check_control(self, pdu_type: int, length: int) -> None:
        if not PduType.ASSOCIATE_RQ <= pdu_type <= PduType.ABORT:
            raise PduError(f"PDU type {pdu_type:#04x} is not of PS3.8 9.3", AbortReason.UNRECOGNIZED_PDU)
        if pdu_type in (PduType.ASSOCIATE_RQ, PduType.ASSOCIATE_AC):
            if length < 68 or length > self.max_control:
                raise PduError(f"A-ASSOCIATE declares {length} bytes; 68 to {self.max_control} are allowed")
        elif length != 4:
            raise PduError(f"PDU type {pdu_type:#04x} declares {length} bytes; it has 4")


def data_headers(context_id: int, length: int, *, command: bool, last: bool) -> bytes:
    """PDU and PDV header in front of one fragment of `length` bytes."""
    return _DATA_HEADERS.pack(PduType.P_DATA, length + 6, length + 2, context_id, command | last << 1)


def fragment_message(context_id: int, data: bytes, *, command: bool, max_pdu: int) -> list[bytes]:
    """`data` as P-DATA-TF PDUs of at most `max_pdu` bytes (the length the peer announced)."""
    size = max_pdu - 6
    if len(data) <= size:
        return [data_headers(context_id, len(data), command=command, last=True), data]
    pieces: list[bytes] = []
    for start in range(0, len(data), size):
        piece = data[start : start + size]
        pieces.append(data_headers(context_id, len(piece), command=command, last=start + size >= len(data)))
        pieces.append(piece)
    return pieces


class Reject(NamedTuple):
    """A-ASSOCIATE-RJ (PS3.8 9.3.4)."""

    result: int
    """1 permanent, 2 transient."""
    source: int
    """1 service user, 2 provider (ACSE), 3 provider (presentation)."""
    reason: int

    def encode(self) -> bytes:
        return struct.pack(">BxLxBBB", PduType.ASSOCIATE_RJ, 4, *self)


class Abort(NamedTuple):
    """A-ABORT (PS3.8 9.3.8)."""

    source: int
    """0 service user, 2 service provider."""
    reason: int

    def encode(self) -> bytes:
        return struct.pack(">BxLxxBB", PduType.ABORT, 4, *self)


CALLED_AE_UNKNOWN = Reject(1, 1, 7)
CALLING_AE_UNKNOWN = Reject(1, 1, 3)
NO_REASON = Reject(1, 1, 1)
LOCAL_LIMIT = Reject(2, 3, 2)
TEMPORARY_CONGESTION = Reject(2, 3, 1)
PROTOCOL_VERSION = Reject(1, 2, 2)
APPLICATION_CONTEXT = Reject(1, 1, 2)


def decode_reject(body: bytes) -> Reject:
    return Reject(body[1], body[2], body[3])


def decode_abort(body: bytes) -> Abort:
    return Abort(body[2], body[3])
