"""What ORC-1 and ORC-5 ask for, and where an order may go."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.order_model import ENDED, Stamp, Status
from gateway.domain.order_states import ABSORBING, Action, action, after

START = datetime(2026, 3, 4, 8, tzinfo=UTC)
stamps = st.builds(
    lambda event, message: Stamp(START + timedelta(minutes=event), START + timedelta(minutes=message)),
    st.integers(0, 3),
    st.integers(0, 3),
)
codes = st.text(st.characters(min_codepoint=65, max_codepoint=90), max_size=2)


@pytest.mark.parametrize(
    ("control", "status", "asked", "state"),
    [
        ("NW", "", Action.UPSERT, Status.SCHEDULED),
        ("NW", "SC", Action.UPSERT, Status.SCHEDULED),
        ("NW", "IP", Action.UPSERT, Status.SCHEDULED),
        ("NW", "HD", Action.UPSERT, Status.HELD),
        ("NW", "RP", Action.UPSERT, Status.CANCELED),
        ("SN", "", Action.UPSERT, Status.SCHEDULED),
        ("RO", "SC", Action.UPSERT, Status.SCHEDULED),
        ("XO", "", Action.REPLACE, Status.SCHEDULED),
        ("XX", "SC", Action.REPLACE, Status.SCHEDULED),
        ("XO", "CM", Action.REPLACE, Status.COMPLETED),
        ("SC", "", Action.NOTE, None),
        ("SC", "SC", Action.NOTE, None),
        ("SC", "IP", Action.STATE, Status.STARTED),
        ("SC", "A", Action.STATE, Status.COMPLETED),
        ("SC", "CM", Action.STATE, Status.COMPLETED),
        ("SC", "CA", Action.STATE, Status.CANCELED),
        ("CA", "", Action.STATE, Status.CANCELED),
        ("OC", "CA", Action.STATE, Status.CANCELED),
        ("CR", "CA", Action.STATE, Status.CANCELED),
        ("UC", "SC", Action.NOTE, None),
        ("DC", "DC", Action.STATE, Status.DISCONTINUED),
        ("OD", "", Action.STATE, Status.DISCONTINUED),
        ("HD", "", Action.STATE, Status.HELD),
        ("RL", "", Action.STATE, Status.SCHEDULED),
        ("RE", "", Action.NOTE, None),
        ("RF", "", Action.REFUSE, None),
        ("UA", "", Action.REFUSE, None),
        ("DE", "", Action.REFUSE, None),
        ("", "SC", Action.REFUSE, None),
        ("NW", "ZZ", Action.REFUSE, None),
    ],
)
def test_the_table_of_controls(control: str, status: str, asked: Action, state: Status | None) -> None:
    assert action(control, status) == (asked, state)


@given(control=codes, status=codes)
def test_every_pair_has_one_answer(control: str, status: str) -> None:
    asked, state = action(control, status)
    assert (state is None) == (asked in {Action.NOTE, Action.REFUSE})


@given(
    current=st.sampled_from(Status),
    asked=st.sampled_from(Status),
    asks=st.sampled_from([Action.UPSERT, Action.REPLACE, Action.STATE]),
    known=stamps,
    stamp=stamps,
)
def test_no_message_moves_an_order_back(
    current: Status, asked: Status, asks: Action, known: Stamp, stamp: Stamp
) -> None:
    moved = after(current, known, asked, stamp, asks=asks)
    if stamp < known:
        assert moved is None
    if current in ABSORBING and moved is not None:
        assert asks is not Action.STATE
        assert stamp > known
    if current in ENDED and asks is Action.STATE and moved is not None:
        assert moved in ENDED


def test_a_changed_order_that_is_under_way_stays_so() -> None:
    at = Stamp(START, START)
    assert after(Status.STARTED, at, Status.SCHEDULED, at, asks=Action.REPLACE) is Status.STARTED
    assert after(Status.HELD, at, Status.SCHEDULED, at, asks=Action.REPLACE) is Status.SCHEDULED
    assert after(Status.HELD, at, Status.SCHEDULED, at, asks=Action.STATE) is Status.SCHEDULED
    assert after(Status.STARTED, at, Status.SCHEDULED, at, asks=Action.STATE) is None
