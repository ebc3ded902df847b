"""A scanner shows a name wrongly: it gets a profile while the box runs, and its query is captured and tried."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from gateway.cli.commands import app
from gateway.roles.worklist.capture import read
from gateway.simulate.acceptor import hosted
from gateway.simulate.keywords import data_set
from gateway.simulate.ris import RisSimulator
from tests.journeys.gateway_process import From, Gateway, gateway
from tests.peers import dcmtk, needs

pytestmark = [pytest.mark.slow, needs.dcmtk]

ROW = data_set(
    {
        "AccessionNumber": "A1",
        "PatientName": "Łucja^Żak",
        "PatientID": "P1",
        "StudyInstanceUID": "2.25.1",
        "ScheduledProcedureStepSequence": [
            {
                "Modality": "US",
                "ScheduledProcedureStepStartDate": f"{datetime.now(UTC):%Y%m%d}",
                "ScheduledProcedureStepID": "S1",
            }
        ],
    },
    "ISO_IR 192",
)


def typed(box: Gateway, *words: str) -> Result:
    config = str(box.folder / "gateway.toml")
    return CliRunner().invoke(app, [*words, "--config", config], catch_exceptions=False)


def name_shown(box: Gateway, folder: Path, calling: str) -> str:
    answer = dcmtk.findscu(box.port, ["PatientName"], folder=folder, called="GATEWAY_MWL", calling=calling)
    assert answer.succeeded
    return "".join(str(row.PatientName) for row in answer.rows)


def test_a_profile_from_the_first_wrong_name_to_the_proof(tmp_path: Path) -> None:
    ris = RisSimulator(rows=[ROW])
    with (
        hosted(ris),
        gateway(tmp_path, ris=[From(port=ris.port)], worklist='mode = "copy", max_stale = "24h"') as box,
    ):
        box.until(lambda: box.rows("SELECT * FROM worklist_row"), what="the copy is filled")
        assert name_shown(box, tmp_path / "ct1", "CT1") == "Łucja^Żak"
        assert typed(box, "peers", "add", "US9", "--profile", "latin-1").exit_code == 0
        assert name_shown(box, tmp_path / "us9", "US9") == "Lucja^Zak"
        capture = tmp_path / "us9.toml"
        box.until(
            lambda: typed(box, "worklist", "capture", "--aet", "US9", "--out", str(capture)).exit_code == 0,
            what="the query is in the log",
        )
        assert read(capture.read_text("utf-8")).profile == "latin-1"
        assert typed(box, "worklist", "replay", str(capture)).exit_code == 0
        assert "'Łucja^Żak' now" in typed(box, "worklist", "replay", str(capture), "--profile", "unicode").output
