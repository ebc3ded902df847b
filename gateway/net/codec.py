"""Codec processes and what waits for them: an object in, a proven smaller one out, or the reason why not.

Promises
- A task is done by one process at a time, one object each; what is urgent goes first.
- A process that dies costs the task one attempt: it is tried once more in a fresh one, then the object stays as it
  is. One that takes longer than `timeout` is killed, and its task is not tried again.
- A process ends after `tasks` tasks, so that what a library leaks does not add up.
- The gateway's own process calls no codec, and `submit` never blocks.
"""

from __future__ import annotations

import itertools
import json
import os
import queue
import select
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

import structlog

from gateway.net.codec_task import Answer, Left, Task, read_answer

ATTEMPTS: Final = 2
START_SECONDS: Final = 60.0
END_SECONDS: Final = 2.0
_LONGEST_LINE: Final = 64 << 10
_ENVIRONMENT: Final = {
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    # Frames are freed and wanted again: pages given back to the kernel each time were a sixth of the work (mallopt(3))
    "MALLOC_MMAP_THRESHOLD_": str(32 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(64 << 20),
}

log = structlog.get_logger()


class _Lost(Exception):
    """The process is gone, or was made to go."""


class _TooLong(_Lost):
    """It did not answer in time."""


@dataclass(order=True, slots=True)
class _Waiting:
    urgency: int
    number: int
    task: Task | None = field(compare=False)
    """None: the thread that takes this ends."""
    answer: Future[Answer] = field(compare=False)


class Codecs:
    """A few codec processes behind one queue. Safe from any thread."""

    def __init__(
        self,
        *,
        workers: int,
        memory: int,
        timeout: float,
        tasks: int,
        command: tuple[str, ...] = (sys.executable, "-P", "-m", "gateway.net.codec_worker"),
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`memory`: bytes of address space of a process. `timeout`: seconds for one object. The processes are
        started, and the self-test of the first awaited."""
        self._command = (*command, str(memory))
        self._timeout = timeout
        self._tasks = tasks
        self._monotonic = monotonic
        self._waiting: queue.PriorityQueue[_Waiting] = queue.PriorityQueue()
        self._numbers = itertools.count()
        self._lock = threading.Lock()
        self._closing = False
        first = self._started()
        self.syntaxes: frozenset[str] = first.syntaxes if first is not None else frozenset()
        """The transfer syntaxes that passed the self-test."""
        self._threads = [
            threading.Thread(target=self._serve, args=(first if number == 0 else None,), name=f"codec-{number}")
            for number in range(workers)
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, task: Task, *, urgency: int) -> Future[Answer]:
        """Have it done; less is more urgent. The future raises nothing but CancelledError, at `close`."""
        answer: Future[Answer] = Future()
        with self._lock:
            if self._closing:
                answer.cancel()
            else:
                self._waiting.put(_Waiting(urgency, next(self._numbers), task, answer))
        return answer

    def close(self) -> None:
        """What waits is cancelled, what is under way is ended."""
        with self._lock:
            # A thread whose task is ended by `_closing` must meet its end next, not another task
            for _ in self._threads:
                self._waiting.put(_Waiting(-1, next(self._numbers), None, Future()))
            self._closing = True
        for thread in self._threads:
            thread.join()
        with suppress(queue.Empty):
            while True:
                self._waiting.get_nowait().answer.cancel()

    def _started(self) -> _Process | None:
        try:
            return _Process(self._command, monotonic=self._monotonic, stopped=self._stopped)
        except (_Lost, OSError) as error:
            if not self._closing:
                log.error("no codec process", error=type(error).__name__)
            return None

    def _stopped(self) -> bool:
        return self._closing

    def _serve(self, process: _Process | None) -> None:
        """The life of one thread and its processes, of which the next is started before there is a task for it."""
        process, done = process or self._started(), 0
        while True:
            waiting = self._waiting.get()
            if waiting.task is None:
                break
            if not waiting.answer.set_running_or_notify_cancel():
                continue
            process, answer = self._attempt(process, waiting.task)
            done += 1
            waiting.answer.set_result(answer)
            if process is not None and done >= self._tasks:
                process.end()
                process, done = self._started(), 0
        if process is not None:
            process.end()

    def _attempt(self, process: _Process | None, task: Task) -> tuple[_Process | None, Answer]:
        why = "no codec process"
        for _ in range(ATTEMPTS):
            process = process or self._started()
            if process is None:
                break
            try:
                return process, process.ask(task, seconds=self._timeout, stopped=self._stopped)
            except _Lost as lost:
                why = "codec too slow" if isinstance(lost, _TooLong) else "codec crashed"
                log.error(why, status=process.end())
                process = None
                if isinstance(lost, _TooLong) or self._closing:
                    break
        return None, Left(why=why)


class _Process:
    """One codec process; used by one thread."""

    def __init__(
        self, command: tuple[str, ...], *, monotonic: Callable[[], float], stopped: Callable[[], bool]
    ) -> None:
        """Raises `_Lost` if it does not say that it is ready, and OSError."""
        self._monotonic = monotonic
        self._process = subprocess.Popen(  # noqa: S603 -- our own interpreter and module
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # a library's words may tell of what it read
            bufsize=0,
            env={**os.environ, **_ENVIRONMENT},
        )
        try:
            self.syntaxes = frozenset[str](json.loads(self._line(START_SECONDS, stopped)))
        except BaseException:
            self.end()
            raise

    def ask(self, task: Task, *, seconds: float, stopped: Callable[[], bool]) -> Answer:
        """Raises `_Lost`."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(task.line())
        except OSError as error:
            raise _Lost from error
        try:
            return read_answer(self._line(seconds, stopped))
        except ValueError as error:
            raise _Lost from error

    def end(self) -> int:
        """Its exit status: it ends by itself when it is idle, and is killed when it is not."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with suppress(OSError):
            self._process.stdin.close()
        try:
            status = self._process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            status = self._process.wait()
        self._process.stdout.close()
        return status

    def _line(self, seconds: float, stopped: Callable[[], bool]) -> bytes:
        """The next line it writes."""
        assert self._process.stdout is not None
        deadline = self._monotonic() + seconds
        line = bytearray()
        poll = select.poll()
        poll.register(self._process.stdout, select.POLLIN)
        while not line.endswith(b"\n"):
            left = deadline - self._monotonic()
            if left <= 0:
                self._process.kill()
                raise _TooLong
            if stopped():
                self._process.kill()
                raise _Lost
            if poll.poll(min(left, 1.0) * 1000):
                piece = os.read(self._process.stdout.fileno(), _LONGEST_LINE)
                if not piece or len(line) > _LONGEST_LINE:
                    raise _Lost
                line += piece
        return bytes(line)
