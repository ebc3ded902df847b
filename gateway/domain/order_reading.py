"""The ways to read a place of an HL7 message, each under the name that a mapping gives it.

Promises: nothing here raises for what a message holds. A value that can't be understood counts as absent, never as
another value; `""` (the HL7 null) deletes, absence keeps. Text comes out without the characters that part DICOM
values or name components, so that no field can become two.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import date, datetime
from typing import Any, Final

from gateway.domain import order_clinical
from gateway.domain.hl7 import Place, Segment
from gateway.domain.hl7_types import Precision, moment
from gateway.domain.order_mapping import Rule
from gateway.domain.order_model import Code, Flag, Identifier
from gateway.domain.order_scope import ABSENT, Reader, Scope, clean

_IN_NAME: Final = re.compile(r"[\^=\\\x00-\x1f\x7f-\x9f]+")
_CS: Final = re.compile(r"[A-Z0-9_]{2,16}")
_GROUPS: Final = "AIP"
"""XPN-8: alphabetic, ideographic, phonetic, as the component groups of a PN."""
_NATIONAL: Final = frozenset({"NI", "NN", "SS", "PPN", "DL", "SN", "PT"})
"""HL7 table 0203: numbers of the state, which a scanner has no use for."""
_SIDES: Final = {
    **dict.fromkeys(("R", "RT", "RIGHT", "RE"), "R"),
    **dict.fromkeys(("L", "LT", "LEFT", "LE"), "L"),
    **dict.fromkeys(("B", "BI", "BIL", "BILATERAL", "BOTH"), "B"),
}


def told(reader: Reader, rules: Sequence[Rule], scope: Scope) -> dict[str, Any]:
    """What the scope says of the rules' targets."""
    found = {}
    for rule in rules:
        value = _READ[rule.reading](reader, scope, rule)
        if value is not ABSENT:
            found[rule.target] = value
    return found


def _text(reader: Reader, scope: Scope, rule: Rule) -> Any:
    for segment, at in scope.at(rule.at):
        if value := clean(segment.value(at)):
            return value
        if segment.is_deleted(at):
            return None
    return ABSENT


def _words(reader: Reader, scope: Scope, rule: Rule) -> Any:
    """The first three components in one line: PL as "point-of-care room bed"."""
    for segment, at in scope.at(rule.at):
        if words := [word for part in segment.parts(at.field, at.component, 3) if (word := clean(part))]:
            return " ".join(words)
        if segment.is_deleted(at):
            return None
    return ABSENT


def person_name(parts: Sequence[str]) -> str:
    """A PN component group of family, given, middle, suffix and prefix (XPN order; PS3.5 6.2.1.1)."""
    plain = (part if part.isalnum() or not part else _IN_NAME.sub(" ", part).strip() for part in parts)
    family, given, middle, suffix, prefix = plain
    return "^".join((family, given, middle, prefix, suffix)).rstrip("^")


def _name(reader: Reader, scope: Scope, rule: Rule) -> Any:
    """XPN, its repetitions by XPN-8 as component groups; of each the legal name (XPN-7 L), else the first."""
    for segment, at in scope.at(rule.at):
        groups: dict[str, tuple[bool, str]] = {}
        for rep in range(segment.repetitions(at.field)):
            family, *others, _, kind, which = segment.parts(at.field, 0, 8, rep)
            family = family or " ".join(segment.parts(at.field, 1, 3, rep)[1:])
            group = person_name((family, *others))
            legal = kind in {"L", ""}
            which = which.upper() if which and which.upper() in _GROUPS else "A"
            if group and (which not in groups or (legal and not groups[which][0])):
                groups[which] = legal, group
        if groups:
            return "=".join(groups.get(which, (False, ""))[1] for which in _GROUPS).rstrip("=")
        if segment.is_deleted(at):
            return None
    return ABSENT


def _person(reader: Reader, scope: Scope, rule: Rule) -> Any:
    """XCN: the name behind the number; a number that is words is a name."""
    for segment, at in scope.at(rule.at):
        first, *parts = segment.parts(at.field, at.component, 6)
        if name := person_name(parts):
            return name
        if first and not any(letter.isdigit() for letter in first):
            return person_name((first, "", "", "", ""))
        if segment.is_deleted(at):
            return None
    return ABSENT


def _performer(reader: Reader, scope: Scope, rule: Rule) -> Any:
    """NDL: the name in the subcomponents of its first component; senders that write it as XCN are read too."""
    for segment, at in scope.at(rule.at):
        if name := person_name(segment.parts(at.field, 1, 6)[1:]):
            return name
        _, second = segment.parts(at.field, 0, 2)
        if second and not second[0].isdigit():
            return _person(reader, scope, rule)
        if segment.is_deleted(at):
            return None
    return ABSENT


def identifier_at(segment: Segment, field: int, rep: int = 0) -> Identifier:
    """CX: number, assigning authority, type."""
    value, _, _, authority, kind = segment.parts(field, 0, 5, rep)
    _, universal, universal_kind = segment.parts(field, 4, 3, rep)
    return Identifier(
        value=clean(value),
        authority=clean(authority),
        universal_id=clean(universal),
        universal_id_type=clean(universal_kind),
        type=clean(kind),
    )


def _identifiers(reader: Reader, scope: Scope, rule: Rule) -> Any:
    """CX repetitions: first the number by the configured issuer, else of the configured type, else the first."""
    for segment, at in scope.at(rule.at):
        reps = (identifier_at(segment, at.field, rep) for rep in range(segment.repetitions(at.field)))
        found = [reader.issued("patient", each) for each in reps if each.value and each.value != '""']
        if found:
            wanted = reader.mapping
            by_issuer = [each for each in found if wanted.patient_issuer and each.issuer == wanted.patient_issuer]
            by_type = [each for each in found if each.type == wanted.patient_type]
            first = next(iter((*by_issuer, *by_type)), found[0])
            others = [each for each in found if each != first and each.type not in _NATIONAL]
            return (first, *dict.fromkeys(others))
    return ABSENT


def _identifier(reader: Reader, scope: Scope, rule: Rule) -> Any:
    for segment, at in scope.at(rule.at):
        found = identifier_at(segment, at.field)
        if found.value:
            return reader.issued(rule.target, found)
        if segment.is_deleted(at):
            return None
    return ABSENT


def _entity(reader: Reader, scope: Scope, rule: Rule) -> Any:
    """EI: number, namespace, universal ID and its type in the first four components."""
    for segment, at in scope.at(rule.at):
        value, authority, universal, kind = map(clean, segment.parts(at.field, at.component, 4))
        if value:
            found = Identifier(value=value, authority=authority, universal_id=universal, universal_id_type=kind)
            return reader.issued(rule.target, found)
        if segment.is_deleted(at):
            return None
    return ABSENT


def _date(reader: Reader, scope: Scope, rule: Rule) -> Any:
    """A whole date, whatever parts it; a year or a month alone is unknown."""
    for segment, at in scope.at(rule.at):
        digits = "".join(letter for letter in segment.value(at)[:10] if letter in "0123456789")[:8]
        try:
            return digits if len(digits) == 8 and date.fromisoformat(digits) else ""
        except ValueError:
            if digits:
                return ""
        if segment.is_deleted(at):
            return None
    return ABSENT


def _time(reader: Reader, scope: Scope, rule: Rule) -> Any:
    """A moment in the site's zone. A day without a time begins as the site opens."""
    for segment, at in scope.at(rule.at):
        found = moment(segment.value(at), reader.zone)
        if found is None:
            continue
        if found.precision is Precision.DAY:
            reader.flags.add(Flag.TIME_DEFAULTED)
            return datetime.combine(found.at.date(), reader.mapping.opening_time, reader.zone)
        if found.precision is Precision.TIME:
            return found.at
    return ABSENT


def _code_at(segment: Segment, at: Place, rep: int) -> Code | None:
    start = at.component or 1
    value, meaning, scheme = map(clean, segment.parts(at.field, 0, start + 2, rep)[start - 1 :])
    if not value:
        return None
    return Code(CodeValue=value, CodingSchemeDesignator=scheme, CodeMeaning=meaning or value)


def _codes(reader: Reader, scope: Scope, rule: Rule) -> Any:
    """CE repetitions. A code without a scheme is kept only where no other place has one with it."""
    without: tuple[Code, ...] = ()
    for segment, at in scope.at(rule.at):
        reps = range(segment.repetitions(at.field))
        found = dict.fromkeys(code for rep in reps if (code := _code_at(segment, at, rep)))
        if complete := tuple(code for code in found if code.CodingSchemeDesignator):
            return complete
        if segment.is_deleted(at):
            return None
        without = without or tuple(found)
    return without or ABSENT


def _code(reader: Reader, scope: Scope, rule: Rule) -> Any:
    found = _codes(reader, scope, rule)
    return found[:1] if isinstance(found, tuple) else found


def _priority(reader: Reader, scope: Scope, rule: Rule) -> Any:
    for segment, at in scope.at(rule.at):
        if word := reader.table("priority", segment.value(at)):
            return word
    return ABSENT


def _sex(reader: Reader, scope: Scope, rule: Rule) -> Any:
    found = _text(reader, scope, rule)
    return reader.table("sex", found) or "" if isinstance(found, str) else found


def _modality(reader: Reader, scope: Scope, rule: Rule) -> Any:
    for segment, at in scope.at(rule.at):
        value = clean(segment.value(at)).upper()
        value = reader.mapping.tables["modality"].get(value, value)
        if _CS.fullmatch(value):
            return value
    return ABSENT


def _ae(reader: Reader, scope: Scope, rule: Rule) -> Any:
    """AE titles of all repetitions; what is longer than 16 characters is none."""
    for segment, at in scope.at(rule.at):
        found = (clean(segment.value(at, rep)) for rep in range(segment.repetitions(at.field)))
        if titles := tuple(dict.fromkeys(each for each in found if 0 < len(each) <= 16 and each.isascii())):
            return titles
    return ABSENT


def _laterality(reader: Reader, scope: Scope, rule: Rule) -> Any:
    for segment, at in scope.at(rule.at):
        if side := _SIDES.get(segment.value(at).strip().upper()):
            return side
    return ABSENT


def _comments(reader: Reader, scope: Scope, rule: Rule) -> Any:
    """The notes behind the order, a line each."""
    for place, at in zip(rule.places, rule.at, strict=True):
        segments = scope.near(at.segment)
        lines = (each.field(place, rep) for each in segments for rep in range(each.repetitions(at.field)))
        if text := "\r\n".join(line.strip() for line in lines if line.strip() not in {"", '""'}):
            return text
    return ABSENT


_READ: Final[dict[str, Callable[[Reader, Scope, Rule], Any]]] = {
    "text": _text,
    "words": _words,
    "name": _name,
    "person": _person,
    "performer": _performer,
    "identifiers": _identifiers,
    "identifier": _identifier,
    "entity": _entity,
    "date": _date,
    "time": _time,
    "code": _code,
    "codes": _codes,
    "priority": _priority,
    "sex": _sex,
    "modality": _modality,
    "ae": _ae,
    "laterality": _laterality,
    "comments": _comments,
    "alerts": order_clinical.alerts,
    "allergies": order_clinical.allergies,
    "needs": order_clinical.needs,
    "pregnancy": order_clinical.pregnancy,
    "weight": order_clinical.weight,
    "size": order_clinical.size,
}
