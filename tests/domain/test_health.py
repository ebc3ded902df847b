"""When a fault becomes an issue, when it is over, and that the vocabulary is closed, whole and documented."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.health import (
    CALM,
    CLEAR_AFTER,
    FLAP_WINDOW,
    FLAPS,
    RAISE_AFTER,
    WELL,
    Strand,
    certificate_found,
    clock_found,
    heat_found,
    issues,
    told,
    unprepared_found,
)
from gateway.domain.issue import About, Kind, Owner, Severity, instance_of, together
from gateway.domain.issues import KINDS, step
from gateway.domain.overview import Alarm

NOW = datetime(2026, 3, 1, 8, 0, tzinfo=UTC)
SECOND = timedelta(seconds=1)
FOUND = st.sampled_from([WELL, "peer-silent", "peer-black-hole"])
DOCUMENT = Path(__file__).parents[2] / "docs" / "operations" / "alarms.md"


def after(*found: str, strand: Strand | None = None, apart: timedelta = SECOND) -> Strand:
    strand = strand or Strand()
    for number, one in enumerate(found):
        strand = strand.judged(one, NOW + number * apart)
    return strand


def alarm(code: str, subject: str, *, minutes: int = 0) -> Alarm:
    at = NOW + timedelta(minutes=minutes)
    return Alarm(code=code, subject=subject, since=at, last=at, count=1, cleared_at=None)


def test_one_bad_moment_is_no_issue() -> None:
    assert after("peer-silent").standing == WELL
    assert after("peer-silent", "peer-silent").standing == "peer-silent"
    assert after("peer-silent", WELL, "peer-silent").standing == WELL


def test_one_good_moment_is_no_end() -> None:
    stands = after("peer-silent", "peer-silent", WELL)
    assert stands.standing == "peer-silent"
    assert stands.judged(WELL, NOW).standing == WELL


def test_another_fault_takes_its_place_once_it_was_found_twice() -> None:
    stands = after("peer-silent", "peer-silent", "peer-black-hole")
    assert stands.standing == "peer-silent"
    assert stands.judged("peer-black-hole", NOW).standing == "peer-black-hole"


def test_two_faults_of_two_kinds_are_a_fault_of_the_later_kind() -> None:
    assert after("peer-black-hole", "peer-silent").standing == "peer-silent"


def test_what_comes_and_goes_stands_until_it_was_well_for_long() -> None:
    cycle = ("peer-silent",) * RAISE_AFTER + (WELL,) * CLEAR_AFTER
    flapping = after(*cycle * FLAPS)
    assert flapping.standing == "peer-silent"
    last = NOW + timedelta(minutes=1)
    assert flapping.judged(WELL, last + CALM - SECOND * 60).standing == "peer-silent"
    assert flapping.judged(WELL, last + CALM).standing == WELL
    assert flapping.judged(WELL, last + FLAP_WINDOW).raised == ()


@given(st.lists(FOUND, max_size=40))
def test_an_issue_stands_only_of_what_was_found_and_changes_only_by_two_in_a_row(found: list[str]) -> None:
    strand = Strand()
    for number, one in enumerate(found):
        before, strand = strand, strand.judged(one, NOW + number * SECOND)
        assert strand.standing in {WELL, *found[: number + 1]}
        if strand.standing != before.standing:
            last = found[number - 1 : number + 1]
            assert all(last) if strand.standing else not any(last)


def test_limits_have_a_way_back_of_their_own() -> None:
    assert clock_found(timedelta(seconds=-3), kept=None, standing=WELL) == "clock-off"
    assert clock_found(timedelta(seconds=1.5), kept=True, standing=WELL) == WELL
    assert clock_found(timedelta(seconds=1.5), kept=True, standing="clock-off") == "clock-off"
    assert clock_found(timedelta(0), kept=False, standing=WELL) == "clock-off"
    assert clock_found(None, kept=None, standing=WELL) is None
    assert heat_found(86, limit=85, standing=WELL) == "too-hot"
    assert heat_found(81, limit=85, standing="too-hot") == "too-hot"
    assert heat_found(79, limit=85, standing="too-hot") == WELL
    assert heat_found(None, limit=85, standing=WELL) is None


def test_certificates_and_images_by_their_age() -> None:
    month = timedelta(days=30)
    assert certificate_found(NOW + timedelta(days=31), warning=month, now=NOW) == WELL
    assert certificate_found(NOW + timedelta(days=29), warning=month, now=NOW) == "certificate-ends"
    assert certificate_found(NOW, warning=month, now=NOW) == "certificate-ended"
    assert certificate_found(None, warning=month, now=NOW) == "certificate-ended"
    assert unprepared_found(None, now=NOW) == WELL
    assert unprepared_found(NOW - timedelta(minutes=4), now=NOW) == WELL
    assert unprepared_found(NOW - timedelta(minutes=6), now=NOW) == "received-late"


def test_the_cause_stands_before_its_consequence() -> None:
    alarms = [alarm("destination-unreachable", "pacs"), alarm("destination-unreachable", "second")]
    assert [one.subject for one in told([*alarms, alarm("peer-silent", "pacs")])] == ["second", "pacs"]
    assert told([*alarms, alarm("peer-half-open", "pacs")])[0].subject == "pacs"


def test_what_leaves_the_box_has_no_number_of_an_order_in_it() -> None:
    found = issues(
        [
            alarm("duplicate-differs", "0123", minutes=2),
            alarm("duplicate-differs", "0124", minutes=1),
            alarm("delivery-late", "pacs"),
            alarm("worklist-capped", "CT 1/A", minutes=3),
            alarm("of-an-older-version", "x"),
        ]
    )
    assert [(one.code, one.instance) for one in found] == [
        ("delivery-late", "pacs"),
        ("duplicate-differs", "box"),
        ("worklist-capped", "CT_1_A"),
    ]
    duplicates = found[1]
    assert (duplicates.since, duplicates.last) == (NOW + timedelta(minutes=1), NOW + timedelta(minutes=2))


@given(st.text(max_size=100))
def test_an_instance_fits_a_topic(subject: str) -> None:
    for kind in KINDS.values():
        assert re.fullmatch(r"[A-Za-z0-9_.:-]{1,64}", instance_of(kind, subject))


@pytest.mark.parametrize("code", sorted(KINDS))
def test_each_code_is_whole_and_has_its_section(code: str) -> None:
    kind = KINDS[code]
    assert re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", code)
    assert kind.cause.endswith(".")
    assert "{" not in kind.step.replace("{subject}", "")
    assert step(code, "pacs")
    sections = DOCUMENT.read_text().split("\n## ")
    (section,) = (one for one in sections if one.splitlines()[0] == code)
    owners = re.search(r"Owner: ([^.]*)\.", " ".join(section.split()))
    assert owners is not None, f"{code}: its section names no owner"
    assert kind.owner in owners[1]


def test_no_section_is_of_an_unknown_code() -> None:
    sections = re.findall(r"^## (.*)$", DOCUMENT.read_text(), re.MULTILINE)
    assert set(sections) == KINDS.keys()
    assert len(sections) == len(set(sections))


def test_a_code_has_one_meaning() -> None:
    kind = Kind(about=About.BOX, severity=Severity.INFO, owner=Owner.IT, cause="c", step="s")
    with pytest.raises(ValueError, match="two tables"):
        together({"a": kind}, {"a": kind})


def test_what_an_older_version_raised_is_shown_all_the_same() -> None:
    assert step("of-an-older-version", "x") == "An alarm of an older version: look for its code in the log."
