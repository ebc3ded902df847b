"""Which of several known orders a message means: one requested procedure is one order, whatever numbers are shared."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.domain.order_model import Flag
from gateway.spool import Spool, order_books, orders
from gateway.spool.order_books import Order
from tests.hl7_messages import message
from tests.spool.order_table import NOW, receive, sender

NAMED = {
    "study": "1.3.6.1.4.1.32473.7.9.77",
    "procedure": "RP88101",
    "filler": "F55201",
    "placer": "P88101",
    "accession": "A2603040077",
}


def told(number: str = "01", *, stamp: str = "", **numbers: str) -> bytes:
    """The message with other numbers, or without where one is empty; `stamp` is ORC-9."""
    raw = message(number)
    for name in ("procedure", "placer", "filler", "accession", "study"):
        if name in numbers:
            old = {"filler": "F55201^RADIS", "placer": "|P88101^HIS"}.get(name, NAMED[name])
            new = {"filler": "{}^RADIS", "placer": "|{}^HIS"}.get(name, "{}").format(numbers[name])
            raw = raw.replace(old.encode(), (new if numbers[name] else old[:1] * (old[0] == "|")).encode())
    return raw.replace(b"20260304081455", stamp.encode()) if stamp else raw


def books(spool: Spool) -> list[Order]:
    return sorted(order_books.latest(spool.db.read(), limit=99), key=lambda order: order.id)


def test_the_requested_procedure_that_is_named_whole_goes_before_a_number(spool: Spool) -> None:
    receive(spool, told(study="1.2.1"), sender())
    receive(spool, told(study="1.2.2", filler="F2", placer="P2", accession="A2"), sender())
    meant = told("06", study="1.2.1", filler="F2", placer="P2", accession="A2")  # the numbers are the other's
    assert receive(spool, meant, sender()).effect == "changed"
    first, second = books(spool)
    assert (first.procedure.StudyInstanceUID, first.procedure.filler.value) == ("1.2.1", "F2")
    assert second.procedure.StudyInstanceUID == "1.2.2"
    ended = told("04", study="1.2.1", filler="F2", placer="P2", accession="A2", stamp="20260304113000")
    assert receive(spool, ended, sender()).effect == "canceled"
    assert [order.status for order in books(spool)] == ["CANCELED", "SCHEDULED"]


def test_procedure_ids_that_every_order_has_make_no_two_orders_one(spool: Spool) -> None:
    """A sender without study UIDs that numbers the procedures of each order from 1."""
    for number in ("1", "2"):
        receive(spool, told(study="", procedure="1", filler=f"F{number}", placer=f"P{number}", accession=""), sender())
    first, second = books(spool)
    assert first.procedure.RequestedProcedureID == second.procedure.RequestedProcedureID == "1"
    assert first.procedure.StudyInstanceUID != second.procedure.StudyInstanceUID
    assert Flag.STUDY_GENERATED in second.procedure.flags
    again = told("06", study="", procedure="1", filler="F2", placer="P2", accession="")
    assert receive(spool, again, sender()).effect == "changed"
    assert [order.procedure.StudyInstanceUID for order in books(spool)] == [
        order.procedure.StudyInstanceUID for order in (first, second)
    ]


def test_an_order_with_nothing_but_a_procedure_id_is_found_by_it(spool: Spool) -> None:
    alone = {"study": "", "filler": "", "placer": "", "accession": ""}
    receive(spool, told(**alone), sender())
    assert receive(spool, told("06", **alone), sender()).effect == "changed"
    assert len(books(spool)) == 1


def test_a_procedure_id_of_ours_is_never_anothers(spool: Spool) -> None:
    receive(spool, told(procedure="F9"), sender())
    outcome = receive(spool, told(procedure="", filler="F9", placer="P9", accession="A9"), sender())
    assert outcome.effect == "entered"
    first, second = books(spool)
    assert first.procedure.RequestedProcedureID == "F9"
    assert 0 < len(second.procedure.RequestedProcedureID) <= 16
    assert Flag.PROCEDURE_GENERATED in second.procedure.flags


def test_two_known_orders_never_become_one_requested_procedure(spool: Spool) -> None:
    receive(spool, told(study="1.2.1"), sender())
    receive(spool, told(study="1.2.2", filler="F2", placer="P2", accession="A2"), sender())
    before = books(spool)
    one = told("06", study="1.2.1", procedure="", filler="F2", placer="P2", accession="A2")
    (fault,) = receive(spool, one, sender()).faults
    assert (fault.code, fault.text) == ("205", "the requested procedure is another order's; the order was set aside")
    assert books(spool) == before
    (conflict,) = order_books.conflicts(spool.db.read(), limit=9)
    assert (conflict.kind, conflict.order) == ("study", before[0].id)


def _of(*values: str) -> st.SearchStrategy[str]:
    return st.sampled_from(values)


MESSAGES = st.tuples(
    _of("01", "04", "06"),
    _of("70012345", "70055555"),
    st.fixed_dictionaries(
        {
            "study": _of("1.2.1", "1.2.2", ""),
            "procedure": _of("RP88101", "R2", ""),
            "filler": _of("F1", "F2", "RP88101", ""),
            "placer": _of("P1", "P2", ""),
            "accession": _of("A1", "A2", "R2", ""),
            "stamp": _of("20260301081455", "20260302081455", "20260303081455"),
        }
    ),
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(fed=st.lists(MESSAGES, min_size=2, max_size=8))
def test_whatever_numbers_messages_share_nothing_raises(
    spool: Spool, fed: list[tuple[str, str, dict[str, str]]]
) -> None:
    for number, patient, numbers in fed:
        raw = told(number, **numbers).replace(b"70012345", patient.encode())
        outcome = receive(spool, raw, sender())
        assert {fault.code for fault in outcome.faults} <= {"205"}
    pairs = [(one.procedure.StudyInstanceUID, one.procedure.RequestedProcedureID) for one in books(spool)]
    assert len(set(pairs)) == len(pairs)
    spool.db.write(lambda c: orders.forget(c, orders_before=datetime(2099, 1, 1, tzinfo=UTC), now=NOW)).result()


@pytest.mark.parametrize("accession", ["", "A2603040077-OF-TWENTY-SIX"])
def test_what_is_told_apart_is_the_same_when_it_comes_again(spool: Spool, accession: str) -> None:
    given = {"study": "", "procedure": "1", "accession": accession}
    receive(spool, told(**given), sender())
    receive(spool, told(**given, filler="F2", placer="P2"), sender())
    before = books(spool)
    for numbers in ({}, {"filler": "F2", "placer": "P2"}):
        receive(spool, told(**given, **numbers, stamp="20260304101455"), sender())
    assert [(o.id, o.procedure.StudyInstanceUID) for o in books(spool)] == [
        (o.id, o.procedure.StudyInstanceUID) for o in before
    ]
