"""The table of the consoles that poll: every scanner asks for its own station's list, again and again."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from bench import wire
from bench.entries import STATION, query, station
from bench.latency import OPEN, P50, P99, ask_each, percentiles
from bench.measure import Cell, Column, Sample, Table, Target
from bench.servers import WORKLIST_PLUGIN
from bench.sizes import Size

LAPS: Final = 3
"""How often each scanner asks and is counted."""
BEFORE: Final = 2
"""How often it has asked before: a console polls all day, and what is asked twice is remembered."""
EVERY: Final = 10.0
"""Seconds between two questions of one scanner."""
ASKING: Final = 8
"""Questions at a time, at most: one that waits for its turn here is late, and counts from when it was due."""
_MB: Final = 1e6


def _polled(port: int, ae: str, entries: int, scanners: int, every: float) -> list[float]:
    """Seconds from when each question was due to its final response, an association each."""
    stations = entries // STATION
    messages = [wire.find(query(station_ae=station(number % stations * STATION))) for number in range(scanners)]
    for message in messages * BEFORE:
        ask_each(port, ae, [message], STATION)
    began = time.monotonic()

    def ask(number: int) -> float:
        ask_each(port, ae, [messages[number % scanners]], STATION)
        return time.monotonic() - due(number)

    def due(number: int) -> float:
        return began + number * every / scanners

    if scanners == 1:
        return ask_each(port, ae, messages * LAPS, STATION)
    with ThreadPoolExecutor(ASKING) as pool:
        asked = []
        for number in range(scanners * LAPS):
            time.sleep(max(0.0, due(number) - time.monotonic()))
            asked.append(pool.submit(ask, number))
        return [one.result() for one in asked]


def _peak(pid: int) -> float:
    """The most memory the process ever had, in MB."""
    lines = Path(f"/proc/{pid}/status").read_text("ascii").splitlines()
    return next(int(line.split()[1]) * 1024 / _MB for line in lines if line.startswith("VmHWM:"))


def _cell(size: Size, variant: str, entries: int, scanners: int) -> Cell:
    every = min(EVERY, size.burst) if scanners > 1 else 0.0

    def run(folder: Path) -> Sample:
        with OPEN[variant](folder, entries, True) as (port, ae, pid):
            taken = _polled(port, ae, entries, scanners, every)
            return {**percentiles(taken), "memory": _peak(pid)}

    return Cell(case=_case(scanners, entries), variant=variant, run=run)


def _case(scanners: int, entries: int) -> str:
    return f"{scanners} scanner{'s'[: scanners - 1]}, {entries:,} entries"


def polling(size: Size) -> Table:
    """Ours with every scanner there is, and beside the others with the one that they can serve."""
    entries = size.entries[-1]
    names = ["gateway", "wlmscpfs", *(["Orthanc"] if WORKLIST_PLUGIN.exists() else [])]
    every = min(EVERY, size.burst)
    return Table(
        name="polling",
        environment="tuned",
        title="Consoles that poll",
        note=(
            f"Each scanner asks for the {STATION} steps of its station every {every:.0f} s, over an association of its "
            f"own, {LAPS} times after {BEFORE} that are not counted; from when a question was due to its final "
            "response. The file-based servers read every file for every question: they are asked by one scanner, "
            f"without a pause between questions, for {size.scanners} of them would ask more often than they can answer."
        ),
        columns=(P50, P99, Column(metric="memory", title="memory MB")),
        cells=[_cell(size, "gateway", entries, size.scanners), *(_cell(size, name, entries, 1) for name in names)],
        targets=[
            Target(clause="polling", case=_case(size.scanners, entries), metric="p99", at_most=100.0, unit="ms"),
            Target(clause="polling", case=_case(size.scanners, entries), metric="memory", at_most=300.0, unit="MB"),
        ],
        lower_is_better=True,
    )
