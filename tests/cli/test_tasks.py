"""`gateway tasks`, `decide`, `hold`, `release`, `reject`, `undo`: a person settles what the check could not."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from gateway.cli.commands import app
from gateway.domain.model import InstanceState
from tests.cli.site import TOML, living
from tests.peers import objects
from tests.roles.reading_room import ADA, BEN, ORDER, Room, reading_room

MIXED = objects.uid("mixed up")


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Room]:
    (tmp_path / "gateway.toml").write_text(TOML)
    with reading_room(tmp_path) as opened, living(opened.spool):
        yield opened


def run(room: Room, *words: str) -> Result:
    config = str(room.folder / "gateway.toml")
    return CliRunner().invoke(app, [*words, "--config", config], catch_exceptions=False)


def told(room: Room, *words: str) -> Any:
    done = run(room, *words, "--json")
    assert done.exit_code in {0, 1}, done.stderr
    return json.loads(done.stdout)


def done(room: Room, *words: str) -> str:
    result = run(room, *words)
    assert result.exit_code == 0, result.stderr
    room.rounds()
    return result.stdout


def two_patients(room: Room) -> int:
    """A held study; the number of its task."""
    room.order(ADA, "ACC1")
    room.order(BEN, "ACC2", study=objects.uid("another"))
    room.image(study=MIXED, AccessionNumber="ACC1", **BEN)
    room.rounds()
    (task,) = told(room, "tasks")["tasks"]
    assert (task["study"], task["blocks"], task["kind"]) == (MIXED, True, "identity")
    return int(task["id"])


def test_held_shown_and_given_to_its_order(room: Room) -> None:
    number = two_patients(room)
    assert run(room, "tasks").exit_code == 1
    status = run(room, "status")
    assert status.exit_code == 1
    assert status.stdout.startswith("1 study is held until a person decides: look at `gateway tasks`.")
    case = told(room, "tasks", "show", str(number))
    assert {one["AccessionNumber"] for one in case["orders"]} == {"ACC1", "ACC2"}
    assert {one["code"] for one in case["verdict"]["findings"]} & {"accession-other-patient", "keys-of-two-patients"}
    assert "find out who was examined" in run(room, "tasks", "show", str(number)).stdout
    done(room, "decide", str(number), "--order", "ACC2", "--why", "wristband")
    case = told(room, "tasks", "show", MIXED)
    assert (case["way"], case["verdict"]["decision"]) == ("routes", "correct")
    assert [(one["choice"], one["outcome"], one["why"]) for one in case["decisions"]] == [
        ("assign", "routes", "wristband")
    ]
    assert told(room, "tasks")["tasks"] == []
    done(room, "undo", MIXED)
    assert told(room, "tasks", "show", MIXED)["verdict"]["changes"] == []


def test_hold_release_reject_and_undo(room: Room) -> None:
    room.order(ADA, "ACC1")
    image = room.image(AccessionNumber="ACC1", **ADA)
    room.rounds()
    done(room, "hold", ORDER, "--why", "call from the ward")
    assert room.state(image) == (InstanceState.RECEIVED, "held")
    done(room, "release", image.id)
    assert room.state(image) == (InstanceState.PREPARED, "")
    done(room, "reject", ORDER, "--why", "test exposure")
    assert room.state(image) == (InstanceState.RECEIVED, "rejected")
    done(room, "undo", ORDER)
    assert room.state(image) == (InstanceState.PREPARED, "")


def test_what_can_not_be_decided_says_why(room: Room) -> None:
    number = two_patients(room)
    assert run(room, "decide", str(number)).exit_code == 1
    assert run(room, "decide", str(number), "--order", "NONE").exit_code == 1
    assert run(room, "release", "4711").exit_code == 3
    assert run(room, "undo", "DOE^JANE").exit_code == 3
    room.image(AccessionNumber="ACC7", **ADA)
    room.rounds()
    assert "no order is suggested" in run(room, "decide", MIXED, "--suggested").stderr


def test_a_decision_is_remembered_listed_and_revoked(room: Room) -> None:
    number = two_patients(room)
    done(room, "release", str(number), "--remember")
    (rule,) = told(room, "tasks", "rules")["rules"]
    assert (rule["rule"], rule["decision"]["choice"]) == (1, "release")
    room.image(study=objects.uid("again"), AccessionNumber="ACC1", **BEN)
    room.rounds()
    assert told(room, "tasks")["tasks"] == []
    assert told(room, "tasks", "rules")["rules"][0]["used"] == 1
    done(room, "tasks", "revoke", "1")
    assert told(room, "tasks", "rules")["rules"] == []
    assert run(room, "tasks", "revoke", "1").exit_code == 3


def test_a_task_is_done_without_changing_anything(room: Room) -> None:
    image = room.image(AccessionNumber="ACC1", **ADA)
    room.rounds()
    (task,) = told(room, "tasks")["tasks"]
    assert run(room, "tasks").exit_code == 0  # it holds nothing
    done(room, "tasks", "done", str(task["id"]))
    assert told(room, "tasks")["tasks"] == []
    assert [one["state"] for one in told(room, "tasks", "--all")["tasks"]] == ["decided"]
    assert room.state(image) == (InstanceState.PREPARED, "")


def test_a_summary_counts_what_was_decided(room: Room) -> None:
    two_patients(room)
    room.clock.at = room.clock.at.replace(year=2099)  # the command's clock is the machine's
    (row,) = room.spool.db.read().execute("SELECT count(*) AS n FROM study_check").fetchall()
    assert row["n"] == 1
    room.spool.db.write(lambda c: c.execute("UPDATE study_check SET decided_at = datetime('now', '-1 hour')")).result()
    (counted,) = told(room, "check", "summary")["verdicts"]
    assert counted == {"verdict": "hold", "applied": True, "blocks": True, "by": "check", "studies": 1}
