"""`gateway fleet command` against the box's own judgement, through mosquitto: signed, sent, answered, shown."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import paho.mqtt.client as paho
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from paho.mqtt.enums import CallbackAPIVersion

from gateway.domain.command import Authentic, Code, Outcome, judge
from gateway.domain.signature import ring
from gateway.domain.telemetry import Result, Writer
from tests.peers.mosquitto import Mosquitto, mosquitto
from tests.peers.processes import HOST, Finished, run

pytestmark = pytest.mark.slow


def key_file(path: Path) -> Ed25519PrivateKey:
    key = Ed25519PrivateKey.generate()
    plain = serialization.NoEncryption()
    path.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain))
    return key


@contextmanager
def box(broker: Mosquitto, *trusted: Ed25519PrivateKey) -> Iterator[list[tuple[str, bool, object]]]:
    """A box that judges what it is asked as a real one does, and answers `done` to what it would carry out."""
    heard: list[tuple[str, bool, object]] = []
    keys = ring(key.public_key() for key in trusted)
    writer = Writer(box="b1", names=(), codes=())

    def take(client: paho.Client, _data: object, message: paho.MQTTMessage) -> None:
        now = datetime.now(UTC)
        judged = judge(bytes(message.payload), trusted=keys, site="north", box="b1", now=now)
        heard.append((message.topic, message.retain, judged))
        if isinstance(judged, Authentic):
            asked = judged.command
            result = Result(
                box="b1", ts=now, nonce=asked.nonce, cmd=asked.name.value, outcome=Outcome.DONE, code=Code.OK.value
            )
            client.publish("dgw/1/north/b1/cmd/res", writer.encode(result), qos=1)

    client = paho.Client(CallbackAPIVersion.VERSION2, client_id="b1")
    listening = threading.Event()
    client.on_message = take
    client.on_subscribe = lambda *_: listening.set()
    client.connect(HOST, broker.port)
    client.subscribe([("dgw/1/north/b1/cmd/req", 1), ("dgw/1/north/b1/desired", 1)])
    client.loop_start()
    try:
        assert listening.wait(60)
        yield heard
    finally:
        client.disconnect()
        client.loop_stop()


@pytest.fixture
def broker(tmp_path: Path) -> Mosquitto:
    return mosquitto(tmp_path / "mosquitto")


def ask(broker: Mosquitto, *words: object) -> Finished:
    path = broker.configuration.parent / "fleet.toml"
    path.write_text(f'[broker]\nhost = ["{HOST}"]\nport = {broker.port}\ntls = false\nclient = "operator"\n', "utf-8")
    about = ["--site", "north", "--box", "b1", "--config", path]
    return run([sys.executable, "-m", "gateway", "fleet", "command", *map(str, words), *about])


def test_what_is_signed_is_carried_out(broker: Mosquitto, tmp_path: Path) -> None:
    anna = key_file(tmp_path / "anna.key")
    with broker.running(), box(broker, anna):
        done = ask(broker, "c_echo", "--set", "peer=pacs", "--key", tmp_path / "anna.key", "--json")
    assert done.returncode == 0, done.output
    assert json.loads(done.output)["answer"]["code"] == "ok"


def test_a_stranger_gets_no_answer(broker: Mosquitto, tmp_path: Path) -> None:
    anna, _ = key_file(tmp_path / "anna.key"), key_file(tmp_path / "eve.key")
    with broker.running(), box(broker, anna) as heard:
        done = ask(broker, "ping", "--key", tmp_path / "eve.key", "--wait", 2)
    assert done.returncode == 1
    assert "No answer" in done.output
    assert not any(isinstance(judged, Authentic) for *_, judged in heard)


def test_a_box_that_no_topic_can_name_is_told_in_a_line(tmp_path: Path) -> None:
    key_file(tmp_path / "anna.key")
    (tmp_path / "fleet.toml").write_text(f'[broker]\nhost = ["{HOST}"]\nport = 1\ntls = false\n', "utf-8")
    words = [
        "ping",
        "--site",
        "a b",
        "--box",
        "b1",
        "--key",
        tmp_path / "anna.key",
        "--config",
        tmp_path / "fleet.toml",
    ]
    done = run([sys.executable, "-m", "gateway", "fleet", "command", *map(str, words)])
    assert (done.returncode, done.output.count("\n")) == (2, 1)
    assert "no name for a topic" in done.output


def test_a_configuration_is_a_wish_that_two_sign(broker: Mosquitto, tmp_path: Path) -> None:
    anna, ben = key_file(tmp_path / "anna.key"), key_file(tmp_path / "ben.key")
    (tmp_path / "gateway.toml").write_text("[site]\n", "utf-8")
    words = ("apply_config", "--set", "version=7", "--set", "ring=lab", "--set", f"toml=@{tmp_path}/gateway.toml")
    with broker.running(), box(broker, anna, ben) as heard:
        alone = ask(broker, *words, "--key", tmp_path / "anna.key")
        both = ask(broker, *words, "--key", tmp_path / "anna.key", "--key", tmp_path / "ben.key")
    assert alone.returncode == 2
    assert "2 keys" in alone.output
    assert both.returncode == 0, both.output
    ((topic, _, judged),) = heard
    assert topic.endswith("/desired")
    assert isinstance(judged, Authentic)


def test_what_can_not_be_asked_is_said(broker: Mosquitto, tmp_path: Path) -> None:
    key_file(tmp_path / "anna.key")
    for words, said in ((("rm",), "no such command"), (("c_echo",), "peer is missing")):
        done = ask(broker, *words, "--key", tmp_path / "anna.key")
        assert done.returncode == 2
        assert said in done.output
