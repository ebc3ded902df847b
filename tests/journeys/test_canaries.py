"""Nothing of a patient is met outside of the box's own books: marked studies, worklists and orders go through a whole
box that is told of, logged, scraped and diagnosed, and every byte that leaves it for others than RIS and PACS is
searched (invariant 9).
"""

from __future__ import annotations

import base64
import sys
import tarfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from gateway.domain.command import Command, CommandName, signed
from tests.domain.test_command import ANN, EVE
from tests.hl7_messages import message
from tests.journeys import canaries
from tests.journeys.canaries import DAY, NUMBER, SPELLINGS, TEXT, hits
from tests.journeys.gateway_process import From, Gateway, To, gateway
from tests.net.mllp_wire import Caller
from tests.net.wire import Certificate
from tests.peers import pynetdicom_scu
from tests.peers.central import Central, broker
from tests.peers.processes import HOST, free_port, run
from tests.peers.pynetdicom_scp import storage_scp, worklist_scp
from tests.peers.rsyslog import messages, rsyslog

pytestmark = pytest.mark.slow

STUDIES, ORDERS = 200, 40
PATIENCE = 200.0
"""Seconds, twenty times what each takes on a quiet machine."""
BOX = "test"


@pytest.mark.parametrize("mark", [TEXT, NUMBER, DAY])
def test_a_mark_is_found_however_it_is_spelled(mark: str) -> None:
    around = b"\x01\x02\x03"
    for plain in (mark.encode(), mark.lower().encode(), mark.encode("utf-16-le"), mark.encode("utf-16-be")):
        assert hits("here", around + plain + around)
    for offset in range(3):
        for encoded in (mark.encode(), mark.encode("utf-16-le")):
            assert hits("here", base64.b64encode(around[:offset] + encoded + around))
    assert hits("here", mark.encode().hex().encode())
    assert hits("here", mark.encode().hex(" ").upper().encode())
    assert hits("here", "".join(f"%{byte:02X}" for byte in mark.encode()).encode())
    assert hits("here", f"%{ord(mark[0]):02x}{mark[1:]}".encode())
    assert not hits("here", b"gateway 2026-11-22T08:00:00.250000Z 0f0f0f" * 50)
    assert len(SPELLINGS) > 40


class Room:
    """A box with everything around it, and all that it told the outside."""

    def __init__(self, box: Gateway, central: Central, *, console: int, metrics: int, mllp: int, lines: Path) -> None:
        self.box, self.central, self.mllp, self.lines = box, central, mllp, lines
        self.console, self.metrics = console, metrics

    def fetch(self, path: str, *, port: int = 0) -> bytes:
        """What the console answers, or another port of the box."""
        url = f"http://{HOST}:{port or self.console}{path}"
        with suppress(urllib.error.HTTPError), urllib.request.urlopen(url) as answer:
            return bytes(answer.read())
        return b""

    def told(self) -> dict[str, bytes]:
        """What left the box, by channel."""
        bundle = self.box.folder / "bundle.tar.gz"
        config, log = self.box.folder / "gateway.toml", self.box.folder / "gateway.log"
        run([sys.executable, "-m", "gateway", "diagnose", "--config", config, "--to", bundle, "--log", log])
        with tarfile.open(bundle) as tar:
            packed = b"\n".join(tar.extractfile(one).read() for one in tar)  # type: ignore[union-attr]
        return {
            "MQTT": b"\n".join(
                topic.encode() + b" " + payload
                for topic, payload in self.central.raw
                if not topic.endswith("cmd/req")  # that is what central told the box
            ),
            "syslog": self.lines.read_bytes(),
            "metrics": self.fetch("/metrics"),
            "metrics of health": self.fetch("/metrics", port=self.metrics) + self.fetch("/healthz", port=self.metrics),
            "log": log.read_bytes(),
            "diagnosis": packed,
            "names of files": "\n".join(map(str, self.box.state.rglob("*"))).encode(),
        }


@contextmanager
def room(tmp_path: Path, certificate: Certificate) -> Iterator[Room]:
    to, syslog = broker(tmp_path / "broker"), free_port()
    console, metrics, mllp = free_port(), free_port(), free_port()
    folder, own, central = tmp_path / "box", to.authority.identity(BOX), Central(to)
    keys = folder / "keys"
    keys.mkdir(parents=True)
    (keys / "ann.pem").write_bytes(ANN.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    today = f"{datetime.now(UTC):%Y%m%d}"
    certificate.key.chmod(0o600)
    with (
        rsyslog(tmp_path / "syslog", certificate, syslog) as (_, lines),
        to.running(),
        central.listening() as client,
        worklist_scp(rows=canaries.rows(STUDIES, day=today)) as ris,
        storage_scp(answer=lambda uid: 0xA700 if uid.endswith("7") else 0xC000 if uid.endswith("3") else 0) as pacs,
        gateway(
            folder,
            to=[To(port=pacs.port), To(port=free_port(), name="away")],
            ris=[From(port=ris.port)],
            mllp=mllp,
            sender='application = "RADIS"',
            started=False,
        ) as box,
    ):
        more = (
            f"[console]\nport = {console}\n[metrics]\nport = {metrics}\n"
            f'[mqtt]\nhost = "{HOST}"\nport = {to.port}\nhealth = "5s"\n'
            f'ca = "{to.authority.ca}"\ncertificate = "{own.certificate}"\nkey = "{own.key}"\n'
            f'[syslog]\nhost = "{HOST}"\nport = {syslog}\nca = "{certificate.path}"\n'
        )
        text = (folder / "gateway.toml").read_text().replace("[metrics]\nport = 0\n", "")
        text = text.replace("[console]\nport = 0\n", more)
        (folder / "gateway.toml").write_text(text)
        made = Room(box.start(), central, console=console, metrics=metrics, mllp=mllp, lines=lines)
        box.until(lambda: central.box(BOX).states, what="the box is connected")
        for raw in (asked("00"), asked("01", site=f"{TEXT}001"), asked("02", key=EVE), TEXT.encode()):
            client.publish(f"dgw/1/test/{BOX}/cmd/req", raw, qos=1)
        yield made


def asked(number: str, *, site: str = "test", key: object = ANN) -> bytes:
    """A signed C-ECHO of the PACS."""
    now = datetime.now(UTC).replace(microsecond=0)
    command = Command(
        name=CommandName.C_ECHO,
        arguments={"peer": "pacs"},
        site=site,
        box=BOX,
        nonce=f"canaries-{number:>08}",
        not_before=now,
        expires=now + timedelta(minutes=5),
    )
    return signed(command, [key])  # type: ignore[list-item]


def go_wrong(here: Room, images: list[Path]) -> None:
    """What a box complains of: strangers, doubles, damaged objects, messages that nobody understands, odd requests."""
    port = here.box.port
    assert pynetdicom_scu.echo(port, called="GATEWAY", calling=f"{TEXT}001") is None
    assert pynetdicom_scu.echo(port, called=f"{TEXT}001", calling="CT1") is None
    other = images[0].with_name("other.dcm")
    other.write_bytes(images[0].read_bytes().replace(b"CT", b"MR"))
    damaged = images[0].with_name("damaged.dcm")
    damaged.write_bytes(images[1].read_bytes()[:3000])
    for path in (other, damaged):
        with suppress(Exception):
            pynetdicom_scu.send_verbatim(port, [path], called="GATEWAY", limit=5)
    order = canaries.hl7(message("01"), 1)
    with Caller(here.mllp) as caller:
        for raw in (
            order.replace(b"ORM^O01", b"ZZZ^Z01"),
            order.replace(b"RADIS", TEXT.encode()),
            order[:200],
            TEXT.encode() * 20,
        ):
            caller.ask(raw)
    for path in (f"/api/v1/studies/{TEXT}001", f"/{TEXT}", f"/api/v1/orders?PatientID={TEXT}"):
        here.fetch(path)
        here.fetch(path, port=here.metrics)


@pytest.mark.timeout(900)
def test_marked_patients_are_met_in_no_channel(
    tmp_path: Path, certificate: Certificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GATEWAY_LOG_LEVEL", "debug")
    images = canaries.images(tmp_path / "images", STUDIES)
    with room(tmp_path, certificate) as here:
        box = here.box
        box.until(
            lambda: len(box.rows("SELECT 1 FROM worklist_row")) >= STUDIES,
            what="the worklist is copied",
            limit=PATIENCE,
        )
        with Caller(here.mllp) as caller:
            for number in range(1, ORDERS + 1):
                assert caller.ask(canaries.hl7(message("01"), number))
        found = pynetdicom_scu.find_worklist(
            box.port, pynetdicom_scu.worklist_query(PatientName=f"{TEXT}*"), called="GATEWAY_MWL", calling="CT1"
        )
        assert len(found.rows) > STUDIES / 2
        sent = pynetdicom_scu.send_verbatim(box.port, images, called="GATEWAY", calling="CT1", limit=60)
        assert [one.status for one in sent] == [0] * STUDIES
        go_wrong(here, images)
        box.until(
            lambda: (
                box.rows("SELECT count(*) AS n FROM delivery WHERE destination = 'pacs' AND state = 'confirmed'")[0][
                    "n"
                ]
                >= STUDIES * 0.7
            ),
            what="what the PACS takes is there",
            limit=PATIENCE,
        )
        heard = here.central.box(BOX)
        box.until(lambda: heard.alarms and len(heard.health) > 1, what="central is told", limit=PATIENCE)
        box.until(
            lambda: any(topic.endswith("cmd/res") for topic, _ in here.central.raw),
            what="it is answered",
            limit=PATIENCE,
        )
        box.until(lambda: len(messages(here.lines)) > STUDIES, what="the log is at the syslog server", limit=PATIENCE)
        assert hits("books", (box.state / "gateway.db-wal").read_bytes()), "the marks did not come so far"
        told = here.told()
    assert all(len(content) > 500 for content in told.values()), {name: len(one) for name, one in told.items()}
    assert [hit for where, content in told.items() for hit in hits(where, content)] == []
