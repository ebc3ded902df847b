"""Every query of the table against every row of it, by the rules alone."""

from __future__ import annotations

from datetime import date

import pytest

from gateway.config.profiles import load_profiles
from gateway.dicom import elements
from gateway.domain.matching import compile_query
from gateway.domain.profile import GENERIC, Profile, adapt
from gateway.simulate import keywords
from tests.domain import worklist_table
from tests.domain.worklist_table import TODAY, Case

CASES = list(worklist_table.cases())
ROWS = {
    letter: elements.parse(
        elements.encode(worklist_table.row(letter), elements.EXPLICIT_LITTLE), elements.EXPLICIT_LITTLE
    )
    for letter in worklist_table.letters()
}


@pytest.fixture(scope="module")
def profiles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Profile]:
    folder = tmp_path_factory.mktemp("table") / "profiles"
    worklist_table.write_profiles(folder)
    return load_profiles(folder)


@pytest.mark.parametrize("case", CASES, ids=[f"{case.kind}-{case.query}" for case in CASES])
def test_a_query_finds_the_rows_of_the_table(profiles: dict[str, Profile], case: Case) -> None:
    identifier = worklist_table.identifier(case.query)
    decode, profile = keywords.decoder(identifier), profiles[case.profile]
    meant = adapt(identifier, profile, calling=case.profile, today=TODAY, decode=decode).identifier
    query = compile_query(meant, decode)
    found = {letter for letter, row in ROWS.items() if query.matches(row, keywords.decoder(row))}
    assert found == case.found


def test_the_table_is_large_enough_and_says_nothing_twice() -> None:
    assert len(CASES) >= 150
    assert len({(case.profile, case.query) for case in CASES}) == len(CASES)
    assert {case.profile for case in CASES} == {GENERIC, *worklist_table.profiles()}
    assert {case.reason for case in CASES if case.reason} == set(worklist_table.reasons())
    for case in CASES:
        assert (case.by_dcmtk == case.found) == (not case.reason), case.query


def test_another_day_moves_every_date_of_the_week() -> None:
    assert worklist_table.shifted("20260706-2026.07.08", date(2027, 1, 1)) == "20270101-2027.01.03"
    assert worklist_table.shifted("19700101", date(2027, 1, 1)) == "19700101"
