"""The engine: rounds of cells in shuffled order, with a look at the machine before and after each round.

What is promised: a cell starts in an empty folder on a disk with nothing left to write; a cell that fails
is recorded as failed and never counted; the noise of the machine is measured by a loop that is always the
same, so that a verdict is given only where it means something.
"""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from bench.places import ROOT
from gateway.domain.model import GatewayError

Sample = dict[str, float]
"""Figures of one cell in one round, by name."""

MOST_SPREAD: Final = 1.6
"""How far the median of the reference loop may be from its best before a table is too noisy."""
MOST_FOREIGN: Final = 0.3
"""Cores that other programs may use, in the median, while the reference loop runs."""
_TICKS: Final = os.sysconf("SC_CLK_TCK")
_WORDS: Final = 200
_IDLE: Final = (3, 4)
"""Columns of /proc/stat that are not work: idle and iowait."""
_GUEST: Final = 8
"""From here on /proc/stat repeats what it counted before."""


class CellFailed(Exception):
    """A measurement that did not do what it was to do, and so has no figure."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One program at one task."""

    case: str
    """The task, such as "ct"."""
    variant: str
    """The program."""
    run: Callable[[Path], Sample]
    """Do it in an empty folder."""
    durability: str = ""
    """What is safe on the disk when it says success."""

    @property
    def key(self) -> str:
        return f"{self.case} / {self.variant}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    metric: str
    title: str
    digits: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What issue 3 asks: a paired ratio of at least, or a figure of at most."""

    clause: str
    case: str
    metric: str
    ours: str = "gateway"
    beside: str = ""
    """The variant we stand beside; "" where the figure itself is at most or at least so much."""
    beside_case: str = ""
    """The case of that variant, where it is another one."""
    at_least: float = 0.0
    at_most: float = 0.0
    unit: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """What is measured together; only figures of one table may be compared."""

    name: str
    environment: str
    title: str
    note: str
    columns: Sequence[Column]
    """The first is the one that ratios are made of."""
    cells: Sequence[Cell]
    targets: Sequence[Target] = ()
    lower_is_better: bool = False
    ours: str = "gateway"
    compared: bool = True
    """Whether the others are set beside ours, program by program."""

    @property
    def key(self) -> str:
        return f"{self.name}/{self.environment}" if self.environment else self.name


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """The machine at one moment: seconds of a fixed calculation, of fixed syncs, and cores others used."""

    calculating: float
    syncing: float
    foreign: float
    load: float


@dataclass(slots=True, kw_only=True)
class Result:
    """Everything one run of a table found."""

    key: str
    made: str
    rounds: int
    samples: dict[str, list[Sample | None]] = field(default_factory=dict)
    """By cell, one for each round; None where it failed."""
    failures: dict[str, str] = field(default_factory=dict)
    references: list[Reference] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, found: dict[str, Any]) -> Result:
        return cls(**{**found, "references": [Reference(**one) for one in found["references"]]})


def measure(table: Table, *, rounds: int, seed: int, folder: Path) -> Result:
    """Run every cell once in each round."""
    order = random.Random(seed)
    result = Result(key=table.key, made=datetime.now(UTC).isoformat(timespec="seconds"), rounds=rounds)
    result.samples = {cell.key: [] for cell in table.cells}
    for number in range(rounds):
        began = time.monotonic()
        result.references.append(_reference(folder))
        for cell in order.sample(table.cells, len(table.cells)):
            result.samples[cell.key].append(_try(cell, folder / "cell", result.failures))
        result.references.append(_reference(folder))
        say(f"{table.key}: round {number + 1} of {rounds}, {time.monotonic() - began:.0f} s")
    return result


def say(words: str) -> None:
    print(words, file=sys.stderr, flush=True)


def _try(cell: Cell, folder: Path, failures: dict[str, str]) -> Sample | None:
    settle(folder)
    try:
        return cell.run(folder)
    except (CellFailed, GatewayError, OSError, RuntimeError, subprocess.SubprocessError) as error:
        failures[cell.key] = f"{type(error).__name__}: {str(error)[:_WORDS]}".replace(str(ROOT), "")
        say(f"  failed: {cell.key}: {error}\n{''.join(getattr(error, '__notes__', []))}")
        return None
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def settle(folder: Path) -> None:
    """An empty folder, and nothing of an earlier cell still on its way to the disk."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    os.sync()


# -- the machine --


def _reference(folder: Path) -> Reference:
    settle(folder / "reference")
    busy, own, began = _busy(), time.process_time(), time.monotonic()
    calculating = _timed(_calculate)
    syncing = _timed(lambda: _sync(folder / "reference"))
    foreign = (_busy() - busy) - (time.process_time() - own)
    return Reference(
        calculating=calculating,
        syncing=syncing,
        foreign=max(foreign, 0.0) / (time.monotonic() - began),
        load=os.getloadavg()[0],
    )


def _timed(work: Callable[[], None]) -> float:
    began = time.monotonic()
    work()
    return time.monotonic() - began


def _calculate() -> None:
    block = bytes(1 << 20)
    for _ in range(100):
        hashlib.blake2b(block).digest()
    sum(number * number for number in range(2_000_000))


def _sync(folder: Path) -> None:
    block = bytes(1 << 17)
    for number in range(60):
        fd = os.open(folder / str(number), os.O_WRONLY | os.O_CREAT, 0o600)
        os.write(fd, block)
        os.fdatasync(fd)
        os.close(fd)


def _busy() -> float:
    """Seconds that all cores worked since the machine began, those that its host took away included."""
    columns = Path("/proc/stat").read_text("ascii").split("\n", 1)[0].split()[1:]
    return sum(int(ticks) for place, ticks in enumerate(columns[:_GUEST]) if place not in _IDLE) / _TICKS


@dataclass(frozen=True, slots=True, kw_only=True)
class Noise:
    """How far a run can be trusted."""

    calculating: float
    syncing: float
    """Median over best, of the reference loop."""
    foreign: float
    load: tuple[float, float]

    @property
    def too_much(self) -> bool:
        return max(self.calculating, self.syncing) > MOST_SPREAD or self.foreign > MOST_FOREIGN


def noise(references: Sequence[Reference]) -> Noise:
    """The noise of a run by its reference loops."""

    def spread(values: list[float]) -> float:
        return statistics.median(values) / min(values)

    loads = [one.load for one in references]
    return Noise(
        calculating=spread([one.calculating for one in references]),
        syncing=spread([one.syncing for one in references]),
        foreign=statistics.median(one.foreign for one in references),
        load=(min(loads), max(loads)),
    )
