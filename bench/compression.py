"""The tables of compression: our codec process beside dcmcjpls, gdcmconv and Orthanc, and the whole way of a study.

Ours decodes and compares every frame, which the others do not; its process is there before the first object, as it is
in the gateway, and theirs begin with each object, as their programs do. Sizes are of whole files.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

from bench import senders, servers
from bench.measure import Cell, CellFailed, Column, Sample, Table, Target
from bench.pictures import pictures
from bench.places import environment, python
from bench.servers import Server
from bench.sizes import Size
from gateway.domain.compression import JPEG_2000, JPEG_LS
from gateway.net.codec import Codecs
from gateway.net.codec_task import Made
from gateway.spool.db import open_reader
from tests.codec.objects import task
from tests.peers.processes import free_port, program

SLOW_LINK: Final = 1.25e6
"""Bytes a second: 10 Mbit/s."""
LONGEST: Final = 600.0
LOOK_SECONDS: Final = 0.05
OURS: Final = "gateway, verified"
ENCODING: Final = "gateway, encoding alone"
_COUNTS: Final = {"ct": 40, "mr": 40, "us": 12, "multiframe": 1}
_MB: Final = 1e6
_COUNTED: Final = """
import os, sys
pid = os.fork()
if not pid:
    os.dup2(2, 1)
    os.execv(sys.argv[1], sys.argv[1:])
_, status, usage = os.wait4(pid, 0)
print(status, usage.ru_utime + usage.ru_stime, usage.ru_maxrss)
"""
"""A small parent: what a process is said to have needed at most holds what its parent had when it forked."""
COLUMNS: Final = (
    Column(metric="bytes", title="bytes/object"),
    Column(metric="ratio", title="times smaller", digits=2),
    Column(metric="cpu_ms", title="CPU ms/object", digits=1),
    Column(metric="peak_mb", title="peak MB"),
)


def compression(size: Size) -> Table:
    others = {"dcmcjpls": _dcmcjpls, "gdcmconv": _gdcmconv, "Orthanc": _orthanc}
    cells = [
        Cell(case=case, variant=name, run=_cell(size, case, run))
        for case in _COUNTS
        for name, run in {OURS: _ours, ENCODING: _encoding, **others}.items()
        if case != "multiframe" or name in {OURS, "dcmcjpls"}
    ]
    return Table(
        name="compression",
        environment="",
        title="Lossless compression",
        note=(
            "CT and MR: JPEG-LS by all. Ultrasound: ours JPEG 2000 with RCT, as for a link of 10 Mbit/s, gdcmconv JPEG "
            "2000, the others JPEG-LS. Ours decodes every frame again and compares it, which the others do not: its "
            "CPU without that is a row of its own, for the comparison alone; the gateway never does so. "
            "Orthanc's row is its /modify with Transcode, upload not counted."
        ),
        columns=COLUMNS,
        cells=cells,
        targets=[
            *(
                Target(clause="size", case=case, metric="bytes", ours=OURS, beside="dcmcjpls", at_least=1.0)
                for case in ("ct", "mr")
            ),
            Target(clause="size", case="us", metric="bytes", ours=OURS, beside="dcmcjpls", at_least=1 / 0.6),
            Target(clause="CPU", case="ct", metric="cpu_ms", ours=ENCODING, beside="dcmcjpls", at_least=1 / 0.35),
            Target(clause="memory", case="multiframe", metric="peak_mb", ours=OURS, beside="dcmcjpls", at_least=4.0),
        ],
        lower_is_better=True,
        ours=OURS,
    )


Run = Callable[[Sequence[Path], Path, str], tuple[int, float, float]]
"""(files, folder, case) -> bytes of all results, CPU seconds, peak bytes."""


def _cell(size: Size, case: str, run: Run) -> Callable[[Path], Sample]:
    def measured(folder: Path) -> Sample:
        files = pictures(case, max(1, _COUNTS[case] * size.pictures // 100))
        results, cpu, peak = run(files, folder, case)
        before = sum(path.stat().st_size for path in files)
        return {
            "bytes": results / len(files),
            "ratio": before / results,
            "cpu_ms": cpu / len(files) * 1000,
            "peak_mb": peak / _MB,
        }

    return measured


def _ours(files: Sequence[Path], folder: Path, case: str) -> tuple[int, float, float]:
    accepted = (JPEG_LS, JPEG_2000)
    with closing(Codecs(workers=1, memory=2 << 30, timeout=LONGEST, tasks=500)) as codecs:
        (child,) = psutil.Process().children()
        header = 0
        before = _times(child)
        total = 0
        for number, path in enumerate(files):
            asked = task(path, accepted=accepted, link=SLOW_LINK, target=folder / f"{number}.dataset")
            made = codecs.submit(asked, urgency=0).result()
            if not isinstance(made, Made):
                raise CellFailed(f"not compressed: {made.why}")
            header = path.stat().st_size - asked.size
            total += made.size + header
        return total, _times(child) - before, _peak(child.pid)


def _encoding(files: Sequence[Path], folder: Path, case: str) -> tuple[int, float, float]:
    """The same work in a process of its own, but what was encoded counts as decoded."""
    said = subprocess.run(
        [*python("bench.encoding", folder), *map(str, files)], stdout=subprocess.PIPE, check=True, timeout=LONGEST
    ).stdout.split()
    return int(said[0]), float(said[1]), float(said[2]) * 1024


def _dcmcjpls(files: Sequence[Path], folder: Path, case: str) -> tuple[int, float, float]:
    return _each([str(servers.DCMTK / "dcmcjpls")], files, folder)


def _gdcmconv(files: Sequence[Path], folder: Path, case: str) -> tuple[int, float, float]:
    return _each([str(servers.DCMTK / "gdcmconv"), "--j2k" if case == "us" else "--jpegls"], files, folder)


def _each(command: list[str], files: Sequence[Path], folder: Path) -> tuple[int, float, float]:
    total, cpu, peak = 0, 0.0, 0.0
    out = folder / "out.dcm"
    for path in files:
        asked = [sys.executable, "-S", "-c", _COUNTED, *command, str(path), str(out)]
        said = subprocess.run(asked, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False).stdout.split()
        if said[0] != b"0":
            raise CellFailed(f"{Path(command[0]).name} ended with {said[0].decode()}")
        total += out.stat().st_size
        cpu += float(said[1])
        peak = max(peak, float(said[2]) * 1024)
    return total, cpu, peak


def _orthanc(files: Sequence[Path], folder: Path, case: str) -> tuple[int, float, float]:
    with servers.orthanc_rest(folder, True) as orthanc:
        held = [orthanc.upload(path) for path in files]
        process = psutil.Process(orthanc.program.process.pid)
        before, total = _times(process), 0
        for one in held:
            asked = {"Transcode": JPEG_LS, "Keep": ["SOPInstanceUID"], "Force": True}
            total += len(orthanc.transcoded(one, asked))
        return total, _times(process) - before, _peak(process.pid)


def _times(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _peak(pid: int) -> float:
    """The most memory it ever had, in bytes (proc(5), VmHWM)."""
    for line in Path(f"/proc/{pid}/status").read_text("ascii").splitlines():
        if line.startswith("VmHWM:"):
            return float(line.split()[1]) * 1024
    raise CellFailed("the peak of memory is not known")


# -- the whole way --


def pipeline(size: Size) -> Table:
    return Table(
        name="pipeline",
        environment="tuned",
        title="A CT study received, compressed as JPEG-LS, forwarded and confirmed",
        note=(
            "dcmsend over one association into each, from there into storescp, which takes JPEG-LS. Ours, edge and "
            "forward as they are installed, checks, verifies every frame and confirms in its books; Orthanc transcodes "
            "as it takes objects in and forwards each by Lua. One object goes before, uncounted: what begins with the "
            "first has begun. The time ends when the last object is there, ours confirmed."
        ),
        columns=(
            Column(metric="per_s", title="objects/s", digits=1),
            Column(metric="cpu", title="CPU s/100 objects", digits=1),
        ),
        cells=[
            Cell(case="ct", variant="gateway", run=_pipeline(size, _gateway)),
            Cell(case="ct", variant="Orthanc", run=_pipeline(size, _forwarding_orthanc)),
        ],
        targets=[
            Target(clause="pipeline", case="ct", metric="per_s", at_least=60, unit="objects/s"),
            Target(clause="pipeline", case="ct", metric="per_s", beside="Orthanc", at_least=1.5),
        ],
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """What stands between the scanner and the PACS."""

    server: Server
    pids: tuple[int, ...]
    passed: Callable[[], int]
    """How many objects have come through."""

    def cpu(self) -> float:
        """CPU seconds so far."""
        return sum(map(servers.cpu_of, self.pids))


def _pipeline(size: Size, start: Callable[[Path, Server], AbstractContextManager[Box]]) -> Callable[[Path], Sample]:
    def measured(folder: Path) -> Sample:
        first, *files = pictures("ct", 1 + max(8, 300 * size.pictures // 100))
        (folder / "pacs").mkdir()
        takes_jpeg_ls = ("--fork", "--prefer-jls-lossless")
        with (
            servers.storescp(folder / "pacs", True, options=takes_jpeg_ls) as pacs,
            start(folder, pacs) as box,
        ):
            senders.dcmsend(box.server, [first], True)
            _until(lambda: box.passed() == 1)
            before, began = box.cpu(), time.monotonic()
            senders.dcmsend(box.server, files, True)
            _until(lambda: box.passed() == 1 + len(files))
            seconds, cpu = time.monotonic() - began, box.cpu() - before
            if pacs.stored() != 1 + len(files):
                raise CellFailed(f"{pacs.stored()} of {1 + len(files)} objects are there")
        return {"per_s": len(files) / seconds, "cpu": cpu / len(files) * 100}

    return measured


def _until(done: Callable[[], bool]) -> None:
    end = time.monotonic() + LONGEST
    while not done():
        if time.monotonic() > end:
            raise CellFailed("not all objects came through")
        time.sleep(LOOK_SECONDS)


@contextmanager
def _gateway(folder: Path, pacs: Server) -> Iterator[Box]:
    """Edge and forward, each a process of its own, as they are installed."""
    port = free_port()
    config = servers.write_config(folder, port=port)
    with config.open("a", encoding="utf-8") as more:
        more.write(servers.destination_section(pacs.port, compression="lossless"))
    edge = python("gateway", "serve", "worklist", "storage", "--config", config)
    forward = python("gateway", "serve", "forward", "--config", config)
    with (
        program(edge, port=port, folder=folder, env=environment(tuned=True)) as running,
        servers.background(forward, folder, tuned=True) as sending,
        closing(open_reader(folder / "state" / "gateway.db")) as books,
    ):

        def confirmed() -> int:
            return int(books.execute("SELECT count(*) FROM delivery WHERE state = 'confirmed'").fetchone()[0])

        server = Server(ae="GATEWAY", port=port, pid=running.process.pid, stored=confirmed)
        yield Box(server=server, pids=(server.pid, sending.pid), passed=confirmed)


@contextmanager
def _forwarding_orthanc(folder: Path, pacs: Server) -> Iterator[Box]:
    lua = folder / "forward.lua"
    lua.write_text("function OnStoredInstance(id, tags, metadata)\n  SendToModality(id, 'sink')\nend\n")
    settings = {
        "IngestTranscoding": JPEG_LS,
        "LuaScripts": [str(lua)],
        "DicomModalities": {"sink": [pacs.ae, "127.0.0.1", pacs.port]},
    }
    with servers.orthanc_rest(folder, True, config=settings) as orthanc:
        server = Server(ae=orthanc.ae, port=orthanc.port, pid=orthanc.program.process.pid, stored=pacs.stored)
        yield Box(server=server, pids=(server.pid,), passed=pacs.stored)
