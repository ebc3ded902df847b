"""DIMSE command sets (PS3.7 6.3, 9.3, 10.3, annex E) and the messages they head. No I/O.

A command set is always Implicit VR Little Endian, group 0000 only. `CommandSet` names its elements
by their keywords; whatever else a peer puts into group 0000 is skipped. `MessageReader` turns
fragments of presentation data values into commands and data, and refuses a peer that interleaves
messages, forgets a data set, or sends a command set longer than `MAX_COMMAND`.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, fields
from enum import IntEnum
from typing import NamedTuple

from gateway.dicom.pdu import AbortReason, Fragment, PduError

MAX_COMMAND = 64 * 1024
NO_DATA_SET = 0x0101
"""Command Data Set Type (0000,0800) of a message without a data set; any other value has one."""


class CommandField(IntEnum):
    C_STORE_RQ = 0x0001
    C_STORE_RSP = 0x8001
    C_GET_RQ = 0x0010
    C_GET_RSP = 0x8010
    C_FIND_RQ = 0x0020
    C_FIND_RSP = 0x8020
    C_MOVE_RQ = 0x0021
    C_MOVE_RSP = 0x8021
    C_ECHO_RQ = 0x0030
    C_ECHO_RSP = 0x8030
    N_EVENT_REPORT_RQ = 0x0100
    N_EVENT_REPORT_RSP = 0x8100
    N_GET_RQ = 0x0110
    N_GET_RSP = 0x8110
    N_SET_RQ = 0x0120
    N_SET_RSP = 0x8120
    N_ACTION_RQ = 0x0130
    N_ACTION_RSP = 0x8130
    N_CREATE_RQ = 0x0140
    N_CREATE_RSP = 0x8140
    N_DELETE_RQ = 0x0150
    N_DELETE_RSP = 0x8150
    C_CANCEL_RQ = 0x0FFF


class Status(IntEnum):
    """The statuses that we answer (PS3.7 annex C, PS3.4 B.2.3, F.7.2.2.4, K.4.1.1.4)."""

    SUCCESS = 0x0000
    PENDING = 0xFF00
    PENDING_WARNING = 0xFF01
    CANCEL = 0xFE00
    PROCESSING_FAILURE = 0x0110
    DUPLICATE_SOP_INSTANCE = 0x0111
    NO_SUCH_OBJECT_INSTANCE = 0x0112
    NO_SUCH_SOP_CLASS = 0x0118
    SOP_CLASS_NOT_SUPPORTED = 0x0122
    UNRECOGNIZED_OPERATION = 0x0211
    INVALID_ARGUMENT = 0x0115
    INVALID_OBJECT_INSTANCE = 0x0117
    RESOURCE_LIMITATION = 0x0213
    OUT_OF_RESOURCES = 0xA700
    IDENTIFIER_MISMATCH = 0xA900
    UNABLE_TO_PROCESS = 0xC001


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandSet:
    """One command set; an element that is absent is None."""

    CommandField: int
    AffectedSOPClassUID: str | None = None
    RequestedSOPClassUID: str | None = None
    MessageID: int | None = None
    MessageIDBeingRespondedTo: int | None = None
    MoveDestination: str | None = None
    Priority: int | None = None
    CommandDataSetType: int = NO_DATA_SET
    Status: int | None = None
    OffendingElement: bytes | None = None
    ErrorComment: str | None = None
    ErrorID: int | None = None
    AffectedSOPInstanceUID: str | None = None
    RequestedSOPInstanceUID: str | None = None
    EventTypeID: int | None = None
    ActionTypeID: int | None = None
    NumberOfRemainingSuboperations: int | None = None
    NumberOfCompletedSuboperations: int | None = None
    NumberOfFailedSuboperations: int | None = None
    NumberOfWarningSuboperations: int | None = None
    MoveOriginatorApplicationEntityTitle: str | None = None
    MoveOriginatorMessageID: int | None = None

    @property
    def has_data_set(self) -> bool:
        return self.CommandDataSetType != NO_DATA_SET

    @property
    def sop_class(self) -> str:
        """The SOP class the message is about, whichever of the two elements names it."""
        return self.AffectedSOPClassUID or self.RequestedSOPClassUID or ""

    def encode(self) -> bytes:
        """The bytes of the command set, with its group length (0000,0000)."""
        body = b"".join(
            [
                _encode_element(element, kind, value)
                for element, keyword, kind in _LAYOUT
                if (value := getattr(self, keyword)) is not None
            ]
        )
        return struct.pack("<HHLL", 0, 0, 4, len(body)) + body


_LAYOUT: tuple[tuple[int, str, str], ...] = (
    (0x0002, "AffectedSOPClassUID", "UI"),
    (0x0003, "RequestedSOPClassUID", "UI"),
    (0x0100, "CommandField", "US"),
    (0x0110, "MessageID", "US"),
    (0x0120, "MessageIDBeingRespondedTo", "US"),
    (0x0600, "MoveDestination", "AE"),
    (0x0700, "Priority", "US"),
    (0x0800, "CommandDataSetType", "US"),
    (0x0900, "Status", "US"),
    (0x0901, "OffendingElement", "AT"),
    (0x0902, "ErrorComment", "LO"),
    (0x0903, "ErrorID", "US"),
    (0x1000, "AffectedSOPInstanceUID", "UI"),
    (0x1001, "RequestedSOPInstanceUID", "UI"),
    (0x1002, "EventTypeID", "US"),
    (0x1008, "ActionTypeID", "US"),
    (0x1020, "NumberOfRemainingSuboperations", "US"),
    (0x1021, "NumberOfCompletedSuboperations", "US"),
    (0x1022, "NumberOfFailedSuboperations", "US"),
    (0x1023, "NumberOfWarningSuboperations", "US"),
    (0x1030, "MoveOriginatorApplicationEntityTitle", "AE"),
    (0x1031, "MoveOriginatorMessageID", "US"),
)
_RESPONSE = struct.Struct("<" + "HHLH" * 4)
_BY_ELEMENT = {element: (keyword, kind) for element, keyword, kind in _LAYOUT}
assert {keyword for _, keyword, _ in _LAYOUT} == {field.name for field in fields(CommandSet)}


def _encode_element(element: int, kind: str, value: str | int | bytes) -> bytes:
    if isinstance(value, int):
        return struct.pack("<HHLH", 0, element, 2, value)
    # A UID that came from a peer goes back as it came, so nothing here may fail on its contents
    body = value.encode("latin-1", "replace") if isinstance(value, str) else value
    if len(body) & 1:
        body += b"\0" if kind == "UI" else b" "
    return struct.pack("<HHL", 0, element, len(body)) + body


def decode_command(body: bytes | bytearray) -> CommandSet:
    """The command set in `body`. Raises `PduError` naming the element and its shape."""
    found: dict[str, str | int | bytes] = {}
    position, end = 0, len(body)
    while position < end:
        if end - position < 8:
            raise PduError("the command set ends inside an element header")
        group, element, length = struct.unpack_from("<HHL", body, position)
        position += 8
        if group != 0:
            raise PduError(f"the command set holds an element of group {group:04x}")
        if length > end - position:
            raise PduError(f"command element (0000,{element:04x}) declares {length} bytes, {end - position} are left")
        known = _BY_ELEMENT.get(element)
        if known is not None:
            found[known[0]] = _decode_value(element, known[1], bytes(body[position : position + length]))
        position += length
    if "CommandField" not in found:
        raise PduError("the command set has no Command Field (0000,0100)")
    return CommandSet(**found)  # type: ignore[arg-type]


def _decode_value(element: int, kind: str, value: bytes) -> str | int | bytes:
    if kind == "US":
        if len(value) != 2:
            raise PduError(f"command element (0000,{element:04x}) has {len(value)} bytes; a US has 2")
        return int.from_bytes(value, "little")
    if kind == "AT":
        return value
    return value.decode("latin-1").rstrip("\0 ") if kind == "UI" else value.decode("latin-1").strip("\0 ")


def response_to(request: CommandSet, status: int, *, comment: str = "", data_set: bool = False) -> CommandSet:
    """The response to `request` (PS3.7 9.3, 10.3): its class, instance and message ID mirrored.

    `comment` becomes Error Comment (0000,0902), cut to the 64 characters of an LO.
    """
    return CommandSet(
        CommandField=request.CommandField | 0x8000,
        AffectedSOPClassUID=request.sop_class or None,
        AffectedSOPInstanceUID=request.AffectedSOPInstanceUID or request.RequestedSOPInstanceUID or None,
        MessageIDBeingRespondedTo=request.MessageID or 0,
        CommandDataSetType=0x0001 if data_set else NO_DATA_SET,
        Status=status,
        ErrorComment=comment[:64] or None,
        EventTypeID=request.EventTypeID,
        ActionTypeID=request.ActionTypeID,
    )


def encoded_response(request: CommandSet, status: int, *, data_set: bool = False) -> bytes:
    """The bytes of `response_to(request, status)`, without the value in between.

    One of these is made for every object and every worklist row, and costs a quarter of the two steps.
    """
    if request.EventTypeID is not None or request.ActionTypeID is not None:
        return response_to(request, status, data_set=data_set).encode()
    sop_class = _padded_uid(request.sop_class)
    instance = _padded_uid(request.AffectedSOPInstanceUID or request.RequestedSOPInstanceUID or "")
    parts = [struct.pack("<HHL", 0, 0x0002, len(sop_class)), sop_class] if sop_class else []
    parts.append(
        _RESPONSE.pack(
            *(0, 0x0100, 2, request.CommandField | 0x8000),
            *(0, 0x0120, 2, request.MessageID or 0),
            *(0, 0x0800, 2, 0x0001 if data_set else NO_DATA_SET),
            *(0, 0x0900, 2, status),
        )
    )
    if instance:
        parts += [struct.pack("<HHL", 0, 0x1000, len(instance)), instance]
    body = b"".join(parts)
    return struct.pack("<HHLL", 0, 0, 4, len(body)) + body


def _padded_uid(uid: str) -> bytes:
    raw = uid.encode("latin-1", "replace")
    return raw + b"\0" if len(raw) & 1 else raw


class Command(NamedTuple):
    """A whole command set arrived; its data set, if it has one, follows as `Data`."""

    context_id: int
    command: CommandSet


class Data(NamedTuple):
    """Bytes of the data set that belongs to the command before; `data` views the caller's buffer."""

    context_id: int
    data: memoryview
    last: bool


class MessageReader:
    """Fragments in, commands and data out; at most `MAX_COMMAND` bytes are held."""

    __slots__ = ("_awaits_data", "_command", "_context_id")

    def __init__(self) -> None:
        self._command = bytearray()
        self._context_id = 0
        self._awaits_data = False

    @property
    def in_message(self) -> bool:
        """A message has begun and is not whole yet."""
        return self._awaits_data or bool(self._command)

    def read(self, fragment: Fragment) -> Command | Data | None:
        """What this fragment completes; None for a part of a command set. Raises `PduError`."""
        if self.in_message and fragment.context_id != self._context_id:
            raise PduError(f"context {fragment.context_id} interrupts a message on context {self._context_id}")
        if fragment.command:
            return self._read_command(fragment)
        if not self._awaits_data:
            raise PduError("a data set arrived that no command announced", AbortReason.UNEXPECTED_PDU)
        self._awaits_data = not fragment.last
        return Data(fragment.context_id, fragment.data, fragment.last)

    def _read_command(self, fragment: Fragment) -> Command | None:
        if self._awaits_data:
            raise PduError("a command set arrived inside a data set", AbortReason.UNEXPECTED_PDU)
        if len(self._command) + len(fragment.data) > MAX_COMMAND:
            raise PduError(f"the command set is longer than {MAX_COMMAND} bytes")
        self._command += fragment.data
        self._context_id = fragment.context_id
        if not fragment.last:
            return None
        command = decode_command(self._command)
        self._command = bytearray()
        self._awaits_data = command.has_data_set
        return Command(fragment.context_id, command)
