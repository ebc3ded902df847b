"""What a hostile peer says: identifiers that are paths, commands and worse, and whole associations to spoil.

Command sets are written element by element here: our own encoder would not write what a hostile peer does.
"""

from __future__ import annotations

import random
import struct

VERIFICATION = b"1.2.840.10008.1.1"
CT = b"1.2.840.10008.5.1.4.1.1.2"
WORKLIST = b"1.2.840.10008.5.1.4.31"
COMMITMENT = b"1.2.840.10008.1.20.1"
IMPLICIT = b"1.2.840.10008.1.2"
C_STORE, C_FIND, C_ECHO, N_ACTION = 0x0001, 0x0020, 0x0030, 0x0130
RELEASE = b"\x05\0\0\0\0\x04\0\0\0\0"

IDENTIFIERS = (
    b"../../../../outside/x",
    b"..",
    b"/tmp/outside",
    b"..\\..\\outside",
    b"1.2.3\0/../../outside",
    b"\0" * 64,
    b"9." * 40 + b"1",
    b"x" * 5000,
    b"1.2.3\n2026-01-01 level=error event=forged",
    b"1.2.3\r\nSet-Cookie: a=b",
    b"$(touch outside)",
    b"`touch outside`;touch outside|touch outside&",
    b"'; DROP TABLE instance; --",
    b"%s%n%x{0.__class__}",
    b"~/outside",
    b"file:///outside",
    "\u202e\u2028..\uff0foutside".encode(),
    b"\xff\xfe\x80\x81",
    b"\x1b]0;outside\x07\x1b[2J",
    b"CON.dcm",
    b"",
    b" ",
)


def associate(calling: bytes = b"BAD", called: bytes = b"GATEWAY", *, max_pdu: int = 16384) -> bytes:
    """An A-ASSOCIATE-RQ (PS3.8 9.3.2) with contexts 1 echo, 3 CT, 5 worklist, 7 commitment."""
    contexts = b"".join(
        _item(0x20, bytes([2 * number + 1, 0, 0, 0]) + _item(0x30, abstract) + _item(0x40, IMPLICIT))
        for number, abstract in enumerate((VERIFICATION, CT, WORKLIST, COMMITMENT))
    )
    user = _item(0x50, _item(0x51, struct.pack(">L", max_pdu)) + _item(0x52, b"1.2.3"))
    titles = called[:16].ljust(16) + calling[:16].ljust(16) + bytes(32)
    body = b"\0\1\0\0" + titles + _item(0x10, b"1.2.840.10008.3.1.1.1") + contexts + user
    return b"\1\0" + struct.pack(">L", len(body)) + body


def _item(kind: int, body: bytes) -> bytes:
    return struct.pack(">BxH", kind, len(body)) + body


def value(context: int, content: bytes, *, command: bool, last: bool = True) -> bytes:
    """One P-DATA-TF with one presentation data value (PS3.8 9.3.5, annex E)."""
    flags = command | 2 * last
    return struct.pack(">BxLLBB", 4, len(content) + 6, len(content) + 2, context, flags) + content


def command(field: int, sop_class: bytes, *, data: bool, **more: bytes) -> bytes:
    """A command set; `more` are values by element, as e1000=b"1.2.3" for (0000,1000)."""
    requested = 0x0003 if field == N_ACTION else 0x0002
    elements = {
        requested: sop_class,
        0x0100: struct.pack("<H", field),
        0x0110: b"\1\0",
        0x0700: b"\0\0",
        0x0800: b"\0\0" if data else b"\1\1",
        **{int(name[1:], 16): content for name, content in more.items()},
    }
    body = b"".join(_element(0, number, content) for number, content in sorted(elements.items()))
    return _element(0, 0, struct.pack("<L", len(body))) + body


def _element(group: int, number: int, content: bytes) -> bytes:
    content += b"\0" * (len(content) % 2)
    return struct.pack("<HHL", group, number, len(content)) + content


def data_set(word: bytes) -> bytes:
    """A small CT with `word` as every identifier in it."""
    tags = ((8, 0x16), (8, 0x18), (8, 0x50), (0x10, 0x10), (0x10, 0x20), (0x20, 0xD), (0x20, 0xE), (0x20, 0x10))
    return b"".join(_element(group, number, word) for group, number in tags) + _element(0x7FE0, 0x10, bytes(2000))


def evil_requests(word: bytes) -> list[bytes]:
    """Requests of every kind with `word` wherever a text goes; each is whole and has an answer."""
    keys = _element(8, 5, b"") + b"".join(_element(0x10, number, word) for number in (0x10, 0x20))
    step = _element(0x40, 1, word) + _element(0x40, 2, word)
    keys += struct.pack("<HHLHHL", 0x40, 0x100, 8 + len(step), 0xFFFE, 0xE000, len(step)) + step
    reference = _element(8, 0x1150, word) + _element(8, 0x1155, word)
    asked = _element(8, 0x1195, word)
    asked += struct.pack("<HHLHHL", 8, 0x1199, 8 + len(reference), 0xFFFE, 0xE000, len(reference)) + reference
    return [
        value(3, command(C_STORE, CT, data=True, e1000=word, e1030=word), command=True)
        + value(3, data_set(word), command=False),
        value(3, command(C_STORE, word, data=True, e1000=word, e0600=word), command=True)
        + value(3, data_set(word), command=False),
        value(5, command(C_FIND, WORKLIST, data=True, e0902=word), command=True) + value(5, keys, command=False),
        value(7, command(N_ACTION, COMMITMENT, data=True, e1001=word, e1008=b"\1\0"), command=True)
        + value(7, asked, command=False),
    ]


def trickled_store() -> bytes:
    """A C-STORE that has begun, and its data set byte by byte for as long as anybody listens."""
    begun = value(3, command(C_STORE, CT, data=True, e1000=b"1.2.3.4"), command=True)
    return begun + struct.pack(">BxLLBB", 4, 60_006, 60_002, 3, 2) + bytes(60_000)


def hoard(*, query: bool, megabytes: int) -> list[bytes]:
    """A query or a commitment request whose data set does not end, in pieces."""
    context, field, sop_class = (5, C_FIND, WORKLIST) if query else (7, N_ACTION, COMMITMENT)
    piece = value(context, b"\x08\0\5\0\0\0\0\0" * 7500, command=False, last=False)
    begun = value(context, command(field, sop_class, data=True, e1001=b"1.2", e1008=b"\1\0"), command=True)
    return [begun] + [piece] * (megabytes * 1_000_000 // 60_000)


def endless(kind: int) -> bytes:
    """The header of a PDU of 4 GB."""
    return struct.pack(">BxL", kind, 0xFFFFFFFF)


def spoiled(chance: random.Random, calling: bytes) -> bytes:
    """A valid association with a few of its bytes, lengths or pieces changed."""
    word = chance.choice(IDENTIFIERS)
    requests = [value(1, command(C_ECHO, VERIFICATION, data=False), command=True), *evil_requests(word)]
    pdus = [associate(calling), *chance.sample(requests, chance.randint(1, 4)), RELEASE]
    if chance.random() < 0.3:
        chance.shuffle(pdus)
    out = bytearray(b"".join(pdus if chance.random() < 0.5 else [pdus[0], _spoil(chance, b"".join(pdus[1:]))]))
    return _spoil(chance, bytes(out)) if chance.random() < 0.5 else bytes(out)


def _spoil(chance: random.Random, good: bytes) -> bytes:
    out = bytearray(good)
    for _ in range(chance.randint(1, 8)):
        at = chance.randrange(len(out))
        match chance.randrange(5):
            case 0:
                out[at] = chance.randrange(256)
            case 1:
                out[at : at + 4] = struct.pack(">L", chance.choice((0, 1, 0xFFFFFFFF, 0x7FFFFFFF, 0xFFFF)))
            case 2:
                del out[at : at + chance.randint(1, 40)]
            case 3:
                out[at:at] = out[at : at + chance.randint(1, 200)]
            case _:
                out[at:at] = chance.randbytes(chance.randint(1, 40))
        out = out or bytearray(b"\0")
    return bytes(out)
