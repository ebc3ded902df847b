"""What happens to a whole study is written down once, in its order, and again for images that come late."""

from __future__ import annotations

from datetime import timedelta
from io import BytesIO
from pathlib import Path

import pytest
from pydicom import dcmread

from gateway.dicom.availability import INSTANCE_AVAILABILITY
from gateway.domain.model import UID, Confirm, DestinationName
from gateway.roles.forward.availability import AvailabilityTarget
from gateway.simulate.acceptor import hosted
from gateway.simulate.pacs import PacsBehaviour, PacsSimulator
from gateway.spool import study_events
from tests.journeys.forwarding import PATIENCE, Forwarding, forwarding, target, to
from tests.peers import objects
from tests.peers.pynetdicom_mpps import mpps_scp
from tests.peers.pynetdicom_scp import storage_scp

pytestmark = pytest.mark.slow

AFTER = PATIENCE.quiet + timedelta(minutes=1)


def events(box: Forwarding, study: str) -> list[tuple[str, int]]:
    return [(one.event.value, one.images) for one in study_events.of_study(box.spool.db.read(), UID(study))]


def test_a_study_is_complete_then_delivered_then_confirmed_and_again_for_late_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pacs = PacsSimulator()
    place = target(lambda: to(pacs.port), confirm=Confirm.COMMITMENT, commitment_wait=timedelta(seconds=1))
    images = [objects.ct(seed, study="s") for seed in range(4)]
    uid = str(images[0].StudyInstanceUID)
    with hosted(pacs) as host, forwarding(tmp_path, [place], monkeypatch=monkeypatch) as box:
        host.call(pacs.behave(PacsBehaviour.DOWN))
        for one in images[:3]:
            box.put(objects.write(tmp_path, one))
        box.pass_time(timedelta(minutes=5), seconds=1)
        assert events(box, uid) == []
        box.clock.advance(AFTER)
        box.until(lambda: events(box, uid), what="it is complete")
        box.pass_time(timedelta(hours=1), seconds=1)
        assert events(box, uid) == [("complete", 3)]
        pacs.silent = True
        host.call(pacs.behave(PacsBehaviour.UP))
        box.clock.run_at(60)
        box.until(lambda: len(events(box, uid)) > 1, what="it is delivered")
        assert events(box, uid) == [("complete", 3), ("delivered", 3)]
        pacs.silent = False
        box.clock.run_at(3600)
        whole = [("complete", 3), ("delivered", 3), ("confirmed", 3)]
        box.until(lambda: events(box, uid) == whole, what="it is confirmed")
        box.clock.run_at(60)
        box.put(objects.write(tmp_path, images[3]))
        box.clock.advance(AFTER)
        again = [("complete", 4), ("delivered", 4), ("confirmed", 4)]
        box.until(lambda: events(box, uid) == whole + again, what="the late image begins anew")
        box.clock.advance(timedelta(days=1))
        box.pass_time(timedelta(hours=1), seconds=1)
        assert events(box, uid) == whole + again


def test_a_ris_that_asks_for_it_is_told_of_what_can_be_had(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refused = list[str]()
    with (
        storage_scp() as pacs,
        mpps_scp(classes=[INSTANCE_AVAILABILITY]) as ris,
    ):
        ris.answers = lambda _request, uid: -1 if refused else refused.append(uid) or 0x0122
        told = AvailabilityTarget(
            name="main",
            box="north/box",
            peer=to(ris.port, called="RIS"),
            titles={DestinationName("pacs"): "PACS"},
            retry_base=timedelta(seconds=2),
            retry_cap=timedelta(minutes=1),
        )
        with forwarding(tmp_path, [target(pacs.port)], monkeypatch=monkeypatch, availability=[told]) as box:
            studies = [[objects.ct(seed, study=name) for seed in seeds] for name, seeds in (("a", [1, 2]), ("b", [3]))]
            for study in studies:
                box.until_all([box.put(objects.write(tmp_path, one)) for one in study])
                box.clock.advance(AFTER)
                uid = str(study[0].StudyInstanceUID)
                box.until(lambda uid=uid: len(events(box, uid)) == 3, what="it is confirmed")  # type: ignore[misc]
            box.until(lambda: len(ris.told) == 2, what="the RIS is told of both")
            box.until(lambda: not box.alarms(), what="the alarm of the first ends with the second")
    first, second = (dcmread(BytesIO(one.dataset), force=True) for one in ris.told)
    assert [one.StudyInstanceUID for one in (first, second)] == [study[0].StudyInstanceUID for study in studies]
    assert [len(one.ReferencedPerformedProcedureStepSequence) for one in (first, second)] == [0, 0]
    images = [image for series in first.ReferencedSeriesSequence for image in series.ReferencedSOPSequence]
    assert {image.ReferencedSOPInstanceUID for image in images} == {one.SOPInstanceUID for one in studies[0]}
    assert {(image.InstanceAvailability, image.RetrieveAETitle) for image in images} == {("ONLINE", "PACS")}
    assert ris.told[0].SOPInstanceUID != ris.told[1].SOPInstanceUID
