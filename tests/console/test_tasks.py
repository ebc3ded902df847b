"""`/api/v1/tasks`: what `gateway tasks` and its neighbours do, for programs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from gateway.domain.model import InstanceState
from gateway.roles.console import task_models
from gateway.roles.console.models import Problem
from tests.cli.site import Site, living
from tests.console.box import Served, made, serving
from tests.peers import objects
from tests.roles.reading_room import ADA, BEN, Room, reading_room

TASKS = "/api/v1/tasks"
MIXED = objects.uid("mixed up")


@contextmanager
def console_of(folder: Path) -> Iterator[tuple[Room, Served]]:
    with reading_room(folder) as room, living(room.spool):
        place: Any = room  # has what a console needs of a site
        room_site = cast(Site, _AsSite(place))
        with serving(made(room_site)) as served:
            yield room, served


class _AsSite:
    def __init__(self, room: Room) -> None:
        self.spool, self.clock, self.state = room.spool, room.clock, room.folder


def test_a_held_study_is_seen_and_given_to_its_order(tmp_path: Path) -> None:
    with console_of(tmp_path) as (room, console):
        room.order(ADA, "ACC1")
        room.order(BEN, "ACC2", study=objects.uid("another"))
        image = room.image(study=MIXED, AccessionNumber="ACC1", **BEN)
        room.rounds()
        listed = task_models.Tasks.model_validate(console.json(TASKS))
        (task,) = listed.tasks
        assert (task.blocks, task.study) == (True, MIXED)
        assert console.json("/api/v1/status")["studies_held"] == 1
        assert 'gateway_tasks_open{holds="yes"} 1.0' in console.text("/metrics")
        assert BEN["PatientID"] not in console.text("/metrics")
        case = task_models.Case.model_validate(console.json(f"{TASKS}/{task.id}"))
        assert {one.AccessionNumber for one in case.orders} == {"ACC1", "ACC2"}
        status, answer = console.post(f"{TASKS}/{task.id}/decide", {"AccessionNumber": "NONE"})
        assert (status, Problem.model_validate(answer).status) == (409, 409)
        status, answer = console.post(f"{TASKS}/{task.id}/decide", {"AccessionNumber": "ACC2", "remember": True})
        assert status == 201
        task_models.Decided.model_validate(answer)
        room.rounds()
        assert room.state(image) == (InstanceState.PREPARED, "")
        assert console.json(TASKS)["tasks"] == []
        (rule,) = task_models.Remembered.model_validate(console.json(f"{TASKS}/rules")).rules
        assert console.post(f"{TASKS}/rules/{rule.rule}/revoke")[0] == 201
        assert console.post(f"{TASKS}/rules/{rule.rule}/revoke")[0] == 404
        task_models.Summary.model_validate(console.json(f"{TASKS}/summary"))


def test_every_other_decision_is_one_post(tmp_path: Path) -> None:
    with console_of(tmp_path) as (room, console):
        image = room.image(study=MIXED, AccessionNumber="ACC1", **ADA)
        room.rounds()
        for word, held in (("hold", "held"), ("release", ""), ("reject", "rejected"), ("undo", "")):
            assert console.post(f"{TASKS}/{MIXED}/{word}", {"why": "test"})[0] == 201
            room.rounds()
            assert room.state(image)[1] == held
        assert console.post(f"{TASKS}/{MIXED}/done", {})[0] == 201
        assert console.post(f"{TASKS}/nobody/hold", {})[0] == 404
