"""Performed procedure steps: what is read, what is kept, and what an answer means."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dicom.elements import DataSet
from gateway.domain import mpps
from gateway.domain.mpps import Known, Performed, Request, ScheduledReference, StepStatus, Verdict
from gateway.domain.retry import CONTENT_ATTEMPTS, OutcomeKind
from gateway.simulate.keywords import data_set

IN_PROGRESS, COMPLETED, DISCONTINUED = StepStatus.IN_PROGRESS, StepStatus.COMPLETED, StepStatus.DISCONTINUED
CREATE, SET = Request.CREATE, Request.SET


def test_what_a_discontinued_step_says() -> None:
    image = {"ReferencedSOPInstanceUID": "2.25.8"}
    found = mpps.read(
        data_set(
            {
                "PatientID": "TEST-1",
                "Modality": "CT",
                "PerformedProcedureStepID": "PPS1",
                "PerformedStationAETitle": "CT1",
                "PerformedProcedureStepStatus": "DISCONTINUED",
                "ScheduledStepAttributesSequence": [
                    {
                        "StudyInstanceUID": "2.25.1",
                        "AccessionNumber": "A1",
                        "RequestedProcedureID": "P1",
                        "ScheduledProcedureStepID": "S1",
                    }
                ],
                "PerformedProcedureStepDiscontinuationReasonCodeSequence": [
                    {"CodeValue": "110514", "CodingSchemeDesignator": "DCM"}
                ],
                "PerformedSeriesSequence": [
                    {"ReferencedImageSequence": [image, image]},
                    {"ReferencedNonImageCompositeSOPInstanceSequence": [image]},
                ],
            }
        )
    )
    assert found == Performed(
        status=DISCONTINUED,
        PatientID="TEST-1",
        Modality="CT",
        PerformedProcedureStepID="PPS1",
        PerformedStationAETitle="CT1",
        reason="110514^DCM",
        series=2,
        instances=3,
        references=(
            ScheduledReference(
                StudyInstanceUID=mpps.UID("2.25.1"),
                AccessionNumber="A1",
                RequestedProcedureID="P1",
                ScheduledProcedureStepID="S1",
            ),
        ),
    )


@pytest.mark.parametrize("told", ["", "COMPLETE", "\\"])
def test_what_is_no_status_says_nothing(told: str) -> None:
    assert mpps.read(data_set({"PerformedProcedureStepStatus": told})) == Performed()


def test_an_empty_message_says_nothing() -> None:
    nothing: DataSet = {}
    assert mpps.read(nothing) == Performed()


@pytest.mark.parametrize(
    ("before", "told", "after"),
    [
        (StepStatus.UNKNOWN, IN_PROGRESS, IN_PROGRESS),
        (IN_PROGRESS, StepStatus.UNKNOWN, IN_PROGRESS),
        (IN_PROGRESS, COMPLETED, COMPLETED),
        (COMPLETED, IN_PROGRESS, COMPLETED),  # an N-CREATE that comes after its N-SET opens nothing again
        (DISCONTINUED, COMPLETED, DISCONTINUED),
    ],
)
def test_a_final_step_stays(before: StepStatus, told: StepStatus, after: StepStatus) -> None:
    assert mpps.status_after(before, told) is after


@pytest.mark.parametrize(
    ("request_", "known", "verdict"),
    [
        (CREATE, None, Verdict.KEPT),
        (SET, None, Verdict.KEPT),
        (CREATE, Known(status=COMPLETED, created="", last_set="x"), Verdict.KEPT),
        (CREATE, Known(status=IN_PROGRESS, created="new", last_set=""), Verdict.REPEATED),
        (CREATE, Known(status=COMPLETED, created="new", last_set="x"), Verdict.REPEATED),
        (CREATE, Known(status=IN_PROGRESS, created="old", last_set=""), Verdict.DUPLICATE),
        (SET, Known(status=IN_PROGRESS, created="new", last_set=""), Verdict.KEPT),
        (SET, Known(status=IN_PROGRESS, created="", last_set="old"), Verdict.KEPT),
        (SET, Known(status=IN_PROGRESS, created="", last_set="new"), Verdict.REPEATED),
        (SET, Known(status=COMPLETED, created="", last_set="new"), Verdict.REPEATED),
        (SET, Known(status=COMPLETED, created="", last_set="old"), Verdict.FINAL),
        (SET, Known(status=DISCONTINUED, created="", last_set="old"), Verdict.FINAL),
    ],
)
def test_what_becomes_of_a_message(request_: Request, known: Known | None, verdict: Verdict) -> None:
    assert mpps.judge(request_, "new", known) is verdict


@given(st.text(max_size=20), st.binary(max_size=50))
def test_an_assigned_uid_is_a_uid_and_the_same_for_the_same_message(calling: str, content: bytes) -> None:
    digest = mpps.digest("1.2.840.10008.1.2", content)
    uid = mpps.assigned_uid(calling, digest)
    assert uid == mpps.assigned_uid(calling, digest)
    assert len(uid) <= mpps.LONGEST_UID
    root, number = uid.rsplit(".", 1)
    assert (root, str(int(number))) == ("2.25", number)
    assert uid != mpps.assigned_uid(calling, mpps.digest("1.2.840.10008.1.2.1", content))


@pytest.mark.parametrize(
    ("request_", "status", "error_id", "attempts", "kind"),
    [
        (CREATE, 0x0000, 0, 1, OutcomeKind.STORED),
        (SET, 0x0107, 0, 1, OutcomeKind.STORED_WITH_WARNING),
        (CREATE, 0x0116, 0, 1, OutcomeKind.STORED_WITH_WARNING),
        (SET, 0xB000, 0, 1, OutcomeKind.STORED_WITH_WARNING),
        (CREATE, 0x0111, 0, 1, OutcomeKind.DUPLICATE),
        (CREATE, 0x0111, 0, 2, OutcomeKind.DUPLICATE),
        (SET, 0x0111, 0, 2, OutcomeKind.TEMPORARY),
        (SET, 0x0110, 0xA710, 2, OutcomeKind.DUPLICATE),
        (SET, 0x0110, 0xA710, 1, OutcomeKind.PERMANENT),
        (SET, 0x0110, 0, 99, OutcomeKind.TEMPORARY),
        (SET, 0x0112, 0, 1, OutcomeKind.TEMPORARY),
        (SET, 0x0112, 0, CONTENT_ATTEMPTS, OutcomeKind.PERMANENT),
        (CREATE, 0xC001, 0, CONTENT_ATTEMPTS, OutcomeKind.PERMANENT),
        (CREATE, 0x0106, 0, 1, OutcomeKind.PERMANENT),
        (CREATE, 0x0120, 0, 1, OutcomeKind.PERMANENT),
        (CREATE, 0x0124, 0, 1, OutcomeKind.TEMPORARY),
        (CREATE, 0x1234, 0, 99, OutcomeKind.TEMPORARY),
    ],
)
def test_what_an_answer_means(request_: Request, status: int, error_id: int, attempts: int, kind: OutcomeKind) -> None:
    assert mpps.classify_answer(request_, status, error_id=error_id, attempts=attempts).kind is kind


@pytest.mark.parametrize("code", ["0106", "0110", "0112", "A710", "context", "context-refused", "connect", "0000", ""])
def test_every_status_has_words(code: str) -> None:
    assert mpps.reason_of(code)
    assert "gateway's log" not in mpps.reason_of(code)
