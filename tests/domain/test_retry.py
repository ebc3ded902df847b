"""Outcomes, waits and circuits: nothing is a trap."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.retry import (
    CONTENT_ATTEMPTS,
    Circuit,
    CircuitState,
    OutcomeKind,
    Severity,
    TransportFailure,
    age_severity,
    backoff,
    classify_store_status,
    classify_transport,
)

NOW = datetime(2026, 7, 6, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("status", "kind", "blames"),
    [
        (0x0000, OutcomeKind.STORED, False),
        (0xB000, OutcomeKind.STORED_WITH_WARNING, False),
        (0xB007, OutcomeKind.STORED_WITH_WARNING, False),
        (0x0111, OutcomeKind.DUPLICATE, False),
        (0xA700, OutcomeKind.TEMPORARY, True),
        (0xA7FF, OutcomeKind.TEMPORARY, True),
        (0x0213, OutcomeKind.TEMPORARY, True),
        (0x0124, OutcomeKind.TEMPORARY, True),
        (0x0110, OutcomeKind.TEMPORARY, False),
        (0x0210, OutcomeKind.TEMPORARY, False),
        (0xC000, OutcomeKind.TEMPORARY, False),
        (0x0117, OutcomeKind.PERMANENT, False),
        (0x0122, OutcomeKind.PERMANENT, False),
        (0xA900, OutcomeKind.PERMANENT, False),
        (0xA800, OutcomeKind.TEMPORARY, False),
        (0xFE00, OutcomeKind.TEMPORARY, False),
        (0xFF00, OutcomeKind.TEMPORARY, False),
        (0x0001, OutcomeKind.TEMPORARY, False),
    ],
)
def test_store_status(status: int, kind: OutcomeKind, blames: bool) -> None:
    outcome = classify_store_status(status)
    assert (outcome.kind, outcome.blames_destination) == (kind, blames)
    assert outcome.code == f"{status:04X}"


def test_what_is_not_understood_waits_for_a_person_in_the_end() -> None:
    kinds = [classify_store_status(0xC123, attempts=n).kind for n in range(CONTENT_ATTEMPTS + 2)]
    assert kinds == [OutcomeKind.TEMPORARY] * CONTENT_ATTEMPTS + [OutcomeKind.PERMANENT] * 2


@given(st.integers(0, 0xFFFF), st.integers(0, 10**6))
def test_only_success_warning_and_duplicate_are_stored(status: int, attempts: int) -> None:
    stored = status in {0x0000, 0x0111} or status >> 12 == 0xB
    assert classify_store_status(status, attempts=attempts).is_stored is stored


@given(st.integers(0, 10**6))
def test_temporary_is_tried_for_ever(attempts: int) -> None:
    for status in (0xA700, 0x0110, 0x0124, 0x0210, 0x9999):
        assert classify_store_status(status, attempts=attempts).kind is OutcomeKind.TEMPORARY


@pytest.mark.parametrize("failure", TransportFailure)
def test_transport(failure: TransportFailure) -> None:
    outcome = classify_transport(failure)
    refused = failure is TransportFailure.CONTEXT_REFUSED
    assert outcome.kind is (OutcomeKind.PERMANENT if refused else OutcomeKind.TEMPORARY)
    assert outcome.blames_destination is not refused


spans = st.timedeltas(timedelta(milliseconds=1), timedelta(days=1000))
chances = st.floats(0, 1, allow_nan=False)


@given(st.integers(-5, 10**9), spans, spans, chances)
def test_a_wait_is_bounded(attempts: int, base: timedelta, cap: timedelta, random: float) -> None:
    assert timedelta() <= backoff(attempts, base=base, cap=cap, random=random) <= cap


@given(st.integers(0, 200), spans, spans)
def test_the_bound_never_shrinks(attempts: int, base: timedelta, cap: timedelta) -> None:
    waits = [backoff(n, base=base, cap=cap, random=1.0) for n in (attempts, attempts + 1)]
    assert waits[0] <= waits[1]


def test_the_bound_doubles() -> None:
    waits = [backoff(n, base=timedelta(seconds=1), cap=timedelta(seconds=6), random=1.0) for n in range(1, 6)]
    assert [wait.total_seconds() for wait in waits] == [1, 2, 4, 6, 6]


def test_a_circuit_opens_rests_tries_and_closes() -> None:
    circuit = Circuit(threshold=3, base=timedelta(seconds=10), cap=timedelta(minutes=1))
    for _ in range(2):
        circuit = circuit.after_failure(NOW, 0.5)
        assert circuit.may_try(NOW)
    circuit = circuit.after_failure(NOW, 0.0)
    assert circuit.state(NOW) is CircuitState.OPEN
    assert not circuit.may_try(NOW + timedelta(seconds=4.9))
    later = NOW + timedelta(seconds=5)
    assert circuit.state(later) is CircuitState.HALF_OPEN
    on_trial = circuit.after_trial(later)
    assert not on_trial.may_try(later)
    assert on_trial.may_try(later + timedelta(seconds=10))
    assert not on_trial.after_failure(later, 0.0).may_try(later + timedelta(seconds=9))
    closed = on_trial.after_success()
    assert closed.state(later) is CircuitState.CLOSED
    assert closed.failures == 0


def test_a_success_between_failures_keeps_the_circuit_closed() -> None:
    circuit = Circuit()
    for _ in range(10):
        circuit = circuit.after_failure(NOW, 1.0).after_failure(NOW, 1.0).after_success()
    assert circuit.may_try(NOW)


def test_a_trial_changes_nothing_while_closed() -> None:
    assert Circuit().after_trial(NOW) == Circuit()


moves = st.lists(st.tuples(st.sampled_from(["failure", "trial", "success"]), chances, st.integers(-(10**6), 10**6)))


@given(moves)
def test_a_circuit_never_blocks_for_ever_whatever_the_clock_does(steps: list[tuple[str, float, int]]) -> None:
    circuit, now = Circuit(), NOW
    for move, random, seconds in steps:
        now += timedelta(seconds=seconds)
        if move == "failure":
            circuit = circuit.after_failure(now, random)
        else:
            circuit = circuit.after_trial(now) if move == "trial" else circuit.after_success()
    assert circuit.may_try(now + circuit.cap)
    # a clock set back by years does not block either
    assert circuit.may_try(now - timedelta(days=3650))


@pytest.mark.parametrize(
    ("age", "expected"),
    [
        (timedelta(), Severity.NONE),
        (timedelta(minutes=15), Severity.WARNING),
        (timedelta(hours=4), Severity.CRITICAL),
        (timedelta(minutes=-1), Severity.NONE),
    ],
)
def test_age_severity(age: timedelta, expected: Severity) -> None:
    assert age_severity(age) is expected
