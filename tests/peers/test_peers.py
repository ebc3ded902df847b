"""The test peers against each other: each helper is believed only because a foreign program agrees with it."""

import threading
import time
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)
from pynetdicom.association import Association

from tests.peers import dcmtk, needs, node_peer, objects, processes, pynetdicom_scp, pynetdicom_scu
from tests.peers.bundled import data_set_bytes, sendable_pydicom_files
from tests.peers.orthanc import Modality, orthanc

NATIVE = (ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian)
pytestmark = pytest.mark.slow


@needs.dcmtk
def test_dcmtk_senders_reach_storescp(tmp_path: Path) -> None:
    files = [objects.write(tmp_path / "in", make()) for make in objects.KINDS.values()]
    with dcmtk.storescp(tmp_path / "pacs") as pacs:
        assert dcmtk.echoscu(pacs.port, called="STORESCP").succeeded
        assert dcmtk.storescu(pacs.port, files[:2], called="STORESCP").statuses == (0, 0)
        assert dcmtk.dcmsend(pacs.port, files[2:], called="STORESCP").statuses == (0, 0, 0)
    uids = {str(dcmread(path).SOPInstanceUID) for path in dcmtk.received_files(tmp_path / "pacs")}
    assert uids == {path.stem for path in files}


@needs.dcmtk
def test_a_refused_store_is_not_success(tmp_path: Path) -> None:
    file = objects.write(tmp_path, objects.ct())
    with pynetdicom_scp.storage_scp(answer=lambda _: 0xA700) as pacs:
        answer = dcmtk.storescu(pacs.port, [file], called="PACS")
    assert answer.statuses == (0xA700,)
    assert not answer.succeeded
    assert not pacs.received


@needs.dcmtk
def test_termscu_is_refused_by_wlmscpfs(tmp_path: Path) -> None:
    with dcmtk.wlmscpfs(tmp_path, worklist={"RIS": []}) as ris:
        assert not dcmtk.termscu(ris.port, called="RIS").succeeded
        assert ris.running


@needs.dcmtk
def test_findscu_and_pynetdicom_read_wlmscpfs(tmp_path: Path) -> None:
    rows = [objects.scheduled(n, station="CT1" if n % 2 else "MR1", modality="CT" if n % 2 else "MR") for n in range(5)]
    with dcmtk.wlmscpfs(tmp_path / "ris", worklist={"RIS": rows}) as ris:
        keys = ["PatientName", "PatientID", "ScheduledProcedureStepSequence[0].Modality=CT"]
        answer = dcmtk.findscu(ris.port, keys, folder=tmp_path / "out", called="RIS")
        found = pynetdicom_scu.find_worklist(ris.port, pynetdicom_scu.worklist_query(Modality="MR"), called="RIS")
        dcmtk.write_worklist(tmp_path / "ris", "RIS", [])
        empty = dcmtk.findscu(ris.port, keys, folder=tmp_path / "empty", called="RIS")
    assert answer.succeeded
    assert {str(row.PatientID) for row in answer.rows} == {"TEST00001", "TEST00003"}
    assert {str(row.PatientID) for row in found.rows} == {"TEST00000", "TEST00002", "TEST00004"}
    assert found.status == 0
    assert empty.succeeded
    assert empty.rows == ()


@needs.dcmtk
def test_cancel_stops_the_worklist(tmp_path: Path) -> None:
    with pynetdicom_scp.worklist_scp(rows=[objects.scheduled(n) for n in range(300)]) as ris:
        answer = dcmtk.findscu(ris.port, ["PatientName"], folder=tmp_path, called="RIS", options=["--cancel", "3"])
        assert ris.cancelled.wait(60)
        found = pynetdicom_scu.find_worklist(ris.port, pynetdicom_scu.worklist_query(), called="RIS", cancel_after=3)
    assert 0xFE00 in answer.statuses
    assert found.status == 0xFE00
    assert 0 <= found.after_cancel < 297
    assert [calling for calling, _ in ris.queries] == ["FINDSCU", "PYNETDICOM"]


def test_verbatim_sender_and_recorder_keep_every_byte(tmp_path: Path) -> None:
    made = [(make(), ts) for ts in (*NATIVE, RLELossless) for make in (objects.ct, objects.us)]
    files = [objects.write(tmp_path / ts, ds, transfer_syntax=ts) for ds, ts in made]
    with pynetdicom_scp.storage_scp() as pacs:
        sent = pynetdicom_scu.send_verbatim(pacs.port, files, called="PACS")
    assert {one.status for one in sent} == {0}
    assert [one.dataset for one in pacs.received] == [data_set_bytes(path) for path in files]
    assert [one.TransferSyntaxUID for one in pacs.received] == [ts for _, ts in made]


def test_an_answer_is_left_to_who_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """pynetdicom's own thread, scheduled as late as can be: it goes on when the answer is there."""

    def late(assoc: Association, paused: bool) -> None:
        limit = time.monotonic() + 1
        while assoc.is_requestor and not paused and assoc.dimse.msg_queue.empty() and time.monotonic() < limit:
            time.sleep(0.001)
        vars(assoc)["paused"] = paused

    path = objects.write(tmp_path / "a.dcm", objects.ct())
    with pynetdicom_scp.storage_scp() as pacs:
        monkeypatch.setattr(
            Association, "_is_paused", property(lambda assoc: vars(assoc)["paused"], late), raising=False
        )
        sent = pynetdicom_scu.send_verbatim(pacs.port, [path] * 3, called="PACS", limit=20)
    assert [one.status for one in sent] == [0, 0, 0]


@needs.dcmtk
def test_a_hung_peer_accepts_connections_and_says_nothing(tmp_path: Path) -> None:
    with dcmtk.storescp(tmp_path) as pacs:
        pacs.hang()
        assert pynetdicom_scu.echo(pacs.port, called="STORESCP", limit=0.3) is None
        pacs.wake()
        assert pynetdicom_scu.echo(pacs.port, called="STORESCP") == 0
        pacs.kill()
        assert pynetdicom_scu.echo(pacs.port, called="STORESCP") is None


@needs.dcmtk
def test_storescp_keeps_received_bytes(tmp_path: Path) -> None:
    files = [objects.write(tmp_path / ts, objects.sr(), transfer_syntax=ts) for ts in NATIVE]
    for number, file in enumerate(files):
        with dcmtk.storescp(tmp_path / str(number)) as pacs:
            assert pynetdicom_scu.send_verbatim(pacs.port, [file], called="STORESCP")[0].status == 0
        (received,) = dcmtk.received_files(tmp_path / str(number))
        assert data_set_bytes(received) == data_set_bytes(file)


def test_a_peer_that_never_answers_costs_the_limit_only(tmp_path: Path) -> None:
    files = objects.study(tmp_path, instances=2)
    released = threading.Event()
    with pynetdicom_scp.storage_scp(answer=lambda uid: 0 if uid != files[0].stem or released.wait(20) else 1) as pacs:
        sent = pynetdicom_scu.send_verbatim(pacs.port, files, called="PACS", limit=3)
        released.set()
    assert [one.status for one in sent] == [None, 0]


def test_every_bundled_file_is_sendable_verbatim() -> None:
    corpus = sendable_pydicom_files()
    with pynetdicom_scp.storage_scp() as pacs:
        sent = pynetdicom_scu.send_verbatim(pacs.port, [one.path for one in corpus], called="PACS")
    assert [one.status for one in sent] == [0] * len(corpus)
    assert [one.dataset for one in pacs.received] == [one.dataset for one in corpus]
    assert len(corpus) > 60
    assert len({one.SOPInstanceUID for one in corpus}) == sum(not one.duplicate for one in corpus)


@needs.dcmtk
def test_a_private_class_is_taken_and_a_narrow_pacs_is_narrow(tmp_path: Path) -> None:
    file = objects.write(tmp_path, objects.ct())
    private = objects.sr(SOPClassUID="1.2.826.0.1.3680043.9.9999.1")
    odd = objects.write(tmp_path, private)
    with pynetdicom_scp.storage_scp(private=[private.SOPClassUID]) as pacs:
        assert pynetdicom_scu.send_verbatim(pacs.port, [odd], called="PACS")[0].status == 0
    with pynetdicom_scp.storage_scp(transfer_syntaxes=[ImplicitVRLittleEndian]) as pacs:
        assert pynetdicom_scu.send_verbatim(pacs.port, [file], called="PACS")[0].status is None
        assert dcmtk.storescu(pacs.port, [file], called="PACS").succeeded
    assert {one.TransferSyntaxUID for one in pacs.received} == {ImplicitVRLittleEndian}


def test_commitment_on_the_same_association(tmp_path: Path) -> None:
    files = objects.study(tmp_path, instances=2)
    pairs = [(objects.CTImageStorage, path.stem) for path in files]
    with pynetdicom_scp.storage_scp(commitment="same", not_stored=[files[1].stem]) as pacs:
        pynetdicom_scu.send_verbatim(pacs.port, files, called="PACS")
        status, report = pynetdicom_scu.request_commitment(pacs.port, pairs, called="PACS")
    assert status == 0
    assert report is not None
    assert [str(item.ReferencedSOPInstanceUID) for item in report.ReferencedSOPSequence] == [files[0].stem]
    assert [str(item.ReferencedSOPInstanceUID) for item in report.FailedSOPSequence] == [files[1].stem]
    assert pacs.report_statuses == [0]


def test_commitment_on_a_new_association(tmp_path: Path) -> None:
    files = objects.study(tmp_path, instances=1)
    pairs = [(objects.CTImageStorage, files[0].stem)]
    own_port = processes.free_port()
    to = pynetdicom_scp.ReportTo(ae="PYNETDICOM", port=own_port)
    with pynetdicom_scp.storage_scp(commitment="new", report_to=to) as pacs:
        pynetdicom_scu.send_verbatim(pacs.port, files, called="PACS")
        status, report = pynetdicom_scu.request_commitment(pacs.port, pairs, called="PACS", own_port=own_port)
        pacs.wait_for(lambda scp: scp.report_statuses == [0])
    assert status == 0
    assert report is not None
    assert "FailedSOPSequence" not in report


@needs.dcmtk
@needs.orthanc
def test_orthanc_sends_receives_and_commits(tmp_path: Path) -> None:
    files = objects.study(tmp_path / "in", "MR", instances=2)
    pairs = [(str(objects.MRImageStorage), path.stem) for path in files]
    own_port = processes.free_port()
    with pynetdicom_scp.storage_scp(
        commitment="new", report_to=pynetdicom_scp.ReportTo(ae="ORTHANC", port=own_port)
    ) as pacs:
        known = {"pacs": Modality(ae="PACS", port=pacs.port), "dcmtk": Modality(ae="STORESCU", port=pacs.port)}
        with orthanc(tmp_path / "orthanc", port=own_port, modalities=known) as viewer:
            viewer.echo("pacs")
            assert dcmtk.storescu(viewer.port, files[:1], called="ANY").succeeded
            viewer.upload(files[1])
            held = viewer.by_sop_instance_uid()
            assert set(held) == {path.stem for path in files}
            viewer.store("pacs", list(held.values()))
            report = viewer.commitment(viewer.request_commitment("pacs", pairs))
            stored = dcmread(tmp_path / "in" / files[0].name)
            (tmp_path / "back.dcm").write_bytes(viewer.file(held[files[0].stem]))
            assert dcmread(tmp_path / "back.dcm").PixelData == stored.PixelData
    assert {one.SOPInstanceUID for one in pacs.received} == set(held)
    assert report["Status"] == "Success"


@needs.orthanc
def test_orthanc_commits_for_others(tmp_path: Path) -> None:
    file = objects.write(tmp_path, objects.ct())
    own_port = processes.free_port()
    with orthanc(tmp_path / "orthanc", modalities={"us": Modality(ae="PYNETDICOM", port=own_port)}) as pacs:
        pynetdicom_scu.send_verbatim(pacs.port, [file], called="ORTHANC")
        pairs = [(objects.CTImageStorage, file.stem), (objects.CTImageStorage, "1.2.3")]
        status, report = pynetdicom_scu.request_commitment(pacs.port, pairs, called="ORTHANC", own_port=own_port)
    assert status == 0
    assert report is not None
    assert [str(item.ReferencedSOPInstanceUID) for item in report.ReferencedSOPSequence] == [file.stem]
    assert [str(item.ReferencedSOPInstanceUID) for item in report.FailedSOPSequence] == ["1.2.3"]


@needs.node
def test_node_queries_and_stores(tmp_path: Path) -> None:
    files = [objects.write(tmp_path / "in", make()) for make in (objects.ct, objects.us)]
    rows = [objects.scheduled(1), objects.scheduled(2, station="MR1", modality="MR")]
    with pynetdicom_scp.worklist_scp(rows=rows) as ris:
        found = node_peer.find(ris.port, called="RIS", keys=["Modality=MR"])
    with pynetdicom_scp.storage_scp(answer=lambda uid: 0xA700 if uid == files[1].stem else 0) as pacs:
        stored = node_peer.store(pacs.port, files[:1], called="PACS")
        refused = node_peer.store(pacs.port, files, called="PACS")
    gone = node_peer.store(pacs.port, files[:1], called="PACS")
    assert found.returncode == 0
    assert [row["PatientID"] for row in found.rows] == ["TEST00001", "TEST00002"]
    assert ris.queries[0][1].ScheduledProcedureStepSequence[0].Modality == "MR"
    assert stored.returncode == 0
    assert (refused.returncode, refused.statuses) == (1, (0, 0xA700))
    assert gone.returncode == 1
    assert gone.problem


def test_the_node_lock_names_no_registry() -> None:
    assert "resolved" not in (node_peer.HOME / "package-lock.json").read_text()


@needs.dcmtk
def test_a_dead_peer_shows_its_output(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError) as failure, dcmtk.storescp(tmp_path, options=["--no-such-option"]):
        pass
    assert "no-such-option" in str(failure.value)


@pytest.mark.parametrize("encapsulated", [False, True])
def test_huge_objects_are_readable_and_deterministic(tmp_path: Path, *, encapsulated: bool) -> None:
    one = objects.write_huge(tmp_path / "a.dcm", frames=3, frame_bytes=3 << 10, encapsulated=encapsulated)
    two = objects.write_huge(tmp_path / "b.dcm", frames=3, frame_bytes=3 << 10, encapsulated=encapsulated)
    assert one.read_bytes() == two.read_bytes()
    ds = dcmread(one)
    assert len(ds.PixelData) == 3 * (3 << 10) + (4 * 8 if encapsulated else 0)
    syntaxes = [objects.ENCAPSULATED_UNCOMPRESSED, ExplicitVRLittleEndian]
    with pynetdicom_scp.storage_scp(transfer_syntaxes=syntaxes) as pacs:
        assert pynetdicom_scu.send_verbatim(pacs.port, [one], called="PACS")[0].status == 0
    assert pacs.received[0].dataset == data_set_bytes(one)
