"""What changed of orders and patients: nothing that concerns a study is missed by who asks since the last time."""

from __future__ import annotations

from datetime import timedelta

from gateway.spool import Spool, order_changes, orders
from tests.hl7_messages import message
from tests.spool.order_table import NOW, receive, sender


def told(spool: Spool, seq: int) -> list[tuple[int | None, str]]:
    """Order and patient of each change behind `seq`."""
    return [(each.order, each.patient.PatientID) for each in order_changes.since(spool.db.read(), seq, limit=99)]


def test_every_change_is_told_in_its_order(spool: Spool) -> None:
    def after(raw: bytes) -> list[tuple[int | None, str]]:
        seq = order_changes.last(spool.db.read())
        receive(spool, raw, sender())
        return told(spool, seq)

    assert after(message("35")) == [(1, "79990001")]
    assert after(message("01")) == [(2, "70012345")]
    assert after(message("06")) == [(2, "70012345")]
    assert after(message("01")) == []  # older than what is known
    assert after(message("22")) == []
    newer = ("20260304081500||ADT", "20260304121500||ADT"), ("EVN|A08|20260304", "EVN|A08|20260305")
    assert after(message("22", *newer)) == [(None, "70012345"), (2, "70012345")]
    merged = after(message("24"))
    assert merged[:2] == [(None, "79990001"), (None, "70012345")]
    assert set(merged[2:]) == {(1, "70012345"), (2, "70012345")}
    assert after(message("04", ("20260304081455", "20260304121455"))) == [(2, "70012345")]
    assert [order for order, _ in told(spool, 0)][:3] == [1, 2, 2]


def test_a_patient_without_an_order_is_told_too(spool: Spool) -> None:
    receive(spool, message("19"), sender())
    seq = order_changes.last(spool.db.read())
    receive(spool, message("22"), sender())
    assert told(spool, seq) == [(None, "70012345")]


def test_a_change_is_kept_as_long_as_its_order_and_no_number_comes_twice(spool: Spool) -> None:
    receive(spool, message("01"), sender())
    last = order_changes.last(spool.db.read())
    for days, left in ((29, 1), (31, 0)):
        later = NOW + timedelta(days=days)
        spool.db.write(lambda c, now=later: orders.forget(c, orders_before=now - timedelta(days=30), now=now)).result()
        assert len(told(spool, 0)) == left
    receive(spool, message("01"), sender())
    assert [each.seq for each in order_changes.since(spool.db.read(), 0, limit=9)] == [last + 1]
