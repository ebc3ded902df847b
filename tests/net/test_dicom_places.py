"""Who gets a place before it has said who it is, and who makes room."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.net.dicom_places import Places


class Socket:
    def __init__(self) -> None:
        self.displaced = 0

    def displace(self) -> None:
        self.displaced += 1


def crowd(places: Places, address: str, count: int, *, expected: bool = False) -> list[Socket]:
    sockets = [Socket() for _ in range(count)]
    for one in sockets:
        assert places.take(one, address, expected=expected)
    return sockets


def test_one_address_gets_its_share_and_no_more() -> None:
    places = Places(total=10, per_address=3)
    crowd(places, "a", 3)
    assert not places.take(Socket(), "a", expected=True)
    assert len(places) == 3


def test_the_oldest_socket_of_the_address_with_most_makes_room() -> None:
    places = Places(total=6, per_address=4)
    few, most = crowd(places, "few", 2), crowd(places, "most", 4)
    assert places.take(Socket(), "new", expected=False)
    assert [one.displaced for one in (*few, *most)] == [0, 0, 1, 0, 0, 0]
    assert (len(places), places.of("most")) == (6, 3)


def test_a_known_caller_gets_a_place_however_many_addresses_hold_one_each() -> None:
    places = Places(total=8, per_address=4)
    strangers = [crowd(places, f"s{number}", 1)[0] for number in range(8)]
    crowd(places, "scanner", 4, expected=True)
    assert [one.displaced for one in strangers] == [1, 1, 1, 1, 0, 0, 0, 0]


def test_strangers_make_room_before_a_known_caller_that_holds_more() -> None:
    places = Places(total=5, per_address=4)
    scanner, stranger = crowd(places, "scanner", 4, expected=True), crowd(places, "s", 1)
    assert places.take(Socket(), "other", expected=False)
    assert ([one.displaced for one in scanner], stranger[0].displaced) == ([0] * 4, 1)


def test_among_known_callers_alone_a_stranger_is_refused_and_another_known_caller_is_not() -> None:
    places = Places(total=4, per_address=4)
    first = crowd(places, "scanner", 4, expected=True)
    assert not places.take(Socket(), "stranger", expected=False)
    assert places.take(Socket(), "other scanner", expected=True)
    assert [one.displaced for one in first] == [1, 0, 0, 0]


def test_one_that_was_displaced_leaves_without_taking_a_place_along() -> None:
    places = Places(total=1, per_address=1)
    (first,) = crowd(places, "a", 1)
    (second,) = crowd(places, "b", 1)
    places.leave(first, "a")
    assert len(places) == 1
    places.leave(second, "b")
    assert (len(places), places.of("b")) == (0, 0)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5)), max_size=60))
def test_counts_never_pass_the_limits_and_come_back_to_nothing(steps: list[tuple[bool, int]]) -> None:
    places, inside = Places(total=5, per_address=2), list[tuple[Socket, str]]()
    for arrives, number in steps:
        address = f"a{number}"
        if arrives:
            socket = Socket()
            if places.take(socket, address, expected=number < 2):
                inside.append((socket, address))
        elif inside:
            places.leave(*inside.pop(number % len(inside)))
        inside = [(socket, where) for socket, where in inside if not socket.displaced]
        assert len(places) == len(inside) <= 5
        assert all(places.of(where) <= 2 for _, where in inside)
    for socket, where in inside:
        places.leave(socket, where)
    assert len(places) == 0
