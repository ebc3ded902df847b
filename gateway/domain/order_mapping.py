"""How the fields of one sender's messages become an order: a table, read from the text of a TOML file.

Promises: `mapping` finds every fault of a table at once and says where and what to write (`MappingError`); what it
returns can't fail later for its form. A table that `extends` another changes only the lines it writes.
The table's form is told in `gateway/mappings/generic.toml`.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from datetime import time
from typing import Any, Final

from gateway.domain.hl7 import Place, place_of
from gateway.domain.model import ConfigError
from gateway.domain.order_model import Patient, Procedure, Step

READINGS: Final = frozenset(
    {
        *(
            "text",
            "words",
            "name",
            "person",
            "performer",
            "identifiers",
            "identifier",
            "entity",
            "date",
            "time",
            "code",
            "codes",
        ),
        *("priority", "sex", "modality", "ae", "laterality", "comments", "alerts", "allergies", "needs"),
        *("pregnancy", "weight", "size"),
    }
)
"""The ways to read a place; `order_reading` has one function for each."""
OBSERVED: Final = frozenset({"weight", "size"})
"""Read from OBX segments: their places are codes or texts of OBX-3."""

_PLACE: Final = re.compile(r"[A-Z][A-Z0-9]{2}-\d{1,3}(\.\d{1,3}){0,2}")
_CLOCK: Final = re.compile(r"([01]\d|2[0-3]):[0-5]\d")
_PREFIX: Final = re.compile(r"[A-Z]{1,4}")
_TABLES: Final = ("priority", "sex", "modality", "modality_of", "needs", "authorities")
_ISSUERS: Final = ("patient", "accession", "procedure", "placer", "filler")
_APPOINTMENT: Final = frozenset({"placer", "filler", "placer_appointment", "filler_appointment"})
MOST_EXTENDED: Final = 8


class MappingError(ConfigError):
    """The mapping can't be used; one line for each fault."""


@dataclass(frozen=True, slots=True)
class Rule:
    """Where one attribute comes from."""

    target: str
    places: tuple[str, ...]
    """Of these the first that has a value counts."""
    reading: str
    at: tuple[Place, ...] = field(init=False, repr=False, compare=False)
    """Those of the places that are fields, taken apart."""
    words: frozenset[str] = field(init=False, repr=False, compare=False)
    """All of them as codes or texts of OBX-3, case folded."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "at", tuple(place_of(each) for each in self.places if _PLACE.fullmatch(each)))
        object.__setattr__(self, "words", frozenset(each.casefold() for each in self.places))


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderMapping:
    """A whole table."""

    name: str
    description: str
    patient: tuple[Rule, ...]
    procedure: tuple[Rule, ...]
    step: tuple[Rule, ...]
    appointment: tuple[Rule, ...]
    issuers: Mapping[str, str]
    tables: Mapping[str, Mapping[str, str]]
    stations: Mapping[str, tuple[str, ...]]
    patient_type: str
    patient_issuer: str
    opening_time: time
    default_modality: str
    siu_creates_mwl: bool
    accession_prefix: str


def mapping(name: str, text_of: Callable[[str], str | None]) -> OrderMapping:
    """The mapping of that name; `text_of` gives the text of a table, or None if there is no such.

    Raises MappingError.
    """
    table = _extended(name, text_of)
    faults = list(_faults(table))
    if faults:
        raise MappingError("\n".join(f"mapping {name}: {fault}" for fault in faults))
    options = table["options"]
    hour, minute = options["opening_time"].split(":")
    return OrderMapping(
        name=name,
        description=table["description"],
        **{part: tuple(_rules(table[part])) for part in ("patient", "procedure", "step", "appointment")},
        issuers=table["issuers"],
        tables={each: table[each] for each in _TABLES},
        stations={modality: tuple(titles) for modality, titles in table["stations"].items()},
        patient_type=options["patient_type"],
        patient_issuer=options["patient_issuer"],
        opening_time=time(int(hour), int(minute)),
        default_modality=options["modality"],
        siu_creates_mwl=options["siu_creates_mwl"],
        accession_prefix=options["accession_prefix"],
    )


def _extended(name: str, text_of: Callable[[str], str | None]) -> dict[str, Any]:
    chain: list[dict[str, Any]] = []
    following = name
    while following:
        text = text_of(following)
        if text is None:
            raise MappingError(f"mapping {following}: there is no such table; write {following}.toml in the folder")
        if len(chain) == MOST_EXTENDED:
            raise MappingError(
                f"mapping {name}: extends more than {MOST_EXTENDED} tables, or itself; write a shorter way"
            )
        try:
            chain.append(tomllib.loads(text))
        except tomllib.TOMLDecodeError as error:
            raise MappingError(f"mapping {following}: is not TOML: {error}; correct that line") from None
        following = str(chain[-1].pop("extends", ""))
    whole: dict[str, Any] = {}
    for table in reversed(chain):
        for section, content in table.items():
            old = whole.get(section)
            whole[section] = {**old, **content} if isinstance(old, dict) and isinstance(content, dict) else content
    return whole


def _rules(section: dict[str, Any]) -> Iterator[Rule]:
    for target, rule in section.items():
        yield Rule(target, tuple(rule["from"]), rule["as"])


def _faults(table: dict[str, Any]) -> Iterator[str]:
    known = {
        "patient": {each.name for each in fields(Patient)},
        "procedure": {each.name for each in fields(Procedure)} - {"steps", "flags"},
        "step": {each.name for each in fields(Step)},
        "appointment": {each.name for each in fields(Step)} | _APPOINTMENT,
    }
    sections = {"description", "issuers", "options", "stations", *_TABLES, *known}
    for section in sorted(sections - table.keys()):
        yield f'[{section}] is missing; write extends = "generic", or the section'
    for section in sorted(table.keys() - sections):
        yield f"[{section}] is no section of a mapping; write one of {', '.join(sorted(sections))}"
    for section, targets in known.items():
        yield from _rule_faults(section, table.get(section, {}), targets)
    for section in sorted({*_TABLES, "issuers"} & table.keys()):
        if not _is_texts(table[section]):
            yield f'[{section}] holds something other than text; write lines like A = "B"'
    for issuer in sorted(set(_ISSUERS) ^ set(table.get("issuers", _ISSUERS))):
        yield f"[issuers] {issuer} is missing or not known; write {', '.join(_ISSUERS)}"
    yield from _station_faults(table.get("stations", {}))
    yield from _option_faults(table.get("options", {}))


def _rule_faults(section: str, rules: Any, targets: set[str]) -> Iterator[str]:
    for target, rule in (rules if isinstance(rules, dict) else {}).items():
        where = f"[{section}] {target}"
        if target not in targets:
            yield f"{where} is no attribute of it; write one of {', '.join(sorted(targets))}"
        elif not isinstance(rule, dict) or rule.keys() != {"from", "as"} or not _is_list(rule["from"]):
            yield f'{where} is not of the form {{ from = ["PID-5"], as = "text" }}'
        elif rule["as"] not in READINGS:
            yield f"{where} is read in no known way; write one of {', '.join(sorted(READINGS))}"
        else:
            for place in rule["from"]:
                if rule["as"] not in OBSERVED and not _PLACE.fullmatch(place) and rule["as"] != "pregnancy":
                    yield f"{where} names a place of {len(place)} characters; write it like PID-5 or OBR-4.2"


def _station_faults(stations: Any) -> Iterator[str]:
    for modality, titles in (stations if isinstance(stations, dict) else {}).items():
        if not _is_list(titles) or not titles or any(not 0 < len(title.strip()) <= 16 for title in titles):
            yield f'[stations] {modality} is no list of AE titles; write ["CT1", "CT2"], each of 1 to 16 characters'


def _option_faults(options: Any) -> Iterator[str]:
    options = options if isinstance(options, dict) else {}
    forms: dict[str, tuple[Callable[[Any], bool], str]] = {
        "patient_type": (_is_text, "text"),
        "patient_issuer": (_is_text, "text"),
        "opening_time": (lambda value: _is_text(value) and bool(_CLOCK.fullmatch(value)), 'a time like "08:00"'),
        "modality": (_is_text, "text"),
        "siu_creates_mwl": (lambda value: isinstance(value, bool), "true or false"),
        "accession_prefix": (lambda value: _is_text(value) and bool(_PREFIX.fullmatch(value)), "1 to 4 capitals"),
    }
    for name, (fits, form) in forms.items():
        if name not in options or not fits(options[name]):
            yield f"[options] {name} is missing or of another form; write {form}"
    for name in sorted(options.keys() - forms.keys()):
        yield f"[options] {name} is not known; write one of {', '.join(forms)}"


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_list(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_text, value))


def _is_texts(value: Any) -> bool:
    return isinstance(value, dict) and all(map(_is_text, value.values()))
