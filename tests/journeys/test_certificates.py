"""A certificate that is away stops the calls that need it, and nothing else; renewed, it is used without a restart."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.journeys.gateway_process import From, Gateway, To, gateway
from tests.net.wire import Certificate
from tests.peers import objects, pynetdicom_scu
from tests.peers.pynetdicom_scp import storage_scp, worklist_scp
from tests.peers.tls_front import tls_front

pytestmark = pytest.mark.slow


def test_a_certificate_that_is_away_stops_what_needs_it_alone(tmp_path: Path, certificate: Certificate) -> None:
    ca = tmp_path / "ca.pem"
    folder = tmp_path / "gw"
    secure = f'tls = true\nca = "{ca}"'
    image = objects.write(tmp_path / "images", objects.ct())
    with (
        storage_scp() as pacs,
        worklist_scp(rows=[objects.scheduled(1)]) as ris,
        tls_front(pacs.port, certificate.server) as pacs_tls,
        tls_front(ris.port, certificate.server) as ris_tls,
        gateway(
            folder,
            to=[To(port=pacs.port), To(port=pacs_tls, name="cloud", more=secure)],
            ris=[From(port=ris_tls, more=secure)],
        ) as box,
    ):
        sent = pynetdicom_scu.send_verbatim(box.port, [image], called="GATEWAY", calling="CT1", limit=60)
        assert [one.status for one in sent] == [0]
        box.until(lambda: delivered(box) == {"pacs"}, what="the other destination has it")
        box.until(
            lambda: box.log().count("dest=cloud lane=bulk code=files") > 1,
            what="the one with the certificate is tried again and again, and the log says why",
        )
        ca.write_bytes(certificate.path.read_bytes())
        box.until(lambda: delivered(box) == {"pacs", "cloud"}, what="it is delivered there too, without a restart")
        box.until(lambda: box.rows("SELECT 1 FROM worklist_row"), what="the RIS is asked")


def delivered(box: Gateway) -> set[str]:
    return {row["destination"] for row in box.rows("SELECT destination FROM delivery WHERE state = 'confirmed'")}
