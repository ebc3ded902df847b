"""Data elements as bytes: read a whole small data set, write one, or look at the first few values of a big one.

Promises (PS3.5 6.2, 7.1-7.5, A.1-A.3, A.5):

* `parse` returns every element of an identifier or a header held in memory, values as received
  (padding kept), numbers always little endian; `encode` writes it back. For a data set with even
  values and increasing tags `parse(encode(d)) == d` in both little endian syntaxes, where
  Implicit VR keeps the VRs the dictionary knows and makes the others UN.
* `leading` never raises for what the bytes contain: it returns what it could read before the data
  was truncated, damaged or too laborious. It copies only the values asked for.
* Every declared length is bounded by what is there, nesting and number of elements by the caller.

Failure: `ElementError`, naming the tag, the shape of the fault and the remedy, never a value.
"""

from __future__ import annotations

import zlib
from array import array
from dataclasses import dataclass
from functools import lru_cache
from struct import Struct
from typing import Final, NamedTuple

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

_DELIMITER_GROUP: Final = 0xFFFE
_DEFLATED: Final = frozenset({DEFLATED, "1.2.840.10008.1.2.4.95", "1.2.840.10008.1.2.4.205"})
_SHORT_LENGTH: Final = frozenset(
    b"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split()  # PS3.5 table 7.1-2
)
_TEXT: Final = frozenset("AE AS CS DA DS DT IS LO LT PN SH ST TM UC UR UT".split())
_UNIT: Final = {
    **dict.fromkeys(("AT", "OW", "SS", "US"), "H"),
    **dict.fromkeys(("FL", "OF", "OL", "SL", "UL"), "I"),
    **dict.fromkeys(("FD", "OD", "OV", "SV", "UV"), "Q"),
}
_LONGEST_SHORT: Final = 0xFFFE
_LENGTH: Final = Struct("<L")
_INFLATED_LEADING: Final = 1 << 20


class Element(NamedTuple):
    """One data element: its VR and its value as bytes (little endian), or its items for SQ."""

    vr: str
    value: bytes | list[DataSet]


DataSet = dict[int, Element]
"""Elements by tag (group << 16 | element), in the order of the stream."""


class ElementError(ValueError):
    """The bytes are not a data set we can read or write. Names tag, shape and remedy, never a value."""

    def __init__(self, tag: int, shape: str, remedy: str) -> None:
        super().__init__(f"({tag >> 16:04X},{tag & 0xFFFF:04X}): {shape}; {remedy}")
        self.tag = tag


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """How a transfer syntax writes a data set, apart from its pixels."""

    implicit: bool
    big: bool = False
    deflated: bool = False
    tag_length: Struct = Struct("<HHL")
    tag_vr_length: Struct = Struct("<HH2sH")
    length: Struct = _LENGTH


IMPLICIT: Final = Layout(implicit=True)
EXPLICIT: Final = Layout(implicit=False)
_BIG: Final = Layout(
    implicit=False, big=True, tag_length=Struct(">HHL"), tag_vr_length=Struct(">HH2sH"), length=Struct(">L")
)
_EXPLICIT_DEFLATED: Final = Layout(implicit=False, deflated=True)


def layout_of(transfer_syntax: str) -> Layout:
    """The layout of any transfer syntax; all that are not named here are Explicit VR LE (PS3.5 A.4)."""
    if transfer_syntax == IMPLICIT_LITTLE:
        return IMPLICIT
    if transfer_syntax == EXPLICIT_BIG:
        return _BIG
    return _EXPLICIT_DEFLATED if transfer_syntax in _DEFLATED else EXPLICIT


@lru_cache(maxsize=8192)
def implicit_vr(tag: int) -> str:
    """The VR of a tag when the stream doesn't say (PS3.5 A.1): UN for what the dictionary doesn't know.

    Where the standard leaves a choice: OW before OB (A.1 c), US before SS (the caller who knows
    Pixel Representation decides).
    """
    if tag & 0xFFFF == 0:
        return "UL"
    if tag >> 16 & 1:
        return "LO" if 0x10 <= tag & 0xFFFF <= 0xFF else "UN"  # noqa: PLR2004 - private creators, PS3.5 7.8.1
    try:
        vr = dictionary_VR(tag)
    except KeyError:
        return "UN"
    if " or " in vr:
        return "OW" if "OW" in vr else "US"
    return vr if len(vr) == 2 else "UN"  # noqa: PLR2004


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
    if vr in _SHORT_LENGTH:
        return tag, vr.decode("ascii"), length, position + 8
    if not (vr.isalpha() and vr.isupper()):
        raise ElementError(tag, "no VR where Explicit VR promises one", "encode in the negotiated transfer syntax")
    if end - position < 12:  # noqa: PLR2004 - the long header, PS3.5 table 7.1-1
        raise ElementError(tag, "header cut short", "send the whole data set")
    return tag, vr.decode("ascii"), layout.length.unpack_from(source, position + 8)[0], position + 12


def swapped(value: bytes, vr: str) -> bytes:
    """`value` with the bytes of each number reversed as its VR demands (PS3.5 7.3); a stray tail is kept."""
    unit = _UNIT.get(vr)
    if unit is None:
        return value
    numbers = array(unit)
    whole = len(value) - len(value) % numbers.itemsize
    numbers.frombytes(value[:whole])
    numbers.byteswap()
    return numbers.tobytes() + value[whole:]


def inflate(source: bytes | memoryview, *, limit: int) -> bytes:
    """The data set inside a deflated stream (PS3.5 A.5, RFC 1951), at most `limit` bytes."""
    stream = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        inflated = stream.decompress(source, limit + 1)
    except zlib.error as error:
        raise ElementError(0, "not a deflate stream", "encode in the negotiated transfer syntax") from error
    if len(inflated) > limit:
        raise ElementError(0, f"inflates to more than {limit} bytes", "send it without deflate")
    if not stream.eof:
        raise ElementError(0, "deflate stream cut short", "send the whole data set")
    return inflated


def parse(
    data: bytes | memoryview,
    transfer_syntax: str,
    *,
    max_depth: int = MAX_DEPTH,
    max_elements: int = 50_000,
    max_inflated: int = 64 << 20,
    before: int = 1 << 32,
) -> DataSet:
    """Every element of a data set, or those whose tag is smaller than `before`.

    `max_elements` counts items and nested elements too. A tag that occurs twice keeps its last
    value. UN of undefined length is a sequence in Implicit VR (PS3.5 6.2.2). Raises ElementError
    for damage, for the limits, and for encapsulated pixels (read only what is `before` them).
    """
    layout = layout_of(transfer_syntax)
    source = memoryview(inflate(data, limit=max_inflated) if layout.deflated else data)
    reader = _Reader(source, min(max_depth, MAX_DEPTH), max_elements, before)
    return reader.data_set(0, len(source), layout, 0, delimited=False)[0]


class _Reader:
    """One call of `parse`: what is read, and how much more of it is allowed."""

    __slots__ = ("before", "left", "max_depth", "source")

    def __init__(self, source: memoryview, max_depth: int, max_elements: int, before: int) -> None:
        self.source = source
        self.max_depth = max_depth
        self.left = max_elements
        self.before = before

    def data_set(self, position: int, end: int, layout: Layout, depth: int, *, delimited: bool) -> tuple[DataSet, int]:
        found: DataSet = {}
        while position < end:
            tag, vr, length, position = header(self.source, position, end, layout)
            if tag == ITEM_END and delimited:
                return found, position
            if not vr:
                raise ElementError(tag, "delimiter outside its sequence", "correct the sender's encoding")
            if depth == 0 and tag >= self.before:
                break
            self._count(tag)
            found[tag], position = self._element(tag, vr, length, position, end, layout, depth)
        if delimited:
            raise ElementError(ITEM_END, "item not ended", "send the whole data set")
        return found, position

    def _element(  # noqa: PLR0913, PLR0917
        self, tag: int, vr: str, length: int, position: int, end: int, layout: Layout, depth: int
    ) -> tuple[Element, int]:
        if length == UNDEFINED:
            inner = sequence_layout(tag, vr, layout)
            items, position = self._items(tag, position, end, inner, depth + 1, delimited=True)
            return Element("SQ", items), position
        stop = bounded(tag, position, length, end)
        if vr == "SQ":
            items, _ = self._items(tag, position, stop, layout, depth + 1, delimited=False)
            return Element(vr, items), stop
        value = bytes(self.source[position:stop])
        return Element(vr, swapped(value, vr) if layout.big else value), stop

    def _items(  # noqa: PLR0913, PLR0917
        self, tag: int, position: int, end: int, layout: Layout, depth: int, *, delimited: bool
    ) -> tuple[list[DataSet], int]:
        if depth > self.max_depth:
            raise ElementError(tag, f"sequences nested deeper than {self.max_depth}", "flatten the data set")
        items: list[DataSet] = []
        while position < end:
            mark, _, length, position = header(self.source, position, end, layout)
            if mark == SEQUENCE_END and delimited:
                return items, position
            if mark != ITEM:
                raise ElementError(tag, "something else where an item begins", "correct the sender's encoding")
            self._count(tag)
            if length == UNDEFINED:
                item, position = self.data_set(position, end, layout, depth, delimited=True)
            else:
                stop = bounded(tag, position, length, end)
                item, position = self.data_set(position, stop, layout, depth, delimited=False)
            items.append(item)
        if delimited:
            raise ElementError(tag, "sequence not ended", "send the whole data set")
        return items, position

    def _count(self, tag: int) -> None:
        self.left -= 1
        if self.left < 0:
            raise ElementError(tag, "more elements than allowed", "send a smaller data set")


def bounded(tag: int, position: int, length: int, end: int) -> int:
    """Where a value of the declared length ends, which is never behind `end`."""
    if length > end - position:
        raise ElementError(tag, f"declares {length} bytes where {end - position} are left", "send the whole data set")
    return position + length


def sequence_layout(tag: int, vr: str, layout: Layout) -> Layout:
    """The layout of the items of an element of undefined length (PS3.5 6.2.2 for UN)."""
    if vr == "UN":
        return IMPLICIT
    if vr != "SQ":
        raise ElementError(tag, f"undefined length with VR {vr}", "send native values, not encapsulated ones")
    return layout


def encode(dataset: DataSet, transfer_syntax: str) -> bytes:
    """The data set in Explicit or Implicit VR LE: tags increasing, values even, lengths defined.

    Two exceptions keep what would be lost: a sequence unknown to the dictionary has undefined length
    in Implicit VR, or its reader could not tell it is one; a value too long for a short VR becomes
    UN (PS3.5 6.2.2). Retired group lengths above group 0002 are left out (PS3.5 7.2).
    """
    layout = layout_of(transfer_syntax)
    if layout.big or layout.deflated:
        raise ElementError(0, "can't be written in this transfer syntax", "choose Explicit or Implicit VR LE")
    return _encoded(dataset, layout, 0)


def _encoded(dataset: DataSet, layout: Layout, depth: int) -> bytes:
    parts: list[bytes] = []
    for tag, (vr, value) in sorted(dataset.items()):
        if is_retired_group_length(tag):
            continue
        if isinstance(value, list):
            if vr != "SQ" or depth == MAX_DEPTH:
                raise ElementError(tag, f"items with VR {vr} at depth {depth}", "nest less, and only in SQ")
            items = b"".join(_item(_encoded(item, layout, depth + 1)) for item in value)
            before, after = sequence_frame(tag, len(items), layout)
            parts += (before, items, after)
        elif vr == "SQ":
            raise ElementError(tag, "SQ without items", "give a list of data sets")
        else:
            padding = pad(vr, len(value))
            parts += (element_header(tag, vr, len(value) + len(padding), layout), value, padding)
    return b"".join(parts)


def _item(content: bytes) -> bytes:
    return item_header(len(content)) + content


def item_header(length: int) -> bytes:
    """An Item of defined length in little endian (PS3.5 7.5.1)."""
    return EXPLICIT.tag_length.pack(ITEM >> 16, ITEM & 0xFFFF, length)


def is_retired_group_length(tag: int) -> bool:
    """Whether a tag is a group length outside command set and file meta (PS3.5 7.2)."""
    return tag & 0xFFFF == 0 and tag >> 16 > 2  # noqa: PLR2004


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
    if code in _SHORT_LENGTH and length <= _LONGEST_SHORT:
        return layout.tag_vr_length.pack(tag >> 16, tag & 0xFFFF, code, length)
    if code in _SHORT_LENGTH:
        code = b"UN"
    return layout.tag_vr_length.pack(tag >> 16, tag & 0xFFFF, code, 0) + _LENGTH.pack(length)


def sequence_frame(tag: int, length: int, layout: Layout) -> tuple[bytes, bytes]:
    """What stands before and after `length` bytes of items, so that a reader knows they are items."""
    if layout.implicit and implicit_vr(tag) != "SQ":
        end = EXPLICIT.tag_length.pack(SEQUENCE_END >> 16, SEQUENCE_END & 0xFFFF, 0)
        return element_header(tag, "SQ", UNDEFINED, layout), end
    return element_header(tag, "SQ", length, layout), b""


def text_of(dataset: DataSet, tag: int) -> str:
    """The value of a top-level tag as Latin-1 text without padding; "" if absent or a sequence.

    For identifiers, codes and UIDs; text in a Specific Character Set is read by `charset.decode`.
    """
    element = dataset.get(tag)
    if element is None or isinstance(element.value, list):
        return ""
    return element.value.decode("latin-1").strip(" \0")


def leading(
    data: bytes | memoryview,
    transfer_syntax: str,
    wanted: frozenset[int],
    *,
    limit: int = 20_000,
    longest: int = 64 << 10,
) -> dict[int, bytes]:
    """The top-level values of the wanted tags from the first bytes of an object, as received.

    Stops after the greatest wanted tag, where the data is truncated or damaged, or after `limit`
    headers; what is missing then is absent. Values of more than `longest` bytes and sequences are
    absent too. Numbers of a big endian object are swapped to little endian.
    """
    found: dict[int, bytes] = {}
    if not wanted:
        return found
    layout = layout_of(transfer_syntax)
    try:
        if layout.deflated:
            data = zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, _INFLATED_LEADING)
        _look(data, layout, wanted, found, limit, longest)
    except (ElementError, zlib.error):
        pass
    return found


def _look(  # noqa: PLR0913, PLR0917
    data: bytes | memoryview,
    layout: Layout,
    wanted: frozenset[int],
    found: dict[int, bytes],
    limit: int,
    longest: int,
) -> None:
    """Fill `found`; the short header of Explicit VR LE is read in line, because it is most of the time spent."""
    position, end, last = 0, len(data), max(wanted)
    quick = layout is EXPLICIT or layout.deflated
    unpack = layout.tag_vr_length.unpack_from
    while limit > 0 and end - position >= 8:  # noqa: PLR2004
        limit -= 1
        group, element, code, length = unpack(data, position)
        if quick and code in _SHORT_LENGTH:
            tag = group << 16 | element
            vr = ""
            position += 8
        else:
            tag, vr, length, position = header(data, position, end, layout)
        if tag > last:
            return
        if length == UNDEFINED:
            inner = sequence_layout(tag, vr, layout)
            position, limit = _behind_sequence(data, position, end, inner, limit)
            continue
        stop = bounded(tag, position, length, end) if tag in wanted else position + length
        if tag in wanted and vr != "SQ" and length <= longest:
            value = bytes(data[position:stop])
            found[tag] = swapped(value, vr) if layout.big else value
        position = stop


def _behind_sequence(data: bytes | memoryview, position: int, end: int, layout: Layout, limit: int) -> tuple[int, int]:
    """Where a sequence of undefined length ends, and what is left of the limit; without recursion."""
    open_layouts = [layout]
    while open_layouts:
        limit -= 1
        tag, vr, length, position = header(data, position, end, open_layouts[-1])
        if limit <= 0 or len(open_layouts) > 2 * MAX_DEPTH:
            raise ElementError(tag, "too many or too deep nested elements", "flatten the data set")
        if tag in {ITEM_END, SEQUENCE_END}:
            open_layouts.pop()
        elif length == UNDEFINED:
            open_layouts.append(IMPLICIT if vr == "UN" else open_layouts[-1])
        else:
            position = bounded(tag, position, length, end)
    return position, limit
