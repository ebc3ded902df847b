"""The simulated PACS before our scanner, DCMTK and pynetdicom: what it holds, what it proves, how it fails."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pydicom
import pytest
import xxhash

from gateway.simulate.acceptor import free_port, hosted
from gateway.simulate.archive import part10_files, read_file
from gateway.simulate.commitment import CLASS_CONFLICT, NO_SUCH_OBJECT, PROCESSING_FAILURE, Reference
from gateway.simulate.pacs import PacsBehaviour, PacsSimulator, ReportTo
from gateway.simulate.scanner import Scanner, Sent
from gateway.simulate.study import Modality, make_study
from tests.peers import dcmtk, pynetdicom_scu
from tests.peers.bundled import data_set_bytes

AT = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
IMPLICIT_VR_LITTLE_ENDIAN = "1.2.840.10008.1.2"
CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    return make_study({}, Modality.CT, tmp_path / "made", at=AT, instances=3, rows=64, columns=64)


@pytest.fixture
def pacs(tmp_path: Path) -> Iterator[PacsSimulator]:
    pacs = PacsSimulator(folder=tmp_path / "pacs")
    with hosted(pacs):
        yield pacs


def scanner(pacs: PacsSimulator, *, timeout: float = 60) -> Scanner:
    return Scanner(host="127.0.0.1", port=pacs.port, called_ae=pacs.ae, calling_ae="CT1", timeout=timeout)


def expected_hash(path: Path) -> str:
    syntax = pydicom.dcmread(path, stop_before_pixels=True).file_meta.TransferSyntaxUID
    return xxhash.xxh3_128_hexdigest(syntax.encode() + data_set_bytes(path))


def test_every_modality_arrives_byte_exact(pacs: PacsSimulator, tmp_path: Path) -> None:
    made = [
        path
        for modality in Modality
        for path in make_study({}, modality, tmp_path / "all", at=AT, rows=32, columns=33, frames=2, instances=2)
    ]
    acknowledged: list[Sent] = []
    sent = scanner(pacs).send(made, acknowledged=acknowledged.append)
    assert [one.status for one in sent] == [0] * 10
    assert acknowledged == sent
    for one in sent:
        held = pacs.held[one.SOPInstanceUID]
        assert (held.content_hash, held.received) == (expected_hash(one.path), 1)
        assert held.path is not None
        assert data_set_bytes(held.path) == data_set_bytes(one.path)
    assert sorted(part10_files(tmp_path / "pacs")) == sorted(held.path for held in pacs.held.values() if held.path)


def test_the_second_time_counts_and_the_first_bytes_stay(pacs: PacsSimulator, files: list[Path]) -> None:
    scanner(pacs).send(files)
    scanner(pacs).send(files[:1])
    changed = pydicom.dcmread(files[0])
    changed.SeriesDescription = "TEST OTHER"
    changed.save_as(files[0].with_name("changed.dcm"))
    first = expected_hash(files[0])
    (sent,) = scanner(pacs).send([files[0].with_name("changed.dcm")])
    held = pacs.held[sent.SOPInstanceUID]
    assert (held.received, held.differing, held.content_hash) == (3, 1, first)


def test_a_new_simulator_on_the_folder_holds_the_same(tmp_path: Path, files: list[Path]) -> None:
    folder = tmp_path / "pacs"
    with hosted(pacs := PacsSimulator(folder=folder)):
        scanner(pacs).send(files)
    (folder / "half.part").write_bytes(b"x")
    again = PacsSimulator(folder=folder)
    assert dict(again.held) == dict(pacs.held)
    assert len(again.held) == 3
    assert not list(folder.glob("*.part"))


def test_storescu_stores_and_findscu_finds_by_uid_list(pacs: PacsSimulator, files: list[Path], tmp_path: Path) -> None:
    assert dcmtk.storescu(pacs.port, files, called="PACS").succeeded
    uids = sorted(pacs.held)
    keys = ["QueryRetrieveLevel=IMAGE", "StudyInstanceUID", f"SOPInstanceUID={uids[0]}\\{uids[2]}\\1.2.3"]
    answer = dcmtk.findscu(pacs.port, keys, folder=tmp_path / "found", called="PACS", model="-S")
    assert answer.succeeded
    assert sorted(row.SOPInstanceUID for row in answer.rows) == [uids[0], uids[2]]
    assert {row.StudyInstanceUID for row in answer.rows} == {pacs.held[uids[0]].StudyInstanceUID}
    others = ["QueryRetrieveLevel=IMAGE", "StudyInstanceUID=1.2.3", "SOPInstanceUID"]
    assert dcmtk.findscu(pacs.port, others, folder=tmp_path / "none", called="PACS", model="-S").rows == ()
    study = [f"StudyInstanceUID={pacs.held[uids[0]].StudyInstanceUID}", "QueryRetrieveLevel=IMAGE", "SOPInstanceUID"]
    assert len(dcmtk.findscu(pacs.port, study, folder=tmp_path / "study", called="PACS", model="-S").rows) == 3


def test_a_pacs_of_implicit_only_takes_nothing_else(tmp_path: Path, files: list[Path]) -> None:
    with hosted(pacs := PacsSimulator(transfer_syntaxes={IMPLICIT_VR_LITTLE_ENDIAN})):
        assert [one.status for one in scanner(pacs).send(files)] == [None] * 3
        implicit = make_study({}, Modality.SR, tmp_path / "implicit", at=AT, transfer_syntax=IMPLICIT_VR_LITTLE_ENDIAN)
        assert [one.status for one in scanner(pacs).send(implicit)] == [0]
    assert {held.TransferSyntaxUID for held in pacs.held.values()} == {IMPLICIT_VR_LITTLE_ENDIAN}


def test_commitment_on_the_same_association_names_each_failure(pacs: PacsSimulator, files: list[Path]) -> None:
    references = [one.reference for one in scanner(pacs).send(files)]
    whole = scanner(pacs).commit(references, wait=60)
    assert whole is not None
    assert whole.committed == {one.SOPInstanceUID for one in references}
    assert whole.failed == {}
    pacs.fail.add(references[0].SOPInstanceUID)
    asked = [*references[:2], Reference(CT_IMAGE + ".1", references[2].SOPInstanceUID), Reference(CT_IMAGE, "1.2.3")]
    partly = scanner(pacs).commit(asked, wait=60)
    assert partly is not None
    assert partly.committed == {references[1].SOPInstanceUID}
    assert partly.failed == {
        references[0].SOPInstanceUID: PROCESSING_FAILURE,
        references[2].SOPInstanceUID: CLASS_CONFLICT,
        "1.2.3": NO_SUCH_OBJECT,
    }


@pytest.mark.slow
def test_pynetdicom_gets_its_result_on_either_association(pacs: PacsSimulator, files: list[Path]) -> None:
    asked = [*(one.reference for one in scanner(pacs).send(files)), Reference(CT_IMAGE, "1.2.3")]
    status, same = pynetdicom_scu.request_commitment(pacs.port, asked, called="PACS")
    port = free_port()
    pacs.report_to = ReportTo(host="127.0.0.1", port=port, ae="PYNETDICOM")
    again, other = pynetdicom_scu.request_commitment(pacs.port, asked, called="PACS", own_port=port)
    assert (status, again) == (0, 0)
    for report in (same, other):
        assert report is not None
        assert {item.ReferencedSOPInstanceUID for item in report.ReferencedSOPSequence} == set(pacs.held)
        assert [item.FailureReason for item in report.FailedSOPSequence] == [NO_SUCH_OBJECT]


@pytest.mark.slow
def test_a_silent_pacs_accepts_the_request_only(pacs: PacsSimulator, files: list[Path]) -> None:
    sent = scanner(pacs).send(files)
    pacs.silent = True
    assert scanner(pacs).commit([one.reference for one in sent], wait=0.3) is None
    assert pacs.commitments == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("behaviour", "statuses", "stored"),
    [
        (PacsBehaviour.REFUSE, [0xA700] * 3, 0),
        (PacsBehaviour.FAIL, [0xC000] * 3, 0),
        (PacsBehaviour.ABORT, [None] * 3, 0),
        (PacsBehaviour.DROP_RESPONSE, [None] * 3, 1),
        (PacsBehaviour.HANG, [None] * 3, 0),
        (PacsBehaviour.DOWN, [None] * 3, 0),
    ],
)
def test_each_failure_is_the_one_asked_for_and_passes(
    tmp_path: Path, files: list[Path], behaviour: PacsBehaviour, statuses: list[int | None], stored: int
) -> None:
    with hosted(pacs := PacsSimulator(folder=tmp_path / "pacs")) as host:
        host.call(pacs.behave(behaviour))
        timeout = 1 if behaviour is PacsBehaviour.HANG else 60  # for a slow machine: the others end by themselves
        assert [one.status for one in scanner(pacs, timeout=timeout).send(files)] == statuses
        assert len(pacs.held) == stored
        host.call(pacs.behave(PacsBehaviour.UP))
        assert [one.status for one in scanner(pacs).send(files)] == [0, 0, 0]
    assert {held.content_hash for held in pacs.held.values()} == set(map(expected_hash, files))
    assert not list((tmp_path / "pacs").glob("*.part"))


def test_a_scanner_gets_everything_through_a_flapping_pacs(tmp_path: Path) -> None:
    many = make_study({}, Modality.SR, tmp_path / "made", at=AT, instances=20)
    with hosted(pacs := PacsSimulator()) as host:
        host.call(pacs.behave(PacsBehaviour.FLAP, seed=7))
        tries: Counter[str] = Counter()
        sent = scanner(pacs).send_until_accepted(
            many,
            give_up_after=60,
            pause=0,
            acknowledged=lambda one: tries.update([one.SOPInstanceUID]),
        )
    assert all(one.accepted for one in sent)
    assert tries == Counter({one.SOPInstanceUID: 1 for one in sent})
    assert {one.content_hash for one in pacs.held.values()} == {read_file(path).content_hash for path in many}
    assert sum(held.received for held in pacs.held.values()) > len(many)  # some responses were dropped
    assert all(held.differing == 0 for held in pacs.held.values())


def test_a_scanner_gives_up_when_told_to(files: list[Path]) -> None:
    times = iter([0.0, 1.0, 11.0])
    waits: list[float] = []
    with hosted(refusing := PacsSimulator(behaviour=PacsBehaviour.REFUSE)):
        sent = scanner(refusing).send_until_accepted(
            files, give_up_after=10, pause=3, monotonic=lambda: next(times), sleep=waits.append
        )
    assert [one.status for one in sent] == [0xA700] * 3
    assert waits == [3]
