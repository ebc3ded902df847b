"""The gateway under test as processes that may end at any moment, and its books read from outside.

`Box` writes a configuration and runs one process per unit ("all", or edge and forward as in production); each may be
killed and started again alone. `Ledger`-side files are never under `state`. Reading the books opens the database
read-only beside the gateway.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any, Final, Self

from pysqlite3 import dbapi2 as sqlite

from gateway.dicom.negotiation import VERIFICATION, propose
from gateway.domain.model import DELIVERY_MOVES, INSTANCE_MOVES, GatewayError
from gateway.net.dicom_client import Peer, Requestor
from tests.peers.processes import free_port

ROOT: Final = Path(__file__).parents[2]
GATEWAY: Final = (sys.executable, "-m", "gateway")
UNITS: Final = {"all": ("all",), "edge": ("worklist", "storage"), "forward": ("forward",)}
START_SECONDS: Final = 150.0
_POLL: Final = 0.01

_TOML: Final = """\
[site]
name = "test"
timezone = "UTC"
[box]
id = "test"
state = "{state}"
[limits]
disk_reserve = "{reserve}"
[[listen]]
address = "127.0.0.1"
port = {port}
ae = ["GATEWAY"]
[mllp]
port = 0
[console]
port = {console_port}
[metrics]
port = 0
[[scanner]]
ae = "CT1"
address = ["127.0.0.1"]
[[destination]]
name = "pacs"
host = "127.0.0.1"
port = {pacs_port}
ae = "PACS"
confirm = "commitment"
compression = "none"
timeout = "{timeout}"
connect_timeout = "2s"
commitment_wait = "2s"
commitment_timeout = "{commitment_timeout}"
retry = {{ base = "100ms", cap = "500ms" }}
"""
_ABSENT_RIS: Final = """\
[[ris]]
name = "ris"
host = "127.0.0.1"
port = {port}
ae = "RIS"
refresh = "100ms"
"""


class Box:
    """One gateway. Use with `with`: on leaving, every process of it is killed."""

    def __init__(
        self,
        folder: Path,
        *,
        pacs_port: int,
        state: Path,
        units: Sequence[str] = ("all",),
        command: Sequence[str] = GATEWAY,
        reserve: str = "5%",
        absent_ris: bool = False,
        timeout: str = "1s",
        commitment_timeout: str = "4s",
    ) -> None:
        """`absent_ris`: a RIS that is never there, so that the worklist role writes to the database all the time."""
        folder.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self.state = state
        self.units = tuple(units)
        self.times_to_echo: list[float] = []
        """Seconds from the start of the process that listens to its first C-ECHO answered 0000."""
        self._command = tuple(command)
        self._config = folder / "gateway.toml"
        self._log = folder / "gateway.log"
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        toml = _TOML.format(
            state=state,
            port=self.port,
            console_port=free_port(),
            pacs_port=pacs_port,
            reserve=reserve,
            timeout=timeout,
            commitment_timeout=commitment_timeout,
        )
        more = _ABSENT_RIS.format(port=free_port()) if absent_ris else ""
        self._config.write_text(toml + more, encoding="utf-8")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, failure: BaseException | None, trace: TracebackType | None
    ) -> None:
        for unit in self._processes:
            self.kill(unit)
        if failure is not None and self._log.exists():
            failure.add_note(f"--- the gateway's log:\n{self._log.read_text(errors='replace')[-4000:]}")

    @property
    def pids(self) -> list[int]:
        return [process.pid for process in self._processes.values() if process.poll() is None]

    def start(self, *units: str) -> None:
        """Start these units (all of them if none is named); each is ready, and who listens answers C-ECHO."""
        for unit in units or self.units:
            began = time.monotonic()
            with self._log.open("ab") as log, readiness() as (place, ready):
                self._processes[unit] = subprocess.Popen(
                    [*self._command, "serve", *UNITS[unit], "--config", str(self._config)],
                    cwd=ROOT,
                    env={**os.environ, "GATEWAY_LOG_LEVEL": "warning", "NOTIFY_SOCKET": place},
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                )
                if unit != "forward":
                    self._await_echo(self._processes[unit])
                    self.times_to_echo.append(time.monotonic() - began)
                ready(self._processes[unit])

    def kill(self, unit: str) -> None:
        """SIGKILL; harmless if it has ended."""
        process = self._processes[unit]
        process.kill()
        process.wait()

    def running(self, unit: str) -> bool:
        return self._processes[unit].poll() is None

    def await_end(self, unit: str) -> int:
        """Wait until the unit ends by itself; its exit status."""
        return self._processes[unit].wait(START_SECONDS)

    def pid(self, unit: str) -> int:
        return self._processes[unit].pid

    def reap(self) -> None:
        """Wait for processes that something else killed."""
        for process in self._processes.values():
            process.wait(START_SECONDS)

    def echo(self) -> int:
        peer = Peer(
            host="127.0.0.1", port=self.port, called_ae="GATEWAY", calling_ae="CT1", connect_timeout=30.0, timeout=30.0
        )
        with Requestor.connect(peer, propose({VERIFICATION: []})) as association:
            return association.echo()

    def _await_echo(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + START_SECONDS
        while True:
            with suppress(GatewayError):
                assert self.echo() == 0
                return
            assert process.poll() is None, f"the gateway ended with {process.returncode}"
            assert time.monotonic() < deadline, f"no C-ECHO within {START_SECONDS} s"
            time.sleep(_POLL)


@contextmanager
def readiness() -> Iterator[tuple[str, Callable[[subprocess.Popen[bytes]], None]]]:
    """A NOTIFY_SOCKET as systemd gives it, and a wait for READY=1 on it."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener, TemporaryDirectory() as folder:
        listener.bind(f"{folder}/notify")
        listener.settimeout(0.1)

        def ready(process: subprocess.Popen[bytes]) -> None:
            deadline = time.monotonic() + START_SECONDS
            while True:
                with suppress(TimeoutError):
                    if b"READY=1" in listener.recv(4096):
                        return
                assert process.poll() is None, f"the gateway ended with {process.returncode}"
                assert time.monotonic() < deadline, f"not ready within {START_SECONDS} s"

        yield f"{folder}/notify", ready


def select(state: Path, query: str) -> list[tuple[Any, ...]]:
    """Rows of the gateway's database, read from outside."""
    with closing(sqlite.connect(f"file:{state}/gateway.db?mode=ro", uri=True, timeout=30)) as c:
        return list(c.execute(query))


def unfinished(state: Path) -> dict[str, int]:
    """How many rows of each kind are still to move before everything is at its destination and proven."""
    # The files first: a row that comes in between must be seen below
    rowless, missing = _disagreement(state)
    left = {"file without row": len(rowless), "row without file": len(missing)}
    rows = select(
        state,
        """SELECT 'instance ' || state, count(*) FROM instance WHERE state IN ('received', 'prepared') GROUP BY state
        UNION ALL SELECT 'delivery ' || state, count(*) FROM delivery WHERE state <> 'confirmed' GROUP BY state
        UNION ALL SELECT 'transaction ' || state, count(*) FROM commitment_transaction
        WHERE state <> 'settled' GROUP BY state
        UNION ALL SELECT 'request ' || state, count(*) FROM commitment_request WHERE state = 'open' GROUP BY state""",
    )
    return {str(kind): int(count) for kind, count in rows} | {kind: count for kind, count in left.items() if count}


def _disagreement(state: Path) -> tuple[set[str], set[str]]:
    """Files that no row stands for, and rows whose file is gone."""
    files = {path.stem for path in (state / "spool").rglob("*") if path.is_file() and "quarantine" not in path.parts}
    rows = {str(name) for (name,) in select(state, "SELECT id FROM instance WHERE state <> 'purged'")}
    return files - rows, rows - files


def audit(state: Path) -> list[str]:
    """What is wrong in the books of a gateway that has drained; one line a fault."""
    faults = [f"integrity: {row[0]}" for row in select(state, "PRAGMA integrity_check") if row[0] != "ok"]
    faults += [f"unfinished: {kind} {count}" for kind, count in unfinished(state).items()]
    twice = """SELECT SOPInstanceUID, count(*) FROM instance WHERE state <> 'purged'
        GROUP BY SOPInstanceUID, content_hash HAVING count(*) > 1"""
    faults += [f"{count} rows for {uid}" for uid, count in select(state, twice)]
    confirmed = """SELECT i.id, count(d.id) FROM instance i LEFT JOIN delivery d ON d.instance = i.id
        AND d.state = 'confirmed' WHERE i.state <> 'purged' GROUP BY i.id HAVING count(d.id) <> 1"""
    faults += [f"{count} confirmed deliveries of {name}" for name, count in select(state, confirmed)]
    faults += [f"quarantine: {name}" for (name,) in select(state, "SELECT id FROM instance WHERE quarantine <> ''")]
    return faults + _illegal_moves(state)


def put_aside(state: Path) -> list[str]:
    """Files that the sweep could not read as whole objects and kept for a person."""
    return sorted(path.name for path in (state / "spool" / "quarantine").iterdir())


def _illegal_moves(state: Path) -> list[str]:
    """Journal rows whose move is not in the state tables, or does not begin where the one before ended."""
    legal = {
        "instance": {(str(a), str(b)) for a, b in INSTANCE_MOVES} | {("", "received")},
        "delivery": {(str(a), str(b)) for a, b in DELIVERY_MOVES} | {("", "queued")},
    }
    at: dict[tuple[str, str], str] = {}
    faults = []
    for kind, subject, before, after in select(
        state, "SELECT kind, subject, from_state, to_state FROM journal ORDER BY seq"
    ):
        if (before, after) not in legal.get(kind, {(before, after)}) or at.get((kind, subject), "") != before:
            faults.append(f"move of {kind} {subject}: {before} -> {after} after {at.get((kind, subject), 'nothing')}")
        at[kind, subject] = after
    return faults
