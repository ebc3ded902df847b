"""Data elements as bytes: read a whole small data set, write one, or look at the first few values of a big one.

Promises (PS3.5 6.2, 7.1-7.5, A.1-A.3, A.5):

* `parse` returns every element of an identifier or a header held in memory, values as received
  (padding kept), numbers always little endian; `encode` writes it back. For a data set with even
  values and increasing tags `parse(encode(d)) == d` in both little endian syntaxes, where
  Implicit VR keeps the VRs the dictionary knows and makes the others UN.
* `leading` never raises for what the bytes contain: it returns what it could read before the data
  was truncated, damaged or too laborious. It copies only the values asked for.
* Both read a data set in Implicit VR that was declared as Explicit VR.
* Every declared length is bounded by what is there, nesting and number of elements by the caller.

Failure: `ElementError`, naming the tag, the shape of the fault and the remedy, never a value.
"""

from __future__ import annotations

import zlib
from typing import Final, NamedTuple

from gateway.dicom.layout import (
    DEFLATED,
    EXPLICIT_BIG,
    EXPLICIT_LITTLE,
    IMPLICIT,
    IMPLICIT_LITTLE,
    ITEM,
    ITEM_END,
    LONGEST_SHORT,
    MAX_DEPTH,
    SEQUENCE_END,
    SHORT_LENGTH,
    UNDEFINED,
    ElementError,
    Layout,
    bounded,
    element_header,
    header,
    inflate,
    is_retired_group_length,
    item_header,
    layout_met,
    layout_of,
    pad,
    sequence_frame,
    sequence_layout,
    swapped,
)

__all__ = [
    "DEFLATED",
    "EXPLICIT_BIG",
    "EXPLICIT_LITTLE",
    "IMPLICIT_LITTLE",
    "DataSet",
    "Element",
    "ElementError",
    "behind_sequence",
    "encode",
    "leading",
    "parse",
    "text_of",
]

_INFLATED_LEADING: Final = 1 << 20
_SHORT_HEADER: Final = 8
_SHORT_VR: Final = {code: code.decode("ascii") for code in SHORT_LENGTH}
_SHORT_CODE: Final = {vr: code for code, vr in _SHORT_VR.items()}
_PAD: Final = {vr: pad(vr, 1) for vr in _SHORT_CODE}
_DELIMITER_GROUP: Final = 0xFFFE


class Element(NamedTuple):
    """One data element: its VR and its value as bytes (little endian), or its items for SQ."""

    vr: str
    value: bytes | list[DataSet]


DataSet = dict[int, Element]
"""Elements by tag (group << 16 | element), in the order of the stream."""


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
    return reader.data_set(0, len(source), layout_met(source, layout), 0, delimited=False)[0]


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
        plain = not (layout.implicit or layout.big)
        while position < end:
            if plain and end - position >= _SHORT_HEADER:
                # Read in line as most elements are: it is most of the time spent on a worklist row
                group, element, code, length = layout.tag_vr_length.unpack_from(self.source, position)
                stop = position + _SHORT_HEADER + length
                if code in _SHORT_VR and group != _DELIMITER_GROUP and stop <= end:
                    tag = group << 16 | element
                    if depth == 0 and tag >= self.before:
                        break
                    self._count(tag)
                    found[tag] = Element(_SHORT_VR[code], bytes(self.source[position + _SHORT_HEADER : stop]))
                    position = stop
                    continue
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

    def _element(  # noqa: PLR0917
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

    def _items(
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
    short = {} if layout.implicit else _SHORT_CODE
    pack = layout.tag_vr_length.pack
    for tag, (vr, value) in sorted(dataset.items()):
        if tag & 0xFFFF == 0 and is_retired_group_length(tag):
            continue
        if vr in short and isinstance(value, bytes) and (length := len(value)) <= LONGEST_SHORT:
            # Written in line as most elements are: it is most of the time spent on a worklist row
            odd = length & 1
            parts += (pack(tag >> 16, tag & 0xFFFF, short[vr], length + odd), value, _PAD[vr] if odd else b"")
        elif isinstance(value, list):
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
        _look(data, layout_met(data, layout), wanted, found=found, limit=limit, longest=longest)
    except (ElementError, zlib.error):
        pass
    return found


def _look(
    data: bytes | memoryview,
    layout: Layout,
    wanted: frozenset[int],
    *,
    found: dict[int, bytes],
    limit: int,
    longest: int,
) -> None:
    """Fill `found`. Short headers of Explicit VR are read in line: they are most of the time spent."""
    position, last = 0, max(wanted)
    end = len(data)
    explicit, unpack = not layout.implicit, layout.tag_vr_length.unpack_from
    while limit > 0 and end - position >= _SHORT_HEADER:
        limit -= 1
        group, element, code, length = unpack(data, position)
        if explicit and code in SHORT_LENGTH:
            tag = group << 16 | element
            position += _SHORT_HEADER
        else:
            tag, vr, length, position = header(data, position, end, layout)
            if length == UNDEFINED and tag <= last:
                position, limit = behind_sequence(data, position, end, sequence_layout(tag, vr, layout), limit)
                continue
            code = vr.encode()
        if tag > last:
            return
        if tag in wanted and length <= longest and code != b"SQ":
            value = bytes(data[position : bounded(tag, position, length, end)])
            found[tag] = swapped(value, code.decode()) if layout.big else value
        position += length


def behind_sequence(data: bytes | memoryview, position: int, end: int, layout: Layout, limit: int) -> tuple[int, int]:
    """Where a sequence of undefined length ends, and what is left of the limit of headers; without recursion.

    `position` is behind its header and `layout` that of its items. Raises ElementError.
    """
    open_layouts = [layout]
    while open_layouts:
        limit -= 1
        tag, vr, length, position = header(data, position, end, open_layouts[-1])
        if limit <= 0:
            raise ElementError(tag, "too many nested elements", "flatten the data set")
        if tag in {ITEM_END, SEQUENCE_END}:
            open_layouts.pop()
        elif length == UNDEFINED:
            open_layouts.append(IMPLICIT if vr == "UN" else open_layouts[-1])
        else:
            position = bounded(tag, position, length, end)
    return position, limit
