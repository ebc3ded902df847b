"""Images whose header is wrong, from a scanner to an archive of another make, with orders that come by HL7."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset, dcmread
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_dataset
from pydicom.uid import ImplicitVRLittleEndian
from typer.testing import CliRunner

from gateway.cli.commands import app
from gateway.domain.edits import from_json
from tests.journeys.gateway_process import Gateway, To, gateway
from tests.net.mllp_wire import Caller
from tests.peers import needs, objects, pynetdicom_scu
from tests.peers.orthanc import Orthanc, orthanc
from tests.peers.processes import free_port
from tests.peers.pynetdicom_scp import StorageSCP, storage_scp

pytestmark = [pytest.mark.slow, needs.orthanc]

ADA = {
    "PatientID": "70011111",
    "PatientName": "Okafor-Lindqvist^Ada",
    "PatientBirthDate": "19800229",
    "PatientSex": "F",
}
BEN = {"PatientID": "70022222", "PatientName": "Orlov^Ben", "PatientBirthDate": "19510705", "PatientSex": "M"}
EVA = {"PatientID": "70033333", "PatientName": "Nilsson^Eva", "PatientBirthDate": "20010930", "PatientSex": "F"}
SLIPPED = {**ADA, "PatientName": "Okafor-Lindqist^Ada"}
ORDERED, OTHER, MIXED, LATE = (objects.uid("journey", name) for name in ("ordered", "other", "mixed", "late"))
NOW = datetime.now(UTC)


def tell(port: int, kind: str, *segments: str) -> None:
    """The RIS sends a message, and is acknowledged."""
    now = datetime.now(UTC)
    header = f"MSH|^~\\&|RIS|NORD|GW|CT|{now:%Y%m%d%H%M%S}||{kind}|{now:%Y%m%d%H%M%S%f}|P|2.3.1||||||8859/1"
    with Caller(port) as caller:
        assert b"MSA|AA|" in (caller.ask("\r".join([header, *segments, ""]).encode()) or b"")


def person(patient: dict[str, str]) -> str:
    """The PID segment of a patient."""
    name, birth, sex = patient["PatientName"], patient["PatientBirthDate"], patient["PatientSex"]
    return f"PID|1||{patient['PatientID']}^^^HOSP^MR||{name}||{birth}|{sex}"


def order(port: int, patient: dict[str, str], accession: str, study: str) -> None:
    """The RIS orders a CT of now."""
    stamp = f"{datetime.now(UTC):%Y%m%d%H%M%S}"
    tell(
        port,
        "ORM^O01",
        person(patient),
        f"ORC|NW|P{accession}^HIS|F{accession}^RIS||SC||1^once^^{stamp}^^R||{stamp}",
        f"OBR|1|P{accession}^HIS|F{accession}^RIS|CTHEAD^CT head^RIS|R|||||||||||||{accession}|RP{accession}"
        f"|SPS{accession}||||CT|||1^once^^{stamp}^^R",
        f"ZDS|{study}^RIS^Application^DICOM",
    )


def merge(port: int, former: dict[str, str], survivor: dict[str, str]) -> None:
    """Two numbers are one patient: the former is given up."""
    stamp = f"{datetime.now(UTC):%Y%m%d%H%M%S}"
    tell(port, "ADT^A40", f"EVN|A40|{stamp}", person(survivor), f"MRG|{former['PatientID']}^^^HOSP^MR")


def scanned(folder: Path, box: Gateway, seed: int, *, study: str, accession: str, **patient: str) -> str:
    """The scanner sends an image; its SOP Instance UID."""
    day, time = f"{NOW:%Y%m%d}", f"{NOW:%H%M%S}"
    image = objects.ct(
        seed,
        study=study,
        StudyInstanceUID=study,
        AccessionNumber=accession,
        **dict.fromkeys(("StudyDate", "SeriesDate", "AcquisitionDate", "ContentDate"), day),
        StudyTime=time,
        **patient,
    )
    path = objects.write(folder, image)
    (sent,) = pynetdicom_scu.send_verbatim(box.port, [path], called="GATEWAY")
    assert sent.status == 0
    return path.stem


def arrived(pacs: Orthanc, uid: str) -> Dataset:
    return dcmread(DicomBytesIO(pacs.file(pacs.by_sop_instance_uid()[uid])))


def taken(pacs: StorageSCP, uid: str) -> list[Dataset]:
    """The image, each time that the archive took it."""
    return [
        read_dataset(BytesIO(one.dataset), one.TransferSyntaxUID == ImplicitVRLittleEndian, is_little_endian=True)
        for one in pacs.stored(uid)
    ]


def edited(box: Gateway, study: str, PatientID: str) -> bool:
    """Whether the books have it that images of the study are sent under that number."""
    rows = box.rows("SELECT edits FROM header WHERE study = :study AND edits <> ''", study=study)
    return any(
        one.name == "PatientID" and one.value == PatientID for row in rows for one in from_json(row["edits"]).edits
    )


def told(box: Gateway, *words: str) -> Any:
    done = CliRunner().invoke(app, [*words, "--config", str(box.folder / "gateway.toml")], catch_exceptions=False)
    assert done.exit_code in {0, 1}, done.stderr
    return json.loads(done.stdout) if "--json" in words else done.stdout


def asked(box: Gateway) -> list[tuple[str, str]]:
    """What a person is asked, and of which study."""
    return [(one["kind"], one["study"]) for one in told(box, "tasks", "--json")["tasks"]]


def blocking(box: Gateway) -> list[dict[str, Any]]:
    """What a person is asked that holds images."""
    return [one for one in told(box, "tasks", "--json")["tasks"] if one["blocks"]]


def test_a_slip_is_corrected_at_the_archive_and_a_mix_up_waits_for_a_person(tmp_path: Path) -> None:
    port = free_port()
    with (
        orthanc(tmp_path / "orthanc") as pacs,
        gateway(tmp_path / "gw", to=[To(port=pacs.port, ae="ORTHANC", confirm="query")], mllp=port) as box,
    ):
        order(port, ADA, "ACC1", ORDERED)
        order(port, BEN, "ACC2", OTHER)
        slipped = scanned(tmp_path / "sent", box, 1, study=ORDERED, accession="ACC1", **SLIPPED)
        mixed = scanned(tmp_path / "sent", box, 2, study=MIXED, accession="ACC1", **BEN)
        late = scanned(tmp_path / "sent", box, 3, study=LATE, accession="ACC3", **SLIPPED)
        box.until_confirmed([slipped, late])

        # Proven: corrected, what was there before is in the image, and not a bit of its picture is different
        sent = dcmread(tmp_path / "sent" / f"{slipped}.dcm")
        got = arrived(pacs, slipped)
        assert got.PatientName == ADA["PatientName"]
        originals = got.OriginalAttributesSequence
        assert {one.ReasonForTheAttributeModification for one in originals} <= {"CORRECT", "COERCE"}
        assert SLIPPED["PatientName"] in [one.ModifiedAttributesSequence[0].get("PatientName") for one in originals]
        assert got.PixelData == sent.PixelData
        assert (got.StudyInstanceUID, got.SOPInstanceUID) == (sent.StudyInstanceUID, sent.SOPInstanceUID)

        # Nothing known: gone at once as it came, and a person is asked; the order that comes late corrects no more
        assert arrived(pacs, late).PatientName == SLIPPED["PatientName"]
        order(port, ADA, "ACC3", LATE)

        # Two patients: held through a crash, until a person says whose it is
        box.until(lambda: blocking(box), what="a person is asked")
        box.kill()
        box.start()
        (task,) = blocking(box)
        assert task["study"] == MIXED
        assert mixed not in pacs.by_sop_instance_uid()
        told(box, "decide", str(task["id"]), "--order", "ACC2", "--why", "wristband")
        box.until_confirmed([mixed])
        got = arrived(pacs, mixed)
        assert (got.PatientID, got.AccessionNumber) == (BEN["PatientID"], "ACC2")
        box.until(lambda: asked(box) == [("after-delivery", LATE)], what="only what the archive has already is asked")


def test_undo_after_delivery_is_read_back_and_an_archive_that_keeps_the_old_is_named(tmp_path: Path) -> None:
    port = free_port()
    with (
        orthanc(tmp_path / "orthanc", config={"OverwriteInstances": True}) as pacs,
        gateway(tmp_path / "gw", to=[To(port=pacs.port, ae="ORTHANC", confirm="query")], mllp=port) as box,
    ):
        order(port, ADA, "ACC1", ORDERED)
        slipped = scanned(tmp_path / "sent", box, 1, study=ORDERED, accession="ACC1", **SLIPPED)
        box.until_confirmed([slipped])
        assert arrived(pacs, slipped).PatientName == ADA["PatientName"]
        told(box, "undo", ORDERED, "--why", "married since")

        def outcomes() -> list[str]:
            return [row["outcome"] for row in box.rows("SELECT outcome FROM read_back")]

        box.until(lambda: outcomes() == ["shown"], what="the archive shows what came from the scanner")
        got = arrived(pacs, slipped)
        assert got.PatientName == SLIPPED["PatientName"]
        assert "OriginalAttributesSequence" not in got


def test_a_hold_ends_with_the_order_or_with_its_time_but_for_two_patients(tmp_path: Path) -> None:
    port = free_port()
    with (
        orthanc(tmp_path / "pacs") as pacs,
        orthanc(tmp_path / "aside") as aside,
        gateway(
            tmp_path / "gw",
            to=[
                To(port=pacs.port, ae="ORTHANC", confirm="query"),
                To(port=aside.port, ae="ORTHANC", name="aside", confirm="query"),
            ],
            mllp=port,
            check='hold = { default = "12s" }',
        ) as box,
    ):
        order(port, ADA, "ACC1", ORDERED)
        order(port, BEN, "ACC2", OTHER)
        awaited = scanned(tmp_path / "sent", box, 1, study=LATE, accession="ACC3", **SLIPPED)
        order(port, ADA, "ACC3", LATE)  # at once: the hold lasts real seconds
        mixed = scanned(tmp_path / "sent", box, 2, study=MIXED, accession="ACC1", **BEN)
        unknown = scanned(tmp_path / "sent", box, 3, study=objects.uid("nobody"), accession="ACC9", **EVA)
        box.until_confirmed([awaited])
        assert arrived(pacs, awaited).PatientName == ADA["PatientName"]
        box.until_confirmed([unknown], destination="aside")
        assert list(arrived(aside, unknown)) == list(dcmread(tmp_path / "sent" / f"{unknown}.dcm"))
        assert set(pacs.by_sop_instance_uid()) == {awaited}
        assert set(aside.by_sop_instance_uid()) == {unknown}
        (task,) = blocking(box)
        assert task["study"] == MIXED
        told(box, "release", mixed_id(box, mixed))
        box.until_confirmed([mixed])


def test_a_merge_reaches_what_has_not_left_and_what_follows_and_leaves_what_has_left_alone(tmp_path: Path) -> None:
    port, place = free_port(), free_port()
    former = {**ADA, "PatientID": "79990001"}
    with gateway(tmp_path / "gw", to=[To(port=place)], mllp=port) as box:
        order(port, former, "ACC1", ORDERED)
        order(port, former, "ACC2", OTHER)
        with storage_scp(place) as pacs:
            left = scanned(tmp_path / "sent", box, 1, study=OTHER, accession="ACC2", **former)
            box.until_confirmed([left])
            assert [str(one.PatientID) for one in taken(pacs, left)] == [former["PatientID"]]
        waiting = scanned(tmp_path / "sent", box, 2, study=ORDERED, accession="ACC1", **former)
        box.until(lambda: waiting in box.states(), what="it is prepared for an archive that is away")
        merge(port, former, ADA)
        # Nothing else makes the study be looked at again: the archive stays away and no image of it comes until then
        box.until(lambda: edited(box, ORDERED, ADA["PatientID"]), what="the merge is followed to what waits")
        box.until(lambda: edited(box, OTHER, ADA["PatientID"]), what="the merge is followed to what has left")

        with storage_scp(place) as pacs:
            late = scanned(tmp_path / "sent", box, 3, study=ORDERED, accession="ACC1", **former)
            box.until_confirmed([waiting, late])
            for uid in (waiting, late):
                sent, images = dcmread(tmp_path / "sent" / f"{uid}.dcm"), taken(pacs, uid)
                assert images
                for got in images:
                    assert got.PatientID == ADA["PatientID"]
                    assert former["PatientID"] in [
                        one.ModifiedAttributesSequence[0].get("PatientID") for one in got.OriginalAttributesSequence
                    ]
                    assert got.PixelData == sent.PixelData
                    assert (got.StudyInstanceUID, got.SOPInstanceUID) == (ORDERED, uid)
            # An archive renames what it has by its own ADT (IHE PIR): nothing is sent again, and nobody is asked
            assert not pacs.stored(left)
            assert [row["state"] for row in box.deliveries() if row["SOPInstanceUID"] == left] == ["confirmed"]
        assert asked(box) == []


def mixed_id(box: Gateway, uid: str) -> str:
    """Our id of the image."""
    (row,) = [one for one in box.instances() if one["SOPInstanceUID"] == uid]
    return str(row["id"])
