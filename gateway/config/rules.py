"""The site's routing rules: files of TOML in the folder of `[routing] rules`, as values of the domain.

What is promised: as for the configuration, every fault of every file is told at once, with its place and remedy, and
nothing is partly loaded. Files are read in the order of their names, rules in the order of their file: that is the
order in which they are looked at. The form is told in docs/operations/routing.md.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, Field, ValidationError
from pydicom.datadict import dictionary_VR, keyword_dict, tag_for_keyword

from gateway.config.files import rules_in
from gateway.config.problems import ConfigError, Problem, problem_of
from gateway.config.section import Section, spelled
from gateway.config.values import Flag, Name, invalid, shape, suggestion
from gateway.domain.conditions import OF_ORDER, OURS, Condition, Pattern, comparison, is_comparison
from gateway.domain.model import Lane
from gateway.domain.routing import DEFAULTS, Rule

RULES: Final = "rules/"
"""The site's folder, where the configuration names no other."""
LONGEST_PATTERN: Final = 256

_TAG: Final = re.compile(r"([0-9a-f]{4}),([0-9a-f]{4})")
_NO_TEXT: Final = frozenset({"SQ", "OB", "OD", "OF", "OL", "OV", "OW", "UN", "AT"})
_NUMERIC: Final = frozenset({"IS", "DS", "US", "SS", "UL", "SL", "FL", "FD", "UV", "SV"})
_UNIT: Final = re.compile(r"[KMGT]i?B$")


def _priority(value: object) -> object:
    if value == "" or value in set(Lane):
        return value or None
    remedy = f"{suggestion(str(value), list(Lane))}write one of: {', '.join(Lane)}; or leave it out"
    raise invalid(f"is {shape(value)}, not a priority", remedy)


class RuleSection(Section):
    """One `[[rule]]`."""

    id: Name
    """Write a short name of the rule: `gateway route test` and the journal tell of it by this."""
    when: dict[str, Any]
    """Write what must hold, such as { Modality = "CT" }."""
    unless: dict[str, Any] = spelled({})
    """What must not hold."""
    to: tuple[str, ...] = ()
    """The destinations, "@default" for those of [routing] default; none: it only says how urgent the image is."""
    priority: Annotated[Lane | None, BeforeValidator(_priority)] = None
    """"stat", "routine" or "bulk"; left out: as the order, the scanner and the image say."""
    compression: Literal["", "none", "lossless"] = ""
    """In which form it is sent there; left out: as the destination's section says."""
    stop: Flag = spelled(False)
    """No rule behind it is looked at when it fires."""
    note: Annotated[str, Field(max_length=1000)] = ""
    """For people."""


class RulesFile(Section):
    rule: tuple[RuleSection, ...]
    """Write [[rule]] sections."""


def load_rules(folder: Path, destinations: Collection[str]) -> tuple[Rule, ...]:
    """The rules of the folder, in their order. Raises ConfigError with every fault."""
    rules, problems = read_rules(folder, destinations)
    if problems:
        raise ConfigError(problems)
    return rules


def read_rules(folder: Path, destinations: Collection[str]) -> tuple[tuple[Rule, ...], list[Problem]]:
    """The rules of the folder and every fault; there are no rules if there is a fault. The folder need not exist."""
    seen: set[str] = set()
    return rules_in(
        folder,
        lambda table: _faults(table, destinations, seen),
        lambda table: map(_rule, RulesFile.model_validate(table).rule),
    )


def _faults(table: dict[str, Any], destinations: Collection[str], seen: set[str]) -> Iterator[Problem]:
    """What is wrong with one file; `seen` are the ids of the rules before."""
    try:
        RulesFile.model_validate(table)
    except ValidationError as error:
        yield from (problem_of(dict(detail), table, root=RulesFile) for detail in error.errors(include_url=False))
    sections = table.get("rule", [])
    for number, section in enumerate(sections if isinstance(sections, list) else [], start=1):
        if not isinstance(section, dict):
            continue
        name = section.get("id")
        key = f"rule[{name}]" if isinstance(name, str) and 0 < len(name) <= 64 else f"rule[{number}]"
        if isinstance(name, str) and name in seen:
            yield Problem(key=f"{key}.id", wrong="is there more than once", remedy="give each rule an id of its own")
        seen.add(str(name))
        for part in ("when", "unless"):
            yield from _condition_faults(f"{key}.{part}", section.get(part, {}))
        yield from _places_nowhere(key, section, destinations)
        if section.get("when") == {}:
            yield Problem(key=f"{key}.when", wrong="has no condition", remedy='write one, such as calling_ae = "*"')


def _places_nowhere(key: str, section: Mapping[str, Any], destinations: Collection[str]) -> Iterator[Problem]:
    to = section.get("to", [])
    if to == [] and not section.get("priority"):
        yield Problem(key=key, wrong="says neither to nor priority", remedy="write the destinations, or a priority")
    if to == [] and section.get("compression"):
        yield Problem(key=f"{key}.compression", wrong="is of no destination", remedy="write the destinations in to")
    known = [*destinations, DEFAULTS]
    for name in to if isinstance(to, list) else []:
        if isinstance(name, str) and name not in known:
            near = suggestion(name, known)
            yield Problem(
                key=f"{key}.to", wrong="names no destination", remedy=f"{near}name one of: {', '.join(known)}"
            )


def _condition_faults(key: str, conditions: object) -> Iterator[Problem]:
    if not isinstance(conditions, dict):
        return  # its shape is told by the section
    for name, wanted in conditions.items():
        place = f"{key}.{name}" if len(name) <= 64 else key
        if name == "order" and isinstance(wanted, dict):
            for attribute, value in wanted.items():
                yield from _condition_fault(f"{place}.{attribute}"[:200], f"order.{attribute}", value)
        else:
            yield from _condition_fault(place, name, wanted)


def _condition_fault(place: str, name: str, wanted: object) -> Iterator[Problem]:
    vr = _vr_of(name)
    if vr is None:
        known = [*OURS, *(f"order.{one}" for one in OF_ORDER)]
        near = suggestion(name, [*known, *filter(None, keyword_dict)])
        remedy = f'{near}write a keyword of DICOM, a tag as "gggg,eeee", or one of: {", ".join(known)}'
        yield Problem(key=place, wrong="is nothing that a rule can look at", remedy=remedy)
    elif vr in _NO_TEXT:
        remedy = "look at an element that has text or numbers"
        yield Problem(key=place, wrong=f"is an element of VR {vr}, which a rule can't look at", remedy=remedy)
    patterns = [one for one in (wanted if isinstance(wanted, list) else [wanted]) if isinstance(one, str)]
    written = len(wanted) if isinstance(wanted, list) else 1
    if not patterns or len(patterns) < written or any(len(one) > LONGEST_PATTERN for one in patterns):
        remedy = (
            f'write text, or a list of such: "CT", ["CT", "PT"], "*chest*", "> 100"; at most {LONGEST_PATTERN} long'
        )
        yield Problem(key=place, wrong=f"is {shape(wanted)}, not text", remedy=remedy)
        return
    for pattern in patterns:
        if not is_comparison(pattern):
            continue
        if comparison(pattern) is None:
            remedy = 'write a sign and a number: ">= 100", "< 500MB"'
            yield Problem(key=place, wrong="begins as a comparison and has no number", remedy=remedy)
        elif vr not in _NUMERIC or (_UNIT.search(pattern.strip()) and name != "size"):
            remedy = "compare size or an element of numbers (IS, DS, US, FD ...); units are for size alone"
            yield Problem(key=place, wrong="compares what is no number", remedy=remedy)


def _vr_of(name: str) -> str | None:
    """The VR that the values of a key are read by; None if there is no such key."""
    if name in OURS:
        return "IS" if name == "size" else "LO"
    if name.startswith("order."):
        return "LO" if name.removeprefix("order.") in OF_ORDER else None
    if _TAG.fullmatch(name):
        return "LO"
    tag = tag_for_keyword(name) if name else None
    return None if tag is None else dictionary_VR(tag).split(" ", maxsplit=1)[0]


def _rule(section: RuleSection) -> Rule:
    return Rule(
        id=section.id,
        when=tuple(conditions(section.when)),
        unless=tuple(conditions(section.unless)),
        to=section.to,
        priority=section.priority,
        compression=section.compression,
        stop=section.stop,
    )


def conditions(table: Mapping[str, Any]) -> Iterator[Condition]:
    """The conditions of a table that was found to be without fault."""
    for name, wanted in table.items():
        if name == "order":
            yield from (_condition(f"order.{attribute}", value) for attribute, value in wanted.items())
        else:
            yield _condition(name, wanted)


def _condition(key: str, wanted: str | list[str]) -> Condition:
    patterns = [wanted] if isinstance(wanted, str) else wanted
    return Condition(key=key, patterns=tuple(map(Pattern, patterns)))
