"""`kill -9` at every commit of the check: what was decided stands whole or not at all, and the end is the same.

Each scenario is played once undisturbed. Then, for each of its steps and each transaction of the rounds that follow it,
a process plays it up to there and is killed as the transaction is handed in; another opens the books, goes on, and must
come to the same end.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import pytest

from gateway.domain.task import Choice, Patience, Resend
from gateway.spool import instances, tasks
from gateway.spool.checks import StudyKey
from tests.peers import objects
from tests.roles.reading_room import ADA, BEN, ORDER, Room, reading_room, rules
from tests.spool.objects import START

Step = Callable[[Room], None]
WRONG: Final = {**ADA, "PatientName": "Okafor-Lindqist^Ada"}
OLD: Final = {**ADA, "PatientID": "79990001"}
FORK: Final = multiprocessing.get_context("fork")
MOST_COMMITS: Final = 60


def decide(choice: Choice) -> Step:
    """A person's decision, written down."""

    def step(room: Room) -> None:
        room.spool.db.write(
            lambda c: tasks.decide(c, StudyKey(ORDER), choice, why="test", by="ada", now=room.clock())
        ).result()

    return step


def order(patient: dict[str, str], accession: str, study: str = ORDER) -> Step:
    return lambda room: room.order(patient, accession, study=study)


def image(seed: int, patient: dict[str, str]) -> Step:
    def step(room: Room) -> None:
        room.image(seed=seed, AccessionNumber="ACC1", **patient)

    return step


def deliver(room: Room) -> None:
    room.deliver()


def nothing(_room: Room) -> None:
    """Time alone passes."""


SCENARIOS: Final[dict[str, list[Step]]] = {
    "corrected": [order(ADA, "ACC1"), image(1, WRONG), image(2, WRONG), deliver],
    "two patients, released": [
        order(ADA, "ACC1"),
        order(BEN, "ACC2", objects.uid("another")),
        image(1, BEN),
        decide(Choice.RELEASE),
        deliver,
    ],
    "late order": [image(1, WRONG), order(ADA, "ACC1"), deliver],
    "merge": [order(OLD, "ACC1"), image(1, OLD), lambda room: room.merge(OLD, ADA), deliver],
    "undo after delivery": [order(ADA, "ACC1"), image(1, WRONG), deliver, decide(Choice.UNDO), deliver],
    "late order after delivery": [image(1, WRONG), deliver, order(ADA, "ACC1"), deliver],
    "rejected and taken back": [
        order(ADA, "ACC1"),
        image(1, ADA),
        decide(Choice.REJECT),
        decide(Choice.UNDO),
        deliver,
    ],
    "timed hold": [image(1, ADA), nothing, deliver],
}
ALWAYS: Final = ("two patients, released", "undo after delivery")
"""Played in every run; `make safety` plays all."""
HOLDING: Final = frozenset({"timed hold"})


def settings(scenario: str) -> Any:
    patience = Patience(default=timedelta(minutes=10)) if scenario in HOLDING else Patience()
    return rules(patience=patience, resend=Resend.ALWAYS)


def at(room: Room, number: int) -> None:
    """The time of that step."""
    room.clock.at = START + number * timedelta(minutes=20)


def play(room: Room, steps: list[Step], *, start: int) -> None:
    for number, step in enumerate(steps[start:], start):
        at(room, number)
        step(room)
        room.rounds()


def end_of(room: Room) -> Any:
    """What stands at the end, without the numbers that depend on the way there."""
    c = room.spool.db.read()
    rows = c.execute("SELECT id FROM instance ORDER BY SOPInstanceUID").fetchall()
    found = [instances.get(c, row["id"]) for row in rows]
    check = room.check()
    return (
        [(one.SOPInstanceUID, one.state, one.held, room.queues(one), bool(room.edits(one))) for one in found if one],
        (check.way, check.verdict.decision, check.verdict.because, check.decided_by, check.verdict.changes),
        [(one.kind, one.code, one.blocks) for one in room.open_tasks()],
        [(one.choice, one.outcome) for one in tasks.decisions_of(c, StudyKey(ORDER))],
        c.execute("SELECT destination, expected, outcome FROM read_back").fetchall().__len__(),
    )


def killed(folder: Path, scenario: str, number: int, commit: int) -> None:
    """Plays up to that step and dies as the `commit`th transaction of its rounds is handed in."""
    with reading_room(folder, settings(scenario)) as room:
        steps = SCENARIOS[scenario]
        play(room, steps[:number], start=0)
        at(room, number)
        steps[number](room)
        hand_in, left = room.spool.db.write_together, commit

        def counted(*args: Any, **named: Any) -> Any:
            nonlocal left
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return hand_in(*args, **named)

        room.spool.db.write_together = counted  # type: ignore[method-assign]
        room.rounds()


@pytest.mark.safety
@pytest.mark.parametrize("scenario", SCENARIOS if "GATEWAY_KILLS" in os.environ else ALWAYS)
def test_a_kill_at_any_commit_changes_nothing_of_the_end(scenario: str, tmp_path: Path) -> None:
    steps = SCENARIOS[scenario]
    with reading_room(tmp_path / "undisturbed", settings(scenario)) as room:
        play(room, steps, start=0)
        expected = end_of(room)
    kills = 0
    for number in range(len(steps)):
        for commit in range(1, MOST_COMMITS):
            folder = tmp_path / f"{number}-{commit}"
            process = FORK.Process(target=killed, args=(folder, scenario, number, commit))
            process.start()
            process.join(180)
            if process.exitcode == 0:
                break
            assert process.exitcode == -signal.SIGKILL
            kills += 1
            with reading_room(folder, settings(scenario)) as room:
                at(room, number)
                room.rounds()
                play(room, steps, start=number + 1)
                assert end_of(room) == expected, f"killed at step {number}, commit {commit}"
        else:
            raise AssertionError("a step without an end")
    assert kills >= len(steps)
