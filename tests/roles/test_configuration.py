"""A wish for a configuration: proven, put in place when it disturbs nobody, kept when the box is whole by it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from gateway.config import Overlay, faults_over, load
from gateway.domain.command import Code, Command, CommandName, Phase, Standing
from gateway.domain.issues import KINDS
from gateway.domain.telemetry import Writer
from gateway.roles.reporting.configuration import TRIAL, Wishes, digest
from gateway.spool import Spool, audit, configuration
from tests.spool.objects import Clock, held, open_spool
from tests.test_overlay import LOCAL, WISH

QUIET = Standing(association_open=False, exam_due=False)


class Box:
    """The reporting of a box, which can be started again."""

    def __init__(self, folder: Path, clock: Clock, spool: Spool) -> None:
        self.file, self.clock, self.spool = folder / "gateway.toml", clock, spool
        self.file.write_text(LOCAL)
        self.overlay = Overlay(folder / "state")
        self.standing, self.whole = QUIET, True
        self.start()

    def start(self) -> None:
        wish = self.text()
        self.role = Wishes(
            self.spool,
            faults=lambda text: faults_over(self.file, text),
            place=self,
            running="" if wish is None else digest(wish),
            room=lambda _c, _now: self.standing,
            whole=lambda: self.whole,
            writer=Writer(box="ct1-room", names=(), codes=KINDS),
            box="ct1-room",
            now=self.clock,
        )
        self.role._tell_again()

    def text(self) -> str | None:
        return self.overlay.text(self.file.read_text())

    def put(self, text: str) -> None:
        self.overlay.put(text, over=LOCAL)

    def back(self) -> None:
        self.overlay.back()

    def settle(self) -> None:
        self.overlay.settle()

    def wish(self, version: int, toml: str = WISH) -> Code:
        asked = Command(
            name=CommandName.APPLY_CONFIG,
            arguments={"version": version, "ring": "lab", "toml": toml},
            site="north",
            box="ct1-room",
            nonce="0123456789abcdef",
            not_before=self.clock.at,
            expires=self.clock.at,
        )
        return self.role.ask(asked).code

    @property
    def phase(self) -> Phase | None:
        found = configuration.latest(self.spool.db.read())
        return None if found is None else found.phase

    @property
    def port(self) -> int | None:
        return load(self.file).console.port

    def told(self) -> list[dict[str, Any]]:
        """What is published, once."""
        found = self.role.untold(self.spool.db.read())
        for _, _, done in found:
            self.spool.db.write(done).result()
        return [json.loads(payload) for payload, _, _ in found]


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    clock = Clock()
    spool = open_spool(tmp_path / "state", clock)
    yield Box(tmp_path, clock, spool)
    spool.close()


def test_a_wish_is_put_in_place_and_confirmed_by_a_box_that_is_whole(box: Box) -> None:
    assert box.wish(3) is Code.STAGED
    assert (box.phase, box.port) == (Phase.STAGED, 8080)
    box.role.look()
    assert (box.phase, box.port) == (Phase.APPLIED, 8181)
    box.role.look()
    assert box.phase is Phase.APPLIED, "this process does not run by it yet"
    box.start()
    box.role.look()
    assert (box.phase, box.port) == (Phase.CONFIRMED, 8181)
    rows = audit.journal_of(box.spool.db.read(), kind=audit.Subject.CONFIGURATION, subject="3")
    assert [row.to_state for row in rows] == ["staged", "applied", "confirmed"]


@pytest.mark.parametrize("busy", ["association_open", "exam_due"])
def test_a_wish_waits_until_it_disturbs_nobody(box: Box, busy: str) -> None:
    box.standing = replace(QUIET, **{busy: True})
    assert box.wish(3) is Code.STAGED
    box.role.look()
    assert (box.phase, box.port) == (Phase.STAGED, 8080)
    box.standing = QUIET
    box.role.look()
    assert (box.phase, box.port) == (Phase.APPLIED, 8181)


def test_a_box_that_is_not_whole_by_it_has_the_one_before(box: Box) -> None:
    box.wish(3)
    box.role.look()
    box.whole = False
    box.start()
    box.role.look()
    assert (box.phase, box.port) == (Phase.APPLIED, 8181)
    box.clock.pass_(seconds=TRIAL.total_seconds() + 1)
    box.role.look()
    assert (box.phase, box.port) == (Phase.ROLLED_BACK, 8080)
    box.start()
    box.whole = True
    box.role.look()
    assert (box.phase, box.port) == (Phase.ROLLED_BACK, 8080)
    assert box.wish(4) is Code.STAGED


def test_a_crash_between_the_file_and_the_books_loses_neither_this_wish_nor_the_one_before(box: Box) -> None:
    box.wish(2, WISH.replace("8181", "8282"))
    box.role.look()
    box.start()
    box.role.look()
    box.wish(3)
    box.put(WISH)
    box.start()
    box.role.look()
    assert (box.phase, box.port) == (Phase.APPLIED, 8181)
    box.whole = False
    box.clock.pass_(seconds=TRIAL.total_seconds() + 1)
    box.role.look()
    assert (box.phase, box.port) == (Phase.ROLLED_BACK, 8282)


def test_a_crash_while_it_is_rolled_back_goes_back_once(box: Box) -> None:
    box.wish(2, WISH.replace("8181", "8282"))
    box.role.look()
    box.start()
    box.role.look()
    box.wish(3)
    box.role.look()
    box.whole = False
    box.back()
    box.clock.pass_(seconds=TRIAL.total_seconds() + 1)
    box.role.look()
    assert (box.phase, box.port) == (Phase.ROLLED_BACK, 8282)


def test_the_file_of_a_person_who_came_meanwhile_stays(box: Box) -> None:
    box.wish(3)
    box.role.look()
    box.file.write_text(LOCAL + "[console]\nport = 9090\n")
    box.clock.pass_(seconds=TRIAL.total_seconds() + 1)
    box.start()
    box.role.look()
    assert (box.phase, box.port) == (Phase.ROLLED_BACK, 9090)


def test_what_does_not_hold_is_rejected_with_its_keys_alone(box: Box) -> None:
    assert box.wish(3, LOCAL + '[console]\nport = "DOE^JANE"\n') is Code.REJECTED
    box.role.look()
    assert (box.phase, box.port) == (Phase.REJECTED, 8080)
    (told,) = box.told()
    assert (told["phase"], told["faults"], told["version"], told["ring"]) == ("rejected", ["console.port"], 3, "lab")


def test_no_more_wishes_are_kept_than_are_of_use(box: Box) -> None:
    for version in range(1, configuration.KEPT + 6):
        assert box.wish(version) is Code.STAGED
    (kept, first, last) = (
        box.spool.db.read().execute("SELECT count(*), min(version), max(version) FROM configuration").fetchone()
    )
    assert (kept, first, last) == (configuration.KEPT, 6, configuration.KEPT + 5)


def test_an_old_wish_changes_nothing(box: Box) -> None:
    box.wish(3)
    box.role.look()
    for version in (3, 2, 1):
        assert box.wish(version, LOCAL) is Code.OLDER
    box.start()
    box.role.look()
    assert (box.phase, box.port) == (Phase.CONFIRMED, 8181)


def test_each_step_is_told_once_and_the_last_again_after_a_restart(box: Box) -> None:
    assert box.told() == []
    box.wish(3)
    assert [one["phase"] for one in box.told()] == ["staged"]
    assert box.told() == []
    box.role.look()
    box.clock.at += timedelta(seconds=1)
    assert [one["phase"] for one in box.told()] == ["applied"]
    box.start()
    assert [(one["phase"], one["config"]) for one in box.told()] == [("applied", digest(WISH))]


def test_books_that_take_nothing_for_a_while_end_nobodys_work(
    impatient: None, box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor does a file of the box that somebody took away."""
    monkeypatch.setattr("gateway.roles.reporting.configuration.LOOK_SECONDS", 0.01)
    away = box.file.with_suffix(".away")

    async def scene() -> None:
        stop = asyncio.Event()

        async def until(fact: Callable[[], bool]) -> None:
            async with asyncio.timeout(60):
                while not fact():
                    assert not running.done(), running.exception()
                    await asyncio.sleep(0.01)

        with capture_logs() as logged:
            with held(box.file.parent / "state"):
                running = asyncio.create_task(box.role.run(stop))
                await until(lambda: len(logged) >= 2)
                box.file.rename(away)
            seen = len(logged)
            await until(lambda: len(logged) >= seen + 2)
            away.rename(box.file)
            await until(lambda: box.phase is Phase.APPLIED)
        stop.set()
        await running

    box.wish(3)
    asyncio.run(scene())
    assert box.port == 8181
