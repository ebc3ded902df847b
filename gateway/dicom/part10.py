"""File Meta Information: what our files say before the data set, and what any file says (PS3.10 7.1).

Promises: `build` never refuses an object for its identifiers (invariant 6): they are written as the bytes
they are, cut at a fixed length, and never exceed `LONGEST_HEADER`. `read` gives them back, so a file whose
row was lost tells everything about its receipt. Under our private creator (0002,0100) stands ASCII JSON
whose first field is the content hash, written last with one pwrite at `hash_offset`: until then the file is
not complete, and `read` says so with an empty hash.

`read` takes any Part 10 file: elements may be missing or out of order, the group length is ignored, and a
private creator that isn't ours is left alone. Failure: `ElementError` where there is no file meta to read.
"""

from __future__ import annotations

import functools
import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Required, TypedDict

from gateway.dicom.elements import EXPLICIT_LITTLE, DataSet, Element, ElementError, encode, text_of
from gateway.dicom.layout import EXPLICIT, bounded, header

IMPLEMENTATION_CLASS_UID: Final = "2.25.197591738962790865210883690932361954764"
IMPLEMENTATION_VERSION_NAME: Final = "MODALITY_GW_1"
PRIVATE_INFORMATION_CREATOR_UID: Final = "2.25.235357932719375478208160651117812226316"
LONGEST_HEADER: Final = 8 << 10
"""Bytes that hold every header of ours; read as much of a file to call `read`."""

_PREAMBLE: Final = 128
_MAGIC: Final = b"DICM"
_GROUP: Final = b"\x02\x00"
_GROUP_LENGTH: Final = 0x00020000
_VERSION: Final = 0x00020001
_CLASS: Final = 0x00020002
_INSTANCE: Final = 0x00020003
_SYNTAX: Final = 0x00020010
_IMPLEMENTATION_CLASS: Final = 0x00020012
_IMPLEMENTATION_VERSION: Final = 0x00020013
_SOURCE_AE: Final = 0x00020016
_SENDING_AE: Final = 0x00020017
_RECEIVING_AE: Final = 0x00020018
_CREATOR: Final = 0x00020100
_PRIVATE: Final = 0x00020102

_HASH_PREFIX: Final = '{"hash":"'
_NO_HASH: Final = "0" * 32
_MOMENT: Final = "%Y-%m-%dT%H:%M:%S.%f%z"
_HASH: Final = re.compile(r"[0-9a-f]{32}")
_LONGEST_UID: Final = 1024
_LONGEST_AE: Final = 64
_LONGEST_NOTE: Final = 64
_SURROGATES: Final = range(0xDC80, 0xDD00)


@dataclass(frozen=True, slots=True, kw_only=True)
class FileMeta:
    """The first bytes of a file of ours."""

    header: bytes
    """Preamble, prefix and group 0002; the data set follows."""
    hash_offset: int
    """Where in the file the 32 lower-case hexadecimal digits of the content hash are to be written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileMetaRead:
    """What a file says about itself; "" for what it doesn't say."""

    SOPClassUID: str
    SOPInstanceUID: str
    TransferSyntaxUID: str
    ImplementationClassUID: str
    ImplementationVersionName: str
    data_offset: int
    """Where the data set begins, in bytes from the beginning of the file."""
    calling_ae: str
    called_ae: str
    ours: bool
    """Whether the fields below were written by `build`."""
    address: str = ""
    association: str = ""
    received_at: datetime | None = None
    priority: int = 0
    content_hash: str = ""
    """xxh3-128, hexadecimal; "" if the file was never completed or isn't ours."""


def build(
    *,
    SOPClassUID: str,
    SOPInstanceUID: str,
    TransferSyntaxUID: str,
    calling_ae: str,
    called_ae: str,
    address: str,
    association: str,
    received_at: datetime,
    priority: int = 0,
) -> FileMeta:
    """The header of a received object. `received_at` must be aware (ValueError); no text is refused.

    Text becomes one byte a character: Latin-1, undecodable bytes (surrogateescape) as they were, "?"
    for anything else. UIDs are cut at 1024 bytes, AE titles, address and association at 64 characters.
    """
    if received_at.tzinfo is None:
        raise ValueError("received_at has no time zone; give an aware datetime")
    note = _note(address=address, association=association, received_at=received_at, priority=priority)
    before, after = _constant(SOPClassUID, TransferSyntaxUID, calling_ae, called_ae)
    instance = encode({_INSTANCE: Element("UI", _raw(SOPInstanceUID, _LONGEST_UID))}, EXPLICIT_LITTLE)
    rest = b"".join((before, instance, after, encode({_PRIVATE: Element("OB", note)}, EXPLICIT_LITTLE)))
    content = _headed(rest)
    return FileMeta(header=content, hash_offset=len(content) - len(note) + len(_HASH_PREFIX))


def meta(*, SOPClassUID: str, SOPInstanceUID: str, TransferSyntaxUID: str) -> bytes:
    """The header of an object that leaves the box as a file: what PS3.10 7.1 requires, and nothing of its receipt."""
    group: DataSet = {
        _VERSION: Element("OB", b"\x00\x01"),
        _CLASS: Element("UI", _raw(SOPClassUID, _LONGEST_UID)),
        _INSTANCE: Element("UI", _raw(SOPInstanceUID, _LONGEST_UID)),
        _SYNTAX: Element("UI", _raw(TransferSyntaxUID, _LONGEST_UID)),
        _IMPLEMENTATION_CLASS: Element("UI", IMPLEMENTATION_CLASS_UID.encode()),
        _IMPLEMENTATION_VERSION: Element("SH", IMPLEMENTATION_VERSION_NAME.encode()),
    }
    return _headed(encode(group, EXPLICIT_LITTLE))


def _headed(rest: bytes) -> bytes:
    """Group 0002 with all that stands before it."""
    length = encode({_GROUP_LENGTH: Element("UL", len(rest).to_bytes(4, "little"))}, EXPLICIT_LITTLE)
    return b"\0" * _PREAMBLE + _MAGIC + length + rest


@functools.lru_cache(maxsize=256)
def _constant(sop_class: str, transfer_syntax: str, calling_ae: str, called_ae: str) -> tuple[bytes, bytes]:
    """The elements before and behind the SOP Instance UID: the same for all objects of a series."""
    before: DataSet = {
        _VERSION: Element("OB", b"\x00\x01"),
        _CLASS: Element("UI", _raw(sop_class, _LONGEST_UID)),
    }
    after: DataSet = {
        _SYNTAX: Element("UI", _raw(transfer_syntax, _LONGEST_UID)),
        _IMPLEMENTATION_CLASS: Element("UI", IMPLEMENTATION_CLASS_UID.encode()),
        _IMPLEMENTATION_VERSION: Element("SH", IMPLEMENTATION_VERSION_NAME.encode()),
        _SOURCE_AE: Element("AE", _raw(calling_ae, _LONGEST_AE)),
        _SENDING_AE: Element("AE", _raw(calling_ae, _LONGEST_AE)),
        _RECEIVING_AE: Element("AE", _raw(called_ae, _LONGEST_AE)),
        _CREATOR: Element("UI", PRIVATE_INFORMATION_CREATOR_UID.encode()),
    }
    return encode(before, EXPLICIT_LITTLE), encode(after, EXPLICIT_LITTLE)


def _note(*, address: str, association: str, received_at: datetime, priority: int) -> bytes:
    """Our private information: the hash field first, so that its place is known; of even length."""
    fields = {
        "hash": _NO_HASH,
        "at": received_at.astimezone(UTC).isoformat(timespec="microseconds"),
        "peer": address[:_LONGEST_NOTE],
        "assoc": association[:_LONGEST_NOTE],
        "priority": priority & 0xFFFF,
    }
    note = json.dumps(fields, separators=(",", ":")).encode("ascii")
    return note + b" " * (len(note) % 2)


def _raw(text: str, longest: int) -> bytes:
    if text.isascii():
        return text.strip(" \0")[:longest].encode()
    codes = (ord(character) for character in text.strip(" \0")[:longest])
    return bytes(code if code <= 0xFF else code - 0xDC00 if code in _SURROGATES else ord("?") for code in codes)


def read(content: bytes | memoryview) -> FileMetaRead:
    """What the first bytes of a Part 10 file say. Raises ElementError if they are not one."""
    group, data_offset = _group_of(content)
    return FileMetaRead(
        SOPClassUID=text_of(group, _CLASS),
        SOPInstanceUID=text_of(group, _INSTANCE),
        TransferSyntaxUID=text_of(group, _SYNTAX),
        ImplementationClassUID=text_of(group, _IMPLEMENTATION_CLASS),
        ImplementationVersionName=text_of(group, _IMPLEMENTATION_VERSION),
        data_offset=data_offset,
        calling_ae=text_of(group, _SENDING_AE) or text_of(group, _SOURCE_AE),
        called_ae=text_of(group, _RECEIVING_AE),
        **_receipt(group),
    )


def _group_of(content: bytes | memoryview) -> tuple[DataSet, int]:
    """Group 0002, as far as it goes whatever its length element says, and what lies behind it."""
    position, end = _PREAMBLE + len(_MAGIC), len(content)
    if bytes(content[_PREAMBLE:position]) != _MAGIC:
        raise ElementError(_GROUP_LENGTH, "no DICM prefix", "quarantine the file: it is not Part 10")
    group: DataSet = {}
    while bytes(content[position : position + 2]) == _GROUP:
        tag, vr, length, position = header(content, position, end, EXPLICIT)
        stop = bounded(tag, position, length, end)
        group[tag] = Element(vr, bytes(content[position:stop]))
        position = stop
    return group, position


class _Receipt(TypedDict, total=False):
    ours: Required[bool]
    address: str
    association: str
    received_at: datetime
    priority: int
    content_hash: str


def _receipt(group: DataSet) -> _Receipt:
    """Our private information, or only that there is none; it came from a disk and is believed in no detail."""
    value = group[_PRIVATE].value if _PRIVATE in group else b""
    if text_of(group, _CREATOR) != PRIVATE_INFORMATION_CREATOR_UID or len(value) > LONGEST_HEADER:
        return {"ours": False}
    try:
        fields = json.loads(text_of(group, _PRIVATE))
        received_at = datetime.strptime(fields["at"], _MOMENT).astimezone(UTC)
        content_hash = fields["hash"] if _HASH.fullmatch(fields["hash"]) else _NO_HASH
        return {
            "ours": True,
            "address": str(fields["peer"]),
            "association": str(fields["assoc"]),
            "received_at": received_at,
            "priority": int(fields["priority"]),
            "content_hash": "" if content_hash == _NO_HASH else content_hash,
        }
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        return {"ours": False}
