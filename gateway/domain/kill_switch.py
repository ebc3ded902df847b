"""When automatic corrections stop by themselves: something they rely on is not as it was.

Promises
- A function of counts and times alone. Stopping loses nothing: what would have been written becomes a task
  (`CheckPolicy.automatic`).
- What points at a fault of ours or of a site's set-up (a rate, a patient who collects corrections) stays stopped until
  a person resumes, for the counts would look well again as soon as nothing is corrected. What points at a silent
  source ends with the silence.
- The first studies of a scanner have no baseline of their own: they are measured by `Limits.floor`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from gateway.domain.model import AETitle, SourceName


class Cause(StrEnum):
    """Why corrections stop; stable names, for alarms too."""

    RATE = "correction-rate"
    """A scanner's studies are corrected far more often than they were."""
    PATIENT = "corrections-to-one-patient"
    """One patient gets correction after correction: perhaps a number that every study falls back to."""
    FEED = "orders-stale"
    """No source of orders was heard for too long."""

    @property
    def waits_for_a_person(self) -> bool:
        return self is not Cause.FEED


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much is too much."""

    times: float = 3.0
    """A rate this many times the baseline's stops."""
    floor: float = 0.02
    """The baseline is at least this, and this while there is none: corrected studies of all."""
    fewest: int = 5
    """So many corrections of a scanner at least: less is chance."""
    baseline: int = 200
    """So many studies make a baseline."""
    one_patient: int = 5
    """More corrections to one patient within an hour stop."""
    feed: timedelta = timedelta(hours=24)
    """A source of orders is too old from this age on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Corrected:
    """Studies of one scanner, and how many of them were corrected."""

    calling_ae: AETitle
    studies: int
    """Decided in the last day."""
    corrected: int
    studies_before: int
    """Decided in the four weeks before that."""
    corrected_before: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """One reason to stop."""

    cause: Cause
    subject: str
    """The scanner or the source; "" for a patient, who is never named."""


def stops(
    scanners: Iterable[Corrected],
    *,
    most_to_one_patient: int,
    heard: Iterable[tuple[SourceName, datetime]],
    limits: Limits,
    now: datetime,
) -> tuple[Stop, ...]:
    """Every reason to stop now. `most_to_one_patient`: corrected studies of any one patient within the last hour;
    `heard`: each source of orders, and when it was last heard (UTC-aware)."""
    return tuple(_stops(scanners, most_to_one_patient, list(heard), limits, now))


def _stops(
    scanners: Iterable[Corrected],
    most_to_one_patient: int,
    heard: list[tuple[SourceName, datetime]],
    limits: Limits,
    now: datetime,
) -> Iterator[Stop]:
    for one in scanners:
        if one.corrected >= limits.fewest and one.corrected > one.studies * baseline(one, limits) * limits.times:
            yield Stop(cause=Cause.RATE, subject=one.calling_ae)
    if most_to_one_patient > limits.one_patient:
        yield Stop(cause=Cause.PATIENT, subject="")
    late = [source for source, at in heard if now - at > limits.feed]
    if late and len(late) == len(heard):
        yield from (Stop(cause=Cause.FEED, subject=source) for source in sorted(late))


def baseline(one: Corrected, limits: Limits) -> float:
    """The share of this scanner's studies that are corrected on common days."""
    if one.studies_before < limits.baseline:
        return limits.floor
    return max(limits.floor, one.corrected_before / one.studies_before)
