"""Central IT as a test needs it: mosquitto with mutual TLS and access rules, and a listener that acknowledges.

It is a foreign client (paho, bare) and keeps what it was told as JSON; only the rule of `domain.presence` is ours.
"""

from __future__ import annotations

import json
import ssl
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from gateway.domain.presence import Presence, heard, told
from gateway.domain.telemetry import State
from tests.peers.authority import Authority
from tests.peers.processes import HOST, Program, free_port, program

MOSQUITTO = Path("/usr/sbin/mosquitto")
RULES = """\
pattern write dgw/1/+/%u/#
pattern read dgw/1/+/%u/status
pattern read dgw/1/+/%u/ack
pattern read dgw/1/+/%u/cmd/req
pattern read dgw/1/+/%u/desired
user central
topic read dgw/1/#
topic write dgw/1/+/+/ack
topic write dgw/1/+/+/cmd/req
topic write dgw/1/+/+/desired
"""
SETTINGS = """\
user root
per_listener_settings false
listener {port} 127.0.0.1
cafile {ca}
certfile {certificate}
keyfile {key}
require_certificate true
use_identity_as_username true
acl_file {rules}
max_queued_messages 100000
max_inflight_messages 200
max_packet_size 131072
{more}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Broker:
    """mosquitto with mutual TLS, that may be ended and started again in the same place."""

    port: int
    folder: Path
    authority: Authority

    @contextmanager
    def running(self) -> Iterator[Program]:
        """The broker, while inside; killed (-9) when left."""
        command = [MOSQUITTO, "-c", self.folder / "mosquitto.conf"]
        with program(command, port=self.port, folder=self.folder) as started:
            yield started


def broker(folder: Path, *, more: str = "persistence false") -> Broker:
    """A broker of its own; `more` are further settings."""
    folder.mkdir(parents=True, exist_ok=True)
    authority = Authority(folder / "authority")
    own, port = authority.identity("broker"), free_port()
    rules = folder / "rules"
    rules.write_text(RULES, "utf-8")
    rules.chmod(0o600)
    (folder / "mosquitto.conf").write_text(
        SETTINGS.format(port=port, ca=authority.ca, certificate=own.certificate, key=own.key, rules=rules, more=more),
        "utf-8",
    )
    return Broker(port=port, folder=folder, authority=authority)


def leave(client: Client) -> None:
    """Disconnect, and be gone: paho leaves the two sockets that wake its thread to whoever collects the garbage, and a
    ResourceWarning over them fails whichever test runs then, or the whole run at its end."""
    client.disconnect()
    client.loop_stop()
    client._reset_sockets()


@dataclass
class Heard:
    """What is known of one box. `events` are by log and number; those that came again are counted."""

    events: dict[str, dict[int, dict[str, Any]]] = field(default_factory=lambda: defaultdict(dict))
    again: int = 0
    spans: dict[str, list[tuple[int, int]]] = field(default_factory=lambda: defaultdict(list))
    presence: Presence | None = None
    states: list[tuple[str, str]] = field(default_factory=list)
    """Each state that was told, with its connection."""
    info: dict[str, Any] = field(default_factory=dict)
    health: list[dict[str, Any]] = field(default_factory=list)
    alarms: dict[str, dict[str, Any]] = field(default_factory=dict)
    """By the end of the topic; what was taken away is not among them."""
    backfills: list[dict[str, Any]] = field(default_factory=list)

    def whole(self, log: str) -> int:
        """Up to where nothing is missing."""
        upto, numbers = 0, self.events[log]
        spans = sorted(self.spans[log])
        while True:
            before = upto
            while upto + 1 in numbers:
                upto += 1
            upto = max([upto, *(end for after, end in spans if after <= upto)])
            if upto == before:
                return upto

    def kinds(self) -> list[str]:
        """The kinds of the events in their order."""
        return [one["kind"] for log in self.events.values() for _, one in sorted(log.items()) if "kind" in one]


class Central:
    """Listens to every box. What it was told stays when it stops, as in a database; it acknowledges unless `mute`."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._own = broker.authority.identity("central")
        self._lock = threading.Lock()
        self.boxes: dict[str, Heard] = defaultdict(Heard)
        self.mute = False
        self.raw: list[tuple[str, bytes]] = []
        """Everything, as it came."""

    @contextmanager
    def listening(self, client_id: str = "central") -> Iterator[Client]:
        """Connected and subscribed, while inside; afterwards it is away, and the broker keeps nothing for it."""
        client = Client(CallbackAPIVersion.VERSION2, client_id=client_id, protocol=MQTTProtocolVersion.MQTTv5)
        context = ssl.create_default_context(cafile=str(self._broker.authority.ca))
        context.load_cert_chain(self._own.certificate, self._own.key)
        client.tls_set_context(context)
        client.reconnect_delay_set(1, 1)
        ready = threading.Event()
        client.on_connect = lambda *_: client.subscribe([("dgw/1/#", 1)])
        client.on_subscribe = lambda *_: ready.set()
        client.on_message = lambda _client, _data, message: self._hear(client, message)
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        client.connect(HOST, self._broker.port, 20, clean_start=True, properties=properties)
        client.loop_start()
        assert ready.wait(90), "central was not let in"
        try:
            yield client
        finally:
            leave(client)

    def box(self, name: str) -> Heard:
        return self.boxes[name]

    def _hear(self, client: Client, message: MQTTMessage) -> None:
        with self._lock:
            self.raw.append((message.topic, bytes(message.payload)))
            _, _, site, name, leaf, *rest = message.topic.split("/")
            box = self.boxes[name]
            if leaf == "alarm":
                if message.payload:
                    box.alarms["/".join(rest)] = json.loads(message.payload)
                else:
                    box.alarms.pop("/".join(rest), None)
            elif leaf in {"status", "info", "health", "event", "backfill"}:
                self._keep(box, leaf, json.loads(message.payload), retained=message.retain)
            if leaf in {"event", "backfill"} and not self.mute:
                self._acknowledge(client, f"dgw/1/{site}/{name}/ack", box, json.loads(message.payload)["log"])

    def _keep(self, box: Heard, leaf: str, body: dict[str, Any], *, retained: bool) -> None:
        at = datetime.now(UTC)
        if leaf == "status":
            box.presence = told(box.presence, sid=body["sid"], state=State(body["state"]), at=at)
            box.states.append((body["state"], body["sid"]))  # last: tests wait for it on another thread
        elif box.presence is not None and not retained and leaf != "backfill":
            box.presence = heard(box.presence, sid=body["sid"], at=at)
        if leaf == "info":
            box.info = body
        elif leaf == "health":
            box.health.append(body)
        elif leaf == "event":
            self._event(box, body)
        elif leaf == "backfill":
            box.backfills.append({name: value for name, value in body.items() if name != "items"})
            box.spans[body["log"]] += [(body["after"], body["upto"]), (0, body["acked"])]
            for one in body["items"]:
                self._event(box, one)

    @staticmethod
    def _event(box: Heard, body: dict[str, Any]) -> None:
        known = box.events[body["log"]].setdefault(body["seq"], body)
        if known is not body:
            assert known == body, "an event came again as another one"
            box.again += 1

    @staticmethod
    def _acknowledge(client: Client, topic: str, box: Heard, log: str) -> None:
        with suppress(ValueError):
            client.publish(topic, json.dumps({"schema": "ack/1.0", "log": log, "event_upto": box.whole(log)}), qos=1)
