"""How a line of the acceptance ends, and what it measured.

What is promised: a `Measured` keeps every value with its limit before it is judged, so that a report shows the
figure that failed. Values are figures and short texts of hardware and peers, never anything of a patient.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, Self


class State(StrEnum):
    """What became of a line."""

    PASSED = "passed"
    FAILED = "failed"
    NOT_PRESENT = "not present"
    NOT_TESTED = "not tested"


class Fault(Exception):
    """The line fails; the message says what was found and the remedy."""


class NotPresent(Exception):
    """The part is not there: `failed` where the profile expects it."""

    def __init__(self, part: str, words: str) -> None:
        super().__init__(words)
        self.part = part


class NotTested(Exception):
    """Nothing can be said; the message says why, and what makes it possible."""


class NotAsked(NotTested):
    """Nobody wanted it tried; the message says how to ask."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """One figure of a line."""

    what: str
    value: float | str
    unit: str = ""
    limit: str = ""
    """What it was judged by, as shown; empty: only told."""
    holds: bool = True


@dataclass(slots=True)
class Measured:
    """Collects the figures of one line, and judges them."""

    found: list[Measurement] = field(default_factory=list)

    def tell(self, what: str, value: float | str, unit: str = "") -> None:
        """Keep a figure that nothing is decided by."""
        self.found.append(Measurement(what=what, value=_short(value), unit=unit))

    def at_most(self, what: str, value: float, limit: float, unit: str = "", *, remedy: str) -> None:
        """Keep it. Raises Fault if it is above the limit."""
        self._judge(value <= limit, remedy, what=what, value=value, unit=unit, limit=f"<= {_short(limit)}")

    def at_least(self, what: str, value: float, limit: float, unit: str = "", *, remedy: str) -> None:
        """Keep it. Raises Fault if it is below the limit."""
        self._judge(value >= limit, remedy, what=what, value=value, unit=unit, limit=f">= {_short(limit)}")

    def equals(self, what: str, value: str, wanted: str, *, remedy: str) -> None:
        """Keep it. Raises Fault if it is another."""
        self._judge(value == wanted, remedy, what=what, value=value, unit="", limit=wanted)

    def _judge(self, holds: bool, remedy: str, *, what: str, value: float | str, unit: str, limit: str) -> None:
        one = Measurement(what=what, value=_short(value), unit=unit, limit=limit, holds=holds)
        self.found.append(one)
        if not holds:
            behind = f" {unit}" if unit else ""
            raise Fault(f"{what} is {one.value}{behind}, and must be {limit}{behind}; {remedy}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line of the report."""

    name: str
    """Stable: documented in docs/operations/commissioning.md."""
    subject: str = ""
    """Which interface, disk or peer; empty where there is only one."""
    title: str
    state: State
    why: str = ""
    asked: bool = True
    """False: not tested because nobody asked for it."""
    measured: tuple[Measurement, ...] = ()
    seconds: float = 0.0

    @property
    def id(self) -> str:
        """Name and subject: `network.link eth0`."""
        return f"{self.name} {self.subject}".rstrip()

    def as_json(self) -> dict[str, Any]:
        """For the report."""
        return {**asdict(self), "state": str(self.state), "measured": [asdict(one) for one in self.measured]}

    @classmethod
    def of_json(cls, raw: Mapping[str, Any]) -> Self:
        """As `as_json` wrote it. Raises KeyError, ValueError or TypeError for anything else."""
        measured = tuple(Measurement(**one) for one in raw["measured"])
        return cls(**{**raw, "state": State(raw["state"]), "measured": measured})


def _short(value: float | str) -> float | str:
    """A figure to at most four places that tell; text of printable characters, not long."""
    if isinstance(value, str):
        return "".join(letter for letter in value if letter.isprintable())[:120].strip()
    if isinstance(value, int):
        return value
    short = float(f"{value:.4g}")
    return int(short) if short.is_integer() else short
