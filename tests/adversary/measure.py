"""Counts what each policy makes of the same studies, on as many processes as there are cores."""

from __future__ import annotations

import multiprocessing
import os
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from random import Random

from gateway.domain import likeness
from gateway.domain.identity_model import CheckPolicy
from tests.adversary.dirt import Made, make
from tests.adversary.policies import (
    Outcome,
    Policy,
    accession_only,
    agrees_with,
    ladder,
    ours,
    patient_newest,
)
from tests.adversary.site import Booking, Site

POLICIES: dict[str, Policy] = {
    "ours": partial(ours, policy=CheckPolicy()),
    "ours, wider guard": partial(ours, policy=CheckPolicy(wider_guard=True)),
    "accession number only": accession_only,
    "PatientID, newest order": patient_newest,
    "unguarded ladder": ladder,
}
PER_TASK = 5_000


@dataclass(slots=True)
class Tally:
    """What one policy made of the studies."""

    wrong_patient: int = 0
    wrong_order: int = 0
    """The number of another order was written."""
    named_order: int = 0
    """An order of the right patient was written into, which the images named and which it was not."""
    fixed: int = 0
    held: int = 0
    held_clean: int = 0
    suspected: int = 0
    """Of the wrong picks."""
    wrong_kinds: Counter[str] = field(default_factory=Counter)

    def __iadd__(self, other: Tally) -> Tally:
        for name in ("wrong_patient", "wrong_order", "named_order", "fixed", "held", "held_clean", "suspected"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.wrong_kinds += other.wrong_kinds
        return self


@dataclass(slots=True)
class Result:
    """Every policy on the same studies."""

    studies: int = 0
    dirty: int = 0
    picks: int = 0
    """Studies whose header agrees in everything with a wrong order."""
    kinds: Counter[str] = field(default_factory=Counter)
    tallies: dict[str, Tally] = field(default_factory=lambda: {name: Tally() for name in POLICIES})

    def __iadd__(self, other: Result) -> Result:
        self.studies += other.studies
        self.dirty += other.dirty
        self.picks += other.picks
        self.kinds += other.kinds
        for name, tally in other.tallies.items():
            self.tallies[name] += tally
        return self


def run(studies: int, *, seed: int = 1, processes: int | None = None) -> Result:
    """That many studies, the same for the same seed."""
    tasks = [
        (seed * 1_000_003 + task, min(PER_TASK, studies - task * PER_TASK)) for task in range(-(-studies // PER_TASK))
    ]
    total = Result()
    count = min(processes or os.cpu_count() or 1, len(tasks))
    if count == 1:
        parts: Iterator[Result] = (_part(task) for task in tasks)
    else:
        with ProcessPoolExecutor(count, mp_context=multiprocessing.get_context("spawn")) as pool:
            parts = iter(list(pool.map(_part, tasks)))
    for part in parts:
        total += part
    return total


def _part(task: tuple[int, int]) -> Result:
    seed, studies = task
    result = Result()
    for site, made in _studies(seed, studies):
        _count(result, site, made)
    return result


def _studies(seed: int, count: int) -> Iterator[tuple[Site, Made]]:
    random = Random(seed)
    site = Site(random)
    site.next_day()
    made = 0
    while True:
        before = {}
        for booking in sorted(site.next_day(), key=lambda one: one.start):
            if made == count:
                return
            yield site, make(site, booking, before.get(booking.room, booking), random)
            before[booking.room] = booking
            made += 1


def _count(result: Result, site: Site, made: Made) -> None:
    clean = made.booking is not None and all(agrees_with(header, made.booking) for header in made.study.headers)
    result.studies += 1
    result.kinds[made.kind] += 1
    result.dirty += not clean
    result.picks += made.picked is not None
    for name, policy in POLICIES.items():
        _score(result.tallies[name], made, policy(site, made), clean=clean)


def _score(tally: Tally, made: Made, outcome: Outcome, *, clean: bool) -> None:
    tally.held += outcome.held
    tally.held_clean += outcome.held and made.kind == "clean"
    if made.picked is not None:
        tally.suspected += outcome.suspected
        return  # counted apart: nothing that a header check could see
    if outcome.booking is None:
        return
    if outcome.booking.person is not made.person:
        tally.wrong_patient += 1
        tally.wrong_kinds[made.kind] += 1
    elif outcome.booking is not made.booking and outcome.attributes & ORDER:
        if _names(made, outcome.booking):
            tally.named_order += 1
        else:
            tally.wrong_order += 1
            tally.wrong_kinds[f"{made.kind}: order"] += 1
    elif not clean:
        tally.fixed += 1


def _names(made: Made, booking: Booking) -> bool:
    """Whether the images came with the accession number of that order, and with no other's."""
    numbers = {likeness.canonical(header.accession.value) for header in made.study.headers} - {""}
    return numbers == {likeness.canonical(booking.accession)}


ORDER = frozenset({"AccessionNumber", "RequestedProcedureID", "ScheduledProcedureStepID", "StudyDescription"})
"""What tells one order of a patient from another."""


def table(result: Result) -> str:
    """The result for `docs/safety.md`."""
    kinds = ", ".join(f"{kind} {count:,}" for kind, count in sorted(result.kinds.items(), key=lambda one: -one[1]))
    ours = result.tallies["ours"]
    rows = [
        f"| {name} | {tally.wrong_patient:,} | {tally.wrong_order:,} | {tally.fixed:,} | {tally.held:,} |"
        for name, tally in result.tallies.items()
    ]
    return "\n".join(
        [
            "",
            f"{result.studies:,} studies, {result.dirty:,} of them dirty: {kinds}.",
            "",
            "| policy | wrong patient | wrong order | fixed | held, suggested or unmatched |",
            "|---|---:|---:|---:|---:|",
            *rows,
            "",
            f"Counted apart: {result.picks:,} headers that agree in everything they say with the wrong row. No check of"
            f" a header can see that; our plausibility score asked for a look at {ours.suspected:,}"
            f" ({ours.suspected / result.picks:.0%}). Of {result.kinds['clean']:,} clean studies ours held"
            f" {ours.held_clean:,}. In {ours.named_order:,} the images named another order of the right patient by its"
            " number: nothing in them says so.",
            "",
            "",
        ]
    )
