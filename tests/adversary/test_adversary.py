"""No wrong patient and no wrong order by a correction, on studies made to cause them (`make safety`: 300,000)."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.adversary import measure
from tests.adversary.measure import Result

STUDIES = int(os.environ.get("GATEWAY_STUDIES", "1500"))
LARGE = 300_000
PAGE = Path(__file__).parents[2] / "docs" / "safety.md"
BEGIN, END = "<!-- written by make safety -->", "<!-- end -->"


@pytest.fixture(scope="module")
def result() -> Result:
    return measure.run(STUDIES, seed=int(os.environ.get("GATEWAY_SEED", "1")))


@pytest.mark.safety
@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_no_correction_makes_a_wrong_patient_or_a_wrong_order(result: Result) -> None:
    for name in ("ours", "ours, wider guard"):
        tally = result.tallies[name]
        assert (tally.wrong_patient, tally.wrong_order) == (0, 0), (name, tally.wrong_kinds)
        assert tally.fixed > 0
        assert tally.held_clean == 0


@pytest.mark.safety
@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_studies_are_dirty_enough_to_prove_it(result: Result) -> None:
    """A feed on which the unguarded ladder is right proves nothing."""
    assert result.tallies["unguarded ladder"].wrong_patient * 100_000 >= 800 * result.studies
    assert all(result.kinds.values())
    if result.studies >= LARGE:
        _write(result)


@pytest.mark.safety
@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_some_wrong_picks_are_seen(result: Result) -> None:
    assert result.picks > result.tallies["ours"].suspected > 0


def _write(result: Result) -> None:
    """The table, into the page; what stands around it is written by people."""
    head, _, rest = PAGE.read_text("utf-8").partition(BEGIN)
    PAGE.write_text(f"{head}{BEGIN}\n{measure.table(result)}{END}{rest.partition(END)[2]}", "utf-8")
