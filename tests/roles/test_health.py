"""What looks connected and is dead, on the real wire: each way has its own code within two intervals of a probe."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import itertools
import socket
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from gateway.domain.health import Hop, Reading
from gateway.domain.issue import Issue
from gateway.domain.upstream import patient_identifier
from gateway.net.dicom_client import Peer
from gateway.net.machine import ClockState
from gateway.roles.health import DicomProbe, Health, Policy
from gateway.roles.health.probing import NOBODY
from gateway.roles.health.round import Passed
from gateway.simulate.acceptor import hosted
from gateway.simulate.pacs import PacsSimulator
from gateway.simulate.ris import RisSimulator, sample_rows
from gateway.spool import Spool, health
from gateway.spool.rows import as_elements

INTERVAL = 2.0
HOST = "127.0.0.1"
NEVER = timedelta(0)


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    opened = Spool.open(tmp_path / "state", now=lambda: datetime.now(UTC))
    yield opened
    opened.close()


class Quiet:
    """A machine of which all is well, or as a test has it."""

    heat: float | None = 40.0
    state = ClockState(offset=timedelta(0), kept=True)
    failed: frozenset[str] | None = None
    end: datetime | None = None

    def cpu(self) -> float:
        return 0.5

    def memory(self) -> float:
        return 0.25

    def hottest(self) -> float | None:
        return self.heat

    def clock(self) -> ClockState:
        return self.state

    def failed_units(self, units: object) -> frozenset[str] | None:
        return self.failed

    def not_after(self, certificate: Path) -> datetime | None:
        return self.end


class Forgetful:
    """A firewall that forgets each connection once an association and a C-ECHO were answered on it: it stays open, and
    nothing comes through any more, either way."""

    def __init__(self, port: int) -> None:
        self._to = port
        self._listening = socket.create_server((HOST, 0))
        self.port = self._listening.getsockname()[1]
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                here, _ = self._listening.accept()
                there = socket.create_connection((HOST, self._to))
                self._open += [here, there]
                forgotten = threading.Event()
                for source, to, most in ((here, there, 99), (there, here, 2)):
                    threading.Thread(target=self._pass, args=(source, to, most, forgotten), daemon=True).start()

    def _pass(self, source: socket.socket, to: socket.socket, most: int, forgotten: threading.Event) -> None:
        with contextlib.suppress(OSError):
            for number in itertools.count(1):
                data = source.recv(65536)
                if not data:
                    to.shutdown(socket.SHUT_WR)
                    return
                if not forgotten.is_set():
                    to.sendall(data)
                if number >= most:
                    forgotten.set()

    def close(self) -> None:
        self._listening.close()
        for one in self._open:
            one.close()


def standing(spool: Spool) -> tuple[Issue, ...]:
    """What may be told of it, but for its parts."""
    return health.issues(spool.db.read(), parts=(), now=datetime.now(UTC))


def probe(port: int, *, host: str = HOST, hold: bool = False, ae: str = "PACS", asks: bool = False) -> DicomProbe:
    peer = Peer(host=host, port=port, called_ae=ae, calling_ae="GATEWAY", connect_timeout=10, timeout=10)
    return DicomProbe(
        name="pacs", peer=peer, hold=hold, question=as_elements(patient_identifier(NOBODY)) if asks else None
    )


@contextlib.contextmanager
def black_hole() -> Iterator[int]:
    """A port where a connection is neither taken nor refused: its queue is full, and the kernel drops what comes."""
    with socket.socket() as listening, contextlib.ExitStack() as stack:
        listening.bind((HOST, 0))
        listening.listen(0)
        address = listening.getsockname()
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                waiting.connect(address)
        yield address[1]


@contextlib.contextmanager
def silent() -> Iterator[int]:
    """A port where a connection is taken, by the kernel alone."""
    with socket.create_server((HOST, 0), backlog=128) as listening:
        yield listening.getsockname()[1]


@contextlib.contextmanager
def half_open() -> Iterator[int]:
    """A PACS behind such a firewall."""
    pacs = PacsSimulator()
    with hosted(pacs):
        firewall = Forgetful(pacs.port)
        try:
            yield firewall.port
        finally:
            firewall.close()


@contextlib.contextmanager
def refused() -> Iterator[int]:
    with socket.socket() as closed:  # bound, so that nobody else listens there, and not listening
        closed.bind((HOST, 0))
        yield closed.getsockname()[1]


def role(spool: Spool, *probes: DicomProbe, interval: float = INTERVAL, of: Quiet | None = None) -> Health:
    return Health(
        spool,
        probes,
        once=lambda: (one for one in ()),
        certificates={"listen-104": Path("x")} if of is not None and of.end is not None else {},
        policy=Policy(
            probe=timedelta(seconds=interval), synthetic=NEVER, certificate=timedelta(days=30), temperature=85
        ),
        now=lambda: datetime.now(UTC),
        random=lambda: 0.0,
        of_machine=of or Quiet(),
    )


async def until(fact: Callable[[], bool], *, limit: float) -> None:
    async with asyncio.timeout(limit):
        while not fact():  # noqa: ASYNC110
            await asyncio.sleep(0.02)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("listener", "code"),
    [
        (black_hole, "peer-black-hole"),
        (silent, "peer-silent"),
        (half_open, "peer-half-open"),
        (refused, "peer-not-listening"),
    ],
    ids=["black-hole", "accept-and-silence", "half-open", "refused"],
)
@pytest.mark.asyncio
async def test_a_dead_listener_is_named_within_two_intervals(
    spool: Spool,
    listener: Callable[[], contextlib.AbstractContextManager[int]],
    code: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if code == "peer-half-open":  # it has to be seen alive first: a probe waits for a whole interval
        monkeypatch.setattr("gateway.roles.health.SOONER", 1)
    with listener() as port:
        running, stop = role(spool, probe(port, hold=code == "peer-half-open")), asyncio.Event()
        task = asyncio.create_task(running.run(stop))
        # Begun just after the fault; the bound is that of the promise ten times, for a machine that is busy
        await until(lambda: bool(standing(spool)), limit=20 * INTERVAL)
        (issue,) = standing(spool)
        assert (issue.code, issue.instance) == (code, "pacs")
        stop.set()
        await task


@pytest.mark.parametrize(
    ("listener", "code"), [(black_hole, "peer-black-hole"), (silent, "peer-silent"), (refused, "peer-not-listening")]
)
def test_each_way_to_fail_has_its_code(
    listener: Callable[[], contextlib.AbstractContextManager[int]], code: str
) -> None:
    with listener() as port:
        assert probe(port).ask(patience=0.2).code == code


def test_a_name_that_nobody_knows() -> None:
    assert probe(104, host="name.invalid").ask(patience=0.2).code == "peer-unresolved"


def test_a_peer_that_works_and_one_that_rejects_us() -> None:
    pacs, ris = PacsSimulator(), RisSimulator(rows=sample_rows(datetime.now(UTC).date()))
    with hosted(pacs, ris):
        asked = probe(pacs.port).ask(patience=5)
        assert (asked.code, set(asked.latency_ms)) == ("", {Hop.ECHO})
        assert probe(pacs.port, ae="OTHER").ask(patience=5).code == "peer-rejects"
        asked = probe(ris.port, ae="RIS", asks=True).ask(patience=5)
        assert (asked.code, set(asked.latency_ms)) == ("", {Hop.ECHO, Hop.FIND})
        asked = probe(pacs.port, asks=True).ask(patience=5)  # no worklist there
        assert (asked.code, asked.failed) == ("peer-fails", Hop.FIND)


def test_a_held_line_that_the_peer_ended_in_order_is_no_fault() -> None:
    pacs = PacsSimulator()
    with hosted(pacs) as host:
        held = probe(pacs.port, hold=True)
        assert held.ask(patience=5).code == ""
        host.call(pacs.stop())
        host.call(pacs.start())
        assert held.ask(patience=5).code == ""
        held.hang_up()


def test_the_test_image_is_stored_once_in_a_while() -> None:
    pacs, clock, stored = PacsSimulator(), [0.0], [0]

    def store() -> bool:
        stored[0] += 1
        return stored[0] < 2

    with hosted(pacs):
        one = probe(pacs.port)
        one.test_store, one.monotonic = store, lambda: clock[0]
        assert Hop.TEST_STORE in one.ask(patience=5).latency_ms
        assert Hop.TEST_STORE not in one.ask(patience=5).latency_ms
        clock[0] = 3600
        asked = one.ask(patience=5)
        assert (asked.code, asked.failed) == ("peer-test-store", Hop.TEST_STORE)


@pytest.mark.asyncio
async def test_what_stands_is_gone_on_from_and_ends_with_its_peer(spool: Spool) -> None:
    for subject, code in (("old", "peer-silent"), ("clock", "clock-off")):
        await asyncio.wrap_future(
            spool.db.write(
                lambda c, s=subject, k=code: health.change(c, subject=s, was="", now_is=k, at=datetime.now(UTC))
            )
        )
    running, stop = role(spool), asyncio.Event()
    task = asyncio.create_task(running.run(stop))
    await until(lambda: Reading.CPU in health.readings(spool.db.read()), limit=60)
    await until(lambda: [one.code for one in standing(spool)] == ["clock-off"], limit=60)
    await running._look()  # the second look without a fault
    assert standing(spool) == ()
    stop.set()
    await task


@pytest.mark.asyncio
async def test_what_the_machine_says(spool: Spool) -> None:
    machine = Quiet()
    machine.heat, machine.state = 91.0, ClockState(offset=timedelta(seconds=-3), kept=True)
    machine.failed, machine.end = frozenset({"gateway-edge"}), datetime.now(UTC) + timedelta(days=3)
    running = role(spool, of=machine)
    for _ in range(2):
        await running._look()
    found = {(one.code, one.instance) for one in standing(spool)}
    assert found == {
        ("too-hot", "box"),
        ("clock-off", "box"),
        ("unit-failed", "gateway-edge"),
        ("certificate-ends", "listen-104"),
    }
    read = health.readings(spool.db.read())
    assert (read[Reading.CLOCK], read[Reading.TEMPERATURE]) == (-3000, 91)
    assert 2.9 < read[Reading.CERTIFICATE] <= 3


@pytest.mark.asyncio
async def test_a_fault_of_ours_ends_nothing_and_blames_nobody(spool: Spool) -> None:
    """The disk of the test image and of the round is full, say."""

    def full() -> bool:
        raise OSError(errno.ENOSPC, "No space left on device")

    pacs = PacsSimulator()
    with hosted(pacs), capture_logs() as logged:
        asked = probe(pacs.port)
        asked.test_store = full
        running, stop = role(spool, asked, interval=40), asyncio.Event()
        running._once = full  # type: ignore[assignment]
        assert not await running._round(stop)
        task = asyncio.create_task(running.run(stop))
        await until(lambda: len([one for one in logged if one["event"] == "no probe"]) == 1, limit=60)
        assert not task.done()
        stop.set()
        await task
    assert standing(spool) == ()


@pytest.mark.asyncio
async def test_a_hop_that_fails_twice_is_named(spool: Spool) -> None:
    rounds = iter(
        [
            [Passed(hop=Hop.STORE, holds=True, latency_ms=5.0), Passed(hop=Hop.CHECK, holds=False)],
            [Passed(hop=Hop.STORE, holds=True, latency_ms=6.0), Passed(hop=Hop.CHECK, holds=False)],
        ]
    )
    running = role(spool)
    running._once = lambda: (one for one in next(rounds))
    stop = asyncio.Event()
    assert await running._round(stop)
    assert standing(spool) == ()
    await running._round(stop)
    (issue,) = standing(spool)
    assert (issue.code, issue.instance) == ("selftest-failed", "check")
    hops = {one.hop: one for one in health.probes(spool.db.read())}
    assert (hops[Hop.STORE].latency_ms, hops[Hop.CHECK].code) == (6.0, "selftest-failed")
