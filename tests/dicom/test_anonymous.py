"""Invented values: nothing of a person stays, and a query still finds what it found."""

from __future__ import annotations

import itertools
import random

from gateway.dicom.anonymous import Anonymous
from gateway.dicom.readable import Table, data_set

ROW: Table = {
    "SpecificCharacterSet": "ISO_IR 192",
    "AccessionNumber": "ACC-12345678",
    "PatientName": "Müller-Secret^Änne=山田^太郎",
    "PatientID": "PID4711",
    "PatientBirthDate": "19811224",
    "PatientSex": "F",
    "PatientAddress": "Secret Street 1",
    "StudyInstanceUID": "1.2.276.0.7230010.3.1.2.4711",
    "RequestedProcedureDescription": "CT HEAD",
    "RequestedProcedureComments": "Secret is allergic",
    "PatientWeight": "81.5",
    "0009,1001": {"vr": "LO", "text": "Secret"},
    "0009,1002": {"vr": "SQ", "items": [{"PatientName": "Secret^B"}]},
    "OtherPatientNames": {"vr": "PN", "hex": b"Secret^M\xfcller".hex()},
    "ScheduledProcedureStepSequence": [
        {"Modality": "CT", "ScheduledStationAETitle": "CT1", "ScheduledPerformingPhysicianName": "Secret^Doc"}
    ],
}
QUERY: Table = {
    "AccessionNumber": "acc-1234*",
    "PatientName": "müller-s*",
    "PatientID": "PID4711",
    "StudyInstanceUID": "",
    "ScheduledProcedureStepSequence": [{"ScheduledStationAETitle": "CT1", "Modality": "*"}],
}


def invented(seed: int = 1) -> tuple[Table, Table]:
    anonymous = Anonymous(random.Random(seed).choice)
    return anonymous.table(ROW), anonymous.table(QUERY)


def test_nothing_of_the_person_stays() -> None:
    row, query = invented()
    text = repr((row, query)).casefold()
    for secret in ("secret", "müller", "änne", "山田", "太郎", "4711", "12345678", "19811224", "81.5"):
        assert secret not in text
    assert b"Secret" not in bytes.fromhex(row["OtherPatientNames"]["hex"])
    assert data_set(row)


def test_what_says_nothing_of_a_person_stays() -> None:
    row, query = invented()
    assert {**row, **query}["ScheduledProcedureStepSequence"][0]["ScheduledStationAETitle"] == "CT1"
    kept = ("SpecificCharacterSet", "PatientSex", "RequestedProcedureDescription")
    assert [row[keyword] for keyword in kept] == [ROW[keyword] for keyword in kept]
    assert row["OtherPatientNames"]["hex"] == b"XXXXXX^X\xc4XXXX".hex()


def test_shapes_and_scripts_stay() -> None:
    row, _ = invented()
    assert len(row["AccessionNumber"]) == len("ACC-12345678")
    assert row["AccessionNumber"][3] == "-"
    latin, ideographic = row["PatientName"].split("=")
    assert not latin.isascii()
    assert all("\u4e00" <= letter <= "\u9fff" for letter in ideographic.replace("^", ""))


def test_a_key_still_finds_its_row() -> None:
    row, query = invented()
    assert row["AccessionNumber"].startswith(query["AccessionNumber"].removesuffix("*"))
    assert row["PatientName"].startswith(query["PatientName"].removesuffix("*"))
    assert (query["PatientID"], query["StudyInstanceUID"]) == (row["PatientID"], "")


def test_two_people_stay_two() -> None:
    anonymous = Anonymous(random.Random(2).choice)
    ids = [anonymous.table({"PatientID": f"PATIENT-{number:06}"})["PatientID"] for number in range(200)]
    assert all(a != b for a, b in itertools.combinations(ids, 2))
