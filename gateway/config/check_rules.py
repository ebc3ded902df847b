"""The site's rules for headers: files of TOML in the folder of `[check] rules`, as values of the domain.

What is promised: as for the configuration, every fault of every file is told at once, with its place and remedy, and
nothing is partly loaded. Files are read in the order of their names, rules in the order of their file. The form is told
in docs/operations/check-rules.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import Field, Strict, ValidationError
from pydicom.datadict import dictionary_VR, keyword_for_tag, tag_for_keyword

from gateway.config.files import rules_in
from gateway.config.problems import ConfigError, Problem, problem_of
from gateway.config.rules import LONGEST_PATTERN, conditions
from gateway.config.section import Section, spelled
from gateway.config.values import Name, shape, suggestion
from gateway.dicom import charset
from gateway.domain.check_rules import CALLING, CONSTANTS, LOOKED_AT, REPAIRABLE, CheckRule
from gateway.domain.value_forms import fault_of_text

FOLDER: Final = "check/"
"""The site's folder, where the configuration names no other."""
INVALID: Final = "@invalid"
REPAIR: Final = "@repair"
_CHARSET: Final = 0x00080005


class CheckRuleSection(Section):
    """One `[[rule]]`."""

    id: Name
    """Write a short name of the rule: every edit of it tells of it by this."""
    version: Annotated[int, Strict(), Field(ge=1, le=1_000_000)]
    """Write a number, and a greater one with every change to the rule."""
    when: dict[str, Any] = spelled({})
    """Which images it is for."""
    check: dict[str, Any] = spelled({})
    """What must be so in them: a pattern, or "@invalid" for a value that breaks its VR."""
    action: dict[str, Any]
    """Write what to do, such as { InstitutionName = "North" } or { PatientSex = "@repair" }."""
    note: Annotated[str, Field(max_length=1000)] = ""
    """For people."""


class CheckRulesFile(Section):
    rule: tuple[CheckRuleSection, ...]
    """Write [[rule]] sections."""


def load_check_rules(folder: Path) -> tuple[CheckRule, ...]:
    """The rules of the folder, in their order. Raises ConfigError with every fault."""
    rules, problems = read_check_rules(folder)
    if problems:
        raise ConfigError(problems)
    return rules


def read_check_rules(folder: Path) -> tuple[tuple[CheckRule, ...], list[Problem]]:
    """The rules of the folder and every fault; there are no rules if there is a fault. The folder need not exist."""
    seen: set[str] = set()
    return rules_in(
        folder,
        lambda table: _faults(table, seen),
        lambda table: map(_rule, CheckRulesFile.model_validate(table).rule),
    )


def _faults(table: dict[str, Any], seen: set[str]) -> Iterator[Problem]:
    """What is wrong with one file; `seen` are the ids of the rules before."""
    try:
        sections = CheckRulesFile.model_validate(table).rule
    except ValidationError as error:
        yield from (problem_of(dict(detail), table, root=CheckRulesFile) for detail in error.errors(include_url=False))
        return
    for section in sections:
        key = f"rule[{section.id}]"
        if section.id in seen:
            yield Problem(key=f"{key}.id", wrong="is there more than once", remedy="give each rule an id of its own")
        seen.add(section.id)
        for part, table_of in (("when", section.when), ("check", section.check)):
            for name, wanted in table_of.items():
                yield from _condition_fault(f"{key}.{part}.{name[:64]}", name, wanted, invalid=part == "check")
        if not section.action:
            yield Problem(key=f"{key}.action", wrong="does nothing", remedy='write one, InstitutionName = "North"')
        for name, wanted in section.action.items():
            yield from _action_fault(f"{key}.action.{name[:64]}", name, wanted)


def _condition_fault(place: str, name: str, wanted: object, *, invalid: bool) -> Iterator[Problem]:
    known = sorted({CALLING, *LOOKED_AT})
    if name not in known or (name == CALLING and invalid):
        remedy = f"{suggestion(name, known)}look at one of: {', '.join(known)}"
        yield Problem(key=place, wrong="is nothing that a rule can look at", remedy=remedy)
    patterns = wanted if isinstance(wanted, list) else [wanted]
    if not patterns or not all(isinstance(one, str) and len(one) <= LONGEST_PATTERN for one in patterns):
        remedy = 'write text, or a list of such: "CT1", ["", "*default*"]'
        yield Problem(key=place, wrong=f"is {shape(wanted)}, not text", remedy=remedy)
    elif INVALID in patterns and (not invalid or len(patterns) > 1 or tag_for_keyword(name) not in REPAIRABLE):
        remedy = f'write "{INVALID}" alone, in check, for an attribute that can be repaired'
        yield Problem(key=place, wrong=f'is "{INVALID}" where that can\'t stand', remedy=remedy)


def _action_fault(place: str, name: str, wanted: object) -> Iterator[Problem]:
    tag = tag_for_keyword(name)
    allowed = REPAIRABLE if wanted == REPAIR else CONSTANTS
    if tag not in allowed:
        known = sorted(map(keyword_for_tag, allowed))
        what = "repaired" if wanted == REPAIR else "set by a rule"
        remedy = f"{suggestion(name, known)}what can be is: {', '.join(known)}"
        yield Problem(key=place, wrong=f"can't be {what}", remedy=remedy)
    elif not isinstance(wanted, str) or not wanted:
        yield Problem(key=place, wrong=f"is {shape(wanted)}, not text", remedy=f'write the text, or "{REPAIR}"')
    elif wanted != REPAIR and (fault := fault_of_text(wanted, dictionary_VR(name))):
        yield Problem(key=place, wrong=f"breaks its VR: {fault}", remedy="write a value that fits (PS3.5 6.2)")
    elif tag == _CHARSET and not charset.known(wanted.split("\\")):
        yield Problem(key=place, wrong="is no known character set", remedy='write a defined term, "ISO_IR 100"')


def _rule(section: CheckRuleSection) -> CheckRule:
    check = {name: wanted for name, wanted in section.check.items() if wanted not in (INVALID, [INVALID])}
    return CheckRule(
        id=section.id,
        version=section.version,
        when=tuple(conditions(section.when)),
        check=tuple(conditions(check)),
        invalid=_tags(section.check.keys() - check.keys()),
        constants=tuple((tag, wanted) for tag, wanted in _acted(section.action) if wanted != REPAIR),
        repairs=tuple(tag for tag, wanted in _acted(section.action) if wanted == REPAIR),
    )


def _tags(names: set[str]) -> frozenset[int]:
    return frozenset(int(tag) for name in names if (tag := tag_for_keyword(name)) is not None)


def _acted(action: Mapping[str, str]) -> Iterator[tuple[int, str]]:
    for name, wanted in action.items():
        tag = tag_for_keyword(name)
        assert tag is not None
        yield int(tag), wanted
