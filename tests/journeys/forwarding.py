"""The forward role in this process, with a clock of the test: days pass in seconds.

Promise: `Forwarding.put` is the whole accept path behind the wire (the storage role, durable); the role's threads,
spool and sockets are the real ones. Its door bell rings all the time, so that polling intervals, which are real
time, do not slow a fast clock down.
"""

from __future__ import annotations

import asyncio
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from pydicom.filereader import read_file_meta_info

from gateway.dicom.association import AcceptedContext
from gateway.dicom.dimse import CommandField, CommandSet
from gateway.domain.completeness import Patience
from gateway.domain.disk import Watermarks
from gateway.domain.identity_model import CheckPolicy
from gateway.domain.model import UID, Confirm, DeliveryState, DestinationName, Lane
from gateway.domain.routing import Rule
from gateway.domain.task import Mode, Resend
from gateway.domain.task import Patience as HoldPatience
from gateway.domain.window import Window
from gateway.net.codec import Codecs
from gateway.net.dicom_client import Peer
from gateway.net.dicom_service import Caller
from gateway.net.flow import Flow
from gateway.net.wake import Bell, Wake
from gateway.roles import forward
from gateway.roles.forward import (
    CheckRules,
    Compressor,
    Forward,
    MppsTarget,
    Policy,
    Receiver,
    Target,
    Telling,
    order_watch,
)
from gateway.roles.forward.availability import AvailabilityTarget
from gateway.roles.forward.dimse import Dimse
from gateway.roles.forward.disk import DiskWatch
from gateway.roles.forward.learned import Learned
from gateway.roles.storage import Storage
from gateway.spool import Spool, audit, deliveries, instances
from gateway.spool.files import Space
from tests.peers.bundled import data_set_bytes
from tests.peers.processes import HOST

RING_SECONDS = 0.005
LOOK_SECONDS = 0.01
LIMIT = 120.0
"""Of every wait: it costs nothing where the fact comes about, and a machine may be ten times slower than ours."""
RETENTION = timedelta(days=7)
MARKS = Watermarks(high=0.99, low=0.98, keep=timedelta(hours=1), warning=timedelta(seconds=1))
UNCHECKED = CheckRules(
    mode=Mode.OFF,
    policy=CheckPolicy(),
    patience=HoldPatience(),
    resend=Resend.PERSON,
    expects_orders=False,
    system="GATEWAY",
)
PATIENCE = Patience(quiet=timedelta(minutes=10), abandoned=timedelta(hours=24))


class Clock:
    """UTC that runs at `rate` times the real speed, or up to a moment and no further.

    Safe from any thread: a reader never sees half of a change.
    """

    def __init__(self) -> None:
        self._run = _Run(datetime(2026, 1, 1, tzinfo=UTC), time.monotonic(), 1.0, None)

    def __call__(self) -> datetime:
        return self._run.at(time.monotonic())

    def run_at(self, rate: float, *, until: datetime | None = None) -> None:
        real = time.monotonic()
        self._run = _Run(self._run.at(real), real, rate, until)

    def advance(self, by: timedelta) -> None:
        run = self._run
        self._run = replace(run, start=run.start + by)

    @property
    def rate(self) -> float:
        return self._run.rate


@dataclass(frozen=True, slots=True)
class _Run:
    """From `start`, at the real moment `real`."""

    start: datetime
    real: float
    rate: float
    end: datetime | None

    def at(self, real: float) -> datetime:
        now = self.start + timedelta(seconds=(real - self.real) * self.rate)
        return now if self.end is None else min(now, self.end)


def target(port: Callable[[], Peer] | int, **settings: Any) -> Target:
    """A destination with short waits; `port` or a function that says whom to call now."""

    def peer(_scanner: str) -> Peer:
        if callable(port):
            return port()
        return to(port)

    given: dict[str, Any] = {
        "name": DestinationName("pacs"),
        "confirm": Confirm.STATUS,
        "lanes": tuple(Lane),
        "flow": Flow(),
        "window": Window(),
        "zone": ZoneInfo("Europe/Berlin"),
        "stat_ignores_window": False,
        "concurrency": 1,
        "batch": 200,
        "retry_base": timedelta(seconds=2),
        "retry_cap": timedelta(minutes=10),
        "commitment_wait": timedelta(seconds=5),
        "commitment_timeout": timedelta(days=2),
        "expect_refused": frozenset(),
        "lossless": False,
    }
    as_scanner = settings.pop("as_scanner", False)
    learned = Learned(keep=timedelta(hours=12), now=lambda: datetime.now(UTC))
    way = settings.pop("way", Dimse(peer=peer, as_scanner=as_scanner, commits_as_scanner=False, learned=learned))
    return Target(way=way, **{**given, **settings})


def to(port: int, *, called: str = "PACS", timeout: float = 60) -> Peer:
    return Peer(host=HOST, port=port, called_ae=called, calling_ae="GATEWAY", connect_timeout=10, timeout=timeout)


@dataclass(frozen=True, slots=True, kw_only=True)
class Forwarding:
    """A running forward role and its spool."""

    spool: Spool
    storage: Storage
    clock: Clock

    def put(self, path: Path, *, priority: int = 0, calling: str = "CT1") -> str:
        """Accept the object of a Part 10 file as if that scanner had sent it; its SOP Instance UID."""
        meta = read_file_meta_info(path)
        sop_class, instance = str(meta.MediaStorageSOPClassUID), str(meta.MediaStorageSOPInstanceUID)
        receiver = self.storage.begin_store(
            Caller(calling_ae=calling, called_ae="GATEWAY", address=HOST, association="a1"),
            AcceptedContext(id=1, abstract_syntax=sop_class, transfer_syntax=str(meta.TransferSyntaxUID)),
            CommandSet(
                CommandField=CommandField.C_STORE_RQ,
                AffectedSOPClassUID=sop_class,
                AffectedSOPInstanceUID=instance,
                MessageID=1,
                Priority=priority,
                CommandDataSetType=1,
            ),
        )
        receiver.write([memoryview(data_set_bytes(path))])
        assert receiver.complete().result() == (0, "")
        return instance

    def destinations_of(self, uid: str) -> list[str]:
        """Where the deliveries of the SOP Instance UID go."""
        c = self.spool.db.read()
        found = instances.by_uid(c, UID(uid))
        return [str(delivery.destination) for one in found for delivery in deliveries.of_instance(c, one.id)]

    def requeue(self, uid: str) -> None:
        """What a person does with `gateway retry`."""
        c = self.spool.db.read()
        for one in instances.by_uid(c, UID(uid)):
            for delivery in deliveries.of_instance(c, one.id):
                self.spool.db.write(
                    partial(deliveries.requeue, delivery_id=delivery.id, now=self.clock(), by="test", why="cured")
                ).result()

    def states(self) -> dict[str, list[DeliveryState]]:
        """The states of all deliveries of each SOP Instance UID."""
        c = self.spool.db.read()
        found: dict[str, list[DeliveryState]] = {}
        for (instance,) in c.execute("SELECT id FROM instance").fetchall():
            held = instances.get(c, instance)
            assert held is not None
            found.setdefault(held.SOPInstanceUID, []).extend(d.state for d in deliveries.of_instance(c, instance))
        return found

    def statuses(self, uid: str) -> str:
        """The last status of the deliveries of the SOP Instance UID."""
        c = self.spool.db.read()
        found = instances.by_uid(c, UID(uid))
        return " ".join(delivery.last_status for one in found for delivery in deliveries.of_instance(c, one.id))

    def instance_states(self, uid: str) -> list[str]:
        return [str(one.state) for one in instances.by_uid(self.spool.db.read(), UID(uid))]

    def files(self) -> int:
        return sum(1 for _ in self.spool.files.objects.glob("*/*"))

    def alarms(self) -> set[str]:
        return {alarm.code for alarm in audit.active_alarms(self.spool.db.read())}

    def until(self, fact: Callable[[], object], *, what: str, limit: float = LIMIT) -> None:
        deadline = time.monotonic() + limit
        while not fact():
            if time.monotonic() > deadline:
                states = Counter(state for states in self.states().values() for state in states)
                raise AssertionError(f"not within {limit} s: {what}; deliveries are {dict(states)}")
            time.sleep(LOOK_SECONDS)

    def until_all(self, uids: Collection[str], state: DeliveryState = DeliveryState.CONFIRMED) -> None:
        self.until(lambda: all(self.states().get(uid) == [state] for uid in uids), what=f"all {state}")

    def pass_time(self, by: timedelta, *, seconds: float) -> None:
        """Let `by` pass within about `seconds` of real time, and not a moment more, however late we look."""
        end = self.clock() + by
        self.clock.run_at(by.total_seconds() / seconds, until=end)
        self.until(lambda: self.clock() >= end, what="time passes")
        self.clock.run_at(1.0)


def codecs() -> Codecs:
    return Codecs(workers=1, memory=1 << 31, timeout=60.0, tasks=500)


@contextmanager
def forwarding(
    folder: Path,
    targets: Sequence[Target],
    *,
    monkeypatch: pytest.MonkeyPatch,
    retention: timedelta = RETENTION,
    mpps_targets: Sequence[MppsTarget] = (),
    receivers: Sequence[Receiver] = (),
    rules: Sequence[Rule] = (),
    check: CheckRules = UNCHECKED,
    default: Sequence[DestinationName] = (),
    availability: Sequence[AvailabilityTarget] = (),
    space: Callable[[], Space] | None = None,
) -> Iterator[Forwarding]:
    """The role, started; stopped on leaving."""
    monkeypatch.setattr(forward, "HOUSEKEEPING_SECONDS", 0.05)
    monkeypatch.setattr(order_watch, "ROUND_SECONDS", 0.02)
    clock = Clock()
    spool = Spool.open(folder / "state", now=clock, reserve=lambda _: 0)
    door = Path(tempfile.mkdtemp(prefix="gw-")) / "forward.sock"
    bell = Bell(door)
    storage = Storage(spool, spool.accepting(), object_max=1 << 30, now=clock, received=bell.ring)
    role = Forward(
        spool,
        targets,
        mpps_targets=mpps_targets,
        availability=availability,
        policy=Policy(
            default=tuple(default or (one.name for one in targets)),
            rules=tuple(rules),
            lanes_of={one.name: one.lanes for one in targets},
            urgency=lambda _: None,
        ),
        check=check,
        compressor=Compressor(spool, codecs, most=1 << 30, now=clock),
        retention=retention,
        disk=DiskWatch(spool, MARKS, now=clock, space=space),
        custody_retention=retention,
        mpps_retention=retention,
        telling=Telling(receivers=tuple(receivers), patience=PATIENCE, zone=ZoneInfo("Europe/Berlin")),
        messages_retention=retention,
        scanners=lambda _: None,
        now=clock,
        random=_half,
    )
    failed: list[BaseException] = []
    stop, ready = asyncio.Event(), threading.Event()
    loop = asyncio.new_event_loop()

    async def run() -> None:
        wake = await Wake.bind(door)
        ringing = asyncio.create_task(_ring(bell))
        ready.set()
        try:
            await role.run(stop, wake)
        finally:
            ringing.cancel()
            wake.close()

    def live() -> None:
        try:
            loop.run_until_complete(run())
        except BaseException as error:  # noqa: BLE001 -- handed to the test
            failed.append(error)
        finally:
            ready.set()
            loop.close()

    thread = threading.Thread(target=live, name="forward")
    thread.start()
    ready.wait()
    try:
        yield Forwarding(spool=spool, storage=storage, clock=clock)
        assert not failed
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        bell.close()
        spool.close()


def _half() -> float:
    return 0.5


async def _ring(bell: Bell) -> None:
    while True:
        bell.ring()
        await asyncio.sleep(RING_SECONDS)
