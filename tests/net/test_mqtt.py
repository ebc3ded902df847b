"""A connection to real brokers: mosquitto (MQTT 5 and 3.1.1, mutual TLS, rules) and NATS (3.1.1 alone)."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.domain.model import TemporaryFailure
from gateway.net import mqtt
from gateway.net.mqtt import CLOSED, LARGEST, UNSUPPORTED, Connection, Incoming, Outgoing, Version
from tests.journeys.reporting import until
from tests.peers.authority import Identity
from tests.peers.central import Broker, broker
from tests.peers.processes import HOST, free_port, program
from tests.peers.scripted_broker import scripted_broker

pytestmark = [
    pytest.mark.slow,
    # paho leaves a socket whose TLS failed to be closed by its end
    pytest.mark.filterwarnings("ignore:Exception ignored in. <ssl.SSLSocket:pytest.PytestUnraisableExceptionWarning"),
]

BOX = "ct1-room"
PATIENCE = 60.0
"""Seconds that no answer takes; a wait this long has failed."""
WILL = Outgoing(topic=f"dgw/1/north/{BOX}/status", payload=b"lost", retain=True)
NATS = Path("/usr/sbin/nats-server")


@pytest.fixture(scope="module")
def to(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    made = broker(tmp_path_factory.mktemp("broker"))
    with made.running():
        yield made


def place(to: Broker, identity: Identity | None, *, port: int = 0) -> mqtt.Broker:
    context = ssl.create_default_context(cafile=str(to.authority.ca))
    if identity is not None:
        context.load_cert_chain(identity.certificate, identity.key)
    return mqtt.Broker(
        host=HOST,
        port=port or to.port,
        client_id=BOX,
        keepalive=60,
        connect_timeout=PATIENCE,
        timeout=PATIENCE,
        tls=context,
    )


@contextmanager
def connected(
    where: mqtt.Broker, version: Version = Version.FIVE, heard: list[Incoming] | None = None
) -> Iterator[Connection]:
    sink = heard if heard is not None else list[Incoming]()
    connection = mqtt.connect(where, version=version, will=WILL, on_message=sink.append)
    try:
        yield connection
    finally:
        connection.close()


def refusal(where: mqtt.Broker, version: Version = Version.FIVE) -> str:
    with pytest.raises(TemporaryFailure) as caught:
        mqtt.connect(where, version=version, will=WILL, on_message=lambda _: None)
    return caught.value.code


@pytest.mark.parametrize("version", list(Version))
def test_what_is_published_is_answered_and_heard(to: Broker, version: Version) -> None:
    heard = list[Incoming]()
    with connected(place(to, to.authority.identity(BOX)), version, heard) as connection:
        assert connection.subscribe([f"dgw/1/north/{BOX}/status"]).result(PATIENCE) == {}
        answers = [
            connection.publish(Outgoing(topic=f"dgw/1/north/{BOX}/status", payload=b"%d" % number, expiry=60))
            for number in range(200)
        ]
        assert [answer.result(PATIENCE) for answer in answers] == [None] * 200
        until(lambda: len(heard) == 200, what="all is heard")
        assert [int(one.payload) for one in heard] == list(range(200))
    assert connection.ended.result(PATIENCE) == CLOSED
    for answer in (connection.publish(WILL), connection.subscribe(["a"])):
        with pytest.raises(TemporaryFailure):
            answer.result(PATIENCE)


def test_a_broker_says_in_mqtt_5_what_its_rules_refuse(to: Broker) -> None:
    foreign = Outgoing(topic="dgw/1/north/other-room/status", payload=b"ready", retain=True)
    identity = to.authority.identity(BOX)
    with connected(place(to, identity)) as connection, pytest.raises(TemporaryFailure) as caught:
        connection.publish(foreign).result(PATIENCE)
    assert caught.value.code == "not-authorized"
    with connected(place(to, identity), Version.THREE) as connection:
        connection.publish(foreign).result(PATIENCE)


def test_who_has_no_certificate_is_not_let_in(to: Broker) -> None:
    assert refusal(place(to, None)) in {"TLS", CLOSED, "connect"}


def test_a_broker_of_another_authority_is_not_believed(to: Broker, tmp_path: Path) -> None:
    strange = replace(place(to, None), tls=ssl.create_default_context())
    assert refusal(strange) == "TLS"


def test_why_there_is_no_connection(to: Broker) -> None:
    here = place(to, to.authority.identity(BOX))
    assert refusal(replace(here, port=free_port())) == "connect"
    assert refusal(replace(here, host="no-such-name.invalid")) == "resolve"
    with socket.create_server((HOST, 0)) as silent:
        port = silent.getsockname()[1]
        assert refusal(replace(here, port=port, timeout=0.5, tls=None)) == "silence"


def test_another_of_the_same_name_ends_it(to: Broker) -> None:
    where = place(to, to.authority.identity(BOX))
    with connected(where) as first, connected(where):
        assert first.ended.result(PATIENCE)
        with pytest.raises(TemporaryFailure):
            first.publish(WILL).result(PATIENCE)


def test_a_message_that_is_too_large_is_not_taken(to: Broker) -> None:
    heard = list[Incoming]()
    topic = f"dgw/1/north/{BOX}/status"
    with connected(place(to, to.authority.identity(BOX)), heard=heard) as connection:
        connection.subscribe([topic])
        big = connection.publish(Outgoing(topic=topic, payload=b"x" * (LARGEST - 1024)))
        big.result(PATIENCE)
        until(lambda: heard, what="what fits is heard")
        assert len(heard[0].payload) == LARGEST - 1024


@contextmanager
def nats(folder: Path, *, more: str = "") -> Iterator[mqtt.Broker]:
    port = free_port()
    settings = folder / "nats.conf"
    settings.write_text(
        f'server_name: one\nlisten: "{HOST}:{free_port()}"\njetstream {{ store_dir: "{folder}" }}\n'
        f'mqtt {{ listen: "{HOST}:{port}" }}\n{more}',
        "utf-8",
    )
    with program([NATS, "-c", settings], port=port, folder=folder):
        yield mqtt.Broker(host=HOST, port=port, client_id=BOX, keepalive=60, connect_timeout=PATIENCE, timeout=PATIENCE)


def test_nats_says_what_it_does_not_let_us_hear(tmp_path: Path) -> None:
    """It grants some topics and refuses others, in one SUBACK (0x80, MQTT 3.1.1 3.9.3)."""
    status, ack = (f"dgw/1/north/{BOX}/{leaf}" for leaf in ("status", "ack"))
    denied = ack.replace("/", ".")
    more = (
        f'authorization {{ users: [{{ user: "box", password: "box", permissions: {{\n'
        f'  publish: {{ allow: [">"] }}\n  subscribe: {{ allow: [">"], deny: ["{denied}"] }}\n}} }}] }}\n'
    )
    with (
        nats(tmp_path, more=more) as where,
        connected(replace(where, user="box", password="box"), Version.THREE) as connection,
    ):
        assert connection.subscribe([status, ack]).result(PATIENCE) == {ack: "unspecified-error"}


@pytest.mark.parametrize("version", list(Version))
def test_a_topic_that_is_not_answered_is_not_granted(version: Version) -> None:
    with scripted_broker(lambda _: [0]) as to:
        where = mqtt.Broker(
            host=HOST, port=to.port, client_id=BOX, keepalive=60, connect_timeout=PATIENCE, timeout=PATIENCE
        )
        with connected(where, version) as connection:
            assert connection.subscribe(["a", "b"]).result(PATIENCE) == {"b": "silence"}


def test_a_broker_that_speaks_no_mqtt_5(tmp_path: Path) -> None:
    """NATS: it is told by its refusal, and spoken to in 3.1.1."""
    with nats(tmp_path) as where:
        assert refusal(where) in {UNSUPPORTED, CLOSED}
        heard = list[Incoming]()
        with connected(where, Version.THREE, heard) as connection:
            assert connection.subscribe([f"dgw/1/north/{BOX}/ack"]).result(PATIENCE) == {}
            connection.publish(Outgoing(topic=f"dgw/1/north/{BOX}/ack", payload=b"1")).result(PATIENCE)
            until(lambda: heard, what="it is heard")
