"""Orders and images in every sequence, through the real wires: HL7 in, DCMTK's findscu and storescu, a PACS, HL7 out.

Whatever comes first, the image reaches the PACS as it was sent, the scanner's list and the books say what is so, and
the RIS is told once.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydicom import Dataset, dcmread
from pydicom.filebase import DicomBytesIO

from tests.hl7_messages import message
from tests.journeys.gateway_process import From, Gateway, To, gateway
from tests.net.mllp_wire import Caller
from tests.peers import dcmtk, needs, objects
from tests.peers.mllp_receiver import Ris, mllp_receiver
from tests.peers.processes import HOST, free_port
from tests.peers.pynetdicom_scp import StorageSCP, storage_scp

pytestmark = [pytest.mark.slow, needs.dcmtk]

TODAY = f"{datetime.now(UTC):%Y%m%d}"
STUDY = "1.3.6.1.4.1.32473.7.9.77"
ACCESSION = "A2603040077"
PLACED = message("01", ("202603041030", f"{TODAY}1030"))
LATER = ("20260304081455", f"{TODAY}081455")
"""ORC-9: what comes then is newer than the order."""
KEYS = ["PatientID", "PatientName", "AccessionNumber", "StudyInstanceUID"]
START = "ScheduledProcedureStepSequence[0].ScheduledProcedureStepStart"
IDENTITY = ["PatientID", "PatientName", "AccessionNumber", "StudyInstanceUID"]


@dataclass(slots=True)
class Site:
    """A scanner's room: the box, what may call it, and what it calls."""

    folder: Path
    box: Gateway
    mllp: int
    pacs: StorageSCP
    ris: Ris
    asked: int = 0
    sent: list[Dataset] = field(default_factory=list)

    def say(self, raw: bytes) -> None:
        with Caller(self.mllp) as caller:
            assert b"MSA|AA|" in (caller.ask(raw) or b"")

    def worklist(self) -> list[Dataset]:
        """What the scanner is shown."""
        self.asked += 1
        keys = [*KEYS, f"{START}Date", f"{START}Time"]
        return [*dcmtk.findscu(self.box.port, keys, folder=self.folder / f"{self.asked}", called="GATEWAY_MWL").rows]

    def scan(self, row: Dataset | None = None, **values: object) -> Dataset:
        """The scanner makes an image of what a row told it, and sends it; the image at the PACS."""
        named = {name: row[name].value for name in IDENTITY if row} | values
        image = objects.ct(len(self.sent) + 1, **named)
        path = objects.write(self.folder, image)
        assert dcmtk.storescu(self.box.port, [path], called="GATEWAY", calling="CT1").succeeded
        self.sent.append(image)
        self.box.until_confirmed([image.SOPInstanceUID])
        (got,) = self.pacs.stored(image.SOPInstanceUID)
        return dcmread(DicomBytesIO(got.dataset), force=True)

    def order(self) -> dict[str, object]:
        (row,) = self.box.rows("SELECT PatientID, status, StudyInstanceUID FROM requested_procedure")
        return row

    def until_told(self, *states: str) -> None:
        """Until the RIS was told of these states, in this order, and of nothing else."""
        self.box.until(lambda: len(self.ris.told) >= len(states), what=f"the RIS is told {len(states)} times")
        assert [str(one.segment("ORC")[5]) for one in self.ris.messages] == [*states]


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with opened(tmp_path) as site:
        yield site


@contextmanager
def opened(folder: Path) -> Iterator[Site]:
    port = free_port()
    with storage_scp() as pacs, mllp_receiver() as ris:
        out = f'orders_out = {{ host = "{HOST}", port = {ris.port}, timeout = "60s" }}'
        with gateway(
            folder / "gw",
            to=[To(port=pacs.port)],
            ris=[From(port=free_port(), more=out)],
            mllp=port,
            orders='quiet = "1s"',
        ) as box:
            yield Site(folder=folder, box=box, mllp=port, pacs=pacs, ris=ris)
            assert box.stop() == 0


def test_an_order_before_its_images(site: Site) -> None:
    site.say(PLACED)
    (row,) = site.worklist()
    assert (row.AccessionNumber, row.StudyInstanceUID) == (ACCESSION, STUDY)
    there = site.scan(row)
    assert [there[name].value for name in IDENTITY] == [row[name].value for name in IDENTITY]
    site.until_told("IP", "CM")
    assert site.box.alarms() <= {"worklist-stale"}


def test_images_before_their_order(site: Site) -> None:
    there = site.scan(PatientID="70012345", PatientName="Okafor-Lindqvist^Marta", StudyInstanceUID=STUDY)
    assert there.StudyInstanceUID == STUDY  # nobody waited for an order
    assert site.ris.told == []
    site.say(PLACED)
    site.until_told("IP", "CM")
    (row,) = site.worklist()
    assert row.StudyInstanceUID == STUDY


def test_a_cancellation_after_images(site: Site) -> None:
    site.say(PLACED)
    (row,) = site.worklist()
    site.scan(row)
    site.say(message("04", ("202603041030", f"{TODAY}1030"), LATER))
    site.box.until_alarm("cancelled-but-performed")
    assert site.worklist() == []
    assert site.order()["status"] == "CANCELED"
    there = site.scan(row)  # the examination goes on: nothing is refused, nothing is deleted
    assert there.AccessionNumber == ACCESSION
    assert len(site.box.object_files()) == 2


def test_a_merge_after_images(site: Site) -> None:
    site.say(PLACED)
    (row,) = site.worklist()
    site.scan(row)
    site.say(
        message(
            "24",
            ("70012345^^^NORD_MRN&1.3.6.1.4.1.32473.7.1&ISO^MR", "80000001^^^NORD_MRN&1.3.6.1.4.1.32473.7.1&ISO^MR"),
            ("79990001", "70012345"),
        )
    )
    (merged,) = site.worklist()
    assert (merged.PatientID, merged.StudyInstanceUID) == ("80000001", STUDY)
    assert site.order()["PatientID"] == "80000001"
    site.scan(row)  # the scanner has the old number still
    (alias,) = site.box.rows("SELECT PatientID, to_PatientID FROM patient_alias")
    assert alias == {"PatientID": "70012345", "to_PatientID": "80000001"}
    changes = site.box.rows("SELECT PatientID FROM order_change WHERE procedure IS NULL ORDER BY seq")
    assert {one["PatientID"] for one in changes} == {"70012345", "80000001"}  # held instances hear of it by this


def test_a_reschedule_while_the_scanner_has_the_old_row(site: Site) -> None:
    site.say(PLACED)
    (old,) = site.worklist()
    moved = message("06", ("202603051400", f"{TODAY}1545"), ("CT_NORD_2", "CT1"))
    other = moved.replace(STUDY.encode(), b"1.3.6.1.4.1.32473.7.9.78").replace(b"A2603040077", b"A2603040078")
    site.say(other)  # with other identifiers than were shown
    (new,) = site.worklist()
    assert new.ScheduledProcedureStepSequence[0].ScheduledProcedureStepStartTime == "154500"
    assert (new.AccessionNumber, new.StudyInstanceUID) == (ACCESSION, STUDY)  # what was shown stays
    site.box.until_alarm("order-identifier-changed")
    there = site.scan(old)
    assert there.StudyInstanceUID == STUDY
    site.until_told("IP", "CM")
    assert site.order()["StudyInstanceUID"] == STUDY
