"""Native data sets from one transfer syntax to another, without copying their pixels (PS3.5 A.1, A.2, 7.3).

Promises: the result is a list of segments, bytes or an `Extent` of the source, that together are the whole
data set in the new syntax; `length_of` tells its length before anything is sent. Values of 64 KiB and more
stay where they are (`sendfile`), unless their numbers must be turned round or the source was deflated.
Lengths of sequences and items are computed anew, odd values padded, retired group lengths left out
(PS3.5 7.2). Nothing else changes: no element is added, dropped or interpreted.

What the target can't say: Implicit VR has no VRs, so private elements come back as UN (PS3.5 6.2.2), except
sequences, which keep an undefined length there to remain recognisable.

Failure: `ElementError` for encapsulated pixels, for damage (a length that points behind the end) and for
nesting deeper than `MAX_DEPTH`. Then the object can only be sent as it was received.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

from gateway.dicom.elements import leading
from gateway.dicom.layout import (
    DEFLATED,
    EXPLICIT_BIG,
    EXPLICIT_LITTLE,
    IMPLICIT_LITTLE,
    ITEM,
    ITEM_END,
    MAX_DEPTH,
    NUMBER_UNIT,
    SEQUENCE_END,
    UNDEFINED,
    ElementError,
    Layout,
    bounded,
    element_header,
    header,
    implicit_vr,
    inflate,
    is_retired_group_length,
    item_header,
    layout_of,
    pad,
    sequence_frame,
    sequence_layout,
    swapped,
)

EXTENT_FROM: Final = 64 << 10
"""Values of this many bytes and more are not copied."""

MAX_INFLATED: Final = 256 << 20
"""Bytes of the longest deflated data set that is converted: it is held in memory, and anyone may have sent it."""
PIXEL_REPRESENTATION: Final = 0x00280103
_PIXEL_DATA: Final = 0x7FE00010
_NATIVE: Final = frozenset({IMPLICIT_LITTLE, EXPLICIT_LITTLE, EXPLICIT_BIG, DEFLATED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Extent:
    """A part of the source, in bytes from its beginning."""

    offset: int
    length: int


Segment = bytes | Extent


def length_of(segments: list[Segment]) -> int:
    """The length in bytes of what the segments make together."""
    return sum(segment.length if isinstance(segment, Extent) else len(segment) for segment in segments)


def moved(segment: Segment, by: int) -> Segment:
    """The segment in a source that has `by` more bytes in front."""
    return Extent(offset=segment.offset + by, length=segment.length) if isinstance(segment, Extent) else segment


def implicit_little_endian(
    source: bytes | memoryview, transfer_syntax: str, *, max_inflated: int = MAX_INFLATED
) -> list[Segment]:
    """The data set of `source` in Implicit VR LE. Raises ElementError."""
    return converted(source, transfer_syntax, IMPLICIT_LITTLE, max_inflated=max_inflated)


def explicit_little_endian(
    source: bytes | memoryview, transfer_syntax: str, *, max_inflated: int = MAX_INFLATED
) -> list[Segment]:
    """The data set of `source` in Explicit VR LE. Raises ElementError.

    From Implicit VR the VRs are the dictionary's: private and unknown elements become UN, words stand
    for "OB or OW", and Pixel Representation (0028,0103) decides between US and SS.
    """
    return converted(source, transfer_syntax, EXPLICIT_LITTLE, max_inflated=max_inflated)


def converted(
    source: bytes | memoryview,
    transfer_syntax: str,
    target: str,
    *,
    in_place: bool = True,
    signed: bool | None = None,
    max_inflated: int = MAX_INFLATED,
) -> list[Segment]:
    """The data set of `source` in Implicit or Explicit VR LE; only bytes if not `in_place`. Raises ElementError.

    `signed` is Pixel Representation where it isn't in `source`, because that is the rest of a data set.
    """
    if transfer_syntax == target:
        whole: Segment = Extent(offset=0, length=len(source)) if in_place else bytes(source)
        return [whole] if len(source) else []
    layout = layout_of(transfer_syntax)
    if layout.deflated:
        source = inflate(source, limit=max_inflated)
        if target == EXPLICIT_LITTLE:
            return [source]
    if signed is None:
        found = leading(source, transfer_syntax, frozenset({PIXEL_REPRESENTATION})) if layout.implicit else {}
        signed = any(found.get(PIXEL_REPRESENTATION, b""))
    out = Output()
    # Released even if an error keeps the frames alive, or the caller could not close what `source` maps
    with memoryview(source) as view:
        native = transfer_syntax in _NATIVE
        conversion = _Conversion(view, layout_of(target), in_place=in_place and not layout.deflated, native=native)
        conversion.data_set(out, 0, len(view), _Level(layout, 0, signed, delimited=False))
    return out.finished()


class Output:
    """Segments as they grow: small bytes are gathered. Extents never touch, for headers stand between values."""

    __slots__ = ("_gathered", "_segments", "length")

    def __init__(self) -> None:
        self._segments: list[Segment] = []
        self._gathered = bytearray()
        self.length = 0

    def write(self, content: bytes) -> None:
        self.length += len(content)
        if len(content) < EXTENT_FROM:
            self._gathered += content
        else:
            self._flush()
            self._segments.append(content)

    def place(self, extent: Extent) -> None:
        self.length += extent.length
        self._flush()
        self._segments.append(extent)

    def include(self, other: Output) -> None:
        for segment in other.finished():
            if isinstance(segment, Extent):
                self.place(segment)
            else:
                self.write(segment)

    def finished(self) -> list[Segment]:
        self._flush()
        return self._segments

    def _flush(self) -> None:
        if self._gathered:
            self._segments.append(bytes(self._gathered))
            self._gathered.clear()


class _Level(NamedTuple):
    """Where in the nesting we are, and what holds there."""

    layout: Layout
    depth: int
    signed: bool
    delimited: bool


class _Conversion:
    """One conversion: a source, a target, and whether values may stay in place."""

    __slots__ = ("in_place", "native", "source", "target")

    def __init__(self, source: memoryview, target: Layout, *, in_place: bool, native: bool) -> None:
        self.source = source
        self.target = target
        self.in_place = in_place
        self.native = native

    def data_set(self, out: Output, position: int, end: int, level: _Level) -> int:
        while position < end:
            tag, vr, length, position = header(self.source, position, end, level.layout)
            if tag == ITEM_END and level.delimited:
                return position
            if not vr:
                raise ElementError(tag, "delimiter outside its sequence", "send the object as received")
            if length == UNDEFINED or vr == "SQ":
                position = self._sequence(out, tag, vr, length, position, end, level)
                continue
            stop = bounded(tag, position, length, end)
            if tag == PIXEL_REPRESENTATION:
                level = level._replace(signed=any(self.source[position:stop]))
            if not is_retired_group_length(tag):
                self._value(out, tag, vr, position, stop, level)
            position = stop
        if level.delimited:
            raise ElementError(ITEM_END, "item not ended", "send the object as received")
        return position

    def _value(self, out: Output, tag: int, vr: str, start: int, stop: int, level: _Level) -> None:  # noqa: PLR0917
        if tag == _PIXEL_DATA and not self.native:
            raise ElementError(tag, "pixels in an encapsulated transfer syntax", "send the object as received")
        if level.layout.implicit and vr == "US":
            vr = implicit_vr(tag, signed=level.signed)
        length = stop - start
        padding = pad(vr, length)
        out.write(element_header(tag, vr, length + len(padding), self.target))
        turned = level.layout.big and vr in NUMBER_UNIT
        if self.in_place and not turned and length >= EXTENT_FROM:
            out.place(Extent(offset=start, length=length))
        else:
            value = bytes(self.source[start:stop])
            out.write(swapped(value, vr) if turned else value)
        out.write(padding)

    def _sequence(  # noqa: PLR0917
        self, out: Output, tag: int, vr: str, length: int, position: int, end: int, level: _Level
    ) -> int:
        if level.depth == MAX_DEPTH:
            raise ElementError(tag, f"sequences nested deeper than {MAX_DEPTH}", "send the object as received")
        delimited = length == UNDEFINED
        inner = sequence_layout(tag, vr, level.layout) if delimited else level.layout
        stop = end if delimited else bounded(tag, position, length, end)
        items = Output()
        below = level._replace(layout=inner, depth=level.depth + 1, delimited=delimited)
        position = self._items(items, tag, position, stop, below)
        before, after = sequence_frame(tag, items.length, self.target)
        out.write(before)
        out.include(items)
        out.write(after)
        return position

    def _items(self, out: Output, tag: int, position: int, end: int, level: _Level) -> int:
        """Items up to `end` or, if the sequence is delimited, to its delimiter."""
        while position < end:
            mark, _, length, position = header(self.source, position, end, level.layout)
            if mark == SEQUENCE_END and level.delimited:
                return position
            if mark != ITEM:
                raise ElementError(tag, "something else where an item begins", "send the object as received")
            item = Output()
            delimited = length == UNDEFINED
            stop = end if delimited else bounded(tag, position, length, end)
            position = self.data_set(item, position, stop, level._replace(delimited=delimited))
            out.write(item_header(item.length))
            out.include(item)
        if level.delimited:
            raise ElementError(tag, "sequence not ended", "send the object as received")
        return position
