"""The watchdog is fed by work alone: each thread and listener that others need is stopped, and the feeding stops."""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pytest
from pysqlite3 import dbapi2 as sqlite

from gateway.app import proofs
from gateway.app.edge import start_edge
from gateway.app.forward import SILENCE, start_forward
from gateway.app.health import start_health
from gateway.app.peers import now
from gateway.app.proofs import answering
from gateway.app.synthetic import open_synthetic
from gateway.app.watchdog import Started, Watchdog, watchdog_seconds
from gateway.config import Config
from gateway.config.loading import parse
from gateway.dicom.associate import ProposedContext
from gateway.dicom.negotiation import NATIVE, VERIFICATION
from gateway.domain.parts import Part
from gateway.net import machine
from gateway.net.dicom_client import Peer, Requestor
from gateway.net.dicom_server import DicomServer
from gateway.roles.forward import Forward
from gateway.roles.forward.lane import LaneSender
from gateway.roles.forward.pulse import Pulse
from gateway.spool import Spool, heartbeats
from tests.journeys.gateway_process import Gateway, To, toml
from tests.net.wire import Certificate
from tests.peers.processes import HOST, free_port
from tests.spool.objects import receive

T = TypeVar("T")
LONG, SHORT = 120.0, 2.0
"""WatchdogSec where all is well, however busy this machine is; and where something is stuck, for half of it."""
WHOLE = 3.0
"""That of a whole gateway."""


@dataclass(slots=True)
class Systemd:
    """A NOTIFY_SOCKET, and what came to it."""

    listener: socket.socket

    def heard(self, seconds: float = 0.0) -> bytes:
        """The next message; empty if none comes within `seconds`."""
        self.listener.settimeout(seconds or 0.001)
        with suppress(TimeoutError):
            return self.listener.recv(4096)
        return b""


@pytest.fixture
def systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Systemd]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        yield Systemd(listener)


def configured(folder: Path, *, limits: str = "", listen: str = "") -> Config:
    text = toml(
        port=free_port(), to=[To(port=free_port())], scanners=["CT1"], limits=limits, runtime=folder / "run"
    ).replace('"SECOND"]', f'"SECOND"]\n{listen}')
    return parse(text, base=folder)


@dataclass(slots=True)
class Running:
    """A part of the box, wired as in production."""

    config: Config
    spool: Spool
    started: Started
    go_on: threading.Event
    """What a test holds up waits for this, at the longest until the test is over."""

    async def feeds(self) -> bool:
        return await Watchdog([self.started], seconds=LONG).round()

    async def starves(self) -> bool:
        return not await Watchdog([self.started], seconds=SHORT).round()


@asynccontextmanager
async def part(config: Config, name: str, *, reserve: int = 0) -> AsyncIterator[Running]:
    stop = asyncio.Event()
    async with AsyncExitStack() as stack:
        spool = Spool.open(config.box.state, now=now, reserve=lambda _: reserve)
        stack.callback(spool.close)
        if name == "edge":
            books = open_synthetic(config)
            stack.callback(books.close)
            started = await start_edge(config, spool, frozenset({"worklist", "storage"}), stop, stack, books=books)
        elif name == "health":
            started = await start_health(config, spool, stop)
        else:
            started = await start_forward(config, spool, stop)
        go_on = threading.Event()
        try:
            yield Running(config, spool, started, go_on)
        finally:
            go_on.set()
            stop.set()
            await asyncio.gather(*started.tasks)


def the(kind: type[T]) -> T:
    """The one there is, which the wiring keeps to itself."""
    gc.collect()
    (found,) = [one for one in gc.get_objects() if type(one) is kind]
    return found


@pytest.mark.asyncio
async def test_an_edge_that_works_is_heard_of(tmp_path: Path, systemd: Systemd) -> None:
    async with part(configured(tmp_path), "edge") as edge:
        assert [proof.name for proof in edge.started.proofs] == ["disk", f"echo:{edge.config.listen[0].port}"]
        assert await edge.feeds()
        assert systemd.heard() == b"WATCHDOG=1"
        (row,) = edge.spool.db.read().execute("SELECT part FROM heartbeat").fetchall()
        assert row["part"] == "edge"


@pytest.mark.asyncio
async def test_a_start_that_makes_the_index_anew_is_not_ended_halfway(tmp_path: Path, systemd: Systemd) -> None:
    """It reads every object, and would begin with the first again (TimeoutStartSec)."""
    config = configured(tmp_path)
    spool = Spool.open(config.box.state, now=now)
    committer = spool.accepting()
    for uid in ("1.2.3", "1.2.4"):
        committer.submit(receive(spool.files, uid, b"body")).result()
    spool.close()
    (config.box.state / "gateway.db").unlink()
    async with part(config, "edge") as edge:
        assert systemd.heard() == b"EXTEND_TIMEOUT_USEC=300000000"
        assert systemd.heard() == b"", "once for as many as are looked at in some seconds"
        (row,) = edge.spool.db.read().execute("SELECT count(*) AS many FROM instance").fetchall()
        assert row["many"] == 2


@pytest.mark.asyncio
async def test_a_stuck_writer_of_the_books_is_silence(tmp_path: Path, systemd: Systemd) -> None:
    async with part(configured(tmp_path), "edge") as edge:
        edge.spool.db.write(lambda _: edge.go_on.wait())
        assert await edge.starves()
        assert systemd.heard() == b""
        edge.go_on.set()
        assert await edge.feeds()
        assert systemd.heard() == b"WATCHDOG=1"


@pytest.mark.asyncio
async def test_a_stuck_committer_is_silence(tmp_path: Path, systemd: Systemd) -> None:
    """The thread that syncs and acknowledges objects, while the writer of the books is well."""
    async with part(configured(tmp_path), "edge") as edge:
        stuck = threading.Event()
        committer = edge.spool._committer
        assert committer is not None

        def durable(_: BaseException | None) -> None:
            stuck.set()
            edge.go_on.wait()

        committer.submit(receive(edge.spool.files, "1.2.3", b"body"), durable=durable)
        await asyncio.to_thread(stuck.wait)
        assert await edge.starves()
        assert systemd.heard() == b""
        edge.go_on.set()
        assert await edge.feeds()


@pytest.mark.asyncio
async def test_a_dead_listener_is_silence(tmp_path: Path, systemd: Systemd) -> None:
    async with part(configured(tmp_path), "edge") as edge:
        assert await edge.feeds()
        (before,) = heartbeats.lives(edge.spool.db.read(), [Part.EDGE])
        the(DicomServer)._listeners[0].close()
        assert await edge.starves()
        assert systemd.heard() == b"WATCHDOG=1"
        assert systemd.heard() == b""
        assert heartbeats.lives(edge.spool.db.read(), [Part.EDGE]) == (before,), "others see no sign of life either"


@pytest.mark.asyncio
async def test_a_listener_that_accepts_and_says_nothing_is_silence(
    tmp_path: Path, systemd: Systemd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proofs, "ANSWER_SECONDS", 0.5)
    with socket.create_server((HOST, 0)) as mute:
        port = mute.getsockname()[1]
        mute_part = Started(tasks=[], proofs=[answering(configured(tmp_path).listen[0], port, "SELF")])
        watchdog = Watchdog([mute_part], seconds=LONG)
        assert not await watchdog.round()
    assert systemd.heard() == b""


@pytest.mark.asyncio
async def test_scanners_that_take_every_association_are_no_death(tmp_path: Path, systemd: Systemd) -> None:
    async with part(configured(tmp_path, limits="associations = 1"), "edge") as edge:
        scanner = Peer(
            host=HOST,
            port=edge.config.listen[0].port,
            called_ae="GATEWAY",
            calling_ae="CT1",
            connect_timeout=10,
            timeout=10,
        )
        held = await asyncio.to_thread(Requestor.connect, scanner, [ProposedContext(1, VERIFICATION, NATIVE)])
        assert await edge.feeds()
        await asyncio.to_thread(held.release)


@pytest.mark.asyncio
@pytest.mark.parametrize("client_ca", [False, True])
async def test_an_encrypted_listener_is_called_too(
    tmp_path: Path, systemd: Systemd, certificate: Certificate, *, client_ca: bool
) -> None:
    lines = f'tls = true\ncertificate = "{certificate.path}"\nkey = "{certificate.key}"\n'
    lines += f'client_ca = "{certificate.path}"\n' if client_ca else ""
    async with part(configured(tmp_path, listen=lines), "edge") as edge:
        assert await edge.feeds()


@pytest.mark.asyncio
async def test_our_own_call_leaves_no_trace(tmp_path: Path, systemd: Systemd) -> None:
    """It is no scanner's: neither a stranger to be admitted, nor somebody who may have more to send."""
    async with part(configured(tmp_path), "edge") as edge:
        assert await edge.feeds()
        assert edge.spool.db.read().execute("SELECT count(*) AS n FROM caller").fetchone()["n"] == 0


@pytest.mark.asyncio
@pytest.mark.parametrize(("reserve", "fed"), [(0, False), (2**62, True)], ids=["broken", "full"])
async def test_a_disk_that_takes_nothing_is_silence_unless_it_is_full(
    tmp_path: Path, systemd: Systemd, reserve: int, *, fed: bool
) -> None:
    """A restart makes no room, and would take the worklist away."""
    async with part(configured(tmp_path), "edge", reserve=reserve) as edge:
        edge.spool.files.derived.rmdir()
        assert await edge.feeds() == fed
        edge.spool.files.derived.mkdir()


@pytest.mark.asyncio
async def test_a_stuck_lane_is_silence(tmp_path: Path, systemd: Systemd, monkeypatch: pytest.MonkeyPatch) -> None:
    later = 0.0
    monkeypatch.setattr(Pulse.__init__, "__defaults__", (lambda: time.monotonic() + later,))
    async with part(configured(tmp_path), "forward") as forward:
        assert await forward.feeds()
        role = the(Forward)
        stuck = threading.Event()

        def hang(self: LaneSender, _: threading.Event) -> bool:
            stuck.set()
            forward.go_on.wait()
            return False

        monkeypatch.setattr(LaneSender, "_round", hang)
        await asyncio.to_thread(stuck.wait)
        later = 2 * SILENCE.total_seconds()
        while set(role.silent(SILENCE.total_seconds())) != {"LaneSender"}:  # noqa: ASYNC110 -- others look within seconds
            await asyncio.sleep(0.01)
        assert await forward.starves()
        assert systemd.heard() == b"WATCHDOG=1"
        assert systemd.heard() == b""
        monkeypatch.undo()


@pytest.mark.asyncio
async def test_a_health_that_does_not_look_any_more_is_silence(
    tmp_path: Path, systemd: Systemd, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The fault: what it asks the machine never comes back."""
    asked, go_on = threading.Event(), threading.Event()

    def hang() -> float:
        asked.set()
        go_on.wait()
        return 0.0

    async with part(configured(tmp_path), "health") as health:
        assert await health.feeds()
        assert systemd.heard() == b"WATCHDOG=1"
    monkeypatch.setattr(machine, "cpu", hang)
    async with part(configured(tmp_path), "health") as health:
        await asyncio.to_thread(asked.wait)
        monkeypatch.setattr(proofs, "now", lambda: now() + 2 * proofs.LOOKED_WITHIN)
        starved = await health.starves()
        go_on.set()
        assert starved
        assert systemd.heard() == b""


def test_an_object_that_takes_hours_is_a_sign_of_life() -> None:
    at = 0.0
    pulse = Pulse(lambda: at)
    at = 5000.0
    assert pulse.silent_for() == 5000
    pulse.is_set()
    assert pulse.silent_for() == 0


def test_the_time_is_the_units() -> None:
    assert watchdog_seconds({"WATCHDOG_USEC": "120000000"}, 7) == 120
    assert watchdog_seconds({"WATCHDOG_USEC": "120000000", "WATCHDOG_PID": "7"}, 7) == 120
    assert watchdog_seconds({"WATCHDOG_USEC": "120000000", "WATCHDOG_PID": "8"}, 7) is None
    assert watchdog_seconds({}, 7) is None
    assert watchdog_seconds({"WATCHDOG_USEC": "0"}, 7) is None


@pytest.mark.slow
def test_a_whole_gateway_is_fed_and_starves(tmp_path: Path, systemd: Systemd, monkeypatch: pytest.MonkeyPatch) -> None:
    """As systemd sees it. The fault: another process holds the database."""
    monkeypatch.setenv("WATCHDOG_USEC", str(int(WHOLE * 1_000_000)))
    monkeypatch.delenv("WATCHDOG_PID", raising=False)
    gateway = Gateway(folder=tmp_path, port=free_port())
    runtime = tmp_path / "run"
    text = toml(
        port=gateway.port, scanners=["CT1", "ECHOSCU", "PYNETDICOM"], to=[To(port=free_port())], runtime=runtime
    )
    (tmp_path / "gateway.toml").write_text(text.replace("[console]\nport = 0", f"[console]\nport = {free_port()}"))
    assert os.environ["NOTIFY_SOCKET"]
    try:
        gateway.start()
        gateway.until(lambda: systemd.heard(1) == b"WATCHDOG=1", what="it is fed")
        holder = sqlite.connect(tmp_path / "state" / "gateway.db", isolation_level=None)
        holder.execute("BEGIN IMMEDIATE")
        gateway.until(lambda: systemd.heard(WHOLE) == b"", what="it is fed no more")
        holder.execute("ROLLBACK")
        holder.close()
        gateway.until(lambda: systemd.heard(1) == b"WATCHDOG=1", what="it is fed again")
        assert gateway.stop() == 0
    finally:
        gateway.kill()
