"""Real programs under test control: start, readiness by connecting, stop by own process group, output kept.

Promise: on entry the port accepts connections; on exit no process of the program is left; if the body raises, the
tail of the program's output is attached to the exception as a note.
"""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from gateway.simulate.acceptor import free_port

__all__ = ["HOST", "Finished", "Program", "free_port", "program", "run", "wait_until_connected"]

HOST = "127.0.0.1"
START_LIMIT = 90.0
"""Seconds a peer may take until its port answers."""
_NOTE_TAIL = 4000


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """A running foreign program; `output` is the file that takes its stdout and stderr."""

    name: str
    process: subprocess.Popen[bytes]
    port: int
    output: Path

    @property
    def running(self) -> bool:
        return self.process.poll() is None

    def text(self) -> str:
        return self.output.read_text(errors="replace")

    def hang(self) -> None:
        """Stop answering while the sockets stay open (SIGSTOP to the whole group)."""
        os.killpg(self.process.pid, signal.SIGSTOP)

    def wake(self) -> None:
        os.killpg(self.process.pid, signal.SIGCONT)

    def kill(self) -> None:
        """End at once, as by a crash (SIGKILL to the whole group); harmless when it is already gone."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(timeout=START_LIMIT)


def wait_until_connected(port: int, *, program: Program | None = None, limit: float = START_LIMIT) -> None:
    """Return once `port` accepts a connection; raise TimeoutError after `limit` seconds or if `program` ended."""
    deadline = time.monotonic() + limit
    while True:
        with suppress(OSError), socket.create_connection((HOST, port), timeout=1):
            return
        if program is not None and not program.running:
            msg = f"{program.name} ended with {program.process.returncode} before it listened:\n{program.text()}"
            raise RuntimeError(msg)
        if time.monotonic() > deadline:
            msg = f"port {port} did not answer within {limit} s"
            raise TimeoutError(msg)
        time.sleep(0.01)


@contextmanager
def program(
    command: Sequence[str | Path], *, port: int, folder: Path, env: Mapping[str, str] | None = None
) -> Iterator[Program]:
    """Run `command` in `folder` until left; entered when `port` answers."""
    folder.mkdir(parents=True, exist_ok=True)
    name = Path(command[0]).name
    output = folder / f"{name}-{port}.log"
    with output.open("wb") as sink:
        process = subprocess.Popen(
            [str(part) for part in command],
            cwd=folder,
            env={**os.environ, **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    started = Program(name=name, process=process, port=port, output=output)
    try:
        wait_until_connected(port, program=started)
        yield started
    except BaseException as failure:
        failure.add_note(f"--- output of {name} on port {port}:\n{started.text()[-_NOTE_TAIL:]}")
        raise
    finally:
        started.kill()


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """A program that ended: its exit status and everything it wrote."""

    returncode: int
    output: str


def run(
    command: Sequence[str | Path],
    *,
    folder: Path | None = None,
    env: Mapping[str, str] | None = None,
    limit: float = 180,
) -> Finished:
    """Run `command` to its end; `subprocess.TimeoutExpired` after `limit` seconds."""
    ended = subprocess.run(
        [str(part) for part in command],
        cwd=folder,
        env={**os.environ, **(env or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=limit,
        check=False,
    )
    return Finished(returncode=ended.returncode, output=ended.stdout.decode(errors="replace"))
