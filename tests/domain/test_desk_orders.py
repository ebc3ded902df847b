"""What is proof that an order is an entry's, what is doubt, and what is only suggested."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from gateway.domain.desk import code_of
from gateway.domain.desk_orders import RealOrder, Verdict, differences, suggestions, verdict
from tests.domain.desk import STUDY, entry, order

UNKNOWN = entry(code_of(5_000_010, 33))
ADA = entry(PatientName="Test^Ada", PatientID="P1", PatientBirthDate="19800101")
OURS: dict[str, Any] = {"AccessionNumber": UNKNOWN.AccessionNumber}


def test_an_order_with_our_accession_number_is_proof() -> None:
    real = order(AccessionNumber=UNKNOWN.AccessionNumber.lower())
    assert verdict(UNKNOWN, [order(), real]) == Verdict(order=real, how="accession")


def test_an_order_with_our_study_is_proof() -> None:
    real = order(StudyInstanceUID=STUDY)
    assert verdict(ADA, [real]) == Verdict(order=real, how="study")


def test_nothing_else_is_proof() -> None:
    like = order(PatientID=ADA.PatientID, PatientName=ADA.PatientName, PatientBirthDate=ADA.PatientBirthDate)
    assert verdict(ADA, [like]) == Verdict()
    assert verdict(ADA, []) == Verdict()


@pytest.mark.parametrize(
    "other",
    [
        {**OURS, "PatientID": "P2"},
        {**OURS, "StudyInstanceUID": "1.2.4"},
        {"AccessionNumber": "A2", "StudyInstanceUID": STUDY},
    ],
)
def test_proof_for_several_orders_is_doubt(other: dict[str, Any]) -> None:
    assert verdict(UNKNOWN, [order(**OURS), order(**other)]) == Verdict(doubt="several-orders")


def test_one_order_of_two_sources_is_one() -> None:
    poor, rich = order(**OURS, StudyInstanceUID=""), order(**OURS)
    assert verdict(UNKNOWN, [poor, rich]).order == verdict(UNKNOWN, [rich, poor]).order == rich


@pytest.mark.parametrize(
    ("values", "differs"),
    [
        ({}, ()),
        ({"PatientID": "P2"}, ("PatientID",)),
        ({"PatientID": "p1"}, ()),
        ({"PatientID": ""}, ()),
        ({"PatientBirthDate": "19800102"}, ("PatientBirthDate",)),
        ({"PatientBirthDate": ""}, ()),
        ({"PatientName": "OTHER^ADA"}, ()),
        ({"PatientName": "TEST^EVE"}, ()),
        ({"PatientName": "Tést^ÀDA^B"}, ()),
        ({"PatientName": ""}, ()),
        ({"PatientName": "OTHER^EVE"}, ("PatientName",)),
        ({"PatientID": "P2", "PatientName": "OTHER^EVE"}, ("PatientID", "PatientName")),
    ],
)
def test_what_speaks_against_it(values: dict[str, Any], differs: tuple[str, ...]) -> None:
    real = order(AccessionNumber=ADA.AccessionNumber, **values)
    assert differences(ADA, real) == differs
    assert verdict(ADA, [real]) == (Verdict(doubt="differs") if differs else Verdict(order=real, how="accession"))


def test_nothing_speaks_against_an_order_for_somebody_nobody_knew() -> None:
    assert differences(UNKNOWN, order()) == ()


def found(made: Any, *orders: RealOrder) -> list[tuple[str, tuple[str, ...]]]:
    told = suggestions(made, orders, accession_prefix="DT")
    return [(one.order.AccessionNumber, one.reasons) for one in told]


def test_suggestions_most_likely_first() -> None:
    assert found(
        ADA,
        order(AccessionNumber="unlike", PatientID="P9", PatientName="NOBODY^AT ALL"),
        order(AccessionNumber="name", PatientID="P9"),
        order(AccessionNumber="id", PatientName="", PatientBirthDate=""),
        order(AccessionNumber="other-day", start=date(2026, 3, 3)),
        order(AccessionNumber="both"),
        order(AccessionNumber="mr", Modality="MR"),
    ) == [
        ("both", ("patient id", "name and birth date")),
        ("other-day", ("patient id", "name and birth date")),
        ("mr", ("patient id", "name and birth date")),
        ("id", ("patient id",)),
        ("name", ("name and birth date",)),
    ]


def test_a_name_alone_suggests_nothing() -> None:
    nameless = entry(PatientName="Test^Ada")
    assert found(nameless, order()) == []
    assert found(ADA, order(PatientID="P9", PatientBirthDate="")) == []


def test_a_slip_in_the_accession_number_is_suggested_and_no_proof() -> None:
    code = next(c for salt in range(1024) if "0" in (c := code_of(5_000_000, salt)))
    made = entry(code)
    slipped = order(AccessionNumber=made.AccessionNumber.replace("0", "O"))
    assert verdict(made, [slipped]) == Verdict()
    assert found(made, slipped) == [(slipped.AccessionNumber, ("slip in the accession",))]


def test_an_order_listed_twice_is_suggested_once() -> None:
    assert len(found(ADA, order(), order())) == 1
