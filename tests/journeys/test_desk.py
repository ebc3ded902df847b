"""The RIS is dead and a patient is at the scanner: entered at the desk, seen at once, known again when it is back."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from gateway.cli.commands import app
from gateway.dicom.elements import DataSet, Element
from gateway.simulate.acceptor import hosted
from gateway.simulate.ris import RisSimulator, sample_row
from tests.journeys.gateway_process import From, Gateway, gateway
from tests.peers import dcmtk, needs

pytestmark = [pytest.mark.slow, needs.dcmtk]

KEYS = (
    *("AccessionNumber", "PatientID", "PatientName", "IssuerOfPatientID", "StudyInstanceUID", "RequestedProcedureID"),
    "ScheduledProcedureStepSequence[0].ScheduledStationAETitle=CT1",
    "ScheduledProcedureStepSequence[0].Modality",
)


def desk(box: Gateway, *words: str) -> Any:
    """What `gateway desk` answers, typed in a process of its own as far as the edge can tell."""
    config = str(box.folder / "gateway.toml")
    done = CliRunner().invoke(app, ["desk", *words, "--json", "--config", config], catch_exceptions=False)
    assert done.exit_code == 0, done.stderr
    return json.loads(done.stdout)


def seen(box: Gateway, folder: Path) -> dict[str, Any]:
    """What the scanner is shown, by accession number."""
    place = folder / f"answer{len(list(folder.glob('answer*')))}"
    answer = dcmtk.findscu(box.port, KEYS, folder=place, called="GATEWAY_MWL", calling="CT1")
    assert answer.statuses[-1] == 0
    rows = {str(row.AccessionNumber): row for row in answer.rows}
    assert len(rows) == len(answer.rows)
    return rows


def order(number: int, **values: str) -> DataSet:
    """A step at CT1 today."""
    vrs = {"AccessionNumber": (0x00080050, "SH"), "PatientID": (0x00100020, "LO"), "PatientName": (0x00100010, "PN")}
    changed = {vrs[keyword][0]: Element(vrs[keyword][1], value.encode()) for keyword, value in values.items()}
    return sample_row(datetime.now(UTC).date(), "CT", "CT1", number) | changed


def state(box: Gateway, number: int) -> str:
    (row,) = box.rows("SELECT state FROM desk_entry WHERE number = :number", number=number)
    return str(row["state"])


def test_a_patient_without_an_order(tmp_path: Path) -> None:
    ris = RisSimulator(rows=[order(0)])
    with (
        hosted(ris) as host,
        gateway(tmp_path / "gw", ris=[From(port=ris.port)], scanners=("CT1", "CT2", "PYNETDICOM")) as box,
    ):
        box.until(lambda: box.rows("SELECT 1 FROM worklist_row"), what="the copy is filled")
        assert len(seen(box, tmp_path)) == 1
        host.call(ris.stop())

        unknown = desk(box, "add", "--station", "CT1", "--modality", "CT", "--emergency")
        rows = seen(box, tmp_path)
        assert len(rows) == 2  # at once: the very next query
        row = rows[unknown["AccessionNumber"]]
        assert row.PatientName == f"UNKNOWN^{unknown['AccessionNumber']}"
        assert (row.PatientID, row.IssuerOfPatientID) == (unknown["PatientID"], "EDGE")
        assert row.StudyInstanceUID == unknown["StudyInstanceUID"]
        assert row.ScheduledProcedureStepSequence[0].ScheduledStationAETitle == "CT1"

        known = desk(box, "add", "--station", "CT1", "--modality", "CT", "--name", "Test^Ada", "--patient-id", "P1")
        desk(box, "add", "--station", "CT2", "--modality", "CT")
        box.kill()
        box.start()
        assert {unknown["AccessionNumber"], known["AccessionNumber"]} < seen(box, tmp_path).keys()

        # The RIS is back: one order has the provisional number, two look like the other entry's
        ris.rows = [
            order(0),
            order(1, AccessionNumber=unknown["AccessionNumber"]),
            order(2, PatientID="P1", PatientName="TEST^ADA"),
            order(3, PatientID="P1", PatientName="TEST^ADA"),
        ]
        host.call(ris.start())
        box.until(lambda: state(box, unknown["number"]) == "linked", what="the order is known by its number")
        assert state(box, known["number"]) == "open"  # settled in the same round, and nothing was guessed
        rows = seen(box, tmp_path)
        assert len(rows) == 5
        assert known["AccessionNumber"] in rows
        assert rows[unknown["AccessionNumber"]].PatientID == patient_of(1)  # the order, not the entry
        suggested = [one["AccessionNumber"] for one in desk(box, "suggest", str(known["number"]))["suggestions"]]
        assert len(suggested) == 2

        desk(box, "reconcile", str(known["number"]), "--to", suggested[0])
        assert known["AccessionNumber"] not in seen(box, tmp_path)
        desk(box, "unlink", str(known["number"]))
        assert known["AccessionNumber"] in seen(box, tmp_path)


def patient_of(number: int) -> str:
    """The patient id of a step."""
    value = order(number)[0x00100020].value
    assert isinstance(value, bytes)
    return value.decode().strip()
