"""A new header for an object whose pixels stay where they are (PS3.5 7.1-7.5, A.1-A.5).

Promises

* `Head` reads the elements below group 5000 and nothing behind them: its cost does not depend on the pixels. What is
  behind is sent from the file as it is.
* `Head.patched` replaces, adds and takes out whole elements of the top level. Every other byte stays, but for a group
  length (gggg,0000) of a group that changed, which is counted anew.
* What must never change can't: UIDs, pixels, times of acquisition, modality, laterality, devices, private elements and
  all else that `is_denied` names, at every depth of the sequences that are replaced. An object with a digital signature
  is not changed at all, for no signature would hold (PS3.15 C).
* An odd object is refused whole and so stays as it is: tags that repeat or decrease, lengths that point behind the end,
  delimiters without a sequence, Big Endian. Behind the first element of undefined length from group 5000 on (frames in
  fragments, functional groups) nothing is looked at.

Failure: `ElementError`, naming the tag, the shape of the fault and the remedy, never a value.
"""

from __future__ import annotations

import zlib
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from functools import lru_cache
from itertools import zip_longest
from typing import Final

from pydicom.datadict import dictionary_VR

from gateway.dicom.convert import (
    EXTENT_FROM,
    MAX_INFLATED,
    PIXEL_REPRESENTATION,
    Extent,
    Output,
    Segment,
    converted,
    moved,
)
from gateway.dicom.elements import DataSet, Element, behind_sequence, encode, parse
from gateway.dicom.layout import (
    EXPLICIT_LITTLE,
    IMPLICIT_LITTLE,
    SHORT_LENGTH,
    UNDEFINED,
    ElementError,
    bounded,
    element_header,
    header,
    inflate,
    is_retired_group_length,
    layout_met,
    layout_of,
    sequence_layout,
)

TAIL: Final = 0x50000000
"""The first tag that a head does not hold."""
_PIXELS: Final = 0x7FE00000
_MOST_HEADERS: Final = 200_000
"""Of a head, those in sequences included."""
_SIGNATURES: Final = (0x4FFE0001, 0xFFFAFFFA)

_TEXT: Final = frozenset({"CS", "LO", "LT", "PN", "SH", "ST", "UC", "UT"})
_GROUPS: Final = frozenset({0x0008, 0x0010, 0x0032, 0x0038, 0x0040})
_ADDED_TO: Final = frozenset({0x0018A001, 0x04000561})
"""ContributingEquipmentSequence and OriginalAttributesSequence: their items stay, others may be appended."""
_SEQUENCES: Final = frozenset({
    *(0x00080051, 0x00081032, 0x00100024, 0x00101002, 0x00321064, 0x00400008, 0x00400275, 0x0040A370),
})  # fmt: skip
"""The other sequences that may change: of identifiers, codes and requests."""
_MAY: Final = frozenset({0x00080015, 0x00100030, 0x00100032, 0x00200010})
"""InstanceCoercionDateTime, PatientBirthDate, PatientBirthTime and StudyID, for all that their VR or group says."""
_NEVER: Final = frozenset({
    # ImageType, Modality, ModalitiesInStudy, ConversionType, PresentationIntentType, Manufacturer
    *(0x00080008, 0x00080060, 0x00080061, 0x00080064, 0x00080068, 0x00080070),
    # ManufacturerModelName, DerivationDescription, FrameType, TimezoneOffsetFromUTC
    *(0x00081090, 0x00082111, 0x00089007, 0x00080201),
    # What a structured report says, and who verified it: RelationshipType to UniversalEntity, flags, template
    *(0x0040A010, 0x0040A027, 0x0040A040, 0x0040A050, 0x0040A075, 0x0040A123, 0x0040A160),
    *(0x0040A491, 0x0040A492, 0x0040A493, 0x0040A496, 0x0040DB00, 0x0040A136),
    # CommentsOnRadiationDose, the performed step
    *(0x00400310, 0x00400241, 0x00400253, 0x00400254),
})  # fmt: skip
"""Text of the allowed groups that says what was imaged, how, and by what."""


@lru_cache(maxsize=4096)
def is_denied(tag: int) -> bool:
    """Whether the values of a tag must leave as they came."""
    if tag in _MAY or tag in _SEQUENCES or tag in _ADDED_TO:
        return False
    try:
        vr = dictionary_VR(tag)
    except KeyError:
        return True
    return vr not in _TEXT or tag >> 16 not in _GROUPS or tag in _NEVER


class Head(Mapping[int, Element]):
    """The elements of an object in front of its pixels by tag, each read when it is asked for.

    Use it in a `with`: behind it the source is free to be closed. Reading damage raises ElementError.
    """

    __slots__ = ("_in_place", "_source", "_starts", "_syntax", "_tags", "end", "transfer_syntax")

    def __init__(self, source: bytes | memoryview, transfer_syntax: str, *, max_inflated: int = MAX_INFLATED) -> None:
        """Find the elements of a whole data set. Raises ElementError for an object that can't be patched."""
        layout = layout_of(transfer_syntax)
        if layout.big:
            raise ElementError(0, "Explicit VR Big Endian", "correct it at its source")
        self.transfer_syntax = transfer_syntax
        self._in_place = not layout.deflated
        self._source = memoryview(inflate(source, limit=max_inflated) if layout.deflated else source)
        try:
            self._syntax = IMPLICIT_LITTLE if layout_met(self._source, layout).implicit else EXPLICIT_LITTLE
            self._starts: dict[int, int] = {}
            self.end = self._found()
            """Where the elements end, in bytes from the beginning of the (inflated) data set."""
            self._tags = list(self._starts)
            self._look_behind()
        except ElementError:
            self._source.release()
            raise

    def __enter__(self) -> Head:
        return self

    def __exit__(self, *_: object) -> None:
        self._source.release()

    def __getitem__(self, tag: int) -> Element:
        start, stop = self._starts[tag], self._stop(tag)
        _, vr, length, value = header(self._source, start, stop, layout_of(self._syntax))
        if vr == "SQ" or length == UNDEFINED:
            return parse(bytes(self._source[start:stop]), self._syntax)[tag]
        return Element(vr, bytes(self._source[value:stop]))

    def _stop(self, tag: int) -> int:
        """Where an element ends, or would stand: elements stand one behind the other."""
        at = bisect_right(self._tags, tag)
        return self._starts[self._tags[at]] if at < len(self._tags) else self.end

    def __iter__(self) -> Iterator[int]:
        return iter(self._tags)

    def __len__(self) -> int:
        return len(self._tags)

    def __contains__(self, tag: object) -> bool:
        return tag in self._starts

    def _found(self) -> int:
        """Fill the starts; where the head ends. Short headers of Explicit VR are read in line: most are."""
        source, starts, layout = self._source, self._starts, layout_of(self._syntax)
        position, end, last, limit = 0, len(source), -1, _MOST_HEADERS
        explicit, unpack = not layout.implicit, layout.tag_vr_length.unpack_from
        while end - position >= 8:
            group, number, code, length = unpack(source, position)
            tag = group << 16 | number
            if tag >= TAIL and group != 0xFFFE:
                break
            start, is_delimiter = position, False
            if explicit and code in SHORT_LENGTH:
                position += 8 + length
            else:
                _, vr, length, position = header(source, start, end, layout)
                is_delimiter = not vr
                if length == UNDEFINED and vr:
                    position, limit = behind_sequence(source, position, end, sequence_layout(tag, vr, layout), limit)
                else:
                    position += length
            limit -= 1
            if tag <= last or is_delimiter or limit < 0:
                raise ElementError(tag, _oddity(tag, last, is_delimiter=is_delimiter), "correct it at its source")
            if position > end:
                raise ElementError(tag, f"{position - end} bytes short", "send the whole data set")
            starts[tag] = start
            last = tag
        return position

    def _look_behind(self) -> None:
        """Raise ElementError for elements behind the head that belong into it, or for a signature."""
        layout = layout_of(self._syntax)
        position, end, last = self.end, len(self._source), TAIL - 1
        while position < end:
            tag, vr, length, value = header(self._source, position, end, layout)
            if tag <= last or not vr:
                raise ElementError(tag, _oddity(tag, last, is_delimiter=not vr), "correct it at its source")
            if tag in _SIGNATURES:
                raise ElementError(tag, "a digital signature", "have it corrected and signed at its source")
            if length == UNDEFINED:
                break
            last, position = tag, bounded(tag, value, length, end)
        if _SIGNATURES[0] in self:
            raise ElementError(_SIGNATURES[0], "a digital signature", "have it corrected and signed at its source")

    def behind(self) -> DataSet:
        """The elements between the head and the pixels, which may be laborious. Raises ElementError."""
        layout, position, limit = layout_of(self._syntax), self.end, _MOST_HEADERS
        while position < len(self._source):
            tag, vr, length, value = header(self._source, position, len(self._source), layout)
            if tag >= _PIXELS:
                break
            if length == UNDEFINED:
                inner = sequence_layout(tag, vr, layout)
                position, limit = behind_sequence(self._source, value, len(self._source), inner, limit)
            else:
                position = bounded(tag, value, length, len(self._source))
        return parse(bytes(self._source[self.end : position]), self._syntax, max_elements=_MOST_HEADERS)

    def patched(self, changes: Mapping[int, Element | None]) -> Patched:
        """The object with these elements in place of its own; None takes one out. Raises ElementError."""
        new: dict[int, bytes] = {}
        for tag, element in changes.items():
            if is_denied(tag) or tag >= TAIL:
                raise ElementError(tag, "must leave as it came", "correct it at its source")
            _check(tag, self.get(tag), element)
            new[tag] = b"" if element is None else encode({tag: element}, self._syntax)
        new |= self._group_lengths(new)
        head = Output()
        position = 0
        for tag in sorted(new):
            start, stop = self._place(tag)
            self._copy(head, position, start)
            head.write(new[tag])
            position = stop
        self._copy(head, position, self.end)
        return Patched(self, head.finished())

    def _place(self, tag: int) -> tuple[int, int]:
        """Where an element stands, or would stand."""
        stop = self._stop(tag)
        return self._starts.get(tag, stop), stop

    def _copy(self, head: Output, start: int, stop: int) -> None:
        if self._in_place and stop - start >= EXTENT_FROM:
            head.place(Extent(offset=start, length=stop - start))
        elif stop > start:
            head.write(bytes(self._source[start:stop]))

    def _group_lengths(self, new: Mapping[int, bytes]) -> dict[int, bytes]:
        """The retired group lengths that changes make wrong (PS3.5 7.2), counted anew."""
        layout = layout_of(self._syntax)
        counted = {}
        for mark in {tag & 0xFFFF0000 for tag in new} & self._starts.keys():
            if is_retired_group_length(mark):
                group = {tag for tag in (*self._tags, *new) if tag & 0xFFFF0000 == mark} - {mark}
                length = sum(len(new[tag]) if tag in new else self._stop(tag) - self._starts[tag] for tag in group)
                counted[mark] = element_header(mark, "UL", 4, layout) + length.to_bytes(4, "little")
        return counted


class Patched:
    """A patched object, in the syntax it came in or another."""

    __slots__ = ("_head", "_segments")

    def __init__(self, head: Head, segments: list[Segment]) -> None:
        self._head = head
        self._segments = segments

    def segments(self, target: str) -> list[Segment]:
        """The data set in a transfer syntax: bytes, and extents of the source. Raises ElementError.

        `target` is the syntax the object came in, or Implicit or Explicit VR LE for a native object. A deflated one is
        bytes throughout.
        """
        head = self._head
        if not head._in_place:
            whole = self._joined() + bytes(head._source[head.end :])
            if target == head.transfer_syntax:
                return [_deflated(whole)]
            return converted(whole, EXPLICIT_LITTLE, target, in_place=False)
        if target == head.transfer_syntax:
            rest = Extent(offset=head.end, length=len(head._source) - head.end)
            return [*self._segments, rest] if rest.length else self._segments
        signed = any(head[PIXEL_REPRESENTATION].value) if PIXEL_REPRESENTATION in head else False
        front = converted(self._joined(), head.transfer_syntax, target, in_place=False, signed=signed)
        with head._source[head.end :] as tail:
            back = converted(tail, head.transfer_syntax, target, signed=signed)
        return front + [moved(segment, head.end) for segment in back]

    def _joined(self) -> bytes:
        source = self._head._source
        return b"".join(
            source[segment.offset : segment.offset + segment.length] if isinstance(segment, Extent) else segment
            for segment in self._segments
        )


def _oddity(tag: int, last: int, *, is_delimiter: bool) -> str:
    if is_delimiter:
        return "delimiter outside its sequence"
    return "occurs twice" if tag == last else "out of order" if tag < last else "too many elements"


def _deflated(whole: bytes) -> bytes:
    """The data set deflated, of even length (PS3.5 A.5)."""
    deflating = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    stream = deflating.compress(whole) + deflating.flush()
    return stream + b"\0" * (len(stream) % 2)


def _check(tag: int, old: Element | None, new: Element | None) -> None:
    """Raise ElementError if what is replaced can't be told, or if its items change what must leave as it came."""
    items = old.value if old is not None and isinstance(old.value, list) else []
    made = new.value if new is not None and isinstance(new.value, list) else []
    if old is not None and (old.vr == "UN" or (old.vr != "SQ") != (dictionary_VR(tag) != "SQ")):
        raise ElementError(tag, f"VR {old.vr}", "correct it at its source")
    if tag in _ADDED_TO:
        if made[: len(items)] != items:
            raise ElementError(tag, "must keep the items it has", "append to them")
        return
    nothing: DataSet = {}
    for was, becomes in zip_longest(items, made, fillvalue=nothing):
        _check_item(was, becomes)


def _check_item(old: DataSet, new: DataSet) -> None:
    for tag in old.keys() | new.keys():
        if tag in _SEQUENCES:
            _check(tag, old.get(tag), new.get(tag))
        elif is_denied(tag) and new.get(tag) != old.get(tag):
            raise ElementError(tag, "must leave as it came", "correct it at its source")
