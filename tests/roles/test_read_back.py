"""What an archive shows after a re-send: taken over, kept as it was, not known, or not to be asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest

from gateway.domain.model import TemporaryFailure
from gateway.domain.task import Choice
from gateway.roles.forward.read_back import ReadBacks
from gateway.roles.forward.target import Target
from gateway.spool import read_backs
from gateway.spool.checks import StudyKey
from tests.roles.reading_room import ADA, ORDER, PACS, Room, reading_room

SLIPPED = {**ADA, "PatientName": "Okafor-Lindqist^Ada"}


@dataclass
class Archive:
    """An archive that shows this, or fails so."""

    shows: Mapping[str, str] | None
    fails: str = ""

    def shown(self, StudyInstanceUID: str, keywords: Sequence[str]) -> Mapping[str, str] | None:
        assert (StudyInstanceUID, "PatientName" in keywords) == (ORDER, True)
        if self.fails:
            raise TemporaryFailure("test", code=self.fails)
        return self.shows


@dataclass
class To:
    name: str
    way: Any


def sent_again(room: Room) -> None:
    """A correction that an archive had is taken back, and has arrived there."""
    room.order(ADA, "ACC1")
    room.image(AccessionNumber="ACC1", **SLIPPED)
    room.rounds()
    room.deliver()
    room.decide(Choice.UNDO)


def look(room: Room, way: Any) -> list[str]:
    reader = ReadBacks(room.spool, [], now=room.clock)
    reader.look(cast(Target, To(PACS, way)))
    return [one.outcome for one in read_backs.of_study(room.spool.db.read(), StudyKey(ORDER))]


def test_nothing_is_asked_before_all_has_arrived(tmp_path: Path) -> None:
    with reading_room(tmp_path) as room:
        sent_again(room)
        assert look(room, Archive(SLIPPED)) == [""]
        room.deliver()
        assert look(room, Archive({**SLIPPED, "PatientName": "OKAFOR-LINDQIST^ADA^^"})) == ["shown"]
        assert room.kinds() == []


@pytest.mark.parametrize(("shows", "outcome"), [(ADA, "differs"), (None, "unknown-there")])
def test_an_archive_that_keeps_what_it_had_is_named(
    tmp_path: Path, shows: Mapping[str, str] | None, outcome: str
) -> None:
    with reading_room(tmp_path) as room:
        sent_again(room)
        room.deliver()
        assert look(room, Archive(shows)) == [""]  # it may be slow
        room.clock.pass_(minutes=11)
        assert look(room, Archive(shows)) == [outcome]
        (task,) = room.open_tasks()
        assert (task.kind, task.code) == ("not-taken-over", f"pacs: {outcome}")


def test_an_archive_that_is_down_is_asked_again_and_one_that_can_not_be_asked_is_named(tmp_path: Path) -> None:
    with reading_room(tmp_path) as room:
        sent_again(room)
        room.deliver()
        with pytest.raises(TemporaryFailure):
            look(room, Archive(None, fails="connect"))
        assert look(room, object()) == ["not-askable"]
        assert [task.code for task in room.open_tasks()] == ["pacs: not-askable"]
