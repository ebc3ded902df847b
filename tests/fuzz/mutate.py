"""Mutation along the structure of a format: pieces reordered, dropped, repeated, nested, and lengths that lie.

A `Format` says how its stream falls into pieces of head and body. A mutated body gets its true length again, so that
what is wrong deep inside is reached; a lie is told on purpose and at one place. Everything depends on the given
`Random` alone: the same seed makes the same input.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from random import Random
from typing import NamedTuple, TypeAlias

from gateway.dicom.layout import SHORT_LENGTH

LONGEST = 1 << 16
"""Bytes of the longest input."""
_UNDEFINED = 0xFFFFFFFF
_LIES = (0, 1, 2, 3, 4, 5, 6, 7, 8, 0x7F, 0xFF, 0x100, 0xFFFE, 0xFFFF, 0x10000, 0x20000, 0x7FFFFFFF, 0xFFFFFFFE)
_BYTES = (0, 1, 2, 3, 4, 5, 6, 7, 0x1B, 0x20, 0x2A, 0x3F, 0x5C, 0x5E, 0x7F, 0x80, 0xFE, 0xFF)
_MOST_PIECES = 400


class Piece(NamedTuple):
    head: bytes
    body: bytes
    declared: int | None = None
    """A length other than the body's."""


class Format(NamedTuple):
    """How a stream falls into pieces."""

    cut: Callable[[bytes, int], tuple[Piece, int] | None]
    """The piece at a position and where the next one begins; None if there is no whole one."""
    write: Callable[[Piece], bytes]
    inner: Callable[[Piece], tuple[int, Format] | None]
    """Where in the body, behind how many bytes, pieces of which format stand."""


Mutation: TypeAlias = Callable[[bytes, Random], bytes]


def mutate(data: bytes, random: Random, form: Format | None, others: Sequence[bytes]) -> bytes:
    """One to four mutations of `data`; `others` are inputs to take pieces from."""
    for _ in range(random.choice((1, 1, 1, 2, 3, 4))):
        if form is None or random.random() < 0.25:
            data = _bytes(data, random, others)
        else:
            data = _structure(data, random, form, others)
    return data[:LONGEST]


def pieces_of(data: bytes, form: Format) -> tuple[list[Piece], bytes]:
    """The whole pieces of a stream, and what stands behind them."""
    pieces: list[Piece] = []
    position = 0
    while len(pieces) < _MOST_PIECES and (found := form.cut(data, position)) is not None:
        piece, position = found
        pieces.append(piece)
    return pieces, data[position:]


def _structure(data: bytes, random: Random, form: Format, others: Sequence[bytes]) -> bytes:
    pieces, rest = pieces_of(data, form)
    if not pieces:
        return _bytes(data, random, others)
    at = random.randrange(len(pieces))
    piece = pieces[at]
    action = random.randrange(10)
    if action == 0:
        del pieces[at]
    elif action == 1:
        pieces[at:at] = [piece] * random.choice((1, 1, 2, 8, 50))
    elif action == 2:
        pieces.insert(random.randrange(len(pieces)), pieces.pop(at))
    elif action == 3:
        pieces[at] = piece._replace(declared=_lie(len(piece.body), random))
    elif action == 4 and others:
        foreign, _ = pieces_of(random.choice(others), form)
        start = random.randrange(len(foreign) + 1)
        pieces[at:at] = foreign[start : start + random.randrange(1, 6)]
    elif action == 5:
        pieces[at] = piece._replace(head=_bytes(piece.head, random, ()))
    elif action == 6:
        pieces = pieces[: at + 1]
        rest = form.write(piece)[: random.randrange(1, len(piece.body) + 8)]
    else:
        pieces[at] = piece._replace(body=_inside(piece, random, form, others))
    return b"".join(form.write(one) for one in pieces) + rest


def _inside(piece: Piece, random: Random, form: Format, others: Sequence[bytes]) -> bytes:
    inner = form.inner(piece)
    if inner is None or len(piece.body) < inner[0] or random.random() < 0.2:
        return _bytes(piece.body, random, others)
    before, within = inner
    if random.random() < 0.1:
        return _bytes(piece.body[:before], random, ()) + piece.body[before:]
    return piece.body[:before] + _structure(piece.body[before:], random, within, ())


def _lie(length: int, random: Random) -> int:
    return random.choice((*_LIES, max(length - 1, 0), length + 1, length * 2, _UNDEFINED, random.getrandbits(32)))


def _bytes(data: bytes, random: Random, others: Sequence[bytes]) -> bytes:
    """A mutation that knows nothing of structure."""
    if not data:
        return random.randbytes(random.choice((1, 2, 4, 16)))
    at = random.randrange(len(data))
    action = random.randrange(8)
    if action == 0:
        return data[:at] + bytes((data[at] ^ 1 << random.randrange(8),)) + data[at + 1 :]
    if action == 1:
        return data[:at] + bytes((random.choice(_BYTES),)) + data[at + 1 :]
    if action == 2:
        return data[:at]
    if action == 3:
        return data[:at] + data[at + random.choice((1, 1, 2, 4, 16)) :]
    if action == 4:
        return data[:at] + bytes(random.choices(_BYTES, k=random.choice((1, 2, 4, 6)))) + data[at:]
    if action == 5:
        some = data[at : at + random.choice((1, 4, 16, 64))]
        return data[:at] + some * random.choice((2, 3, 40, 2000)) + data[at:]
    if action == 6:
        form = random.choice(("<H", ">H", "<L", ">L"))
        number = _lie(len(data) - at, random) & (0xFFFF if form[1] == "H" else _UNDEFINED)
        return data[:at] + struct.pack(form, number) + data[at + struct.calcsize(form) :]
    other = random.choice(others) if others else data
    start = random.randrange(len(other) + 1)
    return data[:at] + other[start : start + random.choice((4, 16, 64, 256))] + data[at:]


# -- formats --


def _length(piece: Piece, most: int, extra: int = 0) -> int:
    declared = len(piece.body) + extra if piece.declared is None else piece.declared
    return declared & most if piece.declared is not None else min(declared, most)


def _nothing(_: Piece) -> None:
    return None


def counted(form: str, head: int, *, inner: Callable[[Piece], tuple[int, Format] | None] = _nothing) -> Format:
    """Pieces of `head` bytes, a length in the struct notation `form`, and the body."""
    size = struct.calcsize(form)
    most = (1 << 8 * size) - 1

    def cut(data: bytes, at: int) -> tuple[Piece, int] | None:
        start = at + head + size
        if start > len(data):
            return None
        (length,) = struct.unpack_from(form, data, at + head)
        return Piece(data[at : at + head], data[start : start + length]), start + length

    def write(piece: Piece) -> bytes:
        return piece.head.ljust(head, b"\0")[:head] + struct.pack(form, _length(piece, most)) + piece.body[:most]

    return Format(cut, write, inner)


def _cut_pdv(data: bytes, at: int) -> tuple[Piece, int] | None:
    if at + 6 > len(data):
        return None
    stop = at + 4 + max(int.from_bytes(data[at : at + 4], "big"), 2)
    return Piece(data[at + 4 : at + 6], data[at + 6 : stop]), stop


def _write_pdv(piece: Piece) -> bytes:
    return struct.pack(">L", _length(piece, _UNDEFINED, 2)) + piece.head.ljust(2, b"\0")[:2] + piece.body


def _cut_explicit(data: bytes, at: int) -> tuple[Piece, int] | None:
    if at + 8 > len(data):
        return None
    vr = data[at + 4 : at + 6]
    if vr in SHORT_LENGTH:
        stop = at + 8 + int.from_bytes(data[at + 6 : at + 8], "little")
        return Piece(data[at : at + 6], data[at + 8 : stop]), stop
    start = at + 8 if data[at : at + 2] == b"\xfe\xff" else at + 12
    length = int.from_bytes(data[start - 4 : start], "little")
    if length == _UNDEFINED:
        return Piece(data[at : start - 4], b"", _UNDEFINED), start
    return Piece(data[at : start - 4], data[start : start + length]), start + length


def _write_explicit(piece: Piece) -> bytes:
    if piece.head[4:6] in SHORT_LENGTH:
        return piece.head + struct.pack("<H", _length(piece, 0xFFFF)) + piece.body[:0xFFFF]
    return piece.head + struct.pack("<L", _length(piece, _UNDEFINED)) + piece.body


def _cut_implicit(data: bytes, at: int) -> tuple[Piece, int] | None:
    if at + 8 > len(data):
        return None
    length = int.from_bytes(data[at + 4 : at + 8], "little")
    if length == _UNDEFINED:
        return Piece(data[at : at + 4], b"", _UNDEFINED), at + 8
    return Piece(data[at : at + 4], data[at + 8 : at + 8 + length]), at + 8 + length


def _write_implicit(piece: Piece) -> bytes:
    return piece.head.ljust(4, b"\0")[:4] + struct.pack("<L", _length(piece, _UNDEFINED)) + piece.body


def _in_explicit(piece: Piece) -> tuple[int, Format] | None:
    return (0, EXPLICIT) if piece.head[4:6] == b"SQ" or piece.head[:2] == b"\xfe\xff" else None


def _in_implicit(piece: Piece) -> tuple[int, Format] | None:
    return (0, IMPLICIT) if piece.body[:2] == b"\xfe\xff" or piece.head[:2] == b"\xfe\xff" else None


def _in_item(piece: Piece) -> tuple[int, Format] | None:
    kind = piece.head[:1]
    if kind in {b"\x20", b"\x21"}:
        return 4, ITEM
    return (0, ITEM) if kind == b"\x50" else None


def _in_pdu(piece: Piece) -> tuple[int, Format] | None:
    kind = piece.head[:1]
    if kind in {b"\1", b"\2"}:
        return 68, ITEM
    return (0, PDV) if kind == b"\4" else None


def _in_pdv(piece: Piece) -> tuple[int, Format] | None:
    return (0, IMPLICIT) if piece.head[1:] and piece.head[1] & 1 else None


EXPLICIT = Format(_cut_explicit, _write_explicit, _in_explicit)
IMPLICIT = Format(_cut_implicit, _write_implicit, _in_implicit)
ITEM = counted(">H", 2, inner=_in_item)
PDV = Format(_cut_pdv, _write_pdv, _in_pdv)
PDU = counted(">L", 2, inner=_in_pdu)
CALLS = counted("<H", 1, inner=lambda piece: (0, PDU) if piece.head == b"\0" else None)
"""What is done to an association: one byte for the call, and what it is given."""
HALVES = counted("<H", 0, inner=lambda _: (0, EXPLICIT))
"""Data sets in Explicit VR, one behind the other."""
