r"""HL7 v2 messages, read lazily: bytes in, leaf values out (HL7 v2.5.1 chapter 2).

Promises
- Every segment of the message is there, in order: Z-segments, unknown and malformed names, repeated groups.
- Segments are parted into fields; what is in a field is parted and unescaped when it is asked for. Separators are
  those of MSH-1 and MSH-2.
- Segments may end in CR, LF or CRLF, be led by blanks or parted by empty lines. In a message that ends
  its segments in CR, a lone LF that no segment follows is text.
- An absent value and the HL7 null `""` both read as empty text; `is_null` tells them apart.
- `Hl7Error` is the only error, whatever the bytes; a path that is written wrong in our own code is a
  ValueError.

Paths: "PID-3" is the first component of the field's first repetition, as "PID-3.1" and "PID-3.1.1" are:
HL7 2.5.1 section 2.8.3 has receivers read a value where a later version knows components.

Escapes (2.7): \F\ \S\ \T\ \R\ \E\ \P\ are the separators, \.br\ \.sp\ \.ce\ a line end (CRLF), \Xhh..\
bytes in the message's character set, \H\ \N\ \Z..\ and other formatting nothing. A change to ASCII
(\C2842\) is nothing either; any other change of character set stays as written, so that it is seen.
An escape character that begins none of these is text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from itertools import pairwise
from typing import Final, NamedTuple

from gateway.domain.hl7_charset import Hl7Error, decode

__all__ = ["Hl7Error", "Message", "Place", "Segment", "Separators", "header_of", "place_of", "split_batch"]

MAX_SEGMENTS: Final = 10_000
"""Of one message."""
MAX_PARTS: Final = 10_000
"""Fields of a segment, repetitions of a field, and so on."""
NULL: Final = '""'
"""How a message says "delete the value" (2.5.3)."""

_HEADERS: Final = frozenset({"MSH", "BHS", "FHS"})
_BLANKS: Final = b" \t\r\n\x0b\0\xef\xbb\xbf"
"""What may stand before MSH: noise of a transport, and the byte order mark of a UTF-8 file."""
_START: Final = re.compile(rb"(?:^|[\r\n])[ \t\xef\xbb\xbf\x0b]*(MSH)")
_TRAILER: Final = re.compile(rb"(?<![\r\n])[\r\n]+[ \t]*(?:BTS|FTS|BHS|FHS)[^\r\n]*")  # each run of line ends once
_PATH: Final = re.compile(r"(?:([A-Z][A-Z0-9]{2})-)?(\d{1,3})(?:\.(\d{1,3}))?(?:\.(\d{1,3}))?")


class Separators(NamedTuple):
    """MSH-1 and MSH-2."""

    field: str
    component: str = "^"
    repetition: str = "~"
    escape: str = "\\"
    subcomponent: str = "&"


class Place(NamedTuple):
    """A path taken apart; 0 where it names no component or subcomponent."""

    segment: str
    field: int
    component: int = 0
    subcomponent: int = 0


class Segment:
    """One segment. `number` counts the segments of its name from 1, for ERR-2 and ERR-1."""

    __slots__ = ("_codec", "fields", "name", "number", "separators", "text")

    def __init__(self, text: str, number: int, separators: Separators, codec: str) -> None:
        self.text = text
        """As received, without its end."""
        self.fields = _split(text, separators.field)
        """As written, separators and escapes included; the first is the name."""
        self.name = self.fields[0]
        """Three characters, unless the sender wrote something else."""
        if self.name in _HEADERS:
            self.fields.insert(1, separators.field)  # MSH-1 is the separator itself
        self.number = number
        self.separators = separators
        self._codec = codec

    def get(self, path: str, rep: int = 0) -> str:
        """The unescaped value at "3", "3.1" or "3.4.2"; empty if it is absent or null."""
        return self.value(place_of(path), rep)

    def value(self, at: Place, rep: int = 0) -> str:
        """The same, of a place that was taken apart before."""
        text = self.fields[at.field] if at.field < len(self.fields) else ""
        if text.isalnum():  # most of what is there is one plain word
            return text if rep == 0 and at.component < 2 and at.subcomponent < 2 else ""
        leaf = self._leaf(at, rep)
        return "" if leaf == NULL else self._unescaped(leaf)

    def parts(self, field: int, component: int, count: int, rep: int = 0) -> list[str]:
        """The first `count` subcomponents of a component; where that is 0 the components, each by its first
        subcomponent. Unescaped, empty where they are absent or null."""
        text, marks = self._repetition(field, rep), self.separators
        if component:
            found = _part(text, marks.component, component).split(marks.subcomponent, count)[:count]
        else:
            found = text.split(marks.component, count)[:count]
            if marks.subcomponent in text:
                found = [part.partition(marks.subcomponent)[0] for part in found]
        if marks.escape in text or NULL in text:
            found = ["" if part == NULL else self._unescaped(part) for part in found]
        return found + [""] * (count - len(found))

    def is_null(self, path: str, rep: int = 0) -> bool:
        """Whether the message says that the value is to be deleted."""
        return self.is_deleted(place_of(path), rep)

    def is_deleted(self, at: Place, rep: int = 0) -> bool:
        """The same, of a place that was taken apart before."""
        return self._leaf(at, rep) == NULL

    def field(self, path: str, rep: int = 0) -> str:
        """A whole repetition of a field, or a component, unescaped: the separators in it are text (NTE-3, OBX-5)."""
        _, field, component, _ = place_of(path)
        text = self._repetition(field, rep)
        return self._unescaped(_part(text, self.separators.component, component) if component else text)

    def count(self, path: str) -> int:
        """How many repetitions the field has; 0 if it is absent."""
        return self.repetitions(place_of(path).field)

    def repetitions(self, field: int) -> int:
        """The same, of the field of that number."""
        text = self.raw(field)
        return len(_split(text, self.separators.repetition)) if text else 0

    def __repr__(self) -> str:
        return f"<{self.name} {self.number}, {len(self.text)} characters>"

    def _leaf(self, at: Place, rep: int) -> str:
        _, field, component, subcomponent = at
        text = self.raw(field)
        if not text:  # most of what is asked for is not there
            return text
        if field <= 2 and self.name in _HEADERS:
            return text if rep == 0 else ""
        marks = self.separators
        if rep or marks.repetition in text:
            text = _part(text, marks.repetition, rep + 1)
        if component > 1 or marks.component in text:
            text = _part(text, marks.component, component or 1)
        if subcomponent > 1 or marks.subcomponent in text:
            text = _part(text, marks.subcomponent, subcomponent or 1)
        return text

    def _repetition(self, field: int, rep: int) -> str:
        text = self.raw(field)
        if self.separators.repetition not in text or (field <= 2 and self.name in _HEADERS):
            return text if rep == 0 else ""
        return _part(text, self.separators.repetition, rep + 1)

    def raw(self, number: int) -> str:
        """A whole field as written, separators and escapes included; empty if it is absent."""
        return self.fields[number] if number < len(self.fields) else ""

    def _unescaped(self, text: str) -> str:
        if self.separators.escape not in text:
            return text
        return _escapes(self.separators.escape).sub(self._meaning, text)

    def _meaning(self, found: re.Match[str]) -> str:
        if found[1] is None:
            return self._hexadecimal(found[0])
        match found[1][0].upper():
            case "F":
                return self.separators.field
            case "S":
                return self.separators.component
            case "T":
                return self.separators.subcomponent
            case "R":
                return self.separators.repetition
            case "E":
                return self.separators.escape
            case "P":
                return "#"
            case "C" | "M":
                return "" if found[1].upper() == "C2842" else found[0]
            case ".":
                return "\r\n" if found[1][1:3].lower() in {"br", "sp", "ce"} else ""
            case _:  # highlighting, and what two parties agreed on
                return ""

    def _hexadecimal(self, text: str) -> str:
        """The meaning of adjacent \\Xhh..\\, which may be the bytes of one character between them."""
        try:
            return bytes.fromhex(re.sub(f"[Xx{re.escape(self.separators.escape)}]", "", text)).decode(self._codec)
        except ValueError:
            return text


class Message:
    """A message. Make it with `parse`."""

    __slots__ = ("codec", "segments", "separators")

    def __init__(self, segments: tuple[Segment, ...], separators: Separators, codec: str) -> None:
        self.segments = segments
        """All of them, in order; the first is MSH."""
        self.separators = separators
        self.codec = codec
        """Python's name of the character set it was read with."""

    @classmethod
    def parse(cls, raw: bytes, *, charset: str = "", fallback: str = "", header: Segment | None = None) -> Message:
        """Read one message. `charset`, of the sender's settings, goes before MSH-18; `fallback` is used without either.
        Who has its `header_of` already gives it.

        Raises `Hl7Error` if there is no MSH segment, its separators can't be, the bytes don't fit the
        character set, or the message has too many parts.
        """
        header = header or header_of(raw)
        declared = (charset,) if charset else tuple(header.get("18", rep) for rep in range(header.count("18")))
        text, codec = decode(raw.lstrip(_BLANKS), declared=declared, fallback=fallback)
        return cls(tuple(_segments(text, header.separators, codec)), header.separators, codec)

    def named(self, name: str) -> tuple[Segment, ...]:
        """The segments of this name, in order."""
        return tuple(segment for segment in self.segments if segment.name == name)

    def first(self, name: str) -> Segment | None:
        """The first segment of this name."""
        return next((segment for segment in self.segments if segment.name == name), None)

    def groups(self, *starts: str) -> list[tuple[Segment, ...]]:
        """The runs of segments that each begin with one of these names; what stands before the first is in none."""
        begins = [at for at, segment in enumerate(self.segments) if segment.name in starts]
        return [self.segments[at:end] for at, end in pairwise([*begins, len(self.segments)])]

    def get(self, path: str, rep: int = 0) -> str:
        """The unescaped value at "PID-3.1" in the first segment of its name; empty if absent or null."""
        segment = self.first(path[:3])
        return segment.get(path, rep) if segment is not None else ""

    def is_null(self, path: str, rep: int = 0) -> bool:
        """Whether the message says that the value is to be deleted."""
        segment = self.first(path[:3])
        return segment is not None and segment.is_null(path, rep)

    def count(self, path: str) -> int:
        """How many repetitions the field has in the first segment of its name."""
        segment = self.first(path[:3])
        return segment.count(path) if segment is not None else 0


def header_of(raw: bytes) -> Segment:
    """The MSH segment of a message, each byte of it a character: readable where the rest of the message is not.

    Raises `Hl7Error` if there is none, its separators can't be, or it has too many fields; its fields raise nothing.
    """
    raw = raw.lstrip(_BLANKS)
    separators = _separators(raw)
    end = min((at for at in (raw.find(b"\r"), raw.find(b"\n")) if at >= 0), default=len(raw))
    return Segment(raw[:end].decode("latin_1"), 1, separators, "latin_1")


def split_batch(raw: bytes) -> list[bytes]:
    """The messages of a frame, without the FHS, BHS, BTS and FTS around them (2.10.3); most often one.

    Bytes without an MSH segment come back as the one message they are not, for `parse` to refuse.
    """
    enveloped = raw.lstrip(_BLANKS).startswith((b"FHS", b"BHS"))
    if not enveloped and raw.count(b"MSH") < 2:
        return [raw]
    starts = [found.start(1) for found in _START.finditer(raw)]
    if not enveloped and len(starts) < 2:
        return [raw]
    return [_TRAILER.sub(b"", raw[start:end]) for start, end in pairwise([*starts, len(raw)])] or [raw]


def _separators(raw: bytes) -> Separators:
    if raw[:3] != b"MSH" or len(raw) < 8:
        raise Hl7Error(f"{len(raw)} bytes that don't begin with an MSH segment", code="100", location="MSH")
    return _marks(raw[3:10])


@lru_cache(maxsize=64)
def _marks(behind: bytes) -> Separators:
    """The separators by the bytes behind "MSH"."""
    end = next((at for at, byte in enumerate(behind[1:], 1) if byte in (behind[0], 13, 10)), 1)
    separators = Separators(chr(behind[0]), *behind[1 : min(end, 5)].decode("latin_1"))
    if len(set(separators)) < 5 or any(mark.isalnum() or mark <= " " or mark > "~" for mark in separators):
        raise Hl7Error("the separators are not five different punctuation marks", code="102", location="MSH-2")
    return separators


def _segments(text: str, separators: Separators, codec: str) -> Iterator[Segment]:
    if text.count("\r") + text.count("\n") > 2 * MAX_SEGMENTS:
        raise Hl7Error(f"more than {MAX_SEGMENTS} segments; send fewer in one message", code="207", location="MSH")
    lines = _ends("\r" in text, separators.field).split(text)
    seen: dict[str, int] = {}
    for line in filter(None, (line.lstrip(" \t\v\0") for line in lines)):
        name = line.partition(separators.field)[0]
        seen[name] = seen.get(name, 0) + 1
        yield Segment(line, seen[name], separators, codec)


def _split(text: str, separator: str) -> list[str]:
    if text.count(separator) >= MAX_PARTS:
        raise Hl7Error(f"more than {MAX_PARTS} parts between two separators; send fewer")
    return text.split(separator)


def _part(text: str, separator: str, number: int) -> str:
    if separator not in text:
        return text if number == 1 else ""
    parts = text.split(separator, number)
    return parts[number - 1] if number <= len(parts) else ""


@lru_cache(maxsize=64)
def _ends(has_cr: bool, field: str) -> re.Pattern[str]:
    """What ends a segment."""
    lone_lf = rf"\n(?=[ \t]*(?:[A-Z][A-Z0-9]{{2}}(?:{re.escape(field)}|[\r\n]|$)|[\r\n]|$))" if has_cr else r"\n"
    return re.compile(rf"\r\n?|{lone_lf}")


@lru_cache(maxsize=64)
def _escapes(escape: str) -> re.Pattern[str]:
    e = re.escape(escape)
    return re.compile(
        rf"(?:{e}X[0-9A-F]+{e})+"
        rf"|{e}([FSTREPHN]|C[0-9A-F]{{4}}|M[0-9A-F]{{4,6}}|Z[^{e}]{{0,64}}|\.[A-Z]{{2}}[^{e}]{{0,8}}){e}",
        re.IGNORECASE,
    )


@lru_cache(maxsize=4096)
def place_of(path: str) -> Place:
    """The path "PID-3.4.2" taken apart. Raises ValueError for one that is written wrong."""
    found = _PATH.fullmatch(path)
    if found is None:
        raise ValueError(f"{path!r} is no path of a field: write it like PID-3.1")
    return Place(found[1] or "", int(found[2]), int(found[3] or 0), int(found[4] or 0))
