"""Bytes per second and precedence, by a clock that stands still until somebody sleeps."""

from __future__ import annotations

from collections import Counter

import pytest

from gateway.net.flow import LEAST, MEASURED, PIECE, SHARE, SLOWEST, Flow, Gate

KB = 1000


class Clock:
    """Time that passes by sleeping alone."""

    def __init__(self) -> None:
        self.at = 0.0

    def __call__(self) -> float:
        return self.at

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.at += seconds


def flow(clock: Clock, rate: int = 0) -> Flow:
    return Flow(rate=rate, clock=clock, sleep=clock.sleep)


def push(gate: Gate, count: int) -> None:
    while count:
        went = gate.allow(count)
        assert 0 < went <= count
        count -= went


def test_without_a_cap_everything_goes_at_once() -> None:
    clock = Clock()
    assert flow(clock).gate(1).allow(1 << 30) == 1 << 30
    assert clock.at == 0


@pytest.mark.parametrize("rate", [SLOWEST, 125 * KB, 10_000 * KB])
def test_a_cap_holds_in_the_long_run_and_nearly_at_once(rate: int) -> None:
    clock = Clock()
    gate = flow(clock, rate).gate(0)
    push(gate, rate)
    assert 0.7 <= clock.at <= 1
    push(gate, rate * 59)
    assert clock.at == pytest.approx(60, abs=0.5)


def test_a_cap_is_of_all_lanes_together() -> None:
    clock = Clock()
    one = flow(clock, 1000 * KB)
    gates = [one.gate(rank) for rank in range(3)]
    went: Counter[int] = Counter()
    while clock.at < 30:
        for number, gate in enumerate(gates):
            went[number] += gate.allow(PIECE)
    assert sum(went.values()) == pytest.approx(30_000 * KB, rel=0.02)


def test_small_pieces_are_not_cut_to_crumbs() -> None:
    clock = Clock()
    gate = flow(clock, SLOWEST).gate(0)
    assert min(gate.allow(100 * KB) for _ in range(50)) >= LEAST
    assert gate.allow(1) == 1


def test_lower_lanes_stand_back_and_none_starves() -> None:
    clock = Clock()
    link = flow(clock, 800 * KB)
    stat, bulk = link.gate(0), link.gate(2)
    with stat.in_use():
        began = clock.at
        push(bulk, 500 * KB)
        assert clock.at - began == pytest.approx(500 * KB / (800 * KB / SHARE), rel=0.15)
    began = clock.at
    push(bulk, 800 * KB)
    assert clock.at - began <= 1


def test_a_lane_is_not_held_up_by_those_behind_it_nor_by_itself() -> None:
    clock = Clock()
    link = flow(clock)
    stat, routine, bulk = (link.gate(rank) for rank in range(3))
    with routine.in_use(), routine.in_use(), bulk.in_use():
        push(stat, 1 << 24)
        push(routine, 1 << 24)
        assert clock.at == 0
        push(bulk, 1 << 20)
        assert clock.at > 0


def test_what_the_link_carries_is_what_was_sent_unhindered() -> None:
    clock = Clock()
    link = flow(clock)
    stat, routine = link.gate(0), link.gate(1)
    assert link.bytes_per_second == 0
    for _ in range(20):
        routine.sent(MEASURED // 2, 0.5)
    assert link.bytes_per_second == pytest.approx(MEASURED)
    with stat.in_use():
        for _ in range(20):
            routine.sent(MEASURED, 60)
    assert link.bytes_per_second == pytest.approx(MEASURED)
    for _ in range(30):
        routine.sent(MEASURED, 10)
    assert link.bytes_per_second == pytest.approx(MEASURED / 10, rel=0.01)


def test_a_share_is_of_what_the_link_was_found_to_carry() -> None:
    clock = Clock()
    link = flow(clock)
    stat, bulk = link.gate(0), link.gate(2)
    stat.sent(MEASURED, MEASURED / (80 * KB))
    with stat.in_use():
        push(bulk, 100 * KB)
    assert clock.at == pytest.approx(10, rel=0.3)
