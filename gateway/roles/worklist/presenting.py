"""One row in the form that one scanner can take: its character set, its required values, its kind of names.

Promises (PS3.3 C.12.1.1.2, PS3.5 6.1):

* The answer declares its Specific Character Set always, and every text in it was proven by decoding it in that
  set. Nothing is replaced by "?" or any other mark of loss.
* A text that no set of the profile holds is shown as nearly as can be: Latin letters folded, scripts romanised
  where the profile says so, the component groups of a name that fit. What is left then is sent empty, or as the
  profile's words for a patient's name, which must not be. A field may degrade; the row is answered.
* Every change has its `Quirk`. A row that fits as it is keeps its bytes.
"""

from __future__ import annotations

import functools
import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import date
from typing import Final, TypeAlias

from gateway.dicom import charset
from gateway.domain.profile import (
    AS_ASKED,
    AS_RECEIVED,
    Fill,
    FillSource,
    PersonNames,
    Profile,
    Quirk,
)
from gateway.domain.transliteration import transliterate
from gateway.domain.worklist import (
    ACCESSION_NUMBER,
    PATIENT_ID,
    PATIENT_NAME,
    SPECIFIC_CHARACTER_SET,
    SPS_SEQUENCE,
    STUDY_INSTANCE_UID,
    DataSet,
    Element,
    first_value,
    issuer_of_accession,
    items,
    text,
)

_DEPENDENT: Final = frozenset({"SH", "LO", "ST", "LT", "PN", "UC", "UT"})
"""VRs whose text depends on Specific Character Set (PS3.5 6.1.2.2)."""
_ASCII_ONLY: Final = frozenset({"AE", "AS", "CS", "DA", "DS", "DT", "IS", "TM", "UI", "UR"})
_SHORT: Final = 4
"""Characters of a part of a text that `fold_latin` asks about: a letter with its accents."""
_LONGEST_FOLDED: Final = 10_240
"""Characters of an LT (PS3.5 6.2). A longer text that does not fit is left out: folding it would hold up the box."""
_TEXT: Final = _DEPENDENT | _ASCII_ONLY
_ORDERS: Final = uuid.UUID("6c2c6d0c-5b0f-5a43-9b54-3f0d3bb1a6d5")
"""The name space of Study Instance UIDs made from orders. It must never change: the same order, the same UID."""


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What the answer to one row depends on beside the row and the requested keys."""

    profile: Profile
    asked_sets: tuple[str, ...]
    """What the query declares."""
    calling: str = ""
    """Only where the profile fills from it, so that scanners of one profile share what was made."""
    today: date | None = None
    """As `calling`."""


def view_of(profile: Profile, identifier: DataSet, *, calling: str, today: date) -> View:
    """The view of one question."""
    sources = {fill.source for fill in profile.fill}
    return View(
        profile=profile,
        asked_sets=_declared(identifier),
        calling=calling.strip() if FillSource.CALLING_AE in sources else "",
        today=today if FillSource.TODAY in sources else None,
    )


def present(answer: DataSet, row: DataSet, view: View) -> tuple[DataSet, frozenset[Quirk]]:
    """The projected `answer` of a `row` for this scanner, and what had to be done for it."""
    sets = _declared(row)
    quirks: set[Quirk] = set()
    filled = _filled(answer, row, view, quirks) if view.profile.fill else answer
    if _is_plain_throughout(filled, view.profile.name_length):
        return _declaring(filled, next(_candidates(view, sets))), frozenset(quirks)
    texts = _Texts(profile=view.profile, row_sets=sets, quirks=quirks)
    read = texts.read(filled)
    written = _first_that_holds(read, view, sets) or _nearest(read, view, sets)
    quirks |= written.quirks
    return _declaring(written.elements, written.sets), frozenset(quirks)


def _declaring(elements: DataSet, sets: Iterable[str]) -> DataSet:
    declared = Element("CS", "\\".join(sets).encode("ascii"))
    return dict(sorted({**elements, SPECIFIC_CHARACTER_SET: declared}.items()))


def _is_plain_throughout(dataset: DataSet, name_length: int) -> bool:
    """Whether every text is the same in every set and every name as short as the scanner takes: most rows are, and
    there is nothing to be done for them."""
    for vr, value in dataset.values():
        if not isinstance(value, bytes):
            if not all(_is_plain_throughout(item, name_length) for item in value):
                return False
        elif (vr in _TEXT and not _is_plain(value)) or (vr == "PN" and (b"=" in value or len(value) > name_length)):
            return False
    return True


def _declared(row: DataSet) -> tuple[str, ...]:
    element = row.get(SPECIFIC_CHARACTER_SET)
    return tuple(charset.character_sets(element[1])) if element and isinstance(element[1], bytes) else ()


def _candidates(view: View, row_sets: tuple[str, ...]) -> Iterator[list[str]]:
    """The sets to try, best first; where the profile leads to none, what every scanner reads."""
    found = False
    for entry in view.profile.character_sets:
        sets = {AS_ASKED: view.asked_sets, AS_RECEIVED: row_sets}.get(entry, entry.split("\\"))
        if any(sets) and charset.known(list(sets)):
            found = True
            yield list(sets)
    if not found:
        yield ["ISO_IR 6"]


# -- reading --


@dataclass(frozen=True, slots=True)
class _Text:
    """A value that depends on the character set."""

    vr: str
    text: str
    original: bytes | None
    """The bytes it was read from, if they mean this text in the row's sets without doubt."""


_Read: TypeAlias = "dict[int, Element | _Text | list[_Read]]"


@dataclass(frozen=True, slots=True)
class _Texts:
    """How the values of a row are read and trimmed for a profile."""

    profile: Profile
    row_sets: tuple[str, ...]
    quirks: set[Quirk]

    def read(self, dataset: DataSet) -> _Read:
        return {tag: self._value(vr, value) for tag, (vr, value) in dataset.items() if tag != SPECIFIC_CHARACTER_SET}

    def _value(self, vr: str, value: object) -> Element | _Text | list[_Read]:
        if not isinstance(value, bytes):
            return [self.read(item) for item in value]  # type: ignore[attr-defined]
        if vr in _DEPENDENT and value:
            return self._text(vr, value)
        if vr in _ASCII_ONLY and not _is_plain(value):
            return Element(vr, self._plain(value))
        return Element(vr, value)

    def _text(self, vr: str, value: bytes) -> _Text:
        found = charset.decode_checked(value, vr, list(self.row_sets))
        if not found.faithful:
            self.quirks.add(Quirk.CHARSET_GUESSED)
        shown = self._name(found.text) if vr == "PN" else found.text
        return _Text(vr, shown, value if found.faithful and shown == found.text else None)

    def _plain(self, value: bytes) -> bytes:
        """A value whose VR is ASCII by definition, and isn't."""
        self.quirks.add(Quirk.CHARSET_GUESSED)
        folded = transliterate(charset.decode(value, "LO", list(self.row_sets)))
        fits = folded.fits and "\x1b" not in folded.text
        self.quirks.add(Quirk.FOLDED if fits else Quirk.TEXT_LEFT_OUT)
        return folded.text.encode("ascii") if fits else b""

    def _name(self, name: str) -> str:
        """The component groups that are sent, each no longer than the scanner takes; empty ones at the end are not."""
        groups = name.rstrip("= ").split("=")
        if self.profile.person_names is PersonNames.ALPHABETIC and len(groups) > 1:
            self.quirks.add(Quirk.NAME_GROUPS_LEFT_OUT)
            del groups[1:]
        length = self.profile.name_length
        if any(len(group) > length for group in groups):
            self.quirks.add(Quirk.NAME_SHORTENED)
            groups = [group[:length].rstrip("^ ") for group in groups]
        return "=".join(groups)


# -- writing --


@dataclass(slots=True)
class _Written:
    """An answer in one set."""

    sets: list[str]
    elements: dict[int, Element] = field(default_factory=dict)
    quirks: set[Quirk] = field(default_factory=set)
    lost: int = 0
    """Texts or component groups that are not there any more."""
    changed: int = 0
    """Texts in other letters than the row's."""


_Write = Callable[[int, _Text], bytes]


def _first_that_holds(read: _Read, view: View, row_sets: tuple[str, ...]) -> _Written | None:
    """The row without any loss, in the first set of the profile that can."""
    for sets in _candidates(view, row_sets):

        def write(_: int, text: _Text, sets: list[str] = sets) -> bytes:
            if text.original is not None and (sets == list(row_sets) or _is_plain(text.original)):
                return text.original
            return charset.encode(text.text, text.vr, sets)

        try:
            return _Written(sets, _elements(read, write))
        except charset.CharsetError:
            continue
    return None


def _is_plain(value: bytes) -> bool:
    """Bytes that are the same text in every set."""
    return value.isascii() and b"\x1b" not in value


def _nearest(read: _Read, view: View, row_sets: tuple[str, ...]) -> _Written:
    """The row in the set that loses least of it; of equals the first."""
    tried = []
    for sets in _candidates(view, row_sets):
        written = _Written(sets)
        written.elements = _elements(read, functools.partial(_degraded, written, view.profile))
        tried.append(written)
    return min(tried, key=lambda written: (written.lost, written.changed))


def _degraded(written: _Written, profile: Profile, tag: int, text: _Text) -> bytes:
    if text.vr == "PN":
        return _degraded_name(written, profile, tag, text)
    shown = _shown(written, profile, text.vr, text.text)
    if shown is None:
        written.lost += 1
        written.quirks.add(Quirk.TEXT_LEFT_OUT)
    return shown or b""


def _degraded_name(written: _Written, profile: Profile, tag: int, name: _Text) -> bytes:
    groups = [_shown(written, profile, name.vr, group) for group in name.text.split("=")]
    written.lost += groups.count(None)
    if any(groups) or None not in groups:
        if None in groups:
            written.quirks.add(Quirk.NAME_GROUPS_LEFT_OUT)
        return b"=".join(group or b"" for group in groups).rstrip(b"=")
    if tag != PATIENT_NAME:
        written.quirks.add(Quirk.TEXT_LEFT_OUT)
        return b""
    written.quirks.add(Quirk.NAME_UNREADABLE)
    return profile.unreadable_name.encode("ascii")


def _shown(written: _Written, profile: Profile, vr: str, text: str) -> bytes | None:
    """The text as it is, folded, or romanised: the first that the set holds; None if it holds none."""
    encoded = _encoded(text, vr, written.sets)
    if encoded is not None or len(text) > _LONGEST_FOLDED:
        return encoded

    def holds(part: str) -> bool:
        if len(part) > _SHORT:
            return _encoded(part, vr, written.sets) is not None
        return _holds(part, vr, tuple(written.sets))

    for fits in (holds, str.isascii):  # a set that needs escapes may hold each letter and not the whole
        found = transliterate(text, fits, scripts=profile.romanised)
        encoded = _encoded(found.text, vr, written.sets) if found.fits else None
        if encoded is not None:
            written.changed += 1
            written.quirks |= {Quirk.FOLDED} if found.folded else set()
            written.quirks |= {Quirk.ROMANISED} if found.romanised else set()
            return encoded
    return None


@functools.lru_cache(maxsize=4096)
def _holds(part: str, vr: str, sets: tuple[str, ...]) -> bool:
    """Whether a set holds these few characters: the same ones are asked for again and again."""
    return _encoded(part, vr, list(sets)) is not None


def _encoded(text: str, vr: str, sets: list[str]) -> bytes | None:
    try:
        return charset.encode(text, vr, sets)
    except charset.CharsetError:
        return None


def _elements(read: _Read, write: _Write) -> dict[int, Element]:
    written = {}
    for tag, value in read.items():
        if isinstance(value, list):
            written[tag] = Element("SQ", [_elements(item, write) for item in value])
        else:
            written[tag] = Element(value.vr, write(tag, value)) if isinstance(value, _Text) else value
    return written


# -- filling --


def _filled(answer: DataSet, row: DataSet, view: View, quirks: set[Quirk]) -> DataSet:
    """The answer with the profile's values where it asks for one and the row has none."""
    changed: dict[int, Element] = {}
    for fill in view.profile.fill:
        if fill.tag in answer and not text(answer, fill.tag) and isinstance(answer[fill.tag][1], bytes):
            vr = answer[fill.tag][0]
            value = _fill_value(fill, vr, row, view)
            if value:
                changed[fill.tag] = Element(vr, value)
    steps = answer.get(SPS_SEQUENCE)
    if steps is not None and not isinstance(steps[1], bytes):
        inner = [_filled(step, row, view, quirks) for step in steps[1]]
        if any(new is not old for new, old in zip(inner, steps[1], strict=True)):
            changed[SPS_SEQUENCE] = Element("SQ", inner)
    if not changed:
        return answer
    quirks.add(Quirk.FILLED)
    return {**answer, **changed}


def _fill_value(fill: Fill, vr: str, row: DataSet, view: View) -> bytes:
    match fill.source:
        case None:
            return fill.text.encode("ascii")
        case FillSource.CALLING_AE:
            return view.calling.encode("ascii", "ignore")
        case FillSource.TODAY:
            return view.today.isoformat().replace("-", "").encode() if view.today else b""
        case FillSource.DERIVED:
            return derived_study(row).encode()
        case tag:
            value = _raw(row, tag) or next(
                (found for step in items(row, SPS_SEQUENCE) if (found := _raw(step, tag))), b""
            )
            return value if len(value) <= _LONGEST.get(vr, len(value)) else b""


_LONGEST: Final = {"SH": 16, "LO": 64}
"""Bytes of a value that is copied to another of this VR: one that had to be cut would name something else."""


def _raw(dataset: DataSet, tag: int) -> bytes:
    element = dataset.get(tag)
    return element[1].strip(b" \0") if element is not None and isinstance(element[1], bytes) else b""


def derived_study(row: DataSet) -> str:
    """A Study Instance UID for an order whose RIS has given it none: the same for all steps of the order and each
    time (PS3.5 B.2). "" without an accession number and a patient to make it of: accession numbers are used again."""
    accession, patient = first_value(text(row, ACCESSION_NUMBER)), first_value(text(row, PATIENT_ID))
    if text(row, STUDY_INSTANCE_UID) or not (accession and patient):
        return ""
    name = "\\".join((issuer_of_accession(row), accession, patient))
    return f"2.25.{uuid.uuid5(_ORDERS, name).int}"
