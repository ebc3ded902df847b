"""The tables of latency: the worklist, queries and echoes during an ingest, the start, the negotiation."""

from __future__ import annotations

import os
import random
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from itertools import cycle
from pathlib import Path
from typing import Final

from bench import servers, wire
from bench.entries import AE, STATION, accession, folder_with, query, state_with, station
from bench.measure import Cell, CellFailed, Column, Sample, Table, Target
from bench.places import environment, python
from bench.sending import copy_spool, filled_spool
from bench.servers import SCANNER, WORKLIST_PLUGIN, Start
from bench.sizes import Size
from bench.wire import Line

FOUR: Final = 4
_MS: Final = 1000.0
P50: Final = Column(metric="p50", title="p50 ms", digits=2)
P99: Final = Column(metric="p99", title="p99 ms", digits=1)
Opened = tuple[int, str, int]
"""Port, AE title and process id."""
Open = Callable[[Path, int, bool], AbstractContextManager[Opened]]
"""(folder, entries, tuned) -> a worklist server."""


def percentiles(seconds: Sequence[float], *, name: str = "") -> Sample:
    """p50 and p99 in milliseconds; of fewer than a hundred the p99 is the worst."""
    ordered = sorted(seconds)
    worst = ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]
    return {f"{name}p50": statistics.median(ordered) * _MS, f"{name}p99": worst * _MS}


# -- worklist --


@contextmanager
def _gateway(folder: Path, entries: int, tuned: bool) -> Iterator[Opened]:
    copy_spool(state_with(entries), folder / "state")
    with servers.gateway(folder, tuned) as server:
        yield server.port, server.ae, server.pid


@contextmanager
def _wlmscpfs(folder: Path, entries: int, tuned: bool) -> Iterator[Opened]:
    with servers.wlmscpfs(folder_with(entries), folder, tuned) as running:
        yield running.port, AE, running.process.pid


@contextmanager
def _orthanc(folder: Path, entries: int, tuned: bool) -> Iterator[Opened]:
    config = {
        "Plugins": [str(WORKLIST_PLUGIN)],
        "Worklists": {"Enable": True, "Database": str(folder_with(entries) / AE)},
        "DicomAlwaysAllowFindWorklist": True,
        "DicomCheckCalledAet": False,
        "DicomModalities": {"bench": [SCANNER, "127.0.0.1", 104]},
    }
    with servers.orthanc_rest(folder, tuned, config=config) as running:
        yield running.port, running.ae, running.program.process.pid


OPEN: Final[dict[str, Open]] = {"gateway": _gateway, "wlmscpfs": _wlmscpfs, "Orthanc": _orthanc}


def _queries(entries: int, matches: int, count: int) -> list[bytes]:
    """Different questions, all with the same number of answers."""
    draw = random.SystemRandom()
    chosen = [draw.randrange(entries) for _ in range(count)]
    if matches == 1:
        return [wire.find(query(accession_number=accession(number))) for number in chosen]
    return [wire.find(query(station_ae=station(number))) for number in chosen]


def _answered(line: Line, message: bytes, matches: int) -> None:
    found = line.ask(message)
    if found != matches:
        raise CellFailed(f"a query was answered with {found} entries instead of {matches}")


def ask_each(port: int, ae: str, messages: Sequence[bytes], matches: int) -> list[float]:
    """An association for each query; seconds from the connection to the final response, each."""
    associate = wire.request(ae, SCANNER)
    taken = []
    for message in messages:
        began = time.perf_counter()
        with Line(port, associate) as line:
            _answered(line, message, matches)
            taken.append(time.perf_counter() - began)
    return taken


def ask_kept(port: int, ae: str, messages: Sequence[bytes], matches: int) -> list[float]:
    """All queries over one association."""
    taken = []
    with Line(port, wire.request(ae, SCANNER)) as line:
        for message in messages:
            began = time.perf_counter()
            _answered(line, message, matches)
            taken.append(time.perf_counter() - began)
    return taken


def case_name(matches: int, entries: int, *, kept: bool = False) -> str:
    return f"{matches} of {entries:,}" + (", association kept" if kept else "")


def _query_cell(size: Size, variant: str, entries: int, matches: int, *, kept: bool, tuned: bool) -> Cell:
    count = size.queries if variant == "gateway" else size.few if entries > size.others[0] else size.queries // 10

    def run(folder: Path) -> Sample:
        messages = _queries(entries, matches, count)
        with OPEN[variant](folder, entries, tuned) as (port, ae, _):
            ask_each(port, ae, messages[:1], matches)
            return percentiles((ask_kept if kept else ask_each)(port, ae, messages, matches))

    return Cell(case=case_name(matches, entries, kept=kept), variant=variant, run=run)


def _worklist(size: Size, *, tuned: bool, ours: Sequence[int], others: Sequence[int], note: str) -> Table:
    names = ["wlmscpfs", *(["Orthanc"] if WORKLIST_PLUGIN.exists() else [])]
    asked = [("gateway", entries, kept) for entries in ours for kept in (False, True)]
    asked += [(name, entries, kept) for name in names for entries in others for kept in (False, entries == others[0])]
    cells = [
        _query_cell(size, name, entries, matches, kept=kept, tuned=tuned)
        for name, entries, kept in dict.fromkeys(asked)
        for matches in (1, STATION)
    ]
    targets = [
        Target(clause="worklist", case=case_name(matches, others[0]), metric="p50", beside=name, at_least=20.0)
        for matches in (1, STATION)
        for name in names
    ]
    if ours[-1] > ours[0]:
        few, many = case_name(1, ours[0]), case_name(1, ours[-1])
        targets.append(
            Target(clause="growth", case=many, metric="p50", beside="gateway", beside_case=few, at_least=0.5)
        )
    return Table(
        name="worklist",
        environment="tuned" if tuned else "default",
        title="Worklist queries",
        note=note,
        columns=(P50, P99),
        cells=cells,
        targets=targets,
        lower_is_better=True,
    )


def worklist(size: Size) -> Table:
    """All sizes, tuned."""
    absent = "" if WORKLIST_PLUGIN.exists() else " Orthanc's worklist plugin is not installed here: left out."
    note = (
        "Association per query, unless kept: from the connection to the final response. Every query asks for another "
        "accession number (1 match) or station (200). Our answers come from the copy. The first query of a server is "
        f"not counted. The file-based servers are asked less often: their p99 is their worst.{absent}"
    )
    return _worklist(size, tuned=True, ours=size.entries, others=size.others, note=note)


def worklist_default(size: Size) -> Table:
    """The smallest size, nothing tuned."""
    return _worklist(size, tuned=False, ours=size.entries[:1], others=size.others[:1], note="As above, nothing tuned.")


# -- during an ingest --


@contextmanager
def _ingest(port: int, ae: str, files: Sequence[Path], counts: list[int]) -> Iterator[None]:
    """Four associations that send without end; how many objects each got through is in `counts` afterwards."""
    commands = [python("bench.burst", port, ae, *files[first::FOUR]) for first in range(FOUR)]
    env = {**os.environ, **environment(tuned=True)}
    running = [
        subprocess.Popen(command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE) for command in commands
    ]
    try:
        for process in running:
            assert process.stdout is not None
            if process.stdout.readline() != b"sending\n":
                raise CellFailed("a sender of the ingest did not begin")
        yield
        for process in running:
            out, _ = process.communicate(timeout=60)
            counts.append(int(out))
    finally:
        for process in running:
            process.kill()
            process.wait()


def _under_load(size: Size, *, loaded: bool) -> Cell:
    def run(folder: Path) -> Sample:
        messages = cycle(_queries(size.entries[0], 1, 200))
        counts: list[int] = []
        with _gateway(folder, size.entries[0], True) as (port, ae, _):
            associate = wire.request(ae, SCANNER)
            ask_each(port, ae, [next(messages)], 1)
            queries, echoes = [], []
            meanwhile = _ingest(port, ae, size.files("ct"), counts) if loaded else nullcontext()
            with meanwhile:
                began = time.monotonic()
                while time.monotonic() - began < size.burst:
                    queries += ask_each(port, ae, [next(messages)], 1)
                    echoes.append(_echo(port, associate))
                seconds = time.monotonic() - began
        return {
            **percentiles(queries, name="find_"),
            **percentiles(echoes, name="echo_"),
            "asked": len(queries),
            "per_s": sum(counts) / seconds,
        }

    variant = "during a CT ingest over 4 associations" if loaded else "idle"
    return Cell(case="edge", variant=variant, run=run)


def _echo(port: int, associate: bytes) -> float:
    began = time.perf_counter()
    with Line(port, associate) as line:
        line.ask(wire.echo())
        return time.perf_counter() - began


def during(size: Size) -> Table:
    """Queries and echoes at the edge process, idle and busy."""
    loaded = "during a CT ingest over 4 associations"
    return Table(
        name="during",
        environment="tuned",
        title="Latency at one edge process while it accepts images",
        note=(
            f"A single-match query and a C-ECHO in turn, an association each, for {size.burst:.0f} s a round, "
            f"{size.entries[0]:,} entries. The four senders and the asker use the same cores. "
            "The figure that stands is the median of the rounds' p99."
        ),
        columns=(
            Column(metric="find_p99", title="C-FIND p99 ms", digits=1),
            Column(metric="find_p50", title="p50 ms", digits=2),
            Column(metric="echo_p99", title="C-ECHO p99 ms", digits=1),
            Column(metric="echo_p50", title="p50 ms", digits=2),
            Column(metric="asked", title="asked of each"),
            Column(metric="per_s", title="ingest objects/s"),
        ),
        cells=[_under_load(size, loaded=False), _under_load(size, loaded=True)],
        targets=[
            Target(clause="latency", case="edge", ours=loaded, metric=metric, at_most=25.0, unit="ms")
            for metric in ("find_p99", "echo_p99")
        ],
        lower_is_better=True,
        ours=loaded,
        compared=False,
    )


# -- start --


def _start_cell(variant: str, start: Start, prepare: Callable[[Path], None] | None, case: str) -> Cell:
    def run(folder: Path) -> Sample:
        if prepare is not None:
            prepare(folder)
        began = time.monotonic()
        with start(folder, True) as server:
            _echo(server.port, wire.request(server.ae, SCANNER))
            return {"seconds": time.monotonic() - began}

    return Cell(case=case, variant=variant, run=run)


def starting(size: Size) -> Table:
    """From the start of the process to the first C-ECHO."""

    def with_objects(folder: Path) -> None:
        copy_spool(filled_spool(size.files("mr"), "mr"), folder / "state")

    full = f"spool of {size.counts['mr']:,} objects"
    return Table(
        name="start",
        environment="",
        title="From the start of the process to the first C-ECHO",
        note="Looked at every 10 ms. The page cache is warm.",
        columns=(Column(metric="seconds", title="seconds", digits=2),),
        cells=[
            _start_cell("gateway", servers.gateway, None, "empty"),
            _start_cell("storescp", servers.storescp, None, "empty"),
            _start_cell("Orthanc", servers.orthanc, None, "empty"),
            _start_cell("gateway", servers.gateway, with_objects, full),
        ],
        targets=[
            Target(clause="start", case=case, metric="seconds", at_most=3.0, unit="s") for case in ("empty", full)
        ],
        lower_is_better=True,
    )
