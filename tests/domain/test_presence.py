"""A listener's rule: a stale will changes nothing, silence does, and two boxes under one name show."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from gateway.domain.presence import SILENCE, heard, told
from gateway.domain.telemetry import State

T0 = datetime(2026, 1, 1, tzinfo=UTC)
A1, A2, A10 = "gaaaaaaaa.1-1", "gaaaaaaaa.1-2", "gaaaaaaaa.1-10"
B1 = "gbbbbbbbb.1-1"


def at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


def test_its_own_death_counts() -> None:
    box = told(None, sid=A1, state=State.READY, at=T0)
    box = told(box, sid=A1, state=State.LOST, at=at(35))
    assert box.standing(at(35)) is State.LOST


def test_a_death_of_an_earlier_connection_changes_nothing() -> None:
    box = told(None, sid=A1, state=State.READY, at=T0)
    box = told(box, sid=A2, state=State.READY, at=at(10))
    assert told(box, sid=A1, state=State.LOST, at=at(35)) == box


def test_a_death_that_was_overtaken_by_its_birth_changes_nothing() -> None:
    """The will of the second connection may come before its birth is read; the birth is what counts afterwards."""
    box = told(None, sid=A1, state=State.READY, at=T0)
    assert told(box, sid=A2, state=State.LOST, at=at(1)) == box


def test_connections_are_ordered_as_numbers() -> None:
    box = told(None, sid=A10, state=State.READY, at=T0)
    assert told(box, sid=A2, state=State.ALERT, at=at(1)) == box


def test_silence_is_a_loss_and_a_word_ends_it() -> None:
    box = told(None, sid=A1, state=State.READY, at=T0)
    assert box.standing(T0 + SILENCE) is State.READY
    assert box.standing(T0 + SILENCE + timedelta(milliseconds=1)) is State.LOST
    assert heard(box, sid=A1, at=at(40)).standing(at(80)) is State.READY
    assert heard(box, sid=B1, at=at(40)) == box


def test_who_was_stopped_stays_so() -> None:
    box = told(None, sid=A1, state=State.DISCONNECTED, at=T0)
    assert box.standing(at(9999)) is State.DISCONNECTED


def test_two_boxes_under_one_name_show() -> None:
    box = told(None, sid=A1, state=State.READY, at=T0)
    assert told(box, sid=B1, state=State.READY, at=at(10)).contested == at(10)


def test_a_box_that_lost_its_books_is_no_rival() -> None:
    box = told(told(None, sid=A1, state=State.READY, at=T0), sid=A1, state=State.LOST, at=at(5))
    assert told(box, sid=B1, state=State.READY, at=at(10)).contested is None
