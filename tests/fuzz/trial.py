"""One input tried within bounds of time and memory, and what is kept of it when it goes wrong.

Promise: an input that raises, takes longer than `HANG_SECONDS`, or makes the process grow by more than `MEMORY`
becomes a `Finding` with its bytes in a file, one for each place and kind; the run goes on. The input under trial
also stands in a file of shared memory, so that it is known even if the interpreter dies of it.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import resource
import signal
import time
import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

HANG_SECONDS = 2.0
"""Processor time, not the clock's: other programs may have the machine."""
INSTRUMENTED = 4
"""How many times as long an input may take while libFuzzer counts its edges."""
MEMORY = 96 << 20
"""Bytes that one input may add to the most the process ever needed; its own length is at most 64 KiB."""
ADDRESS_SPACE = 4 << 30
_CURRENT = 1 << 17
_REPORT_SECONDS = 5.0
"""Between two reports: whoever watches takes a process that is silent for long for one that hangs."""
_SHORT = 160


class Hang(BaseException):
    """The input took too long. Not an Exception, so that no code under test swallows it."""


class Greed(Exception):
    """The input took too much memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    target: str
    kind: str
    where: str
    path: str


@dataclass(slots=True, kw_only=True)
class Outcome:
    """What a run of one target has come to so far."""

    target: str
    tried: int = 0
    seconds: float = 0.0
    slowest: float = 0.0
    coverage: int = 0
    """Kinds of answers that were met; with libFuzzer the edges are in its own log."""
    findings: list[Finding] = field(default_factory=list)

    def write(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self)))

    @classmethod
    def read(cls, path: Path) -> Outcome:
        values: dict[str, Any] = json.loads(path.read_text())
        values["findings"] = [Finding(**one) for one in values["findings"]]
        return cls(**values)


class Trials:
    """The inputs of one target, one after the other."""

    def __init__(
        self, target: str, check: Callable[[bytes], str], folder: Path, *, limit: float = HANG_SECONDS
    ) -> None:
        self.outcome = Outcome(target=target)
        self._check = check
        self._limit = limit
        self._folder = folder
        self._report = folder / f"{target}.json"
        folder.mkdir(parents=True, exist_ok=True)
        current = folder / f"{target}.current"
        current.write_bytes(bytes(_CURRENT))
        with current.open("r+b") as file:
            self._current = mmap.mmap(file.fileno(), _CURRENT)
        self._answers: set[str] = set()
        self._seen: set[tuple[str, str]] = set()
        self._peak = _peak()
        self._begun = self._reported = time.monotonic()
        signal.signal(signal.SIGPROF, _alarm)

    def attempt(self, data: bytes) -> bool:
        """Try one input; whether it was answered in a way not met before."""
        self._current[: 4 + len(data)] = len(data).to_bytes(4, "little") + data
        begun = time.perf_counter()
        new = False
        signal.setitimer(signal.ITIMER_PROF, self._limit)
        try:
            answer = self._check(data)
            new = answer not in self._answers
        except (Exception, Hang) as error:  # noqa: BLE001 -- whatever is raised is what we look for
            signal.setitimer(signal.ITIMER_PROF, 0)
            self._found(data, error)
        else:
            self._answers.add(answer)
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
        self._count(data, time.perf_counter() - begun)
        return new

    def _count(self, data: bytes, seconds: float) -> None:
        peak, before = _peak(), self._peak
        self._peak = peak
        if peak - before > MEMORY:
            self._found(data, Greed(f"{(peak - before) >> 20} MiB for {len(data)} bytes"))
        outcome = self.outcome
        outcome.tried += 1
        outcome.slowest = max(outcome.slowest, seconds)
        outcome.coverage = len(self._answers)
        if time.monotonic() >= self._reported + _REPORT_SECONDS:
            self.report()

    def report(self) -> None:
        self._reported = time.monotonic()
        self.outcome.seconds = self._reported - self._begun
        self.outcome.write(self._report)

    def _found(self, data: bytes, error: BaseException) -> None:
        frames = traceback.extract_tb(error.__traceback__)
        ours = [frame for frame in frames if "/gateway/" in frame.filename] or list(frames)
        place = ours[-1] if ours else None
        kind = type(error).__name__
        # A hang is met at any line of its loop: one finding for each function
        where = f"{Path(place.filename).name}:{place.name}" if place else ""
        if place and not isinstance(error, Hang):
            where += f":{place.lineno}"
        if (kind, where) in self._seen:
            return
        self._seen.add((kind, where))
        folder = self._folder / "findings" / self.outcome.target
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{kind.lower()}-{hashlib.sha256(data).hexdigest()[:12]}"
        path.write_bytes(data)
        told = f"{kind} {str(error)[:_SHORT]}".strip()
        self.outcome.findings.append(Finding(target=self.outcome.target, kind=told, where=where, path=str(path)))
        self.report()


def under_trial(folder: Path, target: str) -> bytes:
    """The input a process was busy with when it died."""
    content = (folder / f"{target}.current").read_bytes()
    return content[4 : 4 + int.from_bytes(content[:4], "little")]


def bound_memory() -> None:
    """No more address space for this process than any input could honestly need."""
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


def _alarm(_number: int, _frame: FrameType | None) -> None:
    raise Hang("took too long")
