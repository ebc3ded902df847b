"""When an examination counts as over: a table of evidence, and what holds for all of it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.completeness import (
    WHILE_CONNECTED,
    Because,
    Evidence,
    Patience,
    PerformedStep,
    Progress,
    standing,
)
from gateway.domain.mpps import StepStatus

LAST = datetime(2026, 3, 4, 9, 0, tzinfo=UTC)
PATIENCE = Patience(quiet=timedelta(minutes=10), abandoned=timedelta(hours=24))
BEGUN, DONE, GIVEN_UP = StepStatus.IN_PROGRESS, StepStatus.COMPLETED, StepStatus.DISCONTINUED


def step(status: StepStatus, *, instances: int | None = None, of: str = "S1") -> PerformedStep:
    return PerformedStep(status=status, instances=instances, scheduled=frozenset({of} - {""}))


def evidence(*steps: PerformedStep, received: int = 0, scheduled: str = "S1", connected: bool = False) -> Evidence:
    return Evidence(
        received=received, last_at=LAST, steps=steps, scheduled=frozenset(scheduled.split()), connected=connected
    )


@pytest.mark.parametrize(
    ("known", "minutes", "because"),
    [
        (evidence(received=5), 9, Because.NOT_QUIET),
        (evidence(received=5), 10, Because.QUIET),
        (evidence(received=5, connected=True), 10, Because.SCANNER_CONNECTED),
        (evidence(received=5, connected=True), 30, Because.QUIET),
        (evidence(step(BEGUN), received=5), 60, Because.STEP_IN_PROGRESS),
        (evidence(step(StepStatus.UNKNOWN), received=5), 60, Because.STEP_IN_PROGRESS),
        (evidence(step(BEGUN), received=5), 24 * 60, Because.QUIET),
        (evidence(step(BEGUN)), 24 * 60, Because.ABANDONED),
        (evidence(step(DONE, instances=5), received=5), 0, Because.COUNTS_REACHED),
        (evidence(step(DONE, instances=5), received=5, connected=True), 0, Because.COUNTS_REACHED),
        (evidence(step(DONE, instances=5), received=4), 9, Because.NOT_QUIET),
        (evidence(step(DONE, instances=5), received=4), 10, Because.COMPLETED_AND_QUIET),
        (evidence(step(DONE, instances=5), received=4, connected=True), 10, Because.SCANNER_CONNECTED),
        (evidence(step(DONE), received=5), 0, Because.NOT_QUIET),
        (evidence(step(DONE, instances=0)), 10, Because.COMPLETED_AND_QUIET),
        (evidence(step(DONE, instances=3), step(DONE), received=5), 0, Because.NOT_QUIET),
        (evidence(step(DONE, instances=3), step(DONE, instances=2), received=4), 0, Because.NOT_QUIET),
        (evidence(step(DONE, instances=3), step(DONE, instances=2), received=5), 0, Because.COUNTS_REACHED),
        (evidence(step(DONE, instances=3), step(BEGUN), received=9), 60, Because.STEP_IN_PROGRESS),
        (evidence(step(DONE, instances=3), step(GIVEN_UP), received=9), 0, Because.COUNTS_REACHED),
        (evidence(step(DONE, instances=3), received=3, scheduled="S1 S2"), 60, Because.STEP_OUTSTANDING),
        (evidence(step(DONE, instances=3), received=3, scheduled="S1 S2"), 24 * 60, Because.COMPLETED_AND_QUIET),
        (evidence(step(DONE, instances=3, of=""), received=3, scheduled="S1 S2"), 0, Because.COUNTS_REACHED),
        (evidence(step(DONE, instances=3, of="X"), received=3, scheduled="S1 S2"), 0, Because.COUNTS_REACHED),
        (evidence(step(DONE, instances=3), received=3, scheduled=""), 0, Because.COUNTS_REACHED),
        (evidence(step(GIVEN_UP, instances=2), received=2), 60, Because.DISCONTINUED),
        (evidence(step(GIVEN_UP, instances=2), received=2), 24 * 60, Because.DISCONTINUED),
    ],
)
def test_evidence(known: Evidence, minutes: int, because: Because) -> None:
    assert standing(known, PATIENCE, LAST + timedelta(minutes=minutes)).because is because


def test_a_study_whose_steps_were_all_discontinued_is_never_complete() -> None:
    known = evidence(step(GIVEN_UP, instances=2), received=2)
    assert standing(known, PATIENCE, LAST + timedelta(hours=23)).progress is Progress.IN_PROGRESS
    for hours in (1, 24, 1000):
        assert standing(known, PATIENCE, LAST + timedelta(hours=hours)).progress is not Progress.COMPLETE


steps = st.lists(
    st.builds(
        step,
        st.sampled_from(StepStatus),
        instances=st.none() | st.integers(0, 5),
        of=st.sampled_from(["", "S1", "S2", "S3"]),
    ),
    max_size=4,
)
known_evidence = st.builds(
    lambda steps, received, scheduled, connected: evidence(
        *steps, received=received, scheduled=scheduled, connected=connected
    ),
    steps,
    st.integers(0, 10),
    st.sampled_from(["", "S1", "S1 S2"]),
    st.booleans(),
)


@given(known=known_evidence, minutes=st.integers(0, 3000))
def test_nothing_holds_a_study_open_for_ever_and_every_wait_has_its_end(known: Evidence, minutes: int) -> None:
    now = LAST + timedelta(minutes=minutes)
    for _ in range(10 * WHILE_CONNECTED + 5):
        found = standing(known, PATIENCE, now)
        if found.progress is not Progress.IN_PROGRESS:
            assert found.again is None
            return
        assert found.again is not None
        assert found.again > now
        now = found.again
    raise AssertionError("waits without end")


@given(known=known_evidence, minutes=st.integers(0, 3000))
def test_what_is_over_stays_over_while_nothing_comes(known: Evidence, minutes: int) -> None:
    now = LAST + timedelta(minutes=minutes)
    found = standing(known, PATIENCE, now)
    if found.progress is not Progress.IN_PROGRESS:
        later = standing(known, PATIENCE, now + timedelta(days=2))
        assert later.progress is found.progress


@given(known=known_evidence)
def test_a_step_that_goes_on_is_never_complete_within_a_day(known: Evidence) -> None:
    if any(not step.status.is_final for step in known.steps):
        found = standing(known, PATIENCE, LAST + timedelta(hours=23))
        assert found.progress is Progress.IN_PROGRESS
