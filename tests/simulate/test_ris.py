"""The simulated RIS before our scanner, DCMTK's findscu and pynetdicom."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime
from io import BytesIO
from pathlib import Path

import pytest
from pynetdicom.dsutils import decode

from gateway.dicom.elements import Element
from gateway.domain.model import TemporaryFailure
from gateway.net.dicom_client import AssociationRefused, TransportFailure
from gateway.simulate.acceptor import hosted
from gateway.simulate.keywords import text
from gateway.simulate.ris import RisBehaviour, RisSimulator, sample_row, sample_rows
from gateway.simulate.scanner import QueryFailed, Scanner, Sent
from gateway.simulate.study import Modality, make_study
from tests.peers import dcmtk, pynetdicom_scu
from tests.peers.pynetdicom_mpps import mpps_scp

DAY = date(2026, 3, 2)


@pytest.fixture
def ris() -> Iterator[RisSimulator]:
    ris = RisSimulator(rows=sample_rows(DAY))
    with hosted(ris):
        yield ris


def scanner(ris: RisSimulator, *, called: str = "RIS", timeout: float = 60) -> Scanner:
    return Scanner(host="127.0.0.1", port=ris.port, called_ae=called, calling_ae="CT1", timeout=timeout)


def test_every_row_is_answered_and_keys_narrow(ris: RisSimulator) -> None:
    asking = scanner(ris)
    assert asking.echo() == 0
    assert len(asking.query()) == 12
    assert {text(row, "Modality") for row in asking.query(Modality="MR")} == {"MR"}
    assert asking.query(ScheduledProcedureStepStartDate="20260303") == []
    assert len(asking.query(ScheduledProcedureStepStartDate="20260301-20260302", ScheduledStationAETitle="US1")) == 3
    assert ris.queries == 4


def test_names_arrive_in_the_character_set_of_their_row(ris: RisSimulator) -> None:
    ris.rows = [sample_row(DAY, "CT", "CT1", number) for number in range(6)]
    names = {text(row, "PatientName") for row in scanner(ris).query()}
    assert {"TEST^J\u00dcRGEN", "TEST^\u0141UCJA"} <= names
    assert [text(row, "PatientName") for row in scanner(ris).query(PatientName="TEST^J\u00dc*")] == ["TEST^J\u00dcRGEN"]


def test_findscu_gets_its_rows(ris: RisSimulator, tmp_path: Path) -> None:
    keys = ["PatientName=TEST*", "PatientID", "ScheduledProcedureStepSequence[0].Modality=DX"]
    answer = dcmtk.findscu(ris.port, keys, folder=tmp_path, called="RIS")
    assert answer.succeeded
    assert sorted(str(row.PatientID) for row in answer.rows) == [f"TEST-260302DX00{number}" for number in range(3)]


@pytest.mark.slow
def test_a_scanner_that_cancels_gets_no_more_than_it_can_have_been_sent(ris: RisSimulator) -> None:
    comment = (0x00401400, Element("LT", b"x" * 10_000))
    # More megabytes than the kernel takes off the hands of a server whose peer reads little
    ris.rows = [dict([*sample_row(DAY, "CT", "CT1", number).items(), comment]) for number in range(1500)]
    query = pynetdicom_scu.worklist_query(RequestedProcedureComments="")
    found = pynetdicom_scu.find_worklist(ris.port, query, called="RIS", cancel_after=5)
    assert found.status == 0xFE00
    assert len(found.rows) < 1500
    assert ris.cancelled == 1
    assert len(scanner(ris).query(limit=7)) == 7


@pytest.mark.slow
def test_each_failure_is_the_one_asked_for(ris: RisSimulator) -> None:
    ris.behaviour = RisBehaviour.EMPTY
    assert scanner(ris).query() == []
    ris.behaviour = RisBehaviour.FAIL
    with pytest.raises(QueryFailed, match="C001"):
        scanner(ris).query()
    ris.behaviour = RisBehaviour.REFUSE
    with pytest.raises(AssociationRefused):
        scanner(ris).query()
    ris.behaviour = RisBehaviour.HANG
    with pytest.raises(TransportFailure) as silent:
        scanner(ris, timeout=0.3).query()
    assert silent.value.code == "silence"
    ris.behaviour = RisBehaviour.ABORT_MIDWAY
    with pytest.raises(TransportFailure) as aborted:
        scanner(ris).query()
    assert aborted.value.code == "abort"
    ris.behaviour = RisBehaviour.ANSWER
    assert len(scanner(ris).query()) == 12


def test_another_ae_title_is_refused(ris: RisSimulator) -> None:
    with pytest.raises(AssociationRefused):
        scanner(ris, called="OTHER").query()


def test_it_comes_back_on_its_port() -> None:
    ris = RisSimulator(rows=sample_rows(DAY))
    with hosted(ris) as host:
        port = ris.port
        host.call(ris.stop())
        with pytest.raises(TemporaryFailure):
            scanner(ris).echo()
        host.call(ris.start())
        assert ris.port == port
        assert scanner(ris).echo() == 0


def test_a_step_is_taken_by_the_letter(ris: RisSimulator, tmp_path: Path) -> None:
    performing = scanner(ris)
    (entry,) = performing.query(limit=1)
    at = datetime(2026, 3, 2, 9, tzinfo=UTC)
    step = performing.begin_step(entry, at=at)
    assert ris.steps == {step: "IN PROGRESS"}
    performing.end_step(step, [], at=at)
    assert ris.steps == {step: "COMPLETED"}
    with pytest.raises(TemporaryFailure, match="0110"):
        performing.end_step(step, [], at=at, completed=False)
    with pytest.raises(TemporaryFailure, match="0112"):
        performing.end_step("2.25.9", [], at=at)
    ris.behaviour = RisBehaviour.FAIL
    with pytest.raises(TemporaryFailure, match="0110"):
        performing.begin_step(entry, at=at)


def test_our_steps_are_read_by_pynetdicom(tmp_path: Path) -> None:
    entry = sample_row(DAY, "CT", "CT1", 2)
    files = make_study(
        entry, Modality.CT, tmp_path, at=datetime(2026, 3, 2, tzinfo=UTC), instances=3, rows=8, columns=8
    )
    sent = [
        Sent(path=path, SOPClassUID="1.2.840.10008.5.1.4.1.1.2", SOPInstanceUID=path.stem, status=0) for path in files
    ]
    with mpps_scp() as scp:
        performing = Scanner(host="127.0.0.1", port=scp.port, called_ae="RIS", calling_ae="CT1")
        step = performing.begin_step(entry, at=datetime(2026, 3, 2, 9, tzinfo=UTC))
        performing.end_step(step, sent, at=datetime(2026, 3, 2, 10, tzinfo=UTC))
    began, over = (decode(BytesIO(one.dataset), False, True) for one in scp.told)
    assert scp.requests(step) == ["N-CREATE", "N-SET"]
    assert str(began.PatientName) == text(entry, "PatientName")
    assert began.ScheduledStepAttributesSequence[0].StudyInstanceUID == text(entry, "StudyInstanceUID")
    (series,) = over.PerformedSeriesSequence
    assert len(series.ReferencedImageSequence) == 3
    assert series.SeriesInstanceUID
