"""A step that a scanner said is completed leaves its worklist after a while, and nothing else takes it away."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest

from gateway.domain import mpps as rules
from gateway.domain.explain import Stage
from gateway.domain.model import UID, AETitle
from gateway.domain.mpps import Performed, Request, ScheduledReference, StepStatus
from gateway.spool import mpps
from tests.cli.site import Site
from tests.roles.test_explain import Scene, standing, told
from tests.roles.worklist_front import answered
from tests.spool.objects import EXPLICIT

HOUR = timedelta(hours=1)


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    site = Site(tmp_path)
    with standing(site) as made:
        yield made
    site.close()


def tell(scene: Scene, status: StepStatus, *, uid: str = "2.25.1", sps: str = "SPS1") -> None:
    """CT1 says so of the order's step."""
    body = f"{uid} {status}".encode()
    message = mpps.Message(
        request=Request.CREATE if status is StepStatus.IN_PROGRESS else Request.SET,
        SOPInstanceUID=UID(uid),
        TransferSyntaxUID=EXPLICIT,
        dataset=body,
        digest=rules.digest(EXPLICIT, body),
        calling_ae=AETitle("CT1"),
        address="10.1.1.20",
        received_at=scene.site.clock(),
    )
    of = ScheduledReference(
        StudyInstanceUID=UID("1.2.3"),
        AccessionNumber="A1",
        RequestedProcedureID="RP1",
        ScheduledProcedureStepID=sps,
    )
    scene.site.write(partial(mpps.accept, message=message, said=Performed(status=status, references=(of,)), targets=[]))


def confirmed(scene: Scene, *, after: timedelta = timedelta()) -> None:
    """Time passes, and the RIS still has the order."""
    scene.site.clock.at += after
    answered(scene.site, scene.order())


def test_a_completed_step_is_hidden_after_its_time_and_explained(scene: Scene) -> None:
    confirmed(scene, after=-12 * HOUR)
    tell(scene, StepStatus.IN_PROGRESS)
    tell(scene, StepStatus.COMPLETED)
    confirmed(scene, after=11 * HOUR)
    assert scene.ask() == ["A1"]
    confirmed(scene, after=HOUR)
    assert scene.ask() == []
    told(scene, Stage.PERFORMED, "12 h ago", "hide_performed")


@pytest.mark.parametrize("status", [StepStatus.IN_PROGRESS, StepStatus.DISCONTINUED])
def test_neither_a_beginning_nor_a_break_takes_a_row_away(scene: Scene, status: StepStatus) -> None:
    tell(scene, StepStatus.IN_PROGRESS)
    if status is not StepStatus.IN_PROGRESS:
        tell(scene, status)
    confirmed(scene, after=13 * HOUR)
    assert scene.ask() == ["A1"]


def test_a_step_that_is_performed_again_is_shown_again(scene: Scene) -> None:
    tell(scene, StepStatus.COMPLETED)
    confirmed(scene, after=13 * HOUR)
    assert scene.ask() == []
    tell(scene, StepStatus.IN_PROGRESS, uid="2.25.2")
    assert scene.ask() == ["A1"]


def test_another_step_of_the_study_is_not_hidden(scene: Scene) -> None:
    tell(scene, StepStatus.COMPLETED, sps="OTHER")
    confirmed(scene, after=13 * HOUR)
    assert scene.ask() == ["A1"]
