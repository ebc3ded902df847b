"""What a rule of the site demands of one image, and whether it holds: total and explainable.

Promises
- `Condition.holds` never raises, whatever values it is given: an image that a rule can't judge is one that the rule
  does not fit, never one that is lost.
- A condition holds if one of its patterns fits one of the values. "" fits where there is no value, "*" any value.
  Wildcards are those of PS3.4 C.2.2.2.4 (`*`, `?`), without regard to case; a pattern that begins with <, <=, > or >=
  compares numbers, and what is no number fits none.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

Facts = Mapping[str, Sequence[str]]
"""What is known of one image: values by key. A key that is not there has no value."""

VERDICT: Final = "verdict"
FINDING: Final = "finding"
OURS: Final = ("calling_ae", "called_ae", "address", "size", VERDICT, FINDING)
"""The keys that are no tag: who sent it, whom it called, from which address, bytes of its data set, and what the check
of its study came to: the decision, and the codes of what it found."""
OF_ORDER: Final = (
    *("source", "status", "AccessionNumber", "RequestedProcedureID", "RequestedProcedurePriority"),
    *("RequestedProcedureDescription", "RequestedProcedureCode", "Modality", "ScheduledStationAETitle"),
    *("RequestingPhysician", "ReferringPhysicianName", "InstitutionName", "InstitutionalDepartmentName"),
    *("CurrentPatientLocation",),
)
"""The attributes of its order; in facts and conditions they begin with `order.`."""

_COMPARISON: Final = re.compile(r"(<=|>=|<|>)\s*(\d+(?:\.\d+)?)\s*([KMGT]i?B)?")
_UNITS: Final = {
    "": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12,
    "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40,
}  # fmt: skip


def is_comparison(written: str) -> bool:
    """Whether the pattern means to compare numbers."""
    return written.startswith(("<", ">"))


def comparison(written: str) -> tuple[str, float] | None:
    """The sign and the number of a comparison, units of size resolved; None if it is none that can be read."""
    found = _COMPARISON.fullmatch(written.strip())
    return None if found is None else (found[1], float(found[2]) * _UNITS[found[3] or ""])


@dataclass(frozen=True, slots=True)
class Pattern:
    """One text that a value may fit."""

    written: str
    _fits: re.Pattern[str] | None = field(init=False, repr=False, compare=False)
    _bound: tuple[str, float] | None = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        wanted = "".join({"*": ".*", "?": "."}.get(letter, re.escape(letter)) for letter in self.written.casefold())
        compares = is_comparison(self.written)
        object.__setattr__(self, "_fits", None if compares else re.compile(wanted, re.DOTALL))
        object.__setattr__(self, "_bound", comparison(self.written))

    def fits(self, values: Sequence[str]) -> bool:
        """Whether one of the values does, or none is there and none is wanted."""
        present = [value for value in values if value]
        if not self.written:
            return not present
        if self._fits is None:
            return any(self._compares(value) for value in present)
        return any(self._fits.fullmatch(value.casefold()) for value in present)

    def _compares(self, value: str) -> bool:
        try:
            number = float(value)
        except ValueError:
            return False
        if self._bound is None or not math.isfinite(number):
            return False
        sign, bound = self._bound
        match sign:
            case "<":
                return number < bound
            case "<=":
                return number <= bound
            case ">":
                return number > bound
            case _:
                return number >= bound


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """One key and the patterns of which one must fit."""

    key: str
    """A keyword of PS3.6 or "gggg,eeee", a key of ours, or `order.` and an attribute of the order."""
    patterns: tuple[Pattern, ...]

    def holds(self, facts: Facts) -> bool:
        values = facts.get(self.key, ())
        return any(pattern.fits(values) for pattern in self.patterns)
