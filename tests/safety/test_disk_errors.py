"""A full disk and a failing one: every refusal is A7xx, nothing answered 0000 is lost, and work goes on by itself.

The full disk is a real ext4 of a few megabytes. The failing one is the machine's own, with errors put into the
gateway's system calls by strace; each test shows that its fault was met, and that the object it met was refused.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from gateway.dicom.dimse import CommandField, CommandSet
from gateway.dicom.negotiation import propose
from gateway.domain.model import TemporaryFailure
from gateway.net.dicom_client import Peer, Requestor
from gateway.simulate.commitment import Reference
from gateway.simulate.pacs import PacsBehaviour
from gateway.simulate.scanner import Scanner
from tests.powercut.ledger import Ledger, promises
from tests.safety.sender import Made, Modality
from tests.safety.site import Site, Verdict, see_through, sending, site, until_promised

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounts a file system or traces a process: needs root")
needs_strace = pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed (apt: strace)")
pytestmark = [pytest.mark.safety, needs_root]

MIB = 1 << 20
OUT_OF_RESOURCES = re.compile("A7[0-9A-F]{2}")
OBJECTS = 24


# -- full --


@contextmanager
def small_disk(folder: Path, size: int) -> Iterator[Path]:
    """An ext4 of `size` bytes."""
    image, mount = folder / "small.img", folder / "small"
    mount.mkdir(parents=True)
    with image.open("wb") as file:
        file.truncate(size)
    subprocess.run(["mkfs.ext4", "-q", "-F", "-m", "0", image], check=True)
    subprocess.run(["mount", "-t", "ext4", "-o", "loop,noatime", image, mount], check=True)
    try:
        yield mount
    finally:
        subprocess.run(["umount", "-l", mount], check=True)


def refusals(place: Site) -> list[str]:
    path = place.ledgers / "refused"
    return [line.split()[1] for line in path.read_text().splitlines()] if path.exists() else []


def until_refused(place: Site, count: int, *, limit: float = 150.0) -> None:
    deadline = time.monotonic() + limit
    while len(refusals(place)) < count:
        assert time.monotonic() < deadline, f"{len(refusals(place))} of {count} refusals within {limit} s"
        assert all(map(place.box.running, place.box.units)), "a unit ended by itself"
        time.sleep(0.01)


def fill(ballast: Path, *, leave: int) -> None:
    """Take the space of a disk but for `leave` bytes; 0: to the last block."""
    with ballast.open("ab", buffering=0) as file:
        if leave:
            os.posix_fallocate(file.fileno(), 0, max(shutil.disk_usage(ballast.parent).free - leave, 1))
            return
        with suppress(OSError):
            while file.write(bytes(64 << 10)) == 64 << 10:
                pass
        with suppress(OSError):
            while file.write(bytes(4 << 10)) == 4 << 10:
                pass


def judge_refusals(place: Site, verdict: Verdict) -> None:
    statuses = refusals(place)
    assert all(map(OUT_OF_RESOURCES.fullmatch, statuses)), set(statuses)
    broken = place.ledgers / "broken"
    assert not broken.exists() or not broken.read_text(), "an association broke where an answer was due"
    assert verdict.kept_every_promise, verdict
    assert not verdict.put_aside


@pytest.mark.parametrize("reserve", ["5%", "0"])
def test_a_full_disk_refuses_and_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str], reserve: str) -> None:
    with (
        small_disk(tmp_path, 96 * MIB) as disk,
        site(tmp_path, state=disk / "state", units=("edge", "forward"), reserve=reserve) as place,
    ):
        place.box.start()
        ballast = disk / "ballast"
        fill(ballast, leave=12 * MIB)
        with sending(place.box, place.ledgers, "--largest", "400000", seed=51) as sender:
            until_refused(place, 40)
            assert place.box.echo() == 0
            before = len(promises(place.stored))
            ballast.unlink()
            until_promised(place.stored, before + 20)
            see_through(sender)
        place.drain()
        verdict = place.judge()
        for unit in place.box.units:
            place.box.kill(unit)
    statuses = refusals(place)
    with capsys.disabled():
        print(
            f"\nfull disk, reserve {reserve}: refused {len(statuses)} ({', '.join(sorted(set(statuses)))}), {verdict}"
        )
    judge_refusals(place, verdict)


def test_a_disk_without_a_free_block_stops_nobody(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Not even the database can write; what was accepted before waits for a PACS that is down, then up."""
    with (
        small_disk(tmp_path, 96 * MIB) as disk,
        site(
            tmp_path,
            state=disk / "state",
            units=("edge", "forward"),
            behaviour=PacsBehaviour.DOWN,
            reserve="0",
            absent_ris=True,
        ) as place,
    ):
        place.box.start()
        ballast = disk / "ballast"
        with sending(place.box, place.ledgers, "--commit", "0.5", "--largest", "100000", seed=52) as sender:
            until_promised(place.stored, 30)
            fill(ballast, leave=0)
            until_refused(place, 20)
            place.host.call(place.pacs.behave(PacsBehaviour.UP))
            until_refused(place, 60)
            fill(ballast, leave=0)
            until_refused(place, 80)
            assert place.box.echo() == 0
            assert all(map(place.box.running, place.box.units))
            before = len(promises(place.stored))
            ballast.unlink()
            until_promised(place.stored, before + 20)
            see_through(sender)
        place.drain()
        verdict = place.judge()
        for unit in place.box.units:
            place.box.kill(unit)
    with capsys.disabled():
        print(f"\nno free block: refused {len(refusals(place))}, {verdict}")
    judge_refusals(place, verdict)


# -- failing --


@contextmanager
def injecting(pid: int, log: Path, fault: str) -> Iterator[None]:
    """Put `fault` (strace's inject=) into the system calls of every thread of the process.

    A log for each thread: in one log a call that another thread interrupts is told in two lines, and the one that says
    INJECTED has no path.
    """
    calls = fault.partition(":")[0]
    command = ["strace", "-ff", "-y", "-s", "256", "-o", str(log), "-e", f"trace={calls}", "-e", f"inject={fault}"]
    with subprocess.Popen([*command, "-p", str(pid)], stderr=subprocess.PIPE, text=True) as tracer:
        assert tracer.stderr is not None
        line = tracer.stderr.readline()
        assert "attached" in line, line
        try:
            yield
        finally:
            tracer.send_signal(signal.SIGINT)
            tracer.communicate()


def struck(log: Path, where: str) -> int:
    """How many calls on a path with `where` in it were made to fail so far."""
    logs = (one.read_text() for one in log.parent.glob(f"{log.name}.*"))
    return sum("(INJECTED)" in line and where in line for text in logs for line in text.splitlines())


class OneAtATime:
    """A scanner with one object under way, so that a fault belongs to an object."""

    def __init__(self, place: Site, seed: int) -> None:
        place.ledgers.mkdir(parents=True, exist_ok=True)
        self._ledger = Ledger(place.stored)
        self._chance = random.Random(seed)
        self._modality = Modality("CT", seed)
        self._seed = seed
        self._made = 0
        self._association = Requestor.connect(
            Peer(
                host="127.0.0.1",
                port=place.box.port,
                called_ae="GATEWAY",
                calling_ae="CT1",
                connect_timeout=30.0,
                timeout=30.0,
            ),
            propose({self._modality.sop_class: [self._modality.syntax]}),
        )

    def make(self) -> Made:
        self._made += 1
        size = self._chance.randrange(20_000, 60_000) & ~1
        return self._modality.make(f"2.25.1{self._seed:09d}{0:03d}{self._made:012d}", self._chance.randbytes(size))

    def send(self, made: Made) -> int:
        context = self._association.context_for(made.SOPClassUID, made.TransferSyntaxUID)
        assert context is not None
        command = CommandSet(
            CommandField=CommandField.C_STORE_RQ,
            AffectedSOPClassUID=made.SOPClassUID,
            AffectedSOPInstanceUID=made.SOPInstanceUID,
            MessageID=self._association.next_message_id(),
            Priority=0,
            CommandDataSetType=1,
        )
        status = self._association.store(context, command, [made.content], -1).Status
        assert status is not None
        if status == 0:
            self._ledger.promised(made.SOPInstanceUID, made.hash)
        return status

    def close(self) -> None:
        self._association.release()


@contextmanager
def memory_disk(folder: Path) -> Iterator[Path]:
    """A file system whose names don't follow their files, so that folders are synced too."""
    folder.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


@needs_strace
@pytest.mark.parametrize(
    "fault",
    [
        "fdatasync:error=EIO:when=3+4",  # the object's own sync
        "fdatasync:error=ENOSPC:when=1+3",
        "fsync:error=EIO:when=2+3",  # that of its folder, or of the probe after an error
        "openat:error=EMFILE:when=2+3",  # a new file
        "openat:error=ENOSPC:when=1+3",
    ],
)
def test_an_object_that_met_an_error_is_not_acknowledged(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    # The box proves every quarter of WatchdogSec that it can write a file: a fault which that met belongs to no object
    monkeypatch.setenv("WATCHDOG_USEC", str(3600 * 1_000_000))
    log = tmp_path / "strace.log"
    refused = 0
    with (
        memory_disk(tmp_path / "memory") as disk,
        site(tmp_path, state=disk / "state", units=("edge", "forward")) as place,
    ):
        place.box.start("edge")
        scanner = OneAtATime(place, seed=61)
        with injecting(place.box.pid("edge"), log, fault):
            for _ in range(OBJECTS):
                made, status = scanner.make(), -1
                while status != 0:  # as a scanner's queue does; at most every other attempt meets the fault
                    before = struck(log, "/spool/")
                    status = scanner.send(made)
                    met = struck(log, "/spool/") > before
                    assert met == (status != 0), f"status {status:04X}, fault met: {met}"
                    assert status == 0 or status & 0xFF00 == 0xA700
                    refused += status != 0
        scanner.close()
        place.box.start("forward")
        place.drain()
        verdict = place.judge()
        for unit in place.box.units:
            place.box.kill(unit)
    with capsys.disabled():
        print(f"\n{fault}: met {struck(log, '/spool/')}, refused {refused}, {verdict}")
    assert refused >= OBJECTS // 5
    assert verdict.kept_every_promise, verdict
    assert not verdict.put_aside


@needs_strace
def test_a_database_that_met_an_error_is_opened_anew(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is acknowledged by it; the process ends, for its supervisor to start, and all is there again."""
    log = tmp_path / "strace.log"
    with site(tmp_path, state=tmp_path / "state", units=("edge", "forward")) as place:
        place.box.start("edge")
        scanner = OneAtATime(place, seed=62)
        made = [scanner.make() for _ in range(8)]
        assert [scanner.send(one) for one in made] == [0] * len(made)
        scanner.close()
        asking = Scanner(host="127.0.0.1", port=place.box.port, called_ae="GATEWAY", calling_ae="CT1", timeout=30.0)
        references = [Reference(one.SOPClassUID, one.SOPInstanceUID) for one in made]
        with injecting(place.box.pid("edge"), log, "/^f(data)?sync:error=EIO:when=1"):
            with pytest.raises(TemporaryFailure):
                asking.commit(references, wait=30.0)
            assert place.box.await_end("edge") == 1
        place.box.start()
        place.drain()
        result = asking.commit(references, wait=60.0)
        verdict = place.judge()
    assert struck(log, "gateway.db")
    with capsys.disabled():
        print(f"\nEIO on the database: met {struck(log, 'gateway.db')}, {verdict}")
    assert result is not None
    assert result.committed == {one.SOPInstanceUID for one in made}
    assert verdict.kept_every_promise, verdict
