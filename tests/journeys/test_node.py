"""dcmjs-dimse under Node: a third, unrelated implementation asks for its worklist and stores."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.filebase import DicomBytesIO

from tests.journeys.gateway_process import From, To, gateway
from tests.peers import needs, node_peer, objects
from tests.peers.pynetdicom_scp import storage_scp, worklist_scp

pytestmark = [pytest.mark.slow, needs.node]


def test_node_finds_its_row_and_stores_its_study(tmp_path: Path) -> None:
    today = f"{datetime.now(UTC):%Y%m%d}"
    rows = [
        objects.scheduled(1, start=today),
        objects.scheduled(2, start=today, station="MR1", modality="MR"),
    ]
    files = [objects.write(tmp_path, make(5)) for make in objects.KINDS.values()]
    with (
        worklist_scp(rows=rows) as ris,
        storage_scp() as pacs,
        gateway(tmp_path / "gw", to=[To(port=pacs.port)], ris=[From(port=ris.port)]) as box,
    ):
        found = node_peer.find(box.port, called="GATEWAY_MWL", keys=["PatientName=TEST*", "Modality=MR"])
        assert found.problem is None
        (row,) = found.rows
        assert row["PatientID"] == "TEST00002"
        stored = node_peer.store(box.port, files, called="GATEWAY")
        assert (stored.returncode, stored.statuses) == (0, (0,) * len(files))
        box.until_confirmed([path.stem for path in files])
        for path in files:
            (got,) = pacs.stored(path.stem)
            data_set = dcmread(
                DicomBytesIO(got.dataset), force=True, specific_tags=["SOPInstanceUID", "PatientID", "Modality"]
            )
            assert data_set.SOPInstanceUID == path.stem
