"""The reporting role in this process, with a clock of the test: hours pass in seconds; spool and wire are real."""

from __future__ import annotations

import asyncio
import os
import random
import ssl
import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from gateway.domain.issue import Severity
from gateway.domain.issues import KINDS
from gateway.domain.parts import Part
from gateway.domain.telemetry import Kind, Writer
from gateway.domain.telemetry_fields import aliases
from gateway.net import mqtt
from gateway.net.mqtt import Version
from gateway.roles.reporting import Host, Policy, Reporting
from gateway.roles.reporting.measuring import Measuring
from gateway.roles.reporting.pen import Pen
from gateway.spool import Connection, Spool, audit, outbox, study_events
from gateway.spool.outbox import Outbox
from tests.journeys.forwarding import Clock
from tests.peers.authority import Identity
from tests.peers.central import Broker
from tests.peers.mosquitto import Mosquitto
from tests.peers.processes import HOST
from tests.peers.scripted_broker import ScriptedBroker

LIMIT = 120.0
LOOK_SECONDS = 0.1
"""How soon a wait sees that its clock runs otherwise."""
NAMES = ["pacs", "main", "CT 1"]


@dataclass
class Reported:
    """A running reporting role and its spool."""

    spool: Spool
    clock: Clock
    stop: Callable[[], None]
    pen: Callable[[], Pen]
    connections: list[mqtt.Connection]
    """Each that was made."""
    _cut: threading.Event

    def cut(self) -> None:
        """Nobody is reached any more, as if a cable were pulled."""
        self._cut.set()
        self.connections[-1].abandon()

    def mend(self) -> None:
        """The cable is back."""
        self._cut.clear()

    def read(self, question: Callable[[Connection], Any]) -> Any:
        return question(self.spool.db.read())

    def write(self, job: Callable[[Connection], Any]) -> Any:
        return self.spool.db.write(job).result()

    def study(self, number: int) -> None:
        """A whole study came and went."""
        self.write(lambda c: _study(c, number, self.clock))

    def alarm(self, code: str, subject: str, *, raised: bool = True) -> None:
        change = audit.raise_alarm if raised else audit.clear_alarm
        self.write(lambda c: change(c, code=code, subject=subject, now=self.clock()))

    def happened(self, c: Connection, *, sev: Severity) -> None:
        """An event of the box, as the role enters them."""
        at = self.clock()
        pen = self.pen()
        outbox.append(c, sev=sev, at=at, write=lambda seq: pen.event(seq, Kind.STARTED, at=at, sev=sev))

    def alarms(self) -> set[str]:
        """The codes that stand."""
        return {one.code for one in self.read(audit.active_alarms)}

    @property
    def outbox(self) -> Outbox:
        return self.read(outbox.state)  # type: ignore[no-any-return]

    def until(self, fact: Callable[[], object], *, what: str) -> None:
        until(fact, what=what)


def _study(c: Connection, number: int, clock: Clock) -> None:
    values = {"study": f"1.2.3.{number}", "now": clock().isoformat(timespec="microseconds")}
    for event in study_events.StudyState:
        c.execute(
            "INSERT INTO study_event (StudyInstanceUID, event, at, images) VALUES (:study, :event, :now, 3)",
            {**values, "event": event},
        )


def until(fact: Callable[[], object], *, what: str, limit: float = LIMIT) -> None:
    """Return once it holds; AssertionError after `limit` seconds."""
    deadline = time.monotonic() + limit
    while not fact():
        assert time.monotonic() < deadline, f"not within {limit} s: {what}"
        time.sleep(0.01)


@contextmanager
def reporting(
    state: Path,
    to: Broker | Mosquitto | ScriptedBroker,
    identity: Identity | None = None,
    *,
    box: str = "ct1-room",
    rate: float = 1.0,
    keepalive: int = 20,
    parts: Collection[Part] = (),
    **settings: Any,
) -> Iterator[Reported]:
    """The role, until left; without an identity unencrypted. `rate`: how fast its clock runs."""
    clock = Clock()
    clock.run_at(rate)
    spool = Spool.open(state, now=clock)
    context = None
    if isinstance(to, Broker) and identity is not None:
        context = ssl.create_default_context(cafile=str(to.authority.ca))
        context.load_cert_chain(identity.certificate, identity.key)
    place = mqtt.Broker(
        host=HOST, port=to.port, client_id=box, keepalive=keepalive, connect_timeout=30, timeout=30, tls=context
    )
    cut = threading.Event()
    connections = list[mqtt.Connection]()

    def dial(version: Version, will: mqtt.Outgoing, received: Callable[[mqtt.Incoming], None]) -> mqtt.Connection:
        if cut.is_set():
            raise mqtt.TemporaryFailure("mqtt: cut", code="connect")
        connections.append(mqtt.connect(place, version=version, will=will, on_message=received))
        return connections[-1]

    started = clock()

    def elapsed() -> float:
        return (clock() - started).total_seconds()

    async def wait(event: asyncio.Event | None, seconds: float) -> None:
        end, never = elapsed() + seconds, asyncio.Event()
        while (left := end - elapsed()) > 0:
            try:
                async with asyncio.timeout(min(left / clock.rate, LOOK_SECONDS)):
                    await (event or never).wait()
            except TimeoutError:
                continue
            return

    policy: dict[str, Any] = {
        "versions": tuple(Version),
        "health": timedelta(seconds=30),
        "rate": 5.0,
        "most": 200_000,
        "retry_base": timedelta(seconds=1),
        "retry_cap": timedelta(seconds=45),
        "timeout": 30.0,
    }
    named = aliases(NAMES)

    def pen(stands: Outbox) -> Pen:
        return Pen(
            site="north",
            box=box,
            writer=Writer(box=box, names=(*named.values(), *Part), codes=KINDS),
            log=stands.log,
            start=stands.starts,
            now=clock,
            monotonic=elapsed,
            entropy=os.urandom,
        )

    role = Reporting(
        spool,
        dial=dial,
        pen=pen,
        measuring=Measuring(destinations={"pacs": "pacs"}, sources=["main"], space=spool.files.space, now=clock),
        names=(*named.values(), *Part),
        info=lambda: {
            "model": "x86_64",
            "sw": "0.1.0",
            "sbom": "0" * 16,
            "config": "1" * 16,
            "peers": {"pacs": "dicom"},
            "schemas": ("status/1.0",),
        },
        parts=parts,
        stopped=lambda: (),
        policy=Policy(**policy | settings),
        host=Host(
            now=clock,
            monotonic=elapsed,
            random=random.random,
            entropy=os.urandom,
            wait=wait,
        ),
        receivers={},
        said=(),
    )
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()
    failed = list[BaseException]()

    def run() -> None:
        try:
            loop.run_until_complete(role.run(stop))
        except BaseException as error:  # noqa: BLE001  told to the test
            failed.append(error)

    thread = threading.Thread(target=run)
    thread.start()

    def stopping() -> None:
        loop.call_soon_threadsafe(stop.set)
        thread.join(LIMIT)
        assert not thread.is_alive(), [str(task) for task in asyncio.all_tasks(loop)]

    box_ = Reported(
        spool=spool,
        clock=clock,
        stop=stopping,
        pen=lambda: pen(outbox.state(spool.db.read())),
        connections=connections,
        _cut=cut,
    )
    try:
        yield box_
    finally:
        stopping()
        loop.close()
        spool.close()
    assert not failed, failed
