"""Where the pixels of an object lie, and its header with the few values changed that a transfer syntax requires.

Promises: `locate` finds Pixel Data (7FE0,0010) and the values that describe it without copying or decoding a pixel;
`with_values` returns a header in which nothing else changed. Both need a data set in little endian that is not
deflated, its top level in order and no tag twice: where that does not hold, two readers may see two images, so it
is `ElementError`, and the object goes out as it came.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from gateway.dicom.elements import behind_sequence
from gateway.dicom.layout import (
    EXPLICIT,
    UNDEFINED,
    ElementError,
    bounded,
    element_header,
    header,
    layout_met,
    layout_of,
    pad,
    sequence_layout,
)

SAMPLES_PER_PIXEL: Final = 0x00280002
PHOTOMETRIC_INTERPRETATION: Final = 0x00280004
PLANAR_CONFIGURATION: Final = 0x00280006
NUMBER_OF_FRAMES: Final = 0x00280008
ROWS: Final = 0x00280010
COLUMNS: Final = 0x00280011
BITS_ALLOCATED: Final = 0x00280100
BITS_STORED: Final = 0x00280101
HIGH_BIT: Final = 0x00280102
PIXEL_REPRESENTATION: Final = 0x00280103
EXTENDED_OFFSETS: Final = 0x7FE00001
EXTENDED_LENGTHS: Final = 0x7FE00002
PIXEL_DATA: Final = 0x7FE00010
DESCRIBING: Final = frozenset(
    {
        SAMPLES_PER_PIXEL,
        PHOTOMETRIC_INTERPRETATION,
        PLANAR_CONFIGURATION,
        NUMBER_OF_FRAMES,
        ROWS,
        COLUMNS,
        BITS_ALLOCATED,
        BITS_STORED,
        HIGH_BIT,
        PIXEL_REPRESENTATION,
    }
)
_LONGEST: Final = 64
"""Bytes of a describing value; a longer one is none that the standard knows."""
_MOST_ELEMENTS: Final = 20_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where an element lies, in bytes from the beginning of the data set."""

    start: int
    """Its header."""
    value: int
    stop: int
    """Behind it. Of encapsulated pixels: where their first item begins."""
    encapsulated: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What `locate` met."""

    pixels: Place | None
    """None: the object has no Pixel Data, or has float pixels (7FE0,0008 or 7FE0,0009)."""
    values: Mapping[int, bytes]
    """Those of `DESCRIBING`, as they stand."""
    places: Mapping[int, Place]
    """Where those and the extended offset table lie."""


def locate(source: bytes | memoryview, transfer_syntax: str) -> Found:
    """Walk the top level. Raises ElementError for damage and for what two readers may read in two ways."""
    layout = layout_of(transfer_syntax)
    if layout.big or layout.deflated or layout_met(source, layout) is not layout:
        raise ElementError(0, "big endian, deflated or mislabelled", "send the object as received")
    values: dict[int, bytes] = {}
    places: dict[int, Place] = {}
    pixels: Place | None = None
    position, end, last = 0, len(source), -1
    left = _MOST_ELEMENTS
    while position < end:
        start = position
        tag, vr, length, position = header(source, position, end, layout)
        left -= 1
        if tag <= last or not vr or left <= 0:
            raise ElementError(tag, "out of order, twice or too many", "send the object as received")
        last = tag
        if tag == PIXEL_DATA and length == UNDEFINED:
            place = Place(start=start, value=position, stop=position, encapsulated=True)
            return Found(pixels=place, values=values, places=places)
        if length == UNDEFINED:
            position, left = behind_sequence(source, position, end, sequence_layout(tag, vr, layout), left)
            continue
        value, position = position, bounded(tag, position, length, end)
        if tag == PIXEL_DATA:
            pixels = Place(start=start, value=value, stop=position)
        elif tag in DESCRIBING and length <= _LONGEST:
            values[tag] = bytes(source[value:position])
            places[tag] = Place(start=start, value=value, stop=position)
        elif tag in {EXTENDED_OFFSETS, EXTENDED_LENGTHS}:
            places[tag] = Place(start=start, value=value, stop=position)
    return Found(pixels=pixels, values=values, places=places)


def text(values: Mapping[int, bytes], tag: int) -> str:
    """A describing value as text without padding; "" where there is none."""
    return values.get(tag, b"").decode("latin-1").strip(" \0")


def number(values: Mapping[int, bytes], tag: int) -> int | None:
    """A describing value as the number it is: US, or IS for Number of Frames; None where it is none."""
    value = values.get(tag)
    if value is None:
        return None
    if tag == NUMBER_OF_FRAMES:
        digits = text(values, tag)
        return int(digits) if digits.isdecimal() and digits.isascii() else None
    return int.from_bytes(value, "little") if len(value) == 2 else None


def with_values(head: bytes, changes: Mapping[int, tuple[str, bytes] | None]) -> bytes:
    """An Explicit VR Little Endian header with these values (VR and value; None: without the element) in place of
    its own. What it does not have is not added. Raises ElementError."""
    places = locate(head, "1.2.840.10008.1.2.1").places
    parts: list[bytes] = []
    done = 0
    for tag in sorted(changes.keys() & places.keys()):
        place, change = places[tag], changes[tag]
        parts.append(head[done : place.start])
        if change is not None:
            vr, value = change
            padding = pad(vr, len(value))
            parts += (element_header(tag, vr, len(value) + len(padding), EXPLICIT), value, padding)
        done = place.stop
    return b"".join((*parts, head[done:]))
