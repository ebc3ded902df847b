"""DCMTK on every side of the gateway: its SCUs as scanners, storescp as PACS, wlmscpfs as RIS."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless

from tests.journeys.gateway_process import From, Gateway, To, gateway
from tests.peers import dcmtk, needs, objects, pynetdicom_scu
from tests.peers.bundled import data_set_bytes

pytestmark = [pytest.mark.slow, needs.dcmtk]

TODAY = f"{datetime.now(UTC):%Y%m%d}"
ROWS = [
    objects.scheduled(1, start=TODAY),
    objects.scheduled(2, start=TODAY, station="MR1", modality="MR"),
    objects.scheduled(3, start=TODAY, name="TEST^M\u00dcLLER^Jane"),
]


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway between wlmscpfs and storescp."""
    folder = tmp_path_factory.mktemp("dcmtk")
    with (
        dcmtk.wlmscpfs(folder / "ris", worklist={"RIS": ROWS}) as ris,
        dcmtk.storescp(folder / "pacs", ae="PACS") as pacs,
        gateway(folder / "gw", to=[To(port=pacs.port)], ris=[From(port=ris.port)]) as box,
    ):
        box.until(lambda: len(box.rows("SELECT * FROM worklist_row")) == len(ROWS), what="the copy is filled")
        yield box


def _found(box: Gateway, folder: Path, *keys: str) -> list[str]:
    asked = ["PatientName", "AccessionNumber", *keys]
    answer = dcmtk.findscu(box.port, asked, folder=folder, called="GATEWAY_MWL", calling="CT1")
    assert answer.succeeded
    return sorted(str(row.AccessionNumber) for row in answer.rows)


@pytest.mark.parametrize("title", ["GATEWAY", "GATEWAY_MWL", "SECOND", "gateway"])
def test_every_ae_title_answers_an_echo(box: Gateway, title: str) -> None:
    assert dcmtk.echoscu(box.port, called=title).succeeded


def test_findscu_gets_the_rows_its_keys_ask_for(box: Gateway, tmp_path: Path) -> None:
    step = "ScheduledProcedureStepSequence[0]"
    assert _found(box, tmp_path / "all") == ["ACC00001", "ACC00002", "ACC00003"]
    assert _found(box, tmp_path / "date", f"{step}.ScheduledProcedureStepStartDate={TODAY}") == [
        "ACC00001",
        "ACC00002",
        "ACC00003",
    ]
    assert _found(box, tmp_path / "past", f"{step}.ScheduledProcedureStepStartDate=-20200101") == []
    assert _found(box, tmp_path / "modality", f"{step}.Modality=MR") == ["ACC00002"]
    assert _found(box, tmp_path / "station", f"{step}.ScheduledStationAETitle=CT1") == ["ACC00001", "ACC00003"]
    assert _found(box, tmp_path / "name", "PatientName=test^patient*") == ["ACC00001", "ACC00002"]
    assert _found(box, tmp_path / "accession", "AccessionNumber=ACC00002") == ["ACC00002"]
    assert _found(box, tmp_path / "nobody", "PatientName=NOBODY*") == []


def test_findscu_gets_the_return_keys_it_asks_for(box: Gateway, tmp_path: Path) -> None:
    asked = [
        "PatientName",
        "PatientID=TEST00003",
        "StudyInstanceUID",
        "PatientWeight",
        "Occupation",
        "ScheduledProcedureStepSequence[0].ScheduledProcedureStepID",
    ]
    answer = dcmtk.findscu(box.port, asked, folder=tmp_path, called="GATEWAY_MWL")
    assert answer.succeeded
    (row,) = answer.rows
    assert str(row.PatientName) == "TEST^M\u00dcLLER^Jane"
    assert row.StudyInstanceUID == ROWS[2].StudyInstanceUID
    assert float(row.PatientWeight) == 70
    assert row.Occupation is None or row.Occupation == ""
    (step,) = row.ScheduledProcedureStepSequence
    assert step.ScheduledProcedureStepID == "SPS3"
    assert "Modality" not in step
    assert "AccessionNumber" not in row


def test_storescu_and_dcmsend_reach_storescp(box: Gateway, tmp_path: Path) -> None:
    files = [objects.write(tmp_path, make(7)) for make in objects.KINDS.values()]
    assert dcmtk.storescu(box.port, files[:3], called="GATEWAY").statuses == (0, 0, 0)
    assert dcmtk.dcmsend(box.port, files[3:], called="SECOND").statuses == (0, 0)
    box.until_confirmed([path.stem for path in files])
    held = {path.stem: path for path in _received_by_uid(box)}
    for path in files:
        sent, got = dcmread(path), dcmread(held[path.stem])
        assert [element for element in got if element.tag.group != 2] == list(sent)


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian, RLELossless])
def test_storescp_gets_the_bytes_that_came(box: Gateway, tmp_path: Path, syntax: str) -> None:
    path = objects.write(tmp_path, objects.ct(study=syntax), transfer_syntax=syntax)
    (sent,) = pynetdicom_scu.send_verbatim(box.port, [path], called="GATEWAY")
    assert sent.status == 0
    box.until_confirmed([path.stem])
    (got,) = [one for one in _received_by_uid(box) if one.stem == path.stem]
    assert dcmread(got).file_meta.TransferSyntaxUID == syntax
    assert data_set_bytes(got) == data_set_bytes(path)


def test_termscu_is_refused_and_the_box_stays_up(box: Gateway) -> None:
    answer = dcmtk.termscu(box.port, called="GATEWAY")
    assert "No Acceptable Presentation Contexts" in answer.output
    assert dcmtk.echoscu(box.port, called="GATEWAY").succeeded
    assert box.running


def _received_by_uid(box: Gateway) -> list[Path]:
    """storescp names files by modality and UID; give them back under their UID alone."""
    folder = box.folder.parent / "pacs"
    named = folder / "by-uid"
    named.mkdir(exist_ok=True)
    for path in dcmtk.received_files(folder):
        target = named / f"{dcmread(path, stop_before_pixels=True).SOPInstanceUID}.dcm"
        if not target.exists():
            target.symlink_to(path)
    return sorted(named.iterdir())
