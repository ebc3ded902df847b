"""The verdict on studies: the table, and what must hold whatever the study."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.domain import likeness
from gateway.domain.checks import CATALOGUE, Code
from gateway.domain.identity import Rule, decide
from gateway.domain.identity_model import Decision
from tests.domain import identity_table
from tests.domain.identity_table import NOW, Case

CASES = list(identity_table.cases())


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_the_verdict_is_that_of_the_table(case: Case) -> None:
    verdict = decide(case.study, case.orders, case.policy, NOW)
    told = (verdict.decision, verdict.because, verdict.blocks)
    assert told == (case.decision, case.because, case.blocks), [one.logged for one in verdict.findings]
    assert {one.attribute: one.value for one in verdict.changes} == case.changes
    if case.findings is not None:
        assert {one.code for one in verdict.findings} == set(case.findings)


def test_the_table_has_every_decision_rule_and_finding() -> None:
    verdicts = [decide(case.study, case.orders, case.policy, NOW) for case in CASES]
    assert {verdict.decision for verdict in verdicts} == set(Decision)
    assert {verdict.because for verdict in verdicts} == set(Rule)
    assert {finding.code for verdict in verdicts for finding in verdict.findings} == set(Code)
    assert len({case.name for case in CASES}) == len(CASES)


def test_the_catalogue_has_every_check() -> None:
    assert set(CATALOGUE) == set(Code)
    assert {check.number for check in CATALOGUE.values()} >= set(range(1, 31)) - {16} | {16}
    assert all(check.sentence.endswith(".") for check in CATALOGUE.values())


def test_what_is_logged_holds_no_value_of_header_or_order() -> None:
    values = {"MILLER^ANNA", "MYLLER^ANNA", "19700213", "700123", "A1001", "1.2.3.4"}
    for case in CASES:
        verdict = decide(case.study, case.orders, case.policy, NOW)
        logged = " ".join([finding.logged for finding in verdict.findings] + list(verdict.rules))
        assert not any(value in logged for value in values)


def test_the_page_for_people_lists_every_finding_as_it_is() -> None:
    page = (Path(__file__).parents[2] / "docs" / "operations" / "findings.md").read_text("utf-8")
    rows = [f"| `{code}` | {check.severity} | {check.sentence} |" for code, check in sorted(CATALOGUE.items())]
    assert [line for line in page.splitlines() if line.startswith("| `")] == rows


def test_what_a_character_set_made_of_a_long_name_is_told_at_once() -> None:
    """Not by trying in how many ways the question marks may be shared out: that would take years."""
    name = f"{'Ж' * 30}^{'Ж' * 30}"
    for each in (1, 2, 3):
        lost = "?" * (30 * each)
        assert likeness.is_damaged(f"{lost}^{lost}", name)
        assert not likeness.is_damaged(f"{lost}^{lost}^II", name)
    assert not likeness.is_damaged(f"{'?' * 30}^{'?' * 29}", name)
    assert likeness.is_damaged("Nguy?n^Th? ??o", "Nguyễn^Thị Đào")
