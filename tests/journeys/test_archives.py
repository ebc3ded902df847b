"""Archives of DCMTK as destinations, over TLS with certificates and by query; and another gateway as one."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydicom import dcmread

from gateway.simulate.acceptor import hosted
from gateway.simulate.pacs import PacsSimulator
from tests.journeys.gateway_process import SCANNERS, To, gateway
from tests.net.wire import Certificate
from tests.peers import dcmtk, needs, objects
from tests.peers.processes import free_port, program

pytestmark = [pytest.mark.slow, needs.dcmtk]

ARCHIVE = """NetworkTCPPort = {port}
MaxPDUSize = 16384
MaxAssociations = 16
HostTable BEGIN
HostTable END
VendorTable BEGIN
VendorTable END
AETable BEGIN
ARCHIVE {folder} RW (100, 1024mb) ANY
AETable END
"""


def test_storescp_with_certificates_on_both_sides(tmp_path: Path, certificate: Certificate) -> None:
    files = [objects.write(tmp_path / "in", make(7)) for make in objects.KINDS.values()]
    own = [str(certificate.key), str(certificate.path)]
    tls = ["+tls", *own, "--require-peer-cert", "+cf", str(certificate.path)]
    key = tmp_path / "key.pem"
    key.write_bytes(certificate.key.read_bytes())
    key.chmod(0o600)
    keys = f'tls = true\nca = "{certificate.path}"\n'
    mutual = keys + f'certificate = "{certificate.path}"\nkey = "{key}"'
    with dcmtk.storescp(tmp_path / "pacs", ae="PACS", options=tls) as pacs:
        to = [To(port=pacs.port, more=mutual), To(port=pacs.port, name="nobody", more=keys)]
        with gateway(tmp_path / "gw", to=to) as box:
            box.send(files)
            box.until_confirmed([path.stem for path in files])
            received = {str(dcmread(path).SOPInstanceUID): path for path in dcmtk.received_files(tmp_path / "pacs")}
            assert set(received) == {path.stem for path in files}
            # Who shows no certificate is not let in, and that is no matter of the images
            box.until_alarm("destination-unreachable")
            assert set(box.states("nobody").values()) <= {"queued", "sending"}


def test_dcmqrscp_holds_what_its_query_says(tmp_path: Path) -> None:
    files = [objects.write(tmp_path / "in", make(7)) for make in objects.KINDS.values()]
    port, store = free_port(), tmp_path / "archive" / "store"
    store.mkdir(parents=True)
    config = tmp_path / "archive" / "dcmqrscp.cfg"
    config.write_text(ARCHIVE.format(port=port, folder=store))
    command = ["/usr/bin/dcmqrscp", "-c", str(config)]
    with (
        program(command, port=port, folder=tmp_path / "archive"),
        gateway(tmp_path / "gw", to=[To(port=port, ae="ARCHIVE", confirm="query")]) as box,
    ):
        box.send(files)
        box.until_confirmed([path.stem for path in files])
        assert {str(dcmread(path).SOPInstanceUID) for path in store.glob("*.dcm")} == {path.stem for path in files}
        assert not box.alarms()


def test_another_gateway_confirms_what_its_archive_confirmed(tmp_path: Path) -> None:
    """Ours may be purged only once the far end holds the image: the other gateway holding it is not enough."""
    near_port, far_port = free_port(), free_port()
    pacs = PacsSimulator()
    pacs.silent = True
    with (
        hosted(pacs),
        gateway(
            tmp_path / "far",
            port=far_port,
            to=[To(port=pacs.port, confirm="commitment")],
            scanners=[*SCANNERS, "GATEWAY"],
            scanner_more={"GATEWAY": f"port = {near_port}"},
        ) as far,
        gateway(
            tmp_path / "near",
            port=near_port,
            to=[To(port=far_port, ae="GATEWAY", confirm="commitment", more='kind = "gateway"')],
        ) as near,
    ):
        files = [objects.write(tmp_path / "in", objects.ct(seed)) for seed in range(3)]
        uids = [path.stem for path in files]
        near.send(files)
        far.until(lambda: set(pacs.held) == set(uids), what="the archive has the images")
        near.until_state(uids, "sent")
        far.until(lambda: pacs.commitments, what="the archive was asked")
        assert set(near.states().values()) == {"sent"}
        pacs.silent = False
        far.kill()  # it asks anew when it starts
        far.start()
        near.until_confirmed(uids)
        assert far.states() == dict.fromkeys(uids, "confirmed")
