"""Encapsulated Pixel Data as a stream: written a frame at a time, and taken apart without a copy (PS3.5 A.4).

Promises of the writer: one fragment a frame, each of even length, a Basic Offset Table with an offset for every
frame, and nothing held but the offsets: the table is written last, over the room `opening` left for it. An
Extended Offset Table (7FE0,0001) is never needed: what is compressed was native, and so shorter than 4 GiB
(PS3.5 7.1), and becomes shorter still, or is not sent compressed.

Promises of the reader: `frames` tells where the fragments of each frame lie, by the offset tables or, where there
is a fragment a frame, by counting; every length is bounded. Failure: `ElementError` where frames can't be told
apart for certain.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Final

from gateway.dicom.layout import (
    EXPLICIT,
    ITEM,
    SEQUENCE_END,
    UNDEFINED,
    ElementError,
    bounded,
    element_header,
    header,
    item_header,
)
from gateway.dicom.pixels import PIXEL_DATA

Fragment = tuple[int, int]
"""Offset and length in bytes of a fragment's content."""
_ITEM_HEADER: Final = 8
_CLOSING: Final = EXPLICIT.tag_length.pack(SEQUENCE_END >> 16, SEQUENCE_END & 0xFFFF, 0)
_MOST_FRAGMENTS: Final = 1 << 22


class Encapsulation:
    """One Pixel Data element in the making: `opening`, a `frame` for each frame, `closing`, then `offset_table`
    at `table_at` bytes from the beginning of the element."""

    def __init__(self, frames: int) -> None:
        self._frames = frames
        self._offsets = array("I")
        self._next = 0
        self._header = element_header(PIXEL_DATA, "OB", UNDEFINED, EXPLICIT) + item_header(4 * frames)

    @property
    def table_at(self) -> int:
        return len(self._header)

    def opening(self) -> bytes:
        return self._header + bytes(4 * self._frames)

    def frame(self, content: bytes) -> tuple[bytes, bytes, bytes]:
        """The parts of the fragment that holds this frame; a code stream is padded with 00H (PS3.5 8.2)."""
        padding = bytes(len(content) % 2)
        self._offsets.append(self._next)
        length = len(content) + len(padding)
        self._next += _ITEM_HEADER + length
        return item_header(length), content, padding

    def closing(self) -> bytes:
        return _CLOSING

    def offset_table(self) -> bytes:
        """The offsets of all frames. Raises ValueError if a frame is missing."""
        if len(self._offsets) != self._frames:
            raise ValueError(f"{len(self._offsets)} frames were given where {self._frames} were announced")
        return self._offsets.tobytes()


def frames(
    source: bytes | memoryview, position: int, *, count: int, extended: Sequence[int] = ()
) -> tuple[list[list[Fragment]], int]:
    """The fragments of each of `count` frames of an element whose first item begins at `position`, and what lies
    behind it. `extended`: the Extended Offset Table, if there is one."""
    ((table_at, table_length), *fragments), stop = _items(source, position)
    offsets = extended or array("I", bytes(source[table_at : table_at + table_length - table_length % 4]))
    if count == 1:
        return [fragments], stop
    if len(fragments) == count:
        return [[one] for one in fragments], stop
    if len(offsets) != count:
        raise ElementError(PIXEL_DATA, "frames of several fragments without their offsets", "send it as received")
    base = table_at + table_length + _ITEM_HEADER
    begin = {base + offset: number for number, offset in enumerate(offsets)}
    found: list[list[Fragment]] = [[] for _ in range(count)]
    frame = -1
    for fragment in fragments:
        frame = begin.get(fragment[0], frame)
        if frame < 0:
            raise ElementError(PIXEL_DATA, "offsets that meet no fragment", "send it as received")
        found[frame].append(fragment)
    if not all(found):
        raise ElementError(PIXEL_DATA, "offsets that meet no fragment", "send it as received")
    return found, stop


def _items(source: bytes | memoryview, position: int) -> tuple[list[Fragment], int]:
    """The offset table and the fragments, and what lies behind their delimiter."""
    found: list[Fragment] = []
    end = len(source)
    while len(found) < _MOST_FRAGMENTS:
        tag, _, length, position = header(source, position, end, EXPLICIT)
        if tag == SEQUENCE_END and found:
            return found, position
        if tag != ITEM or length == UNDEFINED:
            raise ElementError(PIXEL_DATA, "something else where a fragment begins", "send it as received")
        found.append((position, length))
        position = bounded(tag, position, length, end)
    raise ElementError(PIXEL_DATA, f"more than {_MOST_FRAGMENTS} fragments", "send it as received")
