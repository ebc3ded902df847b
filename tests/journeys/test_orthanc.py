"""Orthanc as scanner and as PACS, with storage commitment reported on an association of its own, and by query."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.filebase import DicomBytesIO

from tests.journeys.gateway_process import SCANNERS, To, gateway
from tests.peers import needs, objects, pynetdicom_scu
from tests.peers.orthanc import Modality, orthanc
from tests.peers.processes import free_port
from tests.peers.pynetdicom_scp import storage_scp

pytestmark = [pytest.mark.slow, needs.orthanc]


def test_orthanc_sends_and_is_committed_to(tmp_path: Path) -> None:
    files = [objects.write(tmp_path, make(3)) for make in objects.KINDS.values()]
    listen = free_port()
    with (
        orthanc(tmp_path / "orthanc", modalities={"gw": Modality(ae="GATEWAY", port=listen)}) as scanner,
        storage_scp() as pacs,
        gateway(
            tmp_path / "gw",
            port=listen,
            to=[To(port=pacs.port)],
            scanners=[*SCANNERS, "ORTHANC"],
            scanner_more={"ORTHANC": f"port = {scanner.port}"},
        ) as box,
    ):
        scanner.echo("gw")
        assert scanner.store("gw", [scanner.upload(path) for path in files])["FailedInstancesCount"] == 0
        uids = [path.stem for path in files]
        box.until_confirmed(uids)
        asked = [(str(one.SOPClassUID), one.SOPInstanceUID) for one in pacs.received]
        report = scanner.commitment(scanner.request_commitment("gw", asked))
        assert report["Status"] == "Success"
        assert sorted(item["SOPInstanceUID"] for item in report["Success"]) == sorted(uids)


@pytest.mark.parametrize("confirm", ["commitment", "query"])
def test_orthanc_holds_what_our_books_say(tmp_path: Path, confirm: str) -> None:
    files = [objects.write(tmp_path, make(4)) for make in objects.KINDS.values()]
    listen = free_port()
    with (
        orthanc(tmp_path / "orthanc", modalities={"gw": Modality(ae="GATEWAY", port=listen)}) as pacs,
        gateway(tmp_path / "gw", port=listen, to=[To(port=pacs.port, ae="ORTHANC", confirm=confirm)]) as box,
    ):
        sent = pynetdicom_scu.send_verbatim(box.port, files, called="GATEWAY")
        assert [one.status for one in sent] == [0] * len(files)
        box.until_confirmed([path.stem for path in files])
        held = pacs.by_sop_instance_uid()
        for path in files:
            got = dcmread(DicomBytesIO(pacs.file(held[path.stem])))
            assert list(got) == list(dcmread(path))
        if confirm == "commitment":
            transactions = box.rows("SELECT state FROM commitment_transaction")
            assert {row["state"] for row in transactions} == {"settled"}
        assert not box.alarms()
