"""Which parts live, by what they did last; and that nobody's silence reads as health."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from gateway.domain.health import lifeless as alarms_of
from gateway.domain.issues import KINDS
from gateway.domain.model import InstanceState
from gateway.domain.overview import Mood, Overview, lifeless, sentence
from gateway.domain.parts import CODES, IMAGES, SILENT, SILENT_AFTER, STARTED_WITHIN, STOPPED, Life, Part, lost

NOW = datetime(2026, 3, 1, 8, 0, tzinfo=UTC)
SECOND = timedelta(seconds=1)


def life(part: Part = Part.HEALTH, *, running: bool = True, ago: timedelta | None = SECOND) -> Life:
    return Life(part=part, running=running, seen=None if ago is None else NOW - ago)


def overview(*parts: Life) -> Overview:
    return Overview(
        now=NOW,
        instances=dict.fromkeys(InstanceState, 0),
        quarantined=0,
        destinations=[],
        worklist=[],
        refresh={},
        alarms=alarms_of(parts, NOW),
        strangers=[],
        parts=parts,
    )


@pytest.mark.parametrize(
    ("one", "found"),
    [
        (life(), ""),
        (life(ago=SILENT_AFTER), ""),
        (life(ago=SILENT_AFTER + SECOND), SILENT),
        (life(ago=None), SILENT),
        (life(ago=-timedelta(hours=1)), ""),  # its clock was put back
        (life(running=False), STOPPED),
        (life(running=False, ago=None), STOPPED),
    ],
)
def test_what_is_found_of_a_part(one: Life, found: str) -> None:
    assert one.found(NOW) == found
    assert found in CODES | {""}
    assert KINDS.keys() >= CODES


def test_who_is_only_started_again_is_not_told_of() -> None:
    gone = [life(running=False, ago=STARTED_WITHIN), life(running=False, ago=STARTED_WITHIN + SECOND)]
    assert lost([*gone, life()], NOW) == (gone[1],)
    assert lost([life(running=False, ago=None)], NOW), "it never was there"


def test_all_that_live_are_no_word() -> None:
    seen = overview(*(life(part) for part in IMAGES), life())
    assert sentence(seen) == "No image has been received yet."
    assert (seen.mood, lifeless(seen), seen.alarms) == (Mood.WELL, [], ())


@pytest.mark.parametrize(
    ("one", "said"),
    [
        (life(running=False), "Nobody watches the box: no process is its health. Start it with `gateway serve`."),
        (
            life(Part.REPORTING, running=False),
            "Central IT is told nothing: no process is its reporting. Start it with `gateway serve`.",
        ),
        (life(ago=timedelta(minutes=12)), "No sign of life of health for 12 min: restart it."),
        (life(Part.FORWARD, ago=timedelta(minutes=12)), "No sign of life of forward for 12 min: restart it."),
    ],
)
def test_who_does_not_live_comes_before_what_is_known(one: Life, said: str) -> None:
    seen = overview(*(life(part) for part in IMAGES if part is not one.part), one)
    assert sentence(seen) == f"{said} No image has been received yet."
    assert lifeless(seen) == [said]
    assert seen.mood is Mood.PERSON
    (alarm,) = seen.alarms
    assert (alarm.code, alarm.subject, alarm.since) == (one.found(NOW), one.part, one.seen)


def test_without_those_that_move_images_nothing_else_counts() -> None:
    seen = overview(*(life(part, running=False) for part in IMAGES), life(running=False))
    assert sentence(seen).startswith("The gateway is not running: no process is its edge and forward.")
    assert "Nobody watches the box" in sentence(seen)
    assert "No image" not in sentence(seen)
