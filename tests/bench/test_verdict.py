"""What the bench says of its samples: paired ratios, verdicts, silence where the machine was too noisy."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from bench.measure import Cell, CellFailed, Column, Reference, Result, Sample, Table, Target, measure, noise
from bench.report import lines, placed
from bench.verdict import ratio, values, verdicts

QUIET = Reference(calculating=0.3, syncing=0.1, foreign=0.0, load=0.5)


def never(_: Path) -> Sample:
    raise AssertionError("a verdict measures nothing")


def table(*targets: Target, lower_is_better: bool = False) -> Table:
    return Table(
        name="ingest",
        environment="tuned",
        title="Ingest",
        note="Test.",
        columns=(Column(metric="rate", title="rate"),),
        cells=[Cell(case="ct", variant=name, run=never) for name in ("gateway", "other")],
        targets=targets,
        lower_is_better=lower_is_better,
    )


def result(ours: list[float | None], theirs: list[float | None]) -> Result:
    def samples(rates: list[float | None]) -> list[Sample | None]:
        return [None if rate is None else {"rate": rate} for rate in rates]

    return Result(
        key="ingest/tuned",
        made="2026-01-02T03:04:05+00:00",
        rounds=len(ours),
        samples={"ct / gateway": samples(ours), "ct / other": samples(theirs)},
        references=[QUIET, QUIET],
    )


TWICE = Target(clause="(b)", case="ct", metric="rate", beside="other", at_least=2.0)


def test_a_ratio_is_paired_by_round_and_not_of_medians() -> None:
    measured = result([10.0, 200.0, 30.0], [1.0, 100.0, 15.0])
    found = ratio(measured, metric="rate", ours=("ct", "gateway"), theirs=("ct", "other"), lower_is_better=False)
    assert found is not None
    assert (found.median, found.least, found.most) == (2.0, 2.0, 10.0)


def test_a_failed_cell_takes_its_round_out_of_the_ratio() -> None:
    measured = result([None, 20.0], [1.0, 10.0])
    found = ratio(measured, metric="rate", ours=("ct", "gateway"), theirs=("ct", "other"), lower_is_better=False)
    assert found is not None
    assert (found.least, found.most) == (2.0, 2.0)


def test_less_is_better_for_a_latency() -> None:
    (verdict,) = verdicts(table(TWICE, lower_is_better=True), result([1.0, 2.0], [30.0, 50.0]))
    assert verdict.held
    assert "27.50" in verdict.measured


@pytest.mark.parametrize(("theirs", "held"), [(10.0, True), (10.1, False)])
def test_a_target_is_held_or_missed_by_the_median(theirs: float, held: bool) -> None:
    (verdict,) = verdicts(table(TWICE), result([20.0, 20.0, 20.0], [theirs, theirs, theirs]))
    assert verdict.held is held


def test_a_limit_is_a_figure_of_our_own() -> None:
    limit = Target(clause="latency", case="ct", metric="rate", at_most=25.0, unit="ms")
    (verdict,) = verdicts(table(limit, lower_is_better=True), result([24.0, 26.0, 25.0], []))
    assert verdict.held
    assert verdict.text().startswith("(latency) gateway on ct, rate at most 25 ms: 25.00")


@pytest.mark.parametrize(("rate", "held"), [(25.0, True), (25.1, False)])
def test_a_floor_is_a_figure_of_our_own_too(rate: float, held: bool) -> None:
    floor = Target(clause="orders", case="ct", metric="rate", at_least=rate, unit="orders/s")
    (verdict,) = verdicts(table(floor), result([24.0, 26.0, 25.0], []))
    assert verdict.held is held
    assert f"rate at least {rate:g} orders/s: 25.00" in verdict.text()


def test_a_figure_that_a_program_does_not_have_is_left_out() -> None:
    measured = result([20.0], [10.0])
    assert values(measured, "ct", "gateway", "find_p99") == [None]
    two = replace(table(), columns=(Column(metric="rate", title="rate"), Column(metric="find_p99", title="p99")))
    assert any("| 20 [20" in line and line.endswith("|  |  |") for line in lines(two, measured))


def test_what_was_not_measured_is_neither_held_nor_missed() -> None:
    (verdict,) = verdicts(table(TWICE), result([None], [None]))
    assert verdict.held is None


@pytest.mark.parametrize(
    "references",
    [
        [QUIET, replace(QUIET, calculating=0.6), replace(QUIET, calculating=0.6)],
        [QUIET, replace(QUIET, syncing=0.2), replace(QUIET, syncing=0.2)],
        [replace(QUIET, foreign=1.0), replace(QUIET, foreign=1.0), QUIET],
    ],
    ids=["calculating", "syncing", "foreign"],
)
def test_a_noisy_machine_gives_no_verdict(references: list[Reference]) -> None:
    measured = result([20.0, 20.0], [1.0, 1.0])
    assert verdicts(table(TWICE), measured)
    measured.references = references
    assert noise(references).too_much
    assert verdicts(table(TWICE), measured) == []
    assert "Too noisy for a verdict" in "\n".join(lines(table(TWICE), measured))


def test_a_cell_that_fails_is_recorded_and_stops_nothing(tmp_path: Path) -> None:
    def fails(_: Path) -> Sample:
        raise CellFailed("0 of 5 objects")

    def works(folder: Path) -> Sample:
        assert list(folder.iterdir()) == []
        (folder / "left behind").touch()
        return {"rate": 1.0}

    cells = [Cell(case="ct", variant="gateway", run=works), Cell(case="ct", variant="other", run=fails)]
    found = measure(replace(table(), cells=cells), rounds=2, seed=1, folder=tmp_path)
    assert found.samples == {"ct / gateway": [{"rate": 1.0}] * 2, "ct / other": [None, None]}
    assert "0 of 5 objects" in found.failures["ct / other"]
    assert Result.from_json(found.as_json()) == found


def test_a_table_is_put_in_its_place_and_prose_stays() -> None:
    page = "# Page\n\nWords.\n\n<!-- bench:a/tuned -->\nold\n<!-- /bench:a/tuned -->\n\nMore words.\n"
    assert placed(page, "a/tuned", "new \\1") == page.replace("old", "new \\1")
    assert placed(page, "b", "table").endswith("More words.\n\n<!-- bench:b -->\ntable\n<!-- /bench:b -->\n")
