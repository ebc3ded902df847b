"""Rules of the site over real images: where they go, how urgently, and what a fault of the rules costs: nothing."""

from __future__ import annotations

from dataclasses import replace
from io import BytesIO
from pathlib import Path

import pytest
from pydicom import dcmwrite

from gateway.domain.conditions import Condition, Pattern
from gateway.domain.model import DestinationName, Lane, SourceName
from gateway.domain.routing import Rule
from gateway.domain.task import Mode
from gateway.roles.forward import routing
from gateway.spool import audit, custody, worklist
from gateway.spool.worklist import WorklistRow
from tests.journeys.forwarding import UNCHECKED, Forwarding, forwarding, target
from tests.peers import objects
from tests.peers.pynetdicom_scp import storage_scp

pytestmark = pytest.mark.slow

PACS, AI = DestinationName("pacs"), DestinationName("ai")


def when(**wanted: str) -> tuple[Condition, ...]:
    return tuple(Condition(key=key.replace("__", "."), patterns=(Pattern(text),)) for key, text in wanted.items())


def queued(box: Forwarding) -> dict[str, set[tuple[str, str]]]:
    """Destination and lane of every delivery, by SOP Instance UID."""
    found: dict[str, set[tuple[str, str]]] = {}
    statement = "SELECT SOPInstanceUID, destination, lane FROM delivery JOIN instance ON instance.id = instance"
    for uid, destination, lane in box.spool.db.read().execute(statement):
        found.setdefault(uid, set()).add((destination, lane))
    return found


def order(study: str, *, accession: str = "", priority: str) -> WorklistRow:
    scheduled = objects.scheduled(0)
    scheduled.StudyInstanceUID, scheduled.AccessionNumber = study, accession
    scheduled.RequestedProcedurePriority = priority
    written = BytesIO()
    dcmwrite(written, scheduled, implicit_vr=False, little_endian=True)
    return WorklistRow(
        source=SourceName("main"),
        key=study or accession,
        PatientID="P",
        PatientName="TEST^A",
        AccessionNumber=accession,
        StudyInstanceUID=study,
        RequestedProcedureID="R",
        ScheduledProcedureStepID="S",
        start_date="20260101",
        start_time="0800",
        Modality="CT",
        ScheduledStationAETitle="CT1",
        status="SCHEDULED",
        dataset=written.getvalue(),
    )


def test_rules_say_where_images_go_and_orders_how_urgent_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rules = [
        Rule(id="ai", when=when(Modality="CT", StudyDescription="*h\u00e4nd*"), to=("@default", "ai")),
        Rule(id="reports", when=when(SOPClassUID="1.2.840.10008.5.1.4.1.1.88.*"), priority=Lane.BULK),
    ]
    stat = objects.ct(2, study="stat")
    by_accession = objects.ct(3, study="typed", AccessionNumber="A7")
    hand = objects.ct(1, study="h", SpecificCharacterSet="ISO_IR 100", StudyDescription="CT H\u00c4NDE")
    files = [objects.write(tmp_path, one) for one in (hand, stat, by_accession, objects.sr(4))]
    with (
        storage_scp() as pacs,
        storage_scp() as ai,
        forwarding(
            tmp_path,
            [target(pacs.port), target(ai.port, name=AI)],
            monkeypatch=monkeypatch,
            rules=rules,
            default=(PACS,),
        ) as box,
    ):
        rows = [order(str(stat.StudyInstanceUID), priority="STAT"), order("2.25.9", accession="A7", priority="STAT")]
        box.spool.db.write(
            lambda c: worklist.replace_source(c, SourceName("main"), rows=rows, now=box.clock())
        ).result()
        uids = [box.put(path) for path in files]
        box.until(lambda: len(queued(box)) == len(uids), what="all are routed")
        assert [queued(box)[uid] for uid in uids] == [
            {("pacs", "routine"), ("ai", "routine")},
            {("pacs", "stat")},
            {("pacs", "stat")},
            {("pacs", "bulk")},
        ]
        assert box.alarms() == set()


def test_an_image_that_the_rules_can_not_look_at_goes_to_the_default_with_an_alarm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rules = [Rule(id="ct", when=when(Modality="CT"), to=("ai",))]

    def broken(*_: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(routing, "header_of", broken)
    with (
        storage_scp() as pacs,
        forwarding(
            tmp_path,
            [target(pacs.port), target(1, name=AI)],
            monkeypatch=monkeypatch,
            rules=rules,
            default=(PACS,),
        ) as box,
    ):
        uid = box.put(objects.write(tmp_path, objects.ct(1)))
        box.until_all([uid])
        assert queued(box)[uid] == {("pacs", "routine")}
        assert box.alarms() == {routing.ALARM_RULES}
        box.clock.advance(routing.QUIET * 2)
        box.until(lambda: not box.alarms(), what="the alarm ends")
        assert audit.journal_of(box.spool.db.read(), kind=audit.Subject.DELIVERY, subject="1")[0].why == "route pacs"


def test_rules_may_look_at_what_the_check_came_to_and_the_record_tells_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rules = [Rule(id="tests", when=when(verdict="pass", finding="test-*"), to=("@default", "ai"), priority=Lane.BULK)]
    image = objects.ct(1)
    with (
        storage_scp() as pacs,
        storage_scp() as ai,
        forwarding(
            tmp_path,
            [target(pacs.port), target(ai.port, name=AI)],
            monkeypatch=monkeypatch,
            rules=rules,
            default=(PACS,),
            check=replace(UNCHECKED, mode=Mode.SHADOW),
        ) as box,
    ):
        uid = box.put(objects.write(tmp_path, image))
        box.until(lambda: queued(box), what="it is routed")
        c = box.spool.db.read()
        told = custody.of_study(c, str(image.StudyInstanceUID), site="s", box="b", now=box.clock())
        assert told is not None
        assert told.check is not None
        assert (told.check.decision, told.check.applied) == ("pass", False)
        assert queued(box)[uid] == {("pacs", "bulk"), ("ai", "bulk")}
