"""How a transfer syntax lays out data elements: headers in, headers out, lengths bounded, numbers turned round.

Promises (PS3.5 7.1, 7.3, 7.5, A.1-A.5): nothing is read behind the end it was given; what is written is
little endian. Failure: `ElementError`, naming the tag, the shape of the fault and the remedy, never a value.
"""

from __future__ import annotations

import zlib
from array import array
from dataclasses import dataclass
from functools import lru_cache
from struct import Struct
from typing import Final

from pydicom.datadict import dictionary_VR

IMPLICIT_LITTLE: Final = "1.2.840.10008.1.2"
EXPLICIT_LITTLE: Final = "1.2.840.10008.1.2.1"
EXPLICIT_BIG: Final = "1.2.840.10008.1.2.2"
DEFLATED: Final = "1.2.840.10008.1.2.1.99"

UNDEFINED: Final = 0xFFFFFFFF
"""The length that means "until the delimiter" (PS3.5 7.5.1)."""
ITEM: Final = 0xFFFEE000
ITEM_END: Final = 0xFFFEE00D
SEQUENCE_END: Final = 0xFFFEE0DD
MAX_DEPTH: Final = 32
"""Deepest nesting of sequences anyone may ask for; the standard's own objects stay below ten."""
SHORT_LENGTH: Final = frozenset(b"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split())
"""The VRs whose length has 16 bits (PS3.5 table 7.1-2); all others, also those to come, have 32."""
LONGEST_SHORT: Final = 0xFFFE
"""The longest value of those."""

_DELIMITER_GROUP: Final = 0xFFFE
_DEFLATED: Final = frozenset({DEFLATED, "1.2.840.10008.1.2.4.95", "1.2.840.10008.1.2.4.205"})
_TEXT: Final = frozenset(
    ("AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "LT", "PN", "SH", "ST", "TM", "UC", "UR", "UT")
)
NUMBER_UNIT: Final = {
    **dict.fromkeys(("AT", "OW", "SS", "US"), "H"),
    **dict.fromkeys(("FL", "OF", "OL", "SL", "UL"), "I"),
    **dict.fromkeys(("FD", "OD", "OV", "SV", "UV"), "Q"),
}
"""The VRs of binary numbers and the array code of their width (PS3.5 7.3)."""
_DEFLATED_AT_ONCE: Final = 64 << 10
_INFLATED_AT_ONCE: Final = 1 << 20
_LONG_HEADER: Final = 12
_PRIVATE_CREATORS: Final = range(0x10, 0x100)
_FILE_META: Final = 0x0002
_LITTLE: Final = (Struct("<HHL"), Struct("<HH2sH"), Struct("<L"))
_BIG: Final = (Struct(">HHL"), Struct(">HH2sH"), Struct(">L"))


class ElementError(ValueError):
    """The bytes are not a data set we can read or write. Names tag, shape and remedy, never a value."""

    def __init__(self, tag: int, shape: str, remedy: str) -> None:
        super().__init__(f"({tag >> 16:04X},{tag & 0xFFFF:04X}): {shape}; {remedy}")
        self.tag = tag


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """How a transfer syntax writes a data set, apart from its pixels."""

    implicit: bool
    big: bool
    deflated: bool
    tag_length: Struct
    tag_vr_length: Struct
    length: Struct


def _layout(structs: tuple[Struct, Struct, Struct], *, implicit: bool = False, deflated: bool = False) -> Layout:
    tag_length, tag_vr_length, length = structs
    return Layout(
        implicit=implicit,
        big=structs is _BIG,
        deflated=deflated,
        tag_length=tag_length,
        tag_vr_length=tag_vr_length,
        length=length,
    )


IMPLICIT: Final = _layout(_LITTLE, implicit=True)
EXPLICIT: Final = _layout(_LITTLE)
_EXPLICIT_BIG: Final = _layout(_BIG)
_EXPLICIT_DEFLATED: Final = _layout(_LITTLE, deflated=True)


def layout_of(transfer_syntax: str) -> Layout:
    """The layout of any transfer syntax; all that are not named here are Explicit VR LE (PS3.5 A.4)."""
    if transfer_syntax == IMPLICIT_LITTLE:
        return IMPLICIT
    if transfer_syntax == EXPLICIT_BIG:
        return _EXPLICIT_BIG
    return _EXPLICIT_DEFLATED if transfer_syntax in _DEFLATED else EXPLICIT


def layout_met(source: bytes | memoryview, layout: Layout) -> Layout:
    """The layout itself, or Implicit VR LE where Explicit VR was promised and the first element has no VR.

    Devices do that; what they sent is readable all the same.
    """
    if layout.implicit or layout.big or len(source) < layout.tag_length.size or bytes(source[4:6]).isalpha():
        return layout
    return IMPLICIT


@lru_cache(maxsize=8192)
def implicit_vr(tag: int, *, signed: bool = False) -> str:
    """The VR of a tag when the stream doesn't say (PS3.5 A.1): UN for what the dictionary doesn't know.

    Where the standard leaves a choice: OW before OB (A.1 c), and SS or US as `signed` says, which is
    Pixel Representation (0028,0103).
    """
    if tag & 0xFFFF == 0:
        return "UL"
    if tag >> 16 & 1:
        return "LO" if tag & 0xFFFF in _PRIVATE_CREATORS else "UN"
    try:
        vr = dictionary_VR(tag)
    except KeyError:
        return "UN"
    if " or " in vr:
        return "OW" if "OW" in vr else "SS" if signed else "US"
    return vr if vr.isupper() else "UN"


def header(source: bytes | memoryview, position: int, end: int, layout: Layout) -> tuple[int, str, int, int]:
    """(tag, VR, declared length, where the value begins) of the element at `position`.

    Delimiters and items have the VR "". The declared length is not yet compared with `end`.
    """
    if end - position < layout.tag_length.size:
        raise ElementError(0, f"{end - position} bytes where an element begins", "send the whole data set")
    group, element, length = layout.tag_length.unpack_from(source, position)
    tag = group << 16 | element
    if group == _DELIMITER_GROUP:
        return tag, "", length, position + 8
    if layout.implicit:
        return tag, implicit_vr(tag), length, position + 8
    _, _, vr, length = layout.tag_vr_length.unpack_from(source, position)
    if vr in SHORT_LENGTH:
        return tag, vr.decode("ascii"), length, position + 8
    if not (vr.isalpha() and vr.isupper()):
        raise ElementError(tag, "no VR where Explicit VR promises one", "encode in the negotiated transfer syntax")
    if end - position < _LONG_HEADER:
        raise ElementError(tag, "header cut short", "send the whole data set")
    return tag, vr.decode("ascii"), layout.length.unpack_from(source, position + 8)[0], position + 12


def swapped(value: bytes, vr: str) -> bytes:
    """`value` with the bytes of each number reversed as its VR demands (PS3.5 7.3); a stray tail is kept."""
    unit = NUMBER_UNIT.get(vr)
    if unit is None:
        return value
    numbers = array(unit)
    whole = len(value) - len(value) % numbers.itemsize
    numbers.frombytes(value[:whole])
    numbers.byteswap()
    return numbers.tobytes() + value[whole:]


def inflate(source: bytes | memoryview, *, limit: int) -> bytes:
    """The data set inside a deflated stream (PS3.5 A.5, RFC 1951), at most `limit` bytes.

    It is counted before it is kept: a stream that inflates to more, or is damaged, costs no memory.
    """
    try:
        length, ended = _inflated_length(source, limit)
        if length > limit:
            raise ElementError(0, f"inflates to more than {limit} bytes", "send it without deflate")
        if not ended:
            raise ElementError(0, "deflate stream cut short", "send the whole data set")
        return zlib.decompressobj(-zlib.MAX_WBITS).decompress(source)
    except zlib.error as error:
        raise ElementError(0, "not a deflate stream", "encode in the negotiated transfer syntax") from error


def _inflated_length(source: bytes | memoryview, limit: int) -> tuple[int, bool]:
    """How long the stream is inflated, counted until it is over the limit, and whether its end was met."""
    stream = zlib.decompressobj(-zlib.MAX_WBITS)
    length = 0
    for start in range(0, len(source), _DEFLATED_AT_ONCE):
        piece: bytes | memoryview = source[start : start + _DEFLATED_AT_ONCE]
        while length <= limit and not stream.eof:
            inflated = len(stream.decompress(piece, _INFLATED_AT_ONCE))
            length, piece = length + inflated, stream.unconsumed_tail
            if inflated < _INFLATED_AT_ONCE:
                break
        if length > limit or stream.eof:
            break
    return length, stream.eof


def bounded(tag: int, position: int, length: int, end: int) -> int:
    """Where a value of the declared length ends, which is never behind `end`."""
    if length > end - position:
        raise ElementError(tag, f"declares {length} bytes where {end - position} are left", "send the whole data set")
    return position + length


def sequence_layout(tag: int, vr: str, layout: Layout) -> Layout:
    """The layout of the items of an element of undefined length (PS3.5 6.2.2 for UN)."""
    if vr == "UN":
        return IMPLICIT
    # Implicit VR names no VR: whoever wrote an undefined length there wrote a sequence, whatever the dictionary says
    if vr != "SQ" and (not layout.implicit or vr == "OW"):
        raise ElementError(tag, f"undefined length with VR {vr}", "send native values, not encapsulated ones")
    return layout


def item_header(length: int) -> bytes:
    """An Item of defined length in little endian (PS3.5 7.5.1)."""
    return EXPLICIT.tag_length.pack(ITEM >> 16, ITEM & 0xFFFF, length)


def is_retired_group_length(tag: int) -> bool:
    """Whether a tag is a group length outside command set and file meta (PS3.5 7.2)."""
    return tag & 0xFFFF == 0 and tag >> 16 > _FILE_META


def pad(vr: str, length: int) -> bytes:
    """What makes a value of this length even: nothing, a space for text, NUL for the rest (PS3.5 6.2)."""
    if length % 2 == 0:
        return b""
    return b" " if vr in _TEXT else b"\0"


def element_header(tag: int, vr: str, length: int, layout: Layout) -> bytes:
    """Tag, VR and length in little endian, before a value of `length` bytes (or UNDEFINED)."""
    if length > UNDEFINED:
        raise ElementError(tag, f"value of {length} bytes", "split it: a length has 32 bits")
    if layout.implicit:
        return layout.tag_length.pack(tag >> 16, tag & 0xFFFF, length)
    code = vr.encode("ascii")
    if code in SHORT_LENGTH and length <= LONGEST_SHORT:
        return layout.tag_vr_length.pack(tag >> 16, tag & 0xFFFF, code, length)
    if code in SHORT_LENGTH:
        code = b"UN"
    return layout.tag_vr_length.pack(tag >> 16, tag & 0xFFFF, code, 0) + layout.length.pack(length)


def sequence_frame(tag: int, length: int, layout: Layout) -> tuple[bytes, bytes]:
    """What stands before and after `length` bytes of items, so that a reader knows they are items."""
    if layout.implicit and implicit_vr(tag) != "SQ":
        end = EXPLICIT.tag_length.pack(SEQUENCE_END >> 16, SEQUENCE_END & 0xFFFF, 0)
        return element_header(tag, "SQ", UNDEFINED, layout), end
    return element_header(tag, "SQ", length, layout), b""
