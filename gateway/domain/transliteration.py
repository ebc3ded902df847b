"""Names and texts in the letters that a scanner can show, when its character set can't hold them as they are.

Promises:

* Only what the set doesn't hold is changed, and to the nearest form that it does hold: `Müller` stays in
  Latin-1, `Łucja` becomes `Lucja` there and nothing is changed in UTF-8.
* Nothing is invented: no `?` or other mark of loss. What has no form stays as it is, so that writing it
  fails (`gateway.dicom.charset.encode`) and the caller decides; `Transliteration.fits` says so beforehand.
* No delimiter of a value or a name (`\\`, `^`, `=`), no wildcard and no control character ever appears.
* A Latin name that was folded is found by its folded form (`gateway.domain.keys.fold` has the same letters).

Letters and punctuation of Latin script are folded always; other scripts only when asked for, by a
standard: Cyrillic by ICAO Doc 9303 part 3 section 6.B, as in passports and without its exceptions by
language; modern Greek by ELOT 743 (ISO 843 type 2).
"""

# ruff: noqa: RUF001 -- letters of other alphabets are what this module is about

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Callable, Collection, Iterator
from enum import StrEnum
from typing import Final, NamedTuple, TypeAlias

Holds: TypeAlias = Callable[[str], bool]
"""Whether a character set holds this text whole."""


class Script(StrEnum):
    """A script that can be written in Latin letters, each by one scheme."""

    CYRILLIC = "cyrillic"
    """ICAO Doc 9303."""
    GREEK = "greek"
    """ELOT 743."""


class Transliteration(NamedTuple):
    """A text as it is to be shown, and what was done for that."""

    text: str
    folded: bool
    """Latin letters or punctuation were replaced by plainer ones."""
    romanised: frozenset[Script]
    """Scripts that were written in Latin letters."""
    fits: bool
    """The set holds the text now."""


LETTERS: Final = {
    "ß": "ss", "æ": "ae", "œ": "oe", "ø": "o", "ð": "d", "đ": "d", "þ": "th", "ł": "l", "ħ": "h", "ŧ": "t",
    "ı": "i", "ŋ": "n", "ĸ": "k", "ƒ": "f", "ə": "e", "ǝ": "e", "ɓ": "b", "ɗ": "d", "ƙ": "k", "ƴ": "y", "ɖ": "d",
    "ŀ": "l", "ſ": "s",
}  # fmt: skip
"""Latin letters that are no base letter with an accent, in lower case."""
PUNCTUATION: Final = {
    **dict.fromkeys("\u2018\u2019\u201a\u201b\u02bc\u02b9\u02bb\u02c8\u2032\u00b4\uff07", "'"),
    **dict.fromkeys("\u201c\u201d\u201e\u201f\u00ab\u00bb\u2033\u02ba\uff02", '"'),
    **dict.fromkeys("\u2039\u203a", "'"),
    **dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2015\u2212\u00ad\ufe63\uff0d", "-"),
    **dict.fromkeys(map(chr, (*range(0x200B, 0x2010), *range(0x202A, 0x202F), *range(0x2060, 0x206A), 0xFEFF)), ""),
    **dict.fromkeys("\u2022\u00b7\u2027\u30fb\u2219", "."),
    "\u2044": "/", "\u2026": "...", "\u20ac": "EUR", "\u00a3": "GBP", "\u00d7": "x", "\u00b1": "+/-", "\u00a7": "S.",
    "\u00b0": " deg", "\u00b5": "u", "\u00a9": "(c)", "\u00ae": "(R)",
}  # fmt: skip
"""Marks that keyboards and word processors make, as ASCII has them. Invisible ones are dropped."""

_CLUSTER: Final = re.compile(r"(?s)(.)([\u0300-\u036f\u3099\u309a\uff9e\uff9f]{0,8})")
"""A character with the accents and voicing marks that follow it; more of them than any language has stand alone."""
_ACCENTS: Final = range(0x0300, 0x0370)
_NEVER_MADE: Final = re.compile(r"[\\^=?*\x00-\x1f\x7f-\x9f]")
_RUN: Final = {
    Script.CYRILLIC: re.compile(r"[\u0400-\u052f\u0300-\u036f]+"),
    Script.GREEK: re.compile(r"[\u0370-\u03ff\u1f00-\u1fff\u0300-\u036f]+"),
}


def fold_latin(text: str, holds: Holds = str.isascii) -> str:
    """The text with every Latin letter and mark that isn't held in the nearest form that is."""
    if holds(text):
        return text
    held = functools.cache(holds)  # letters come again and again
    folded = []
    for cluster in _CLUSTER.finditer(text):
        whole = cluster[0]
        if not held(whole):
            forms = (form for form in _forms(whole, text, cluster.start()) if not _NEVER_MADE.search(form))
            whole = next((form for form in forms if held(form)), whole)
        folded.append(whole)
    return "".join(folded)


def transliterate(text: str, holds: Holds = str.isascii, *, scripts: Collection[Script] = ()) -> Transliteration:
    """The text folded, and where that isn't enough romanised from these scripts.

    `holds` must say the truth for a single character; a set that needs escapes between them (ISO 2022)
    may still not write the whole: call again with the default, plain ASCII.
    """
    shown = fold_latin(text, holds)
    folded, romanised = shown != text, set()
    for script in Script:
        if script in scripts and not holds(shown):
            latin = _RUN[script].sub(functools.partial(_romanised, script, holds), shown)
            if latin != shown:
                romanised.add(script)
                shown = latin
    return Transliteration(shown, folded, frozenset(romanised), holds(shown))


def _forms(cluster: str, text: str, at: int) -> Iterator[str]:
    """Other ways to write a character, the most faithful first."""
    decomposed = unicodedata.normalize("NFD", cluster)
    for length in range(len(decomposed), 0, -1):
        yield unicodedata.normalize("NFC", decomposed[:length])
        if ord(decomposed[length - 1]) not in _ACCENTS:
            break
    base = decomposed[0]
    if ord(base) in _ACCENTS:
        yield ""
    if base.lower() in LETTERS:
        yield _cased(LETTERS[base.lower()], text, at, at + len(cluster))
    if base in PUNCTUATION:
        yield PUNCTUATION[base]
    compatible = unicodedata.normalize("NFKC", cluster)
    if compatible != cluster:
        yield compatible
        yield fold_latin(compatible)


def _cased(plain: str, text: str, start: int, end: int) -> str:
    """A lower-case replacement of text[start:end] in its case: `Æsir` is `Aesir`, `ÆSIR` is `AESIR`."""
    if not text[start].isupper():
        return plain
    after, before = text[end : end + 1], text[start - 1 : start] if start else ""
    capitals = after.isupper() if after.isalpha() else before.isupper()
    return plain.upper() if capitals or len(plain) == 1 else plain.capitalize()


def _romanised(script: Script, holds: Holds, run: re.Match[str]) -> str:
    """A run of one script in Latin letters, unless the set holds it."""
    if holds(run[0]):
        return run[0]
    text = unicodedata.normalize("NFC", run[0])
    return _from_cyrillic(text) if script is Script.CYRILLIC else _from_greek(text)


_CYRILLIC: Final = {
    "а": "a", "б": "b", "в": "v", "г": "g", "ґ": "g", "ѓ": "g", "д": "d", "ђ": "d", "е": "e", "ё": "e", "є": "ie",
    "ж": "zh", "з": "z", "ѕ": "dz", "и": "i", "і": "i", "ї": "i", "й": "i", "ј": "j", "к": "k", "ќ": "k", "л": "l",
    "љ": "lj", "м": "m", "н": "n", "њ": "nj", "о": "o", "п": "p", "р": "r", "с": "s", "т": "t", "ћ": "c", "у": "u",
    "ў": "u", "ѫ": "u", "ф": "f", "х": "kh", "ц": "ts", "ч": "ch", "џ": "dz", "ш": "sh", "щ": "shch", "ъ": "ie",
    "ы": "y", "ь": "", "э": "e", "ю": "iu", "я": "ia",
}  # fmt: skip
_GREEK: Final = {
    "α": "a", "β": "v", "γ": "g", "δ": "d", "ε": "e", "ζ": "z", "η": "i", "θ": "th", "ι": "i", "κ": "k", "λ": "l",
    "μ": "m", "ν": "n", "ξ": "x", "ο": "o", "π": "p", "ρ": "r", "σ": "s", "ς": "s", "τ": "t", "υ": "y", "φ": "f",
    "χ": "ch", "ψ": "ps", "ω": "o",
}  # fmt: skip
_VOICELESS: Final = frozenset("θκξπσςτφχψ")
_STRESS: Final = frozenset("\u0300\u0301\u0342")
_DIAERESIS: Final = "\u0308"


def _from_cyrillic(text: str) -> str:
    latin = []
    for at, letter in enumerate(text):
        if ord(letter) not in _ACCENTS:
            base = letter.lower() if letter.lower() in _CYRILLIC else unicodedata.normalize("NFD", letter.lower())[0]
            latin.append(_cased(_CYRILLIC[base], text, at, at + 1) if base in _CYRILLIC else letter)
    return "".join(latin)


def _from_greek(text: str) -> str:
    """ELOT 743: an upsilon sounds by its neighbours, two gammas are `ng`, a mu and pi at either end are `b`."""
    clusters = [(c[1], frozenset(c[2])) for c in _CLUSTER.finditer(unicodedata.normalize("NFD", text))]
    plain = "".join(letter for letter, _ in clusters)
    lower = ["", *(letter.lower() for letter in plain), ""]
    latin = []
    for at, (letter, accents) in enumerate(clusters):
        before, this, after = lower[at : at + 3]
        sound = _GREEK.get(this)
        if this == "υ" and before and _DIAERESIS not in accents and not clusters[at - 1][1] & _STRESS:
            sound = _upsilon(before, after)
        elif this == "γ" and after in {"γ", "ξ", "χ"}:
            sound = "n"
        elif this == "μ" and after == "π" and at in {0, len(plain) - 2}:
            sound = "b"
        elif this == "π" and before == "μ" and at in {1, len(plain) - 1}:
            sound = ""
        latin.append(letter if sound is None else _cased(sound, plain, at, at + 1))
    return "".join(latin)


def _upsilon(before: str, after: str) -> str:
    if before == "ο":
        return "u"
    if before in {"α", "ε", "η"}:
        return "f" if not after or after in _VOICELESS else "v"
    return "y"
