"""Scanner profiles: what a scanner means by its query, and that only declared habits change one."""

from __future__ import annotations

from datetime import date

import pytest

from gateway.domain.matching import compile_query
from gateway.domain.profile import Profile, Quirk, adapt
from gateway.domain.upstream import widen
from gateway.domain.worklist import DataSet
from tests.domain.rows import dataset, row, utf8

TODAY = date(2026, 7, 6)
STATION, DAY, TIME, MODALITY = "_00400001", "_00400002", "_00400003", "_00080060"


def step(**keys: str) -> DataSet:
    return dataset(_00400100=[dataset(**keys)])


def finds(profile: Profile, identifier: DataSet, stored: DataSet, calling: str = "CT1") -> tuple[bool, set[Quirk]]:
    asked = adapt(identifier, profile, calling=calling, today=TODAY, decode=utf8)
    return compile_query(asked.identifier, utf8).matches(stored, utf8), set(asked.quirks)


def stored(**values: str) -> DataSet:
    """A row that differs from the standard one in these values, wherever they stand."""
    inner = {tag: value for tag, value in values.items() if tag in {STATION, DAY, TIME, MODALITY}}
    return row(inner, **{tag: value for tag, value in values.items() if tag not in inner})


CUT = Profile(cut=((0x00080050, 8),))
ZEROS = Profile(zero_padded=((0x00100020, 8),))
FAMILY = Profile(family_name_alone=True)
DEPT = Profile(station_aliases=frozenset({"CTDEPT"}))
CR_DX = Profile(modality_aliases=frozenset({"CR", "DX"}))
CLOCK = Profile(clock_days=1)
MORNING = {"_00400002": "20260705", "_00400003": "0800-1000"}
CASES = [
    # the habit, the query, the row, whether it is found, what was met
    (CUT, dataset(_00080050="12345678"), stored(_00080050="1234567890"), True, "key-cut-short"),
    (CUT, dataset(_00080050="12345678"), stored(_00080050="12345678"), True, "key-cut-short"),
    (CUT, dataset(_00080050="1234567"), stored(_00080050="1234567890"), False, ""),
    (CUT, dataset(_00080050="12345679"), stored(_00080050="1234567890"), False, "key-cut-short"),
    (CUT, dataset(_00100020="12345678"), stored(_00100020="1234567890"), False, ""),
    (Profile(), dataset(_00080050="12345678"), stored(_00080050="1234567890"), False, ""),
    (ZEROS, dataset(_00100020="4711"), stored(_00100020="00004711"), True, "zeros-both-ways"),
    (ZEROS, dataset(_00100020="00004711"), stored(_00100020="4711"), True, "zeros-both-ways"),
    (ZEROS, dataset(_00100020="4711"), stored(_00100020="14711"), False, "zeros-both-ways"),
    (ZEROS, dataset(_00100020="A11"), stored(_00100020="00000A11"), False, ""),
    (ZEROS, dataset(_00080050="4711"), stored(_00080050="00004711"), False, ""),
    (FAMILY, dataset(_00100010="miller"), stored(_00100010="Miller^Anna"), True, "family-name-alone"),
    (FAMILY, dataset(_00100010="miller^"), stored(_00100010="Miller^Anna"), True, "family-name-alone"),
    (FAMILY, dataset(_00100010="Müller"), stored(_00100010="Müller^Änne"), True, "family-name-alone"),
    (FAMILY, dataset(_00100010="miller"), stored(_00100010="Miller"), True, "family-name-alone"),
    (FAMILY, dataset(_00100010="mill"), stored(_00100010="Miller^Anna"), False, "family-name-alone"),
    (FAMILY, dataset(_00100010="miller^ben"), stored(_00100010="Miller^Anna"), False, ""),
    (Profile(), dataset(_00100010="miller"), stored(_00100010="Miller^Anna"), False, ""),
    (DEPT, step(_00400001="CTDEPT"), stored(_00400001="CT1"), True, "station-alias"),
    (DEPT, step(_00400001="ct1"), stored(_00400001="CTDEPT"), True, "station-alias"),
    (DEPT, step(_00400001="MR1"), stored(_00400001="CTDEPT"), False, ""),
    (Profile(), step(_00400001="CTDEPT"), stored(_00400001="CT1"), False, ""),
    (CR_DX, step(_00080060="CR"), stored(_00080060="DX"), True, "modality-alias"),
    (CR_DX, step(_00080060="CT"), stored(_00080060="DX"), False, ""),
    (Profile(ignored=frozenset({0x00400001})), step(_00400001="CT9"), stored(_00400001="CT1"), True, "key-ignored"),
    (Profile(ignored=frozenset({0x00400002})), step(_00400001="CT9"), stored(_00400001="CT1"), False, ""),
    (CLOCK, step(_00400002="20260705"), stored(_00400002="20260706"), True, "clock-widened"),
    (CLOCK, step(_00400002="20260705"), stored(_00400002="20260705"), True, "clock-widened"),
    (CLOCK, step(_00400002="20260707"), stored(_00400002="20260706"), True, "clock-widened"),
    (CLOCK, step(_00400002="20260704"), stored(_00400002="20260706"), False, ""),
    (CLOCK, step(_00400002="20260706"), stored(_00400002="20260707"), False, ""),
    (CLOCK, step(_00400002="20260701-20260705"), stored(_00400002="20260706"), True, "clock-widened"),
    (CLOCK, step(_00400002="-20260705"), stored(_00400002="20260706"), True, "clock-widened"),
    # one day with hours stays a condition of its own, it does not become a period
    (CLOCK, step(**MORNING), stored(_00400002="20260706", _00400003="0900"), True, "clock-widened"),
    (CLOCK, step(**MORNING), stored(_00400002="20260706", _00400003="0700"), False, "clock-widened"),
]  # fmt: skip


@pytest.mark.parametrize(("profile", "identifier", "stored", "found", "met"), CASES)
def test_a_query_means_what_its_scanner_means(
    profile: Profile, identifier: DataSet, stored: DataSet, found: bool, met: str
) -> None:
    assert finds(profile, identifier, stored) == (found, {Quirk(met)} if met else set())


def test_a_query_without_a_habit_is_left_as_it_is() -> None:
    everything = Profile(
        cut=((0x00080050, 8),),
        family_name_alone=True,
        station_aliases=frozenset({"CTDEPT"}),
        modality_aliases=frozenset({"CR", "DX"}),
        ignored=frozenset({0x00400009}),
        clock_days=1,
    )
    identifier = dataset(
        _00080050="ACC*",
        _00100010="Mil*",
        _00100020="",
        _00400100=[dataset(_00400001="MR1", _00080060="MR", _00400002="20260706", _00400009="*")],
    )
    asked = adapt(identifier, everything, calling="CT1", today=TODAY, decode=utf8)
    assert asked.identifier is identifier
    assert asked.quirks == frozenset()


def test_a_ris_is_asked_what_is_meant_and_nothing_only_we_understand() -> None:
    profile = Profile(cut=((0x00080050, 8),), station_aliases=frozenset({"CTDEPT"}), clock_days=1)
    identifier = dataset(
        _00080050="12345678", _00400100=[dataset(_00400001="CT1", _00400002="20260705", _00400003="08-10")]
    )
    asked = adapt(identifier, profile, calling="CT1", today=TODAY, decode=utf8)
    upstream = widen(asked.identifier)
    assert upstream[0x00080050][1] == b"12345678*"
    (item,) = upstream[0x00400100][1]
    assert isinstance(item, dict)
    assert (item[0x00400001][1], item[0x00400002][1], item[0x00400003][1]) == (b"", b"", b"08-10")


@pytest.mark.parametrize("day", ["-", "00000000", "2026", "x", "20260705\\20260707"])
def test_a_date_that_is_no_date_has_no_clock(day: str) -> None:
    asked = adapt(step(_00400002=day), Profile(clock_days=7), calling="CT1", today=TODAY, decode=utf8)
    assert asked.quirks == frozenset()
