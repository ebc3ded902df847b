"""How often, by a clock that the test turns."""

from __future__ import annotations

from gateway.net.rate import Rate


def test_a_burst_and_then_the_rate() -> None:
    rate = Rate(per_second=2, burst=5)
    assert sum(rate.allows(100.0) for _ in range(50)) == 5
    assert sum(rate.allows(101.0) for _ in range(50)) == 2
    assert sum(rate.allows(1000.0) for _ in range(50)) == 5


def test_what_was_left_out_is_told_once() -> None:
    rate = Rate(per_second=1, burst=1)
    for _ in range(4):
        rate.allows(0.0)
    assert (rate.take_left_out(), rate.take_left_out()) == (3, 0)


def test_a_clock_that_goes_back_gives_nothing() -> None:
    rate = Rate(per_second=1, burst=1)
    assert rate.allows(10.0)
    assert not rate.allows(5.0)
    assert rate.allows(6.0)
