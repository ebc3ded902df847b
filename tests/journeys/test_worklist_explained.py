"""A technologist misses a patient: what the running box says, from the order that comes late to the RIS that dies."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from gateway.cli.commands import app
from gateway.domain.worklist import ACCESSION_NUMBER, text
from gateway.simulate.acceptor import hosted, quiet
from gateway.simulate.ris import RisSimulator, sample_row
from tests.journeys.gateway_process import From, Gateway, gateway
from tests.peers import pynetdicom_scu

pytestmark = pytest.mark.slow


def explained(box: Gateway, accession: str, ae: str = "CT1") -> dict[str, Any]:
    config = str(box.folder / "gateway.toml")
    words = ["worklist", "explain", "--aet", ae, "--accession", accession, "--json", "--config", config]
    (row,) = json.loads(CliRunner().invoke(app, words).stdout)["rows"]
    assert isinstance(row, dict)
    return row


def asked(box: Gateway, **keys: object) -> list[str]:
    query = pynetdicom_scu.worklist_query(**keys)
    found = pynetdicom_scu.find_worklist(box.port, query, called="GATEWAY_MWL", calling="CT1")
    assert found.status == 0
    return [str(row.AccessionNumber) for row in found.rows]


def test_a_missing_patient_is_explained_all_along(tmp_path: Path) -> None:
    today = datetime.now(UTC).date()
    other, late = sample_row(today, "CT", "CT9", 1), sample_row(today, "CT", "CT1", 2)
    ris = RisSimulator(rows=[other])
    accession, others = (text(row, ACCESSION_NUMBER) for row in (late, other))
    with quiet(), hosted(ris) as host, gateway(tmp_path / "gw", ris=[From(port=ris.port)]) as box:
        box.until(lambda: len(asked(box)) == 1, what="the copy is filled")
        box.until(lambda: explained(box, accession)["stage"] == "not-ordered", what="the RIS has answered whole")
        ris.rows = [other, late]
        box.until(lambda: explained(box, accession)["stage"] == "not-asked", what="the order is in the copy")
        assert asked(box, ScheduledStationAETitle="CT1") == [accession]
        box.until(lambda: explained(box, accession)["stage"] is None, what="the answer is written down")
        assert explained(box, others)["stage"] is None  # asked for at first
        box.kill()
        box.start()
        assert explained(box, accession)["shown_at"] is not None  # what was shown outlives the process
        host.call(ris.stop())
        box.until(lambda: explained(box, "UNHEARD")["stage"] == "ris-silent", what="the silence is noticed")
