"""What is remembered of questions that come again: only those, only as long as it is true, and bounded in bytes."""

from __future__ import annotations

from datetime import date, timedelta

from gateway.dicom import elements
from gateway.domain.explain import Stage
from gateway.domain.profile import Profile
from gateway.roles.worklist.question import Policy, Question, read
from gateway.roles.worklist.recall import PRESENTED_BYTES, Recall, Remembered, fingerprint

POLICY = Policy(
    ask=False,
    deadline=timedelta(seconds=30),
    fresh_for=timedelta(seconds=20),
    max_stale=timedelta(hours=24),
    profile=Profile(),
    hide_performed=timedelta(hours=12),
)


def asked() -> Question:
    return read(b"", elements.EXPLICIT_LITTLE, calling="CT1", policy=POLICY, today=date(2026, 3, 2))


def poll(recall: Recall, mark: bytes, rows: dict[str, bytes]) -> tuple[Remembered, list[str]]:
    """One question and its answer; the digests that had to be worked on."""
    worked: list[str] = []
    remembered = recall.of(mark, asked)
    remembered.question.trail.looked_at = len(rows)
    for digest, response in rows.items():

        def find(digest: str = digest) -> Stage | None:
            worked.append(digest)
            return None

        assert remembered.verdict(digest, find) is None
        assert remembered.present((digest, ""), lambda response=response: (response, frozenset()))[0] == response
    recall.keep(mark, remembered)
    return remembered, worked


def test_a_question_is_remembered_from_its_second_time_on() -> None:
    recall, rows = Recall(), {"a": b"1", "b": b"2"}
    assert poll(recall, b"q", rows)[1] == ["a", "b"]
    assert recall.bytes == 0
    assert poll(recall, b"q", rows)[1] == ["a", "b"]
    assert poll(recall, b"q", rows)[1] == []
    assert poll(recall, b"q", rows | {"c": b"3"})[1] == ["c"]  # a row that changed has another digest
    assert poll(recall, b"other", rows)[1] == ["a", "b"]


def test_every_question_has_a_trail_of_its_own() -> None:
    recall = Recall()
    trails = [poll(recall, b"q", {"a": b"1"})[0].question.trail for _ in range(4)]
    assert len({id(trail) for trail in trails}) == 4


def test_two_who_ask_at_once_are_counted_once() -> None:
    recall = Recall()
    for _ in range(2):
        poll(recall, b"q", {"a": b"1"})
    held = recall.bytes
    one, other = recall.of(b"q", asked), recall.of(b"q", asked)
    recall.keep(b"q", one)
    recall.keep(b"q", other)
    poll(recall, b"q", {"a": b"1"})
    assert recall.bytes == held


def test_what_is_held_is_bounded() -> None:
    recall = Recall(limit=200_000)
    for number in range(100):
        for _ in range(3):
            poll(recall, b"%d" % number, {f"{number} {n}": bytes(100) for n in range(50)})
            assert 0 <= recall.bytes <= 200_000
    assert poll(recall, b"99", {f"99 {n}": bytes(100) for n in range(50)})[1] == []
    assert len(poll(recall, b"0", {f"0 {n}": bytes(100) for n in range(50)})[1]) == 50


def test_rows_that_are_gone_are_let_go_of() -> None:
    recall = Recall()
    for day in range(100):
        poll(recall, b"q", {f"{day} {n}": bytes(100) for n in range(50)})
    assert recall.bytes < 1200 * (PRESENTED_BYTES + 400)


def test_two_questions_differ_by_their_bytes_and_by_all_else() -> None:
    marks = [fingerprint(b"q", "CT1"), fingerprint(b"q", "CT2"), fingerprint(b"r", "CT1"), fingerprint(b"q", "CT1", "")]
    assert len(set(marks)) == 4
    assert fingerprint(b"q", "CT1") == marks[0]
