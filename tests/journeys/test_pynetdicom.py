"""pynetdicom as scanner and as PACS: bytes kept, storage commitment both ways, a broken promise sent again."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest
from pydicom.uid import ExplicitVRLittleEndian, RLELossless

from tests.journeys.gateway_process import To, gateway
from tests.peers import objects, pynetdicom_scu
from tests.peers.bundled import data_set_bytes
from tests.peers.processes import free_port
from tests.peers.pynetdicom_scp import ReportTo, storage_scp

pytestmark = pytest.mark.slow

CT = "1.2.840.10008.5.1.4.1.1.2"


@pytest.mark.parametrize("commitment", ["same", "new"])
def test_bytes_arrive_as_they_came_and_are_committed_to(tmp_path: Path, commitment: Literal["same", "new"]) -> None:
    files = [
        objects.write(tmp_path, make(seed), transfer_syntax=syntax)
        for seed, syntax in enumerate((ExplicitVRLittleEndian, RLELossless))
        for name, make in objects.KINDS.items()
        if name != "SR" or syntax != RLELossless
    ]
    listen = free_port()
    with (
        storage_scp(commitment=commitment, report_to=ReportTo(ae="GATEWAY", port=listen)) as pacs,
        gateway(tmp_path / "gw", port=listen, to=[To(port=pacs.port, confirm="commitment")]) as box,
    ):
        sent = pynetdicom_scu.send_verbatim(box.port, files, called="GATEWAY")
        assert [one.status for one in sent] == [0] * len(files)
        box.until_confirmed([path.stem for path in files])
        for path in files:
            (got,) = pacs.stored(path.stem)
            assert got.dataset == data_set_bytes(path)
            assert got.calling_ae == "GATEWAY"
        assert all(status == 0 for status in pacs.report_statuses)
        assert {row["state"] for row in box.instances()} == {"delivered"}
        assert not box.alarms()


def test_what_the_pacs_does_not_hold_is_sent_again(tmp_path: Path) -> None:
    files = [objects.write(tmp_path, objects.ct(seed, study="s")) for seed in range(3)]
    lost = files[1].stem
    with (
        storage_scp(commitment="same", not_stored=[lost]) as pacs,
        gateway(tmp_path / "gw", to=[To(port=pacs.port, confirm="commitment")]) as box,
    ):
        pynetdicom_scu.send_verbatim(box.port, files, called="GATEWAY")
        box.until_confirmed([files[0].stem, files[2].stem])
        pacs.wait_for(lambda scp: len(scp.stored(lost)) >= 2)
        assert "not-committed" in box.alarms()
        assert box.states()[lost] != "confirmed"
        pacs.not_stored.clear()
        box.until_confirmed([lost])
        assert {len(pacs.stored(path.stem)) for path in (files[0], files[2])} == {1}


@pytest.mark.parametrize("own_port", [False, True], ids=["same-association", "new-association"])
def test_a_scanner_is_told_what_the_pacs_confirmed(tmp_path: Path, own_port: bool) -> None:
    files = [objects.write(tmp_path, objects.ct(seed, study="s")) for seed in range(3)]
    back = free_port()
    with (
        storage_scp() as pacs,
        gateway(
            tmp_path / "gw", to=[To(port=pacs.port)], scanner_more={"CT1": f"port = {back}" if own_port else ""}
        ) as box,
    ):
        pynetdicom_scu.send_verbatim(box.port, files, called="GATEWAY", calling="CT1")
        never_sent = objects.uid("never sent")
        status, report = pynetdicom_scu.request_commitment(
            box.port,
            [(CT, path.stem) for path in files] + [(CT, never_sent)],
            called="GATEWAY",
            calling="CT1",
            own_port=back if own_port else None,
        )
        assert status == 0
        assert report is not None
        assert {str(item.ReferencedSOPInstanceUID) for item in report.ReferencedSOPSequence} == {
            path.stem for path in files
        }
        (failed,) = report.FailedSOPSequence
        assert (failed.ReferencedSOPInstanceUID, failed.FailureReason) == (never_sent, 0x0112)
        box.until(
            lambda: [row["state"] for row in box.rows("SELECT state FROM commitment_request")] == ["answered"],
            what="the scanner's request is answered",
        )


def test_a_scanner_is_told_nothing_before_the_pacs_confirmed(tmp_path: Path) -> None:
    path = objects.write(tmp_path, objects.ct())
    port = free_port()
    with gateway(tmp_path / "gw", to=[To(port=port)]) as box:
        pynetdicom_scu.send_verbatim(box.port, [path], called="GATEWAY", calling="CT1")
        status, report = pynetdicom_scu.request_commitment(
            box.port, [(CT, path.stem)], called="GATEWAY", calling="CT1", limit=2
        )
        assert (status, report) == (0, None)
        assert [row["state"] for row in box.rows("SELECT state FROM commitment_request")] == ["open"]
        with storage_scp(port):
            box.until_confirmed([path.stem])
            box.until(
                lambda: [row["state"] for row in box.rows("SELECT state FROM commitment_request")] == ["decided"],
                what="the scanner's request is decided",
            )
