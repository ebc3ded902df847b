"""Text in a Specific Character Set, both ways (PS3.3 C.12.1.1.2, PS3.5 6.1.2).

Promises: `decode` always gives text and never a replacement character: what doesn't fit the declared sets
is read with the other declared ones, then as UTF-8, then as Latin-1, and `decode_checked` says that it had
to guess. `encode` is proven by decoding: it gives bytes that a reader of the same declaration turns into
the same text, or fails with `CharsetError`, so a caller can try the next set a peer accepts or write the text
plainer (`gateway.domain.transliteration`). There is no way to write "?" for what doesn't fit.

Code extensions (ISO 2022) reset at the delimiters of their VR (PS3.5 6.1.2.5.3): for PN "^", "=" and "\\",
for other multi-valued text "\\", for all TAB, LF, FF and CR. Only SH, LO, ST, LT, PN, UC and UT depend on
Specific Character Set; other VRs are ASCII.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final, NamedTuple

from pydicom.charset import python_encoding

MOST_SETS: Final = 16
"""More than there are to be combined (PS3.3 table C.12-3 and C.12-4)."""
_LONGEST_DECLARATION: Final = MOST_SETS * 32
"""A defined term is a CS: 16 characters, and some devices pad."""
_DEPENDENT: Final = frozenset({"SH", "LO", "ST", "LT", "PN", "UC", "UT"})
_DELIMITERS: Final = {"PN": "^=\\", "SH": "\\", "LO": "\\", "UC": "\\"}
_CONTROLS: Final = "\t\n\f\r"
_ASCII: Final = "ascii"
_ESCAPE: Final = b"\x1b"


def _key(name: str) -> str:
    return re.sub(r"[ _-]+", " ", name).strip().upper()


_CODEC: Final = {_key(name): codec.lower() for name, codec in python_encoding.items()} | {
    "": _ASCII,
    "ISO IR 6": _ASCII,
    "ISO 2022 IR 6": _ASCII,
    "ISO 2022 IR 58": "gb2312",
    "ISO 2022 IR 159": "iso2022_jp_1",
    "ISO IR 203": "iso8859_15",
    "ISO 2022 IR 203": "iso8859_15",
}
"""Defined terms as they are spelled, and misspelled with other separators, to Python's codecs."""
_WHOLE: Final = frozenset({"utf8", "gb18030", "gbk"})
"""Sets without code extensions (PS3.3 table C.12-5)."""
_NOT_INITIAL: Final = frozenset({"iso2022_jp", "iso2022_jp_1", "euc_kr", "gb2312"})
"""Multi-byte sets that are only reached by an escape (PS3.3 table C.12-4); ASCII holds before it."""
_INTO_G0: Final = {b"\x1b$B": "iso2022_jp", b"\x1b$(D": "iso2022_jp_1"}
_INTO_G1: Final = {
    b"\x1b-A": "latin_1",
    b"\x1b-B": "iso8859_2",
    b"\x1b-C": "iso8859_3",
    b"\x1b-D": "iso8859_4",
    b"\x1b-F": "iso_ir_126",
    b"\x1b-G": "iso_ir_127",
    b"\x1b-H": "iso_ir_138",
    b"\x1b-L": "iso_ir_144",
    b"\x1b-M": "iso_ir_148",
    b"\x1b-T": "iso_ir_166",
    b"\x1b-b": "iso8859_15",
    b"\x1b)I": "shift_jis",
    b"\x1b$)C": "euc_kr",
    b"\x1b$)A": "gb2312",
}
_BACK_TO_ASCII: Final = b"\x1b(B"
_TO_JIS_ROMAN: Final = b"\x1b(J"
_RUN: Final = re.compile(rb"(\x1b\$[()].|\x1b[$()\-].|\x1b|^)([^\x1b]*)", re.DOTALL)
_HARMLESS: Final = frozenset({b"", _BACK_TO_ASCII, _TO_JIS_ROMAN})
_ESCAPE_OF: Final = {codec: escape for escape, codec in _INTO_G1.items()}


class CharsetError(ValueError):
    """The text can't be written in the declared sets; the message has the VR and the sets, never the text."""


class Decoded(NamedTuple):
    """Text, and whether the declaration alone led to it."""

    text: str
    faithful: bool


def character_sets(value: bytes) -> list[str]:
    """The values of Specific Character Set (0008,0005), at most `MOST_SETS`: each costs work with every text."""
    declared = value[:_LONGEST_DECLARATION].decode("latin-1")
    return [name.strip(" \0") for name in declared.split("\\")[:MOST_SETS]] if declared.strip(" \0") else []


def known(specific_character_set: list[str]) -> bool:
    """Whether every set is one that can be read and written here; the empty name is the default repertoire."""
    return all(_key(name) in _CODEC for name in specific_character_set)


def decode(value: bytes, vr: str, specific_character_set: list[str]) -> str:
    """The text of a value without trailing padding; see `decode_checked`."""
    return decode_checked(value, vr, specific_character_set).text


def decode_checked(value: bytes, vr: str, specific_character_set: list[str]) -> Decoded:
    """The text of a whole value, backslashes included, without trailing padding (spaces, NUL)."""
    value = value.rstrip(b" \0")
    if value.isascii() and _ESCAPE not in value:
        return Decoded(value.decode(_ASCII), faithful=True)
    codecs, known = _declared(vr, tuple(specific_character_set))
    try:
        if codecs[0] in _WHOLE:
            return Decoded(value.decode(codecs[0]), faithful=known)
        text, undeclared = _decode_runs(value, vr, codecs)
        return Decoded(text, faithful=known and not undeclared)
    except UnicodeError:
        return Decoded(_guess(value, codecs), faithful=False)


def encode(text: str, vr: str, specific_character_set: list[str]) -> bytes:
    """The unpadded value. Raises CharsetError unless the declared sets hold all of the text."""
    codecs, _ = _declared(vr, tuple(specific_character_set))
    encoded = []
    for part in re.split(f"([{re.escape(_DELIMITERS.get(vr, '') + _CONTROLS)}])", text):
        component = _encode_component(part, codecs)
        if component is None or not _proven(component, part, vr, specific_character_set):
            declared = "\\".join(specific_character_set) or "the default repertoire"
            raise CharsetError(f"{vr} of {len(text)} characters does not fit {declared}; offer another set")
        encoded.append(component)
    return b"".join(encoded)


def _proven(component: bytes, text: str, vr: str, names: list[str]) -> bool:
    return decode_checked(component, vr, names) == (text.rstrip(" \0"), True)


@lru_cache(maxsize=256)
def _declared(vr: str, names: tuple[str, ...]) -> tuple[tuple[str, ...], bool]:
    """Codecs of the declared sets, the initial one first, and whether all names are known."""
    if vr not in _DEPENDENT:
        return (_ASCII,), True
    codecs = [_CODEC[_key(name)] for name in names if _key(name) in _CODEC]
    known = len(codecs) == len(names)
    if not codecs or codecs[0] in _NOT_INITIAL:
        codecs.insert(0, _ASCII)
    return tuple(codecs), known


def _decode_runs(value: bytes, vr: str, codecs: tuple[str, ...]) -> tuple[str, bool]:
    """Text of a value with code extensions, and whether an escape to an undeclared set was met."""
    parts: list[str] = []
    undeclared = False
    right = codecs[0]
    delimiters = re.compile(f"[{re.escape(_DELIMITERS.get(vr, '') + _CONTROLS)}]".encode(_ASCII))
    for run in _RUN.finditer(value):
        escape, content = run[1], run[2]
        codec = _INTO_G0.get(escape) or _INTO_G1.get(escape, "")
        undeclared |= escape not in _HARMLESS and codec not in codecs
        if escape in _INTO_G0:  # two bytes a character: "^" and "\" inside are no delimiters
            parts.append((escape + content + _BACK_TO_ASCII).decode(codec))
            continue
        right = _INTO_G1.get(escape, right)
        delimiter = delimiters.search(content)
        stop = delimiter.start() if delimiter else len(content)
        parts.append(content[:stop].decode(right))
        if delimiter:
            right = codecs[0]
            parts.append(content[stop:].decode(right))
    return "".join(parts), undeclared


def _guess(value: bytes, codecs: tuple[str, ...]) -> str:
    plain = _RUN.sub(rb"\2", value)
    for codec in (*codecs, "utf-8"):
        try:
            return (value if codec in _INTO_G0.values() else plain).decode(codec)
        except UnicodeError:
            continue
    return plain.decode("latin-1")


def _encode_component(text: str, codecs: tuple[str, ...]) -> bytes | None:
    """One component in the first declared set that holds it whole, else switching between them, or None."""
    for index, codec in enumerate(codecs):
        whole = _encode_run(text, codec, codecs)
        if whole is not None:
            return _ESCAPE_OF.get(codec, b"") + whole if index else whole
    return _encode_switching(text, codecs) if len(codecs) > 1 else None


def _encode_switching(text: str, codecs: tuple[str, ...]) -> bytes | None:
    """Each character in the set of the one before it, or else in the first that holds it."""
    runs: list[tuple[str, str]] = []
    for character in text:
        last = runs[-1][0] if runs else codecs[0]
        fits = (codec for codec in (last, *codecs) if _encode_run(character, codec, codecs) is not None)
        codec = next(fits, None)
        if codec is None:
            return None
        if runs and codec == last:
            runs[-1] = (codec, runs[-1][1] + character)
        else:
            runs.append((codec, character))
    encoded = []
    for number, (codec, run) in enumerate(runs):
        # Behind two-byte characters some readers forget the right half, so it is named again
        encoded.append(_ESCAPE_OF.get(codec, b"") if number or codec != codecs[0] else b"")
        encoded.append(_encode_run(run, codec, codecs) or b"")
    return b"".join(encoded)


def _encode_run(text: str, codec: str, codecs: tuple[str, ...]) -> bytes | None:
    """The text in one set, without the escape to a right half; None if that set doesn't hold it."""
    try:
        encoded = text.encode(codec)
    except UnicodeError:
        return None
    if codec == "shift_jis" and len(encoded) != len(text):
        return None  # JIS X 0201 has one byte a character; the rest of Shift JIS is not DICOM
    if codec in _INTO_G0.values():
        return encoded.replace(_BACK_TO_ASCII, _TO_JIS_ROMAN if codecs[0] == "shift_jis" else _BACK_TO_ASCII)
    return encoded
