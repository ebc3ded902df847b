"""Precedence between sources: one row for each step, none lost, and a contradiction is never decided by a guess."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.merge import CANCEL_LEADS, Claim, Kind, Standing, merge, same_patient, same_step
from gateway.domain.model import SourceName

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)


def ago(minutes: float) -> datetime:
    return NOW - timedelta(minutes=minutes)


LIVE = Claim(
    source=SourceName("main"),
    kind=Kind.LIVE,
    key="study\\2.25.7\\R1\\S1",
    AccessionNumber="A1",
    IssuerOfAccessionNumber="",
    ScheduledProcedureStepID="S1",
    PatientID="P1",
    IssuerOfPatientID="",
    minted=False,
    cancelled=False,
    stamp=ago(0.5),
    since=ago(600),
    answering=True,
    place=0,
)
SECOND = replace(LIVE, source=SourceName("second"), place=1)
ORDER = replace(LIVE, source=SourceName("epic"), kind=Kind.HL7, stamp=ago(30), since=ago(30), answering=False)
DESK = replace(LIVE, source=SourceName("desk"), kind=Kind.DESK, stamp=ago(40), since=ago(40), answering=False)
SILENT = replace(LIVE, stamp=ago(60), answering=False)


def shown(*claims: Claim) -> list[str]:
    return sorted(one.source for one, standing in zip(claims, merge(claims, NOW), strict=True) if standing.shown)


@pytest.mark.parametrize(
    ("claims", "stands"),
    [
        pytest.param([LIVE, ORDER, DESK], ["main"], id="a RIS that answers is the master"),
        pytest.param([LIVE, replace(ORDER, stamp=NOW)], ["main"], id="whatever the stamp of a message"),
        pytest.param([SECOND, LIVE], ["main"], id="two RISs: the site's order"),
        pytest.param([SILENT, SECOND], ["second"], id="the one that answers before the one that is silent"),
        pytest.param([SILENT, ORDER], ["epic"], id="a RIS that is silent: what is newer"),
        pytest.param([SILENT, replace(ORDER, stamp=ago(90))], ["main"], id="silent, and newer than the message"),
        pytest.param([ORDER, DESK], ["epic"], id="the newer stamp"),
        pytest.param([ORDER, replace(DESK, stamp=ago(20))], ["desk"], id="the newer stamp, whoever"),
        pytest.param([DESK, replace(ORDER, stamp=DESK.stamp)], ["epic"], id="equal stamps: the stronger kind"),
        pytest.param([LIVE, replace(SECOND, key="study\\2.25.8\\R1\\S1")], ["main", "second"], id="two studies"),
        pytest.param(
            [LIVE, replace(LIVE, key="study\\2.25.7\\R1\\S2")], ["main", "main"], id="two steps of one source"
        ),
    ],
)
def test_one_row_stands_for_a_step(claims: list[Claim], stands: list[str]) -> None:
    assert shown(*claims) == stands
    assert shown(*reversed(claims)) == stands


FALLBACK = replace(ORDER, key="accession\\\\A1\\S1")


@pytest.mark.parametrize(
    ("other", "same"),
    [
        pytest.param(FALLBACK, True, id="no study UID: accession and step"),
        pytest.param(replace(FALLBACK, AccessionNumber="a1 "), True, id="in another notation"),
        pytest.param(replace(FALLBACK, ScheduledProcedureStepID="S2"), False, id="another step"),
        pytest.param(replace(FALLBACK, AccessionNumber="A2"), False, id="another accession"),
        pytest.param(replace(FALLBACK, AccessionNumber=""), False, id="no accession"),
        pytest.param(replace(ORDER, key="study\\2.25.9\\R1\\S1"), False, id="two real study UIDs"),
        pytest.param(
            replace(ORDER, key="study\\2.25.9\\X\\Y", minted=True, ScheduledProcedureStepID="Y"), True, id="ours"
        ),
        pytest.param(replace(LIVE, key="accession\\\\A1\\S1"), False, id="one source"),
    ],
)
def test_which_rows_are_the_same_step(other: Claim, same: bool) -> None:
    assert same_step(LIVE, other) is same
    assert same_step(other, LIVE) is same


def test_accessions_of_two_issuers_are_two_orders() -> None:
    one, other = replace(LIVE, IssuerOfAccessionNumber="H1"), replace(FALLBACK, IssuerOfAccessionNumber="H2")
    assert not same_step(one, other)
    assert same_step(one, FALLBACK)


def test_an_order_with_identifiers_of_ours_hides_behind_all_steps_of_the_real_one() -> None:
    ours = replace(ORDER, key="study\\2.25.9\\X\\Y", minted=True, stamp=NOW)
    steps = [replace(SILENT, key=f"study\\2.25.7\\R1\\S{n}", ScheduledProcedureStepID=f"S{n}") for n in (1, 2)]
    assert shown(ours, *steps) == ["main", "main"]


@pytest.mark.parametrize(
    ("live", "cancelled", "stands"),
    [
        pytest.param(LIVE, ago(9), [], id="worklists lag behind messages"),
        pytest.param(LIVE, ago(11), ["main"], id="then the RIS is the master"),
        pytest.param(SILENT, ago(11), [], id="unless it is silent"),
        pytest.param(SILENT, ago(61), ["main"], id="and was not heard since"),
        pytest.param(replace(LIVE, since=ago(1)), ago(9), ["main"], id="ordered again after the cancellation"),
        pytest.param(LIVE, NOW + CANCEL_LEADS * 2, ["main"], id="a sender's clock that is far ahead"),
    ],
)
def test_a_cancellation_by_message(live: Claim, cancelled: datetime, stands: list[str]) -> None:
    """A row that is cancelled is hidden by its state, whether it stands or not."""
    claims = [live, replace(ORDER, cancelled=True, stamp=cancelled)]
    standing = zip(claims, merge(claims, NOW), strict=True)
    assert [claim.source for claim, one in standing if one.shown and not claim.cancelled] == stands


def test_a_step_for_two_patients_shows_the_stronger_kind_and_marks_it() -> None:
    live, order = merge([LIVE, replace(ORDER, PatientID="P2")], NOW)
    assert live == Standing(shown=True, conflict=ORDER.source)
    assert order == Standing(shown=False, conflict=LIVE.source)


def test_two_riss_with_a_step_for_two_patients_are_both_shown() -> None:
    standings = merge([LIVE, replace(SECOND, PatientID="P2"), ORDER], NOW)
    assert [one.shown for one in standings] == [True, True, False]
    assert [one.conflict for one in standings][:2] == ["second", "main"]


@pytest.mark.parametrize("other", ["p1 ", ""])
def test_patients_that_do_not_differ(other: str) -> None:
    assert same_patient(LIVE, replace(ORDER, PatientID=other))


def test_ids_of_two_issuers_cannot_be_compared() -> None:
    one, other = replace(LIVE, IssuerOfPatientID="H1"), replace(ORDER, IssuerOfPatientID="H2", PatientID="P2")
    assert same_patient(one, other)
    assert not same_patient(one, replace(other, IssuerOfPatientID=""))


claims = st.builds(
    Claim,
    source=st.sampled_from([SourceName(name) for name in ("main", "second", "epic", "desk")]),
    kind=st.sampled_from(Kind),
    key=st.sampled_from(["study\\1\\R\\S", "study\\2\\R\\S", "accession\\\\A1\\S1", "accession\\\\A2\\S1"]),
    AccessionNumber=st.sampled_from(["", "A1", "A2"]),
    IssuerOfAccessionNumber=st.sampled_from(["", "H1", "H2"]),
    ScheduledProcedureStepID=st.sampled_from(["S1", "S2"]),
    PatientID=st.sampled_from(["", "P1", "P2"]),
    IssuerOfPatientID=st.sampled_from(["", "H1", "H2"]),
    minted=st.booleans(),
    cancelled=st.booleans(),
    stamp=st.sampled_from([ago(n) for n in (-20, 0, 5, 11, 60)]),
    since=st.sampled_from([ago(n) for n in (0, 5, 60)]),
    answering=st.booleans(),
    place=st.integers(0, 2),
)


@given(st.lists(claims, max_size=7, unique_by=lambda claim: (claim.source, claim.key)), st.randoms())
def test_no_step_is_lost_and_the_order_of_arrival_does_not_matter(rows: list[Claim], random: st.Random) -> None:  # type: ignore[name-defined]
    standings = dict(zip(rows, merge(rows, NOW), strict=True))
    for claim, standing in standings.items():
        if not standing.shown:
            assert any(same_step(claim, other) and standings[other].shown for other in rows)
    shuffled = random.sample(rows, len(rows))
    assert standings == dict(zip(shuffled, merge(shuffled, NOW), strict=True))
