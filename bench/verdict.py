"""From samples to figures: medians with their range, ratios paired by round, and whether a target is held.

A ratio is never made of medians of different rounds: each round gives one, and the median of these is shown
with the least and the greatest. A table that is too noisy has figures but no verdict.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable
from dataclasses import dataclass

from bench.measure import Result, Table, Target, noise


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """A median and its range over the rounds."""

    median: float
    least: float
    most: float

    def text(self, digits: int) -> str:
        return f"{self.median:,.{digits}f} [{self.least:,.{digits}f}\N{EN DASH}{self.most:,.{digits}f}]"


def spread(values: Iterable[float]) -> Spread | None:
    """None if there is no value."""
    found = list(values)
    return Spread(median=statistics.median(found), least=min(found), most=max(found)) if found else None


def values(result: Result, case: str, variant: str, metric: str) -> list[float | None]:
    """One for each round; None where the cell failed or has no such figure."""
    return [None if sample is None else sample.get(metric) for sample in result.samples.get(f"{case} / {variant}", [])]


def ratio(
    result: Result, *, metric: str, ours: tuple[str, str], theirs: tuple[str, str], lower_is_better: bool
) -> Spread | None:
    """How many times better `ours` (case, variant) is than `theirs`, by rounds in which both have a figure."""
    pairs = zip(values(result, *ours, metric), values(result, *theirs, metric), strict=False)
    found = [(one, other) for one, other in pairs if one is not None and other is not None]
    return spread(other / one if lower_is_better else one / other for one, other in found)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """One target and what became of it."""

    target: str
    measured: str
    held: bool | None
    """None: not measured."""

    def text(self) -> str:
        word = {True: "held", False: "missed", None: "not measured"}[self.held]
        return f"{self.target}: {self.measured} **{word}**"


def verdicts(table: Table, result: Result) -> list[Verdict]:
    """One for each target; none if the machine was too noisy."""
    if noise(result.references).too_much:
        return []
    return [_verdict(table, target, result) for target in table.targets]


def _verdict(table: Table, target: Target, result: Result) -> Verdict:
    where = f"({target.clause.strip('()')}) {target.ours} on {target.case}"
    if not target.beside:
        limit = f"at most {target.at_most:g}" if target.at_most else f"at least {target.at_least:g}"
        said = f"{where}, {target.metric.replace('_', ' ')} {limit} {target.unit}"
        found = spread(one for one in values(result, target.case, target.ours, target.metric) if one is not None)
        held = None if found is None else target.at_least <= found.median <= (target.at_most or math.inf)
        return Verdict(target=said, measured=found.text(2) if found else "no figure", held=held)
    beside = target.beside + (f" on {target.beside_case}" if target.beside_case else "")
    found = ratio(
        result,
        metric=target.metric,
        ours=(target.case, target.ours),
        theirs=(target.beside_case or target.case, target.beside),
        lower_is_better=table.lower_is_better,
    )
    held = None if found is None else found.median >= target.at_least
    measured = found.text(2) if found else "no figure"
    if found and found.least < target.at_least < found.most:
        measured += ", the range holds the target,"
    return Verdict(target=f"{where}: at least {target.at_least:g}x {beside}", measured=measured, held=held)
