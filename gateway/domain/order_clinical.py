"""What a message says of the patient's condition, as a scanner is to be told (PS3.3 C.2.3, C.2.4).

Promises: a number without a unit, or that is no living person's, is not taken; silence is not "not pregnant".
"""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import chain
from typing import Any, Final

from gateway.domain.hl7 import Segment
from gateway.domain.order_mapping import Rule
from gateway.domain.order_scope import ABSENT, Reader, Scope, clean

_NUMBER: Final = re.compile(r"\d{1,4}(?:[.,]\d{1,6})?")
_KILOGRAMS: Final = {"kg": 1.0, "g": 0.001, "lb": 0.45359237, "lbs": 0.45359237, "[lb_av]": 0.45359237}
_METRES: Final = {"m": 1.0, "cm": 0.01, "mm": 0.001, "in": 0.0254, "[in_i]": 0.0254, "[in_us]": 0.0254}
_PREGNANCY: Final = {
    **dict.fromkeys(("LA26683-5", "60001007", "NOT PREGNANT"), 1),
    **dict.fromkeys(("POSSIBLY PREGNANT",), 2),
    **dict.fromkeys(("LA15173-0", "77386006", "PREGNANT"), 3),
    **dict.fromkeys(("LA4489-6", "UNKNOWN"), 4),
}
"""Answers to LOINC 82810-3 and 11449-6, as PS3.3 C.2.4 counts them."""


def alerts(reader: Reader, scope: Scope, rule: Rule) -> Any:
    """What the order warns of, and contraindications of AL1 (HL7 table 0127, MA and MC)."""
    found = (segment.parts(at.field, at.component, 2) for segment, at in scope.at(rule.at))
    told = (clean(text or code) for code, text in found)
    noted = (_allergy(each) for each in scope.all("AL1") if each.get("AL1-2") in {"MA", "MC"})
    return tuple(dict.fromkeys(filter(None, chain(told, noted)))) or ABSENT


def allergies(reader: Reader, scope: Scope, rule: Rule) -> Any:
    segments = chain.from_iterable(scope.all(at.segment) for at in rule.at)
    return tuple(dict.fromkeys(filter(None, map(_allergy, segments)))) or ABSENT


def _allergy(segment: Segment) -> str:
    code, text = segment.parts(3, 0, 2)
    what = clean(text or code)
    reaction = clean(segment.get("5"))
    return f"{what} ({reaction})" if what and reaction else what


def needs(reader: Reader, scope: Scope, rule: Rule) -> Any:
    words = reader.mapping.tables["needs"]
    for segment, at in scope.at(rule.at):
        found = (words.get(segment.value(at, rep)) for rep in range(segment.repetitions(at.field)))
        if text := ", ".join(dict.fromkeys(filter(None, found))):
            return text
    return ABSENT


def pregnancy(reader: Reader, scope: Scope, rule: Rule) -> Any:
    """PV1-15 B6 or an observation that answers. Silence is not "not pregnant"."""
    for segment, at in scope.at(rule.at):
        if any(segment.value(at, rep) == "B6" for rep in range(segment.repetitions(at.field))):
            return 3
    for each in scope.observed(rule.words):
        answers = (_PREGNANCY.get(each.get(path).upper()) for path in ("5.1", "5.2"))
        if answer := next(filter(None, answers), None):
            return answer
    return ABSENT


def _measured(units: dict[str, float], low: float, high: float) -> Callable[[Reader, Scope, Rule], Any]:
    def read(reader: Reader, scope: Scope, rule: Rule) -> Any:
        """A number with a unit, converted; one without a unit, or no living person's, is not taken."""
        for segment in scope.observed(rule.words):
            number = _NUMBER.fullmatch(segment.get("5").strip())
            factor = units.get(segment.get("6").strip().casefold())
            if number and factor and low <= (value := float(number[0].replace(",", ".")) * factor) <= high:
                return f"{value:.3f}".rstrip("0").rstrip(".")
        return ABSENT

    return read


weight: Final = _measured(_KILOGRAMS, 0.2, 650)
size: Final = _measured(_METRES, 0.2, 2.6)
