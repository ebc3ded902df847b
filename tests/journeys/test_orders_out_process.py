"""From the order to its end, with real processes: HL7 in, MPPS and images from a scanner, HL7 out; and `kill -9`."""

from __future__ import annotations

import ssl
from pathlib import Path

import hl7
import pytest
from pynetdicom import build_context
from pynetdicom.sop_class import Verification

from tests.hl7_messages import message
from tests.journeys.gateway_process import From, Gateway, gateway
from tests.net.mllp_wire import Caller
from tests.net.wire import Certificate, self_signed
from tests.peers import pynetdicom_scu
from tests.peers.mllp_receiver import Ris, ack, mllp_receiver
from tests.peers.processes import HOST, free_port
from tests.peers.pynetdicom_mpps import Scanner, begun, ended

pytestmark = pytest.mark.slow

STUDY, STEP = "1.3.6.1.4.1.32473.7.9.77", "SPS88101-1"
STATES = ["IP", "CM"]


def site(ris: Ris, mllp: int) -> dict[str, object]:
    out = f'orders_out = {{ host = "{HOST}", port = {ris.port}, timeout = "60s" }}'
    return {"mllp": mllp, "ris": [From(port=free_port(), more=out)], "orders": 'quiet = "1s"'}


def ordered(mllp: int) -> None:
    with Caller(mllp) as caller:
        assert b"MSA|AA|" in (caller.ask(message("01")) or b"")


def told(box: Gateway) -> list[str]:
    return [row["state"] for row in box.rows("SELECT state FROM relay WHERE kind = 'order-message' ORDER BY id")]


def test_an_examination_from_its_order_to_its_end(tmp_path: Path) -> None:
    mllp = free_port()
    with mllp_receiver() as ris, gateway(tmp_path / "gw", **site(ris, mllp)) as box:  # type: ignore[arg-type]
        ordered(mllp)
        scanner = Scanner(box.port)
        assert scanner.create(begun(study=STUDY, sps=STEP), "2.25.1").Status == 0
        box.until(lambda: told(box) == ["sent"], what="the beginning is told")
        with pynetdicom_scu.associated(
            box.port, called="GATEWAY", calling="CT1", contexts=[build_context(Verification)]
        ) as standing:
            assert standing.is_established
            open_now = "SELECT calling_ae FROM open_association"
            box.until(lambda: [row["calling_ae"] for row in box.rows(open_now)] == ["ct1"], what="it is connected")
            assert scanner.set(ended(), "2.25.1").Status == 0
        box.until(lambda: box.rows(open_now) == [], what="it has left")
        box.until(lambda: told(box) == ["sent", "sent"], what="the end is told")
        assert [str(one.segment("ORC")[5]) for one in ris.messages] == STATES
        assert box.stop() == 0


def test_a_kill_before_an_answer_is_written_down_sends_the_same_message_again(tmp_path: Path) -> None:
    """The RIS took it, and nobody was left to hear so: it comes again under its control id, and the RIS can tell."""
    mllp = free_port()
    with mllp_receiver() as ris, gateway(tmp_path / "gw", **site(ris, mllp)) as box:  # type: ignore[arg-type]
        ordered(mllp)
        killed: set[str] = set()

        def die(one: hl7.Message) -> bytes:
            state = str(one.segment("ORC")[5])
            if state not in killed:
                killed.add(state)
                box.kill()
            return ack(one)

        ris.answer = die
        scanner = Scanner(box.port)
        assert scanner.create(begun(study=STUDY, sps=STEP), "2.25.1").Status == 0
        box.until(lambda: not box.running, what="it is killed over the beginning")
        assert told(box) == ["sending"]
        box.start()
        box.until(lambda: told(box) == ["sent"], what="the beginning is told")
        assert scanner.set(ended(), "2.25.1").Status == 0
        box.until(lambda: not box.running, what="it is killed over the end")
        box.start()
        box.until(lambda: told(box) == ["sent", "sent"], what="the end is told")
        assert [str(one.segment("ORC")[5]) for one in ris.messages] == ["IP", "IP", "CM", "CM"]
        assert ris.told[0] == ris.told[1]
        assert ris.told[2] == ris.told[3]
        assert len(set(ris.ids())) == 2
        assert box.alarms() <= {"worklist-stale"}


def test_over_tls_and_to_nobody_who_is_not_trusted(tmp_path: Path, certificate: Certificate) -> None:
    """Whoever shows another certificate at the RIS's address is told nothing; the RIS asks for ours, and is told."""
    port, mllp = free_port(), free_port()
    (tmp_path / "other").mkdir()
    other = self_signed(tmp_path / "other").server
    tls = f'tls = true, ca = "{certificate.path}", certificate = "{certificate.path}", key = "{certificate.key}"'
    out = f'orders_out = {{ host = "{HOST}", port = {port}, timeout = "60s", {tls} }}'
    demanding = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    demanding.load_cert_chain(certificate.path, certificate.key)
    demanding.load_verify_locations(certificate.path)
    demanding.verify_mode = ssl.CERT_REQUIRED
    settings: dict[str, object] = {
        "mllp": mllp,
        "ris": [From(port=free_port(), more=out)],
        "orders": 'quiet = "1s"',
    }
    status = "SELECT last_status FROM relay WHERE kind = 'order-message'"
    with gateway(tmp_path / "gw", **settings) as box:  # type: ignore[arg-type]
        with mllp_receiver(port, tls=other) as stranger:
            ordered(mllp)
            assert Scanner(box.port).create(begun(study=STUDY, sps=STEP), "2.25.1").Status == 0
            box.until(
                lambda: [row["last_status"] for row in box.rows(status)] == ["connect"], what="the stranger is refused"
            )
            assert stranger.told == []
        with mllp_receiver(port, tls=demanding) as ris:
            box.until(lambda: told(box) == ["sent"], what="the RIS is told")
            assert [str(one.segment("ORC")[5]) for one in ris.messages] == ["IP"]
