"""How far a numbering is whole: never past a gap that the box has not given up."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.fleet import reached


def test_a_gap_ends_it() -> None:
    assert reached(0, [1, 2, 4, 5], []) == 2
    assert reached(3, [4, 5, 9], []) == 5
    assert reached(0, [2, 3], []) == 0
    assert reached(7, [], []) == 7


def test_what_the_box_gave_up_is_no_gap() -> None:
    assert reached(0, [1, 2, 4, 5], [(2, 3)]) == 5
    assert reached(0, [101], [(0, 100)]) == 101
    assert reached(0, [4, 8], [(5, 7), (0, 3), (3, 5)]) == 8
    assert reached(0, [4, 8], [(5, 7), (0, 3)]) == 4, "5 is neither here nor given up"


def test_a_span_beyond_a_gap_waits() -> None:
    assert reached(0, [1], [(5, 9)]) == 1


@given(
    st.integers(0, 5),
    st.sets(st.integers(1, 30)),
    st.lists(st.tuples(st.integers(0, 30), st.integers(0, 8)).map(lambda pair: (pair[0], pair[0] + pair[1]))),
)
def test_it_is_the_last_number_up_to_which_none_is_missing(
    upto: int, numbers: set[int], spans: list[tuple[int, int]]
) -> None:
    covered = numbers | {number for after, end in spans for number in range(after + 1, end + 1)}
    wanted = upto
    while wanted + 1 in covered:
        wanted += 1
    assert reached(upto, sorted(number for number in numbers if number > upto), spans) == wanted
