"""The table of worklist queries (`worklist_cases.toml`), read: rows, queries, and what each of them finds."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any

from gateway.dicom import elements
from gateway.domain.profile import GENERIC
from gateway.simulate import keywords

TABLE = Path(__file__).with_name("worklist_cases.toml")
TODAY = date(2026, 7, 6)
"""The day that the table speaks of."""
STEP = "ScheduledProcedureStepSequence"
STATUS = "step.ScheduledProcedureStepStatus="
HIDDEN = frozenset("HI")
"""Rows whose state hides them from a query that doesn't ask for a state."""
_DAY = re.compile(r"(2026)(\.?)(07)(\.?)(\d\d)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One query and what it finds."""

    kind: str
    profile: str
    """Of the scanner that asks."""
    query: str
    found: frozenset[str]
    """The rows that the gateway answers."""
    by_dcmtk: frozenset[str] | None
    """The rows that wlmscpfs answers, those left out that a state hides. None: it refuses the query."""
    reason: str
    """Why the two differ; "" if they don't."""

    @property
    def asks_state(self) -> bool:
        _, found, key = self.query.partition(STATUS)
        return bool(found) and key.partition(";")[0].strip() not in {"", "*"}


@cache
def _table() -> dict[str, Any]:
    return tomllib.loads(TABLE.read_text("utf-8"))


def letters() -> list[str]:
    """The rows, by name."""
    return list(_table()["row"])


def uid_of(letter: str) -> str:
    """The Study Instance UID of a row."""
    return f"2.25.{ord(letter) - ord('A') + 1}"


def reasons() -> Mapping[str, str]:
    """Why wlmscpfs may find others, with the clause of the standard, by name."""
    found: dict[str, str] = _table()["reason"]
    return found


def write_profiles(folder: Path) -> None:
    """The profiles of the table, as a site has them in its folder."""
    folder.mkdir()
    for name, keys in _table()["profile"].items():
        (folder / f"{name}.toml").write_text(f'source = ["{TABLE.name}"]\n{keys}\n', "utf-8")


def profiles() -> list[str]:
    """The profiles of the table; scanners of them call with the name in capitals."""
    return list(_table()["profile"])


def cases() -> Iterator[Case]:
    """Every case of the table."""
    for kind in _table()["kind"]:
        assert "PS3.4" in kind["clause"]
        for query, found, *other in kind["cases"]:
            by_dcmtk, reason = other or (found, "")
            yield Case(
                kind=kind["name"],
                profile=kind.get("profile", GENERIC),
                query=query,
                found=_rows(found),
                by_dcmtk=None if by_dcmtk == "refused" else _rows(by_dcmtk),
                reason=reason,
            )


def _rows(found: str) -> frozenset[str]:
    return frozenset(letters()) - HIDDEN if found == "all" else frozenset(found)


def row(letter: str, *, today: date = TODAY) -> elements.DataSet:
    """A row of the table, as if it were written for this day."""
    written = dict(_table()["row"][letter])
    character_set = written.pop("SpecificCharacterSet", "")
    return keywords.data_set({"StudyInstanceUID": uid_of(letter), **_values(written, today)}, character_set)


def _values(written: Mapping[str, Any], today: date) -> dict[str, Any]:
    """Text and items by keyword; a table in the table is a sequence of one item."""
    return {
        STEP if keyword == "step" else keyword: [_values(value, today)]
        if isinstance(value, dict)
        else shifted(value, today)
        for keyword, value in written.items()
    }


def identifier(query: str, *, today: date = TODAY) -> elements.DataSet:
    """A query of the table, as if it were written for this day."""
    values: dict[str, Any] = {}
    character_set = ""
    for key in query.split("; "):
        path, _, value = key.partition("=")
        if path == "SpecificCharacterSet":
            character_set = value
        elif path:
            _lay(values, path.replace("step.", f"{STEP}."), shifted(value, today))
    return keywords.data_set(values, character_set)


def _lay(values: dict[str, Any], path: str, value: str) -> None:
    *sequences, keyword = path.split(".")
    for sequence in sequences:
        values = values.setdefault(sequence, [{}])[0]
    if keyword.endswith("]"):
        values[keyword.partition("[")[0]] = [{}] if keyword.endswith("[0]") else []
    else:
        values[keyword] = value


def shifted(text: str, today: date) -> str:
    """The dates of the table's week, moved to the week of this day."""

    def moved(found: re.Match[str]) -> str:
        day = date.fromordinal(date(2026, 7, int(found[5])).toordinal() + (today - TODAY).days)
        return f"{day.year:04d}{found[2]}{day.month:02d}{found[4]}{day.day:02d}"

    return _DAY.sub(moved, text)
