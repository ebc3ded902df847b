"""Scanner profiles: the shipped ones and those of the site's folder, each a file of TOML, as values of the domain.

What is promised: as for the configuration, every fault of every file is told at once, with its key and remedy, and
nothing is partly loaded. The name of a file is the name of its profile; it has the keys of the profile that it
`extends` and its own laid over them. A file of the site can't change a shipped profile: a name means the same on
every box.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import timedelta
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BeforeValidator, Field, Strict, ValidationError, ValidationInfo
from pydicom.datadict import dictionary_VR, keyword_for_tag, tag_for_keyword

from gateway.config.files import tables, texts
from gateway.config.problems import ConfigError, Problem, problem_of
from gateway.config.section import Section, spelled
from gateway.config.values import AE, Count, Flag, Name, invalid, parse_duration, shape, suggestion
from gateway.dicom import charset
from gateway.domain.profile import (
    AS_ASKED,
    AS_RECEIVED,
    FILLABLE,
    GENERIC,
    Above,
    Fill,
    FillSource,
    PersonNames,
    Profile,
    may_be_words,
)
from gateway.domain.transliteration import Script

DEFAULT_FOLDER: Final = "profiles/"
_LONGEST: Final = {"PN": 64, "LO": 64, "SH": 16, "CS": 16}
_KEYS: Final = (
    *("AccessionNumber", "PatientID", "PatientName", "StudyInstanceUID", "RequestedProcedureID", "Modality"),
    *("ScheduledStationAETitle", "ScheduledProcedureStepStartDate", "ScheduledProcedureStepStartTime"),
    *("ScheduledPerformingPhysicianName", "ScheduledProcedureStepID", "ScheduledProcedureStepStatus"),
    *("ScheduledProcedureStepLocation", "ScheduledStationName", "AdmissionID", "ReferringPhysicianName"),
)
"""What a scanner may be known to ask by without meaning it."""


def tag_of(keyword: str) -> int:
    """The tag of a keyword that is known to be one."""
    tag = tag_for_keyword(keyword)
    assert tag is not None
    return int(tag)


def _character_set(value: object) -> str:
    remedy = f'write a defined term, "ISO_IR 100", several with a backslash, or "{AS_ASKED}" or "{AS_RECEIVED}"'
    if not isinstance(value, str):
        raise invalid(f"is {shape(value)}, not a character set", remedy)
    if value not in {AS_ASKED, AS_RECEIVED} and not (value and charset.known(value.split("\\"))):
        raise invalid(f"is {shape(value)}, not a known character set", remedy)
    return value


def _key(value: object) -> str:
    if value in _KEYS:
        return str(value)
    near = suggestion(value, list(_KEYS)) if isinstance(value, str) else ""
    raise invalid(f"is {shape(value)}, not a key that can be ignored", f"{near}write one of: {', '.join(_KEYS)}")


def _plain(value: str) -> str:
    if not (value.strip() and value.isascii() and value.isprintable()) or set("\\=?*") & set(value):
        raise invalid(f"is {shape(value)}", "write plain ASCII without backslash, =, ? and *")
    return value


def _fill(value: object, info: ValidationInfo) -> str:
    """Check what fills the key that the field is named for."""
    tag = tag_of(info.field_name or "")
    words = may_be_words(tag)
    sources = sorted(_source_name(source) for source in FILLABLE.get(tag, ()))
    remedy = "write " + " or ".join([*(["words in plain ASCII"] if words else []), *(f'"{name}"' for name in sources)])
    if value == "" or (isinstance(value, str) and value in sources):
        return str(value)
    if not isinstance(value, str) or value.startswith("@") or not words:
        raise invalid(f"is {shape(value)}, not what may stand here", remedy)
    if len(value) > _LONGEST.get(dictionary_VR(tag), 64):
        raise invalid(f"is {shape(value)}, too long", f"write at most {_LONGEST[dictionary_VR(tag)]} characters")
    return _plain(value)


def _source_name(source: FillSource | int) -> str:
    return source.value if isinstance(source, FillSource) else f"@{keyword_for_tag(source)}"


def _polling(value: object) -> timedelta:
    length = timedelta() if value == "0s" else parse_duration(value)
    if length > timedelta(minutes=1):
        raise invalid("is longer than a minute", "write at most 60s: a row must not stay away for longer")
    return length


CharacterSet = Annotated[str, BeforeValidator(_character_set)]
Key = Annotated[str, BeforeValidator(_key)]
Plain = Annotated[str, Field(max_length=64), AfterValidator(_plain)]
FillText = Annotated[str, BeforeValidator(_fill)]
Length = Annotated[int, Strict(), Field(ge=0, le=64)]
"""Characters; 0: no such limit."""


class Truncates(Section):
    AccessionNumber: Length = spelled(0)
    """Characters after which the scanner cuts an accession number; 0: it does not."""
    PatientID: Length = spelled(0)
    """The same for a Patient ID."""


class ZeroPadded(Section):
    AccessionNumber: Length = spelled(0)
    """Digits of an accession number with its leading zeros; 0: zeros count."""
    PatientID: Length = spelled(0)
    """The same for a Patient ID."""


class Fills(Section):
    """What stands where the row is empty; the keys are those of `FILLABLE` and the words beside."""

    ReferringPhysicianName: FillText = spelled("")
    """Words."""
    RequestingPhysician: FillText = spelled("")
    """Words."""
    ScheduledPerformingPhysicianName: FillText = spelled("")
    """Words."""
    RequestedProcedureDescription: FillText = spelled("")
    """Words, or "@ScheduledProcedureStepDescription"."""
    ScheduledProcedureStepDescription: FillText = spelled("")
    """Words, or "@RequestedProcedureDescription"."""
    ReasonForTheRequestedProcedure: FillText = spelled("")
    """Words."""
    ScheduledStationName: FillText = spelled("")
    """Words."""
    ScheduledProcedureStepLocation: FillText = spelled("")
    """Words."""
    RequestedProcedurePriority: FillText = spelled("")
    """Words."""
    ScheduledStationAETitle: FillText = spelled("")
    """ "@calling-ae": the scanner that asks."""
    ScheduledProcedureStepStartDate: FillText = spelled("")
    """ "@today": the site's day."""
    StudyInstanceUID: FillText = spelled("")
    """ "@derived": a UID made from accession number and patient, the same each time."""
    RequestedProcedureID: FillText = spelled("")
    """ "@AccessionNumber"."""
    ScheduledProcedureStepID: FillText = spelled("")
    """ "@RequestedProcedureID" or "@AccessionNumber"."""


class ProfileFile(Section):
    """One file; the defaults are those of `generic`."""

    extends: Name | None = Field(default=None)
    """The profile whose keys hold where this file has none."""
    source: Annotated[tuple[str, ...], Field(min_length=1)]
    """Write where these facts come from: the conformance statement, a capture, a thread."""
    character_sets: Annotated[tuple[CharacterSet, ...], Field(min_length=1, max_length=8)] = spelled(
        list(Profile().character_sets)
    )
    """What it can read, best first; "query": what its query declares; "row": as the RIS sent it."""
    romanise: tuple[Script, ...] = spelled([])
    """Scripts shown in Latin letters where no set holds them: "cyrillic", "greek"."""
    unreadable_name: Plain = spelled(Profile().unreadable_name)
    """Shown for a patient's name that no set holds."""
    person_names: PersonNames = spelled("all")
    """"all" component groups, or the "alphabetic" one alone."""
    name_length: Annotated[int, Strict(), Field(ge=8, le=64)] = spelled(64)
    """Characters of a component group that it takes."""
    max_answers: Count = spelled(1000)
    """Rows that it takes."""
    above: Above = spelled("nearest")
    """Above that: "nearest" to now with an alarm, or "refuse" with A700."""
    clock_days: Annotated[int, Strict(), Field(ge=0, le=7)] = spelled(0)
    """Days by which its clock may be wrong: a date key that near to today finds today too."""
    ignores: tuple[Key, ...] = spelled([])
    """Keys it sends without meaning them."""
    truncates: Truncates = spelled({})
    """Keys it cuts."""
    zero_padded: ZeroPadded = spelled({})
    """Numbers of which it strips or adds leading zeros."""
    family_name_alone: Flag = spelled(False)
    """A name key of one component finds the family name, whatever follows."""
    station_aliases: tuple[AE, ...] = spelled([])
    """AE titles that mean the scanner, beside the one it calls with."""
    modality_aliases: tuple[Plain, ...] = spelled([])
    """Modalities it does not tell apart."""
    fill: Fills = spelled({})
    """What stands where a row is empty and the scanner insists on a value."""
    polling_cache: Annotated[timedelta, BeforeValidator(_polling)] = spelled("0s")
    """For how long the same question gets the same answer; "0s": it is answered anew."""


def load_profiles(folder: Path) -> dict[str, Profile]:
    """The shipped profiles and those of `folder`, by name. Raises ConfigError with every fault."""
    profiles, problems = read_profiles(folder)
    if problems:
        raise ConfigError(problems)
    return profiles


def read_profiles(folder: Path) -> tuple[dict[str, Profile], list[Problem]]:
    """The profiles that hold, by name, and every fault of the others. The folder need not exist."""
    shipped = {
        path.name.removesuffix(".toml"): path.read_text("utf-8")
        for path in resources.files("gateway").joinpath("profiles").iterdir()
        if path.name.endswith(".toml")
    }
    found, problems = texts(folder)
    for name in sorted(shipped.keys() & found.keys()):
        wrong, remedy = "has the name of a shipped profile", f'rename it, and write extends = "{name}" in it'
        problems.append(Problem(key=name, wrong=wrong, remedy=remedy))
    profiles, faults = _profiles({**found, **shipped})
    return profiles, problems + faults


def _profiles(found: Mapping[str, str]) -> tuple[dict[str, Profile], list[Problem]]:
    raw, problems = tables(found)
    faults = {name: [*_faults(name, own), *_lost(name, raw)] for name, own in raw.items()}
    problems += [problem for found in faults.values() for problem in found]
    sound = [name for name in raw if not any(faults[base] for base in _line(name, raw))]
    return {name: _profile(name, raw) for name in sound}, problems


def _faults(name: str, own: dict[str, Any]) -> Iterator[Problem]:
    """Find what is wrong with the keys of one file."""
    try:
        ProfileFile.model_validate(own)
    except ValidationError as error:
        for detail in error.errors(include_url=False):
            problem = problem_of(dict(detail), own, root=ProfileFile)
            yield Problem(key=f"{name}.{problem.key}", wrong=problem.wrong, remedy=problem.remedy)


def _lost(name: str, raw: Mapping[str, dict[str, Any]]) -> Iterator[Problem]:
    """Find an `extends` that leads nowhere, or back to itself."""
    line = _line(name, raw)
    base = raw[line[-1]].get("extends")
    if isinstance(base, str) and base in line:
        yield Problem(key=f"{name}.extends", wrong="comes back to itself", remedy=f'write extends = "{GENERIC}"')
    elif isinstance(base, str) and len(line) == 1:
        known = sorted(raw)
        remedy = f"{suggestion(base, known)}known here: {', '.join(known)}"
        yield Problem(key=f"{name}.extends", wrong="names no profile", remedy=remedy)


def _line(name: str, raw: Mapping[str, dict[str, Any]]) -> list[str]:
    """The profile, the one it extends, and so on; each once."""
    line = [name]
    while isinstance(base := raw[line[-1]].get("extends"), str) and base in raw and base not in line:
        line.append(base)
    return line


def _profile(name: str, raw: Mapping[str, dict[str, Any]]) -> Profile:
    laid: dict[str, Any] = {}
    for base in reversed(_line(name, raw)):
        laid |= raw[base]
    file = ProfileFile.model_validate(laid)
    return Profile(
        name=name,
        character_sets=file.character_sets,
        romanised=frozenset(file.romanise),
        unreadable_name=file.unreadable_name,
        person_names=file.person_names,
        name_length=file.name_length,
        max_answers=file.max_answers,
        above=file.above,
        clock_days=file.clock_days,
        ignored=frozenset(map(tag_of, file.ignores)),
        cut=tuple((tag_of(key), length) for key, length in file.truncates if length),
        zero_padded=tuple((tag_of(key), length) for key, length in file.zero_padded if length),
        family_name_alone=file.family_name_alone,
        station_aliases=frozenset(title.upper() for title in file.station_aliases),
        modality_aliases=frozenset(modality.upper() for modality in file.modality_aliases),
        fill=tuple(_filling(tag_of(key), text) for key, text in file.fill if text),
        polling=file.polling_cache,
    )


def _filling(tag: int, text: str) -> Fill:
    if not text.startswith("@"):
        return Fill(tag=tag, text=text)
    if text in set(FillSource):
        return Fill(tag=tag, source=FillSource(text))
    return Fill(tag=tag, source=tag_of(text[1:]))
