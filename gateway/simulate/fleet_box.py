"""One simulated box as MQTT hears it, sans I/O: bytes in, bytes out, the contract of docs/mqtt.md.

What is promised: the messages are written by the same allow-list as those of a real box. An event has its number for
good and is kept until central has acknowledged it (`ack`), however often the connection breaks; live goes first, the
rest follows as backfill. What central wishes for is judged and told (`fleet_twin`), a phase with each health. All is
kept in memory: a simulator that is started anew plays boxes with new books (`log`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from random import Random
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from gateway.domain.issue import Severity
from gateway.domain.signature import KeyId
from gateway.domain.telemetry import (
    BACKFILL_ITEMS,
    Ack,
    Alarm,
    Backfill,
    Clock,
    Event,
    Health,
    Info,
    Kind,
    Reported,
    Standing,
    State,
    Status,
    Writer,
    read,
)
from gateway.domain.telemetry_fields import eid, sid
from gateway.domain.topics import CHANNELS, Leaf, Topic
from gateway.simulate import mqtt_wire
from gateway.simulate.fleet_twin import Temper, Twin
from gateway.simulate.mqtt_wire import Reader, Will

KEEPALIVE: Final = 20
"""Seconds; brokers speak the will after 35 s at most."""
SESSION_EXPIRY: Final = 300
"""Seconds that a broker keeps what is said to a box that is away: a command of days ago must not come."""
DESTINATION: Final = "pacs"
OUTAGE: Final = "destination-unreachable"
_CLOCK: Final = Clock(sync=True, off_ms=0.0)
_PACKET_IDS: Final = 0xFFFF


@dataclass(slots=True, kw_only=True)
class Tally:
    """What simulated boxes did, together."""

    connections: int = 0
    turned_away: int = 0
    published: int = 0
    """Messages with QoS 1 that were said to a broker."""
    taken: int = 0
    """Those that it acknowledged."""
    health: int = 0
    events: int = 0
    acknowledged: int = 0
    """Events that central has committed."""
    delays: list[float] = field(default_factory=list)
    """Seconds from an event to its acknowledgement by central, of those said live in one connection."""


@dataclass(frozen=True, slots=True, kw_only=True)
class At:
    """A moment, by the clock that is told and by the one that only goes forward (seconds)."""

    now: datetime
    steady: float


class SimulatedBox:
    """A box and its connection, if it has one."""

    def __init__(
        self, *, site: str, box: str, version: int, log: str, chance: Random, tally: Tally, twin: Twin
    ) -> None:  # fmt: skip
        self.site, self.box = site, box
        self._twin = twin
        self._told_of: tuple[Reported | None, dict[str, Any]] = (None, {})
        """What of the twin was said in this connection."""
        self.connected = False
        self._version = version
        self._log = log
        self._chance = chance
        self._tally = tally
        self._writer = Writer(box=box, names=(DESTINATION,), codes=(OUTAGE,))
        self._connection = 0
        self._packet_id = 0
        self._seq = 0
        self._acked = 0
        self._kept: deque[Event] = deque()
        self._told: dict[int, float] = {}
        """When the events of this connection that central has not acknowledged happened."""
        self._unsaid = 0
        """The last event that was not said in this connection: all up to it go as backfill."""
        self._filled = 0
        self._outage: datetime | None = None
        self._reader = Reader(version=version)

    @property
    def owed(self) -> int:
        """Events that central has not acknowledged."""
        return len(self._kept)

    @property
    def acked(self) -> int:
        """The last event that central has acknowledged."""
        return self._acked

    @property
    def last(self) -> int:
        """The last event that happened."""
        return self._seq

    @property
    def gone(self) -> bool:
        """It is never heard again."""
        return self._twin.gone

    def waits_since(self, steady: float) -> bool:
        """Whether an event of this connection waits longer than since that moment."""
        return bool(self._kept) and (not self._told or min(self._told.values()) < steady)

    def opening(self, at: At) -> bytes:
        """The first packet of a new connection, its will in it."""
        self._connection += 1
        self._reader = Reader(version=self._version)
        self.connected = False
        will = Will(topic=self._topic(Leaf.STATUS), payload=self._encode(self._status(State.LOST, at)))
        return mqtt_wire.connect(
            self.box,
            version=self._version,
            keepalive=KEEPALIVE,
            will=will,
            username=self.box,
            session_expiry=SESSION_EXPIRY,
        )

    def received(self, data: bytes, at: At) -> bytes:
        """What is to be said to what came. Raises MqttError."""
        answer = b""
        for packet in self._reader.feed(data):
            match packet.kind:
                case mqtt_wire.Kind.CONNACK if packet.code == 0:
                    answer += self._greeting(at)
                case mqtt_wire.Kind.CONNACK | mqtt_wire.Kind.DISCONNECT:
                    self._tally.turned_away += 1
                    raise mqtt_wire.MqttError(f"the broker sent a box away (reason {packet.code}); look at its log")
                case mqtt_wire.Kind.SUBACK if packet.code >= 0x80:
                    raise mqtt_wire.MqttError(f"a subscription was refused (reason {packet.code}); look at the broker")
                case mqtt_wire.Kind.PUBACK:
                    self._tally.taken += packet.code < 0x80
                case mqtt_wire.Kind.PUBLISH:
                    answer += mqtt_wire.puback(packet.packet_id) if packet.qos else b""
                    if packet.topic == self._topic(Leaf.ACK):
                        self._acknowledged(read(Ack, packet.payload), at)
                    elif packet.payload:
                        answer += self._wished(packet.payload, at)
                case _:
                    pass
        return answer

    def closed(self) -> None:
        """The connection is gone; what was said in it and not acknowledged is to be said again."""
        self.connected = False
        self._told.clear()

    def leaving(self, at: At) -> bytes:
        """The words of a box that is stopped."""
        return self._publish(Leaf.STATUS, self._status(State.DISCONNECTED, at)) + mqtt_wire.disconnect()

    def health(self, at: At) -> bytes:
        """Its numbers now; nothing is kept of them while it is not connected."""
        self._twin.step(at.now)
        if not self.connected:
            return b""
        turned_red = self.outage(at) if self._twin.red and self._outage is None else b""
        chance = self._chance.random()
        message = Health(
            **self._envelope(at),
            spool_n=int(chance * 50),
            spool_bytes=int(chance * 25_000_000),
            spool_oldest_s=chance * 30,
            in_ok_total=self._seq * 40,
            in_fail_total=0,
            fwd_ok_total=self._seq * 40,
            fwd_fail_total=int(chance * 3),
            fwd_lag_p95_s=1 + chance,
            mwl_age_s=chance * 30,
            disk_free_ratio=0.5 + chance / 4,
            disk_forecast_h=400.0,
            dest_up={DESTINATION: self._outage is None},
            dest_n=1,
            dest_down_n=int(self._outage is not None),
            assoc_active=int(chance * 4),
            cpu=chance / 3,
            mem=0.3,
            temp_c=45 + chance * 10,
            cert_days=60.0,
            clk_off_ms=chance,
            quarantine_n=0,
            alarms_n=int(self._outage is not None),
            outbox_n=self.owed,
        )
        self._tally.health += 1
        return turned_red + self._publish(Leaf.HEALTH, message) + self._of_wishes(at)

    def event(self, at: At) -> bytes:
        """Something happened: a study is at its destination."""
        images = self._chance.randrange(20, 400)
        study = f"{self._chance.getrandbits(48):012x}"
        return self._happened(at, kind=Kind.STUDY_CONFIRMED, study=study, images=images)

    def outage(self, at: At, *, ends: bool = False) -> bytes:
        """Its PACS went away, or came back: an alarm, and the event of it."""
        since = self._outage or at.now
        self._outage = None if ends else since
        kind = Kind.ALARM_CLEARED if ends else Kind.ALARM_RAISED
        said = self._happened(at, kind=kind, sev=Severity.ERROR, code=OUTAGE, inst=DESTINATION)
        return said + (self._alarm(at, since, ends=ends) if self.connected else b"")

    def backfill(self, at: At) -> bytes:
        """The next piece of what was not said in this connection, or nothing."""
        if not self.connected or self._filled >= self._unsaid:
            return b""
        after = max(self._filled, self._acked)
        items = tuple(islice((one for one in self._kept if after < one.seq <= self._unsaid), BACKFILL_ITEMS))
        self._filled = items[-1].seq if len(items) == BACKFILL_ITEMS else self._unsaid
        message = Backfill(
            **self._envelope(at), acked=self._acked, after=min(after, self._filled), upto=self._filled, items=items
        )
        return self._publish(Leaf.BACKFILL, message)

    def say_again(self) -> None:
        """Nobody acknowledged for long: all that is kept is said once more."""
        self._filled, self._unsaid = self._acked, self._seq
        self._told.clear()

    def _greeting(self, at: At) -> bytes:
        self.connected = True
        self._tally.connections += 1
        self.say_again()
        self._told_of = (None, {})
        # Where MQTT is 3.1.1 (NATS) a subscription with QoS 1 is a consumer that the whole cluster keeps, and central's
        # words come with QoS 0 all the same: what is lost of them is said again
        qos = 1 if self._version == mqtt_wire.V5 else 0
        filters = [self._topic(leaf) for leaf in (Leaf.ACK, Leaf.REQUEST, Leaf.DESIRED)]
        said = mqtt_wire.subscribe(filters, version=self._version, packet_id=self._next_packet_id(), qos=qos)
        state = State.READY if self._outage is None else State.ALERT
        said += self._publish(Leaf.STATUS, self._status(state, at)) + self._of_wishes(at)
        return said + (self._alarm(at, self._outage, ends=False) if self._outage else b"")

    def _wished(self, payload: bytes, at: At) -> bytes:
        """What is answered to a message of central."""
        result = self._twin.hear(payload, at.now)
        return self._of_wishes(at) + (self._publish(Leaf.RESULT, result) if result is not None else b"")

    def _of_wishes(self, at: At) -> bytes:
        """How far they are, as far as that is new in this connection."""
        (reported, facts), now = self._told_of, (self._twin.reported, dict(self._twin.facts))
        self._told_of = now
        said = self._publish(Leaf.INFO, self._info(at)) if now[1] != facts else b""
        return said + (self._publish(Leaf.REPORTED, now[0]) if now[0] not in {None, reported} else b"")

    def _info(self, at: At) -> Info:
        return Info(
            **self._envelope(at),
            model="simulated",
            sw="0.1.0",
            sbom="0" * 16,
            config="0" * 16,
            peers={DESTINATION: "dicom"},
            schemas=("status/1.0", "health/1.0", "event/1.0"),
            **self._twin.facts,
        )

    def _happened(self, at: At, **what: Any) -> bytes:
        self._seq += 1
        event = Event(**self._envelope(at), **what)
        self._kept.append(event)
        self._tally.events += 1
        if not self.connected:
            return b""
        self._told[event.seq] = at.steady
        return self._publish(Leaf.EVENT, event)

    def _acknowledged(self, ack: Ack, at: At) -> None:
        if ack.log != self._log:
            return
        self._acked = max(self._acked, ack.event_upto)
        while self._kept and self._kept[0].seq <= self._acked:
            seq = self._kept.popleft().seq
            self._tally.acknowledged += 1
            if seq in self._told:
                self._tally.delays.append(at.steady - self._told.pop(seq))

    def _alarm(self, at: At, since: datetime, *, ends: bool) -> bytes:
        state = Standing.CLEARED if ends else Standing.RAISED
        about: dict[str, Any] = {"code": OUTAGE, "inst": DESTINATION}
        alarm = Alarm(**self._envelope(at), state=state, sev=Severity.ERROR, since=since, count=1, **about)
        return self._publish(Leaf.ALARM, alarm, **about)

    def _status(self, state: State, at: At) -> Status:
        return Status(**self._envelope(at), state=state)

    def _envelope(self, at: At) -> dict[str, Any]:
        return {
            "box": self.box,
            "log": self._log,
            "sid": sid(self._log, 1, self._connection),
            "seq": self._seq,
            "eid": eid(at.now, self._chance.randbytes(10)),
            "ts": at.now,
            "mono_ms": int(at.steady * 1000),
            "clk": _CLOCK,
        }

    def _encode(self, message: object) -> bytes:
        return self._writer.encode(message)

    def _publish(self, leaf: Leaf, message: object, *, code: str = "", inst: str = "") -> bytes:
        channel = CHANNELS[leaf]
        self._tally.published += 1
        return mqtt_wire.publish(
            str(Topic(site=self.site, box=self.box, leaf=leaf, code=code, inst=inst)),
            self._encode(message),
            version=self._version,
            packet_id=self._next_packet_id(),
            retain=channel.retained,
            expiry=int(channel.expiry.total_seconds()) if channel.expiry else 0,
        )

    def _next_packet_id(self) -> int:
        self._packet_id = self._packet_id % _PACKET_IDS + 1
        return self._packet_id

    def _topic(self, leaf: Leaf) -> str:
        return str(Topic(site=self.site, box=self.box, leaf=leaf))


def boxes_of(
    count: int,
    *,
    sites: int,
    first: int,
    version: int,
    log: str,
    chance: Random,
    tally: Tally,
    trusted: Mapping[KeyId, Ed25519PublicKey],
    tempers: Mapping[int, Temper],
) -> Iterator[SimulatedBox]:
    """So many boxes from number `first` on, spread over the sites; `tempers`: of those that don't obey."""
    for number in range(first, first + count):
        site, box = f"sim-{number % sites + 1:02}", f"sim-{number:05}"
        yield SimulatedBox(
            site=site,
            box=box,
            version=version,
            log=log,
            chance=chance,
            tally=tally,
            twin=Twin(site=site, box=box, trusted=trusted, temper=tempers.get(number, Temper.OBEYS)),
        )
