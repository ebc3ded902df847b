"""Invented values for the names, numbers and dates of a patient in a table of `readable`.

What is promised: a value is kept only if its attribute says nothing of a person (`KEPT`, and coded strings); all
others are invented, of the same shape: names in the script they were in, numbers of the same length, dates and free
text by constants. Within one `Anonymous` the same value gets the same invention, and a key with a wildcard still
finds what it found, so a captured query keeps its answer. Bytes that are no text lose their letters.

Not promised: descriptions of procedures and the codes of a site are kept, as profiles are written for them. Who
gives a file away reads it first.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping
from typing import Final

from pydicom.datadict import dictionary_VR

from gateway.dicom.readable import Table

KEPT: Final = frozenset({
    *("SpecificCharacterSet", "TimezoneOffsetFromUTC", "Modality", "ScheduledStationAETitle", "ScheduledStationName"),
    *("ScheduledProcedureStepStartDate", "ScheduledProcedureStepStartTime", "ScheduledProcedureStepLocation"),
    *("ScheduledProcedureStepDescription", "RequestedProcedureDescription", "RequestedProcedurePriority"),
    *("CodeValue", "CodingSchemeDesignator", "CodingSchemeVersion", "CodeMeaning", "ReferencedSOPClassUID"),
})  # fmt: skip
"""Keywords of attributes whose values say nothing of a person."""
_CONSTANT: Final = {"DA": "19700101", "TM": "000000", "DT": "19700101", "AS": "050Y", "DS": "1", "IS": "1"}
_NUMBERS: Final = frozenset({"SH", "LO", "UT", "UC", "AE"})
_LETTERS: Final = {
    "HALFWIDTH": "\uff71\uff72\uff73\uff74\uff75",
    "CJK": "山水木火土金",
    "HIRAGANA": "あいうえお",
    "KATAKANA": "アイウエオ",
    "HANGUL": "가나다라마",
    "CYRILLIC": "абвгд",
    "GREEK": "αβγδε",
    "HEBREW": "אבגדה",
    "ARABIC": "بتثجح",
    "THAI": "กขคงจ",
}
"""Letters of a script that every character set for it has, by the first word of their Unicode names."""
_WILD: Final = re.compile(r"[*?]")


class Anonymous:
    """The inventions of one file. `choose` picks one character of a text, as `secrets.choice` does."""

    def __init__(self, choose: Callable[[str], str]) -> None:
        self._choose = choose
        self._invented: dict[str, str] = {}

    def table(self, table: Table) -> Table:
        """The table with invented values. Give rows before the query that finds them."""
        return {name: self._value(name, value) for name, value in table.items()}

    def _value(self, name: str, value: object) -> object:
        if isinstance(value, list):
            return [self.table(item) for item in value]
        if isinstance(value, Mapping):
            if "items" in value:
                return {**value, "items": [self.table(item) for item in value["items"]]}
            return {**value, **({"hex": _without_letters(value["hex"])} if "hex" in value else {"text": "TEXT"})}
        text = str(value)
        vr = dictionary_VR(name)
        if name in KEPT or vr == "CS" or not text.strip("*? "):
            return text
        if vr == "PN":
            return "\\".join("=".join(map(self._name, one.split("="))) for one in text.split("\\"))
        if vr == "UI":
            return "\\".join(self._same(one, self._uid) for one in text.split("\\"))
        if vr in _NUMBERS:
            return "\\".join(self._same(one, self._number) for one in text.split("\\"))
        return _CONSTANT.get(vr, "TEXT")

    def _name(self, group: str) -> str:
        return self._same(group, self._person) if group.strip("^*? ") else group

    def _same(self, text: str, invent: Callable[[str], str]) -> str:
        """The invention for a value, or for the beginning of one that a wildcard ends."""
        wild = _WILD.search(text)
        if wild is None:
            key = text.strip().casefold()
            if key not in self._invented:
                self._invented[key] = invent(text.strip()) if key else ""
            return self._invented[key]
        stem = text[: wild.start()]
        begun = (new for old, new in self._invented.items() if stem and old.startswith(stem.casefold()))
        return next(begun, invent(stem))[: len(stem)] + "*"

    def _person(self, group: str) -> str:
        foreign = [letter for letter in group if not letter.isascii() and letter.isalpha()]
        alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
        if foreign:
            script = unicodedata.name(foreign[0], "LATIN").partition(" ")[0]
            alphabet = _LETTERS.get(script, "".join(sorted(set(foreign))) if script == "LATIN" else alphabet)
        family = "TEST" if alphabet.isascii() else "".join(self._choose(alphabet) for _ in range(2))
        return f"{family}^{''.join(self._choose(alphabet) for _ in range(4))}"

    def _number(self, text: str) -> str:
        return "".join(self._like(letter) for letter in text)

    def _like(self, letter: str) -> str:
        if letter.isdigit():
            return self._choose("0123456789")
        return self._choose("ABCDEFGHIJKLMNOPQRSTUVWXYZ") if letter.isalpha() else letter

    def _uid(self, text: str) -> str:
        """Of the same length, as near as a UID allows (PS3.5 9.1)."""
        digits = max(len(text) - len("2.25."), 8)
        return "2.25.1" + "".join(self._choose("0123456789") for _ in range(min(digits, 38) - 1))


def _without_letters(digits: str) -> str:
    """The bytes with one letter for all letters and one high byte for all high bytes; escapes stay."""
    return bytes(
        0xC4 if byte >= 0x80 else ord("X") if chr(byte).isalnum() else byte for byte in bytes.fromhex(digits)
    ).hex()
