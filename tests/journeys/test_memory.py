"""Memory: the edge at rest, and a 300 MB object on its way through, sent as it came and converted."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, UltrasoundMultiFrameImageStorage

from gateway.simulate.acceptor import hosted
from gateway.simulate.pacs import PacsSimulator
from tests.journeys import raw_scanner
from tests.journeys.gateway_process import To, gateway
from tests.peers import objects, pynetdicom_scu
from tests.peers.bundled import data_set_offset
from tests.peers.processes import free_port

pytestmark = pytest.mark.slow

MB = 1_000_000
FRAMES, FRAME = 300, MB
GROWTH, IDLE = 20 * MB, 100 * MB


def test_the_edge_at_rest_is_small(tmp_path: Path) -> None:
    with gateway(tmp_path / "gw", to=[To(port=free_port())], roles=("worklist", "storage")) as box:
        assert pynetdicom_scu.echo(box.port, called="GATEWAY") == 0
        assert box.memory("VmRSS") <= IDLE


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian], ids=["as it came", "converted"])
def test_a_large_object_passes_in_little_memory(tmp_path: Path, syntax: str) -> None:
    large = objects.write_huge(tmp_path / "large.dcm", frames=FRAMES, frame_bytes=FRAME)
    small = [objects.write(tmp_path, objects.us(seed)) for seed in range(4)]
    uid = objects.uid("large")
    with large.open("rb") as file:
        offset = data_set_offset(file.read(4096))
    pacs = PacsSimulator(transfer_syntaxes=[syntax])
    with hosted(pacs), gateway(tmp_path / "gw", to=[To(port=pacs.port)], limits='disk_reserve = "0"') as box:
        pynetdicom_scu.send_verbatim(box.port, small, called="GATEWAY")
        box.until_confirmed([path.stem for path in small])
        before = box.memory("VmHWM")
        statuses = raw_scanner.store(
            box.port,
            large,
            [uid],
            SOPClassUID=UltrasoundMultiFrameImageStorage,
            TransferSyntaxUID=ExplicitVRLittleEndian,
            offset=offset,
        )
        assert statuses == [0]
        box.until_confirmed([uid])
        assert box.memory("VmHWM") - before <= GROWTH
        assert pacs.held[uid].size >= FRAMES * FRAME
        assert pacs.held[uid].TransferSyntaxUID == syntax


@pytest.mark.safety
@pytest.mark.timeout(1200)
def test_five_gigabytes_pass(tmp_path: Path) -> None:
    """More than a native Pixel Data element can hold, and more than 32 bits can count."""
    large = objects.write_huge(tmp_path / "large.dcm", frames=5000, frame_bytes=MB, encapsulated=True)
    uid = objects.uid("large")
    with large.open("rb") as file:
        offset = data_set_offset(file.read(4096))
    pacs = PacsSimulator(transfer_syntaxes=[objects.ENCAPSULATED_UNCOMPRESSED])
    with hosted(pacs), gateway(tmp_path / "gw", to=[To(port=pacs.port)], limits='disk_reserve = "0"') as box:
        before = box.memory("VmHWM")
        statuses = raw_scanner.store(
            box.port,
            large,
            [uid],
            SOPClassUID=UltrasoundMultiFrameImageStorage,
            TransferSyntaxUID=objects.ENCAPSULATED_UNCOMPRESSED,
            offset=offset,
        )
        assert statuses == [0]
        box.until_confirmed([uid], limit=600)
        grown = box.memory("VmHWM") - before
        print(f"5 GB object: {pacs.held[uid].size} bytes at the PACS, VmHWM grew by {grown / MB:.1f} MB")
        assert grown <= GROWTH
        assert pacs.held[uid].size == large.stat().st_size - offset
