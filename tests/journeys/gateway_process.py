"""The gateway under test: a real process with a configuration of its own, watched from outside.

Promise: `Gateway.start` returns once the gateway answers C-ECHO, `stop` is SIGTERM and returns its exit status,
`kill` is SIGKILL. Its books are read from its database through a connection that can't write. Every wait looks at
a fact again and again until a deadline. A failure of the test shows the end of the log. On leaving `gateway` nothing of
the process is left.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pysqlite3 import dbapi2 as sqlite

from tests.peers import pynetdicom_scu
from tests.peers.processes import HOST, free_port

ROOT = Path(__file__).parents[2]
COMMAND = (sys.executable, "-m", "gateway", "serve")
START_LIMIT = 90.0
WAIT_LIMIT = 90.0
"""Seconds: nothing waits so long but where something is broken, or on a machine that has next to no time for us."""
_LOOK_EVERY = 0.02
_LOG_TAIL = 6000
SCANNERS = ("CT1", "ECHOSCU", "STORESCU", "DCMSEND", "FINDSCU", "TERMSCU", "PYNETDICOM", "NODE_FIND", "NODE_STORE")


@dataclass(frozen=True, slots=True, kw_only=True)
class To:
    """A `[[destination]]`; `more` are further lines of TOML."""

    port: int
    name: str = "pacs"
    ae: str = "PACS"
    confirm: str = "status"
    more: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class From:
    """A `[[ris]]`; `more` are further lines of TOML."""

    port: int
    name: str = "main"
    ae: str = "RIS"
    timeout: str = "3s"
    refresh: str = "500ms"
    rows_max: int = 20_000
    more: str = ""


def toml(
    *,
    port: int,
    to: Sequence[To] = (),
    ris: Sequence[From] = (),
    scanners: Collection[str] = SCANNERS,
    scanner_more: Mapping[str, str] | None = None,
    mllp: int = 0,
    sender: str = "",
    limits: str = "",
    orders: str = "",
    check: str = "",
    health: str = 'probe = "0s"\nsynthetic = "0s"',
    worklist: str = 'mode = "merge", deadline = "1s", fresh_for = "1s", max_stale = "24h"',
    runtime: Path,
) -> str:
    """A whole `gateway.toml`: loopback, short retries, and waits that suit a test.

    With an `mllp` port or lines of a `sender` there is one `[[sender]]`; `orders`, `check` and `health` are lines of
    these sections; a destination named "aside" is that of what can't be verified.
    """
    parts = [
        '[site]\nname = "test"\ntimezone = "UTC"',
        f'[box]\nid = "test"\nstate = "state"\nruntime = "{runtime}"',
        f"[limits]\n{limits}",
        f"[orders]\n{orders}",
        f"[check]\n{check}",
        f'[[listen]]\naddress = "{HOST}"\nport = {port}\nae = ["GATEWAY", "GATEWAY_MWL", "SECOND"]',
        f'[mllp]\naddress = "{HOST}"\nport = {mllp}',
        "[console]\nport = 0",
        "[metrics]\nport = 0",
        f"[health]\n{health}",
    ]
    if mllp or sender:
        parts.append(f'[[sender]]\nname = "ris-hl7"\naddress = ["{HOST}"]\n{sender}')
    for ae in scanners:
        more = (scanner_more or {}).get(ae, "")
        parts.append(f'[[scanner]]\nae = "{ae}"\naddress = ["{HOST}"]\n{more}\nworklist = {{ {worklist} }}')
    for one in ris:
        parts.append(
            f'[[ris]]\nname = "{one.name}"\nhost = "{HOST}"\nport = {one.port}\nae = "{one.ae}"\n'
            f'timeout = "{one.timeout}"\nrefresh = "{one.refresh}"\n'
            f"rows_max = {one.rows_max}\n{one.more}"
        )
    for place in to:
        parts.append(
            f'[[destination]]\nname = "{place.name}"\nhost = "{HOST}"\nport = {place.port}\nae = "{place.ae}"\n'
            f'confirm = "{place.confirm}"\ncompression = "none"\nconnect_timeout = "10s"\ntimeout = "60s"\n'
            f'retry = {{ base = "100ms", cap = "500ms" }}\ncommitment_wait = "2s"\n{place.more}'
        )
    if to:
        aside = next((place.name for place in to if place.name == "aside"), to[0].name)
        names = ", ".join(f'"{place.name}"' for place in to if place.name != "aside")
        parts.append(f'[routing]\ndefault = [{names}]\nunverified = "{aside}"')
    return "\n\n".join(parts) + "\n"


@dataclass(slots=True, kw_only=True)
class Gateway:
    """One gateway and its state folder; it may be stopped and started again."""

    folder: Path
    port: int
    roles: tuple[str, ...] = ("all",)
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def state(self) -> Path:
        return self.folder / "state"

    @property
    def objects(self) -> Path:
        return self.state / "spool" / "objects"

    # -- the process --

    def start(self) -> Gateway:
        """Start it and return once it answers C-ECHO."""
        self.spawn()
        self.until(self._answers, what="C-ECHO is answered", limit=START_LIMIT)
        return self

    def spawn(self) -> None:
        """Start it and don't wait."""
        with (self.folder / "gateway.log").open("ab") as log:
            self._process = subprocess.Popen(
                [*COMMAND, *self.roles, "--config", str(self.folder / "gateway.toml")],
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _answers(self) -> bool:
        assert self.running, f"the gateway ended before it answered:\n{self.log()[-_LOG_TAIL:]}"
        listening = any(f"port={self.port}" in line for line in self._log_lines("listening"))
        return listening and pynetdicom_scu.echo(self.port, called="GATEWAY", limit=5) == 0

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def terminate(self) -> None:
        """Ask it to stop (SIGTERM) and don't wait."""
        os.kill(self.pid, signal.SIGTERM)

    def wait(self) -> int:
        """Its exit status, once it has ended."""
        assert self._process is not None
        return self._process.wait(START_LIMIT)

    def stop(self) -> int:
        self.terminate()
        return self.wait()

    def kill(self) -> None:
        """As by a crash; harmless when it is already gone."""
        process = self._process  # whoever sees that it is gone may start another before we do
        if process is not None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(START_LIMIT)

    def memory(self, name: str = "VmRSS") -> int:
        """Bytes of its resident memory (`VmHWM`: the most it ever had)."""
        lines = Path(f"/proc/{self.pid}/status").read_text("ascii").splitlines()
        return next(int(line.split()[1]) << 10 for line in lines if line.startswith(f"{name}:"))

    # -- what it says --

    def log(self) -> str:
        return (self.folder / "gateway.log").read_text("utf-8", "replace")

    def _log_lines(self, event: str) -> list[str]:
        return [line for line in self.log().splitlines() if event in line]

    # -- what it is given --

    def send(self, files: Sequence[Path]) -> None:
        """As a scanner, byte for byte; AssertionError unless it takes them all."""
        sent = pynetdicom_scu.send_verbatim(self.port, files, called="GATEWAY")
        assert [one.status for one in sent] == [0] * len(files)

    # -- its books --

    def rows(self, sql: str, **values: object) -> list[dict[str, Any]]:
        """Read its database; nothing is there before it was started once."""
        with suppress(sqlite.OperationalError):
            connection = sqlite.connect(f"file:{self.state / 'gateway.db'}?mode=ro", uri=True, timeout=WAIT_LIMIT)
            connection.row_factory = sqlite.Row
            try:
                return [dict(row) for row in connection.execute(sql, values)]
            finally:
                connection.close()
        return []

    def instances(self) -> list[dict[str, Any]]:
        return self.rows("SELECT * FROM instance ORDER BY seq")

    def deliveries(self, destination: str = "pacs") -> list[dict[str, Any]]:
        """Deliveries with the UID of their instance, in the order they were queued."""
        return self.rows(
            "SELECT d.*, i.SOPInstanceUID, i.SOPClassUID FROM delivery AS d JOIN instance AS i ON i.id = d.instance"
            " WHERE d.destination = :destination ORDER BY d.id",
            destination=destination,
        )

    def states(self, destination: str = "pacs") -> dict[str, str]:
        """The state of the delivery of each SOP Instance UID."""
        return {row["SOPInstanceUID"]: row["state"] for row in self.deliveries(destination)}

    def alarms(self) -> set[str]:
        """The codes of the alarms that stand."""
        return {row["code"] for row in self.rows("SELECT code FROM alarm WHERE cleared_at IS NULL")}

    def object_files(self) -> list[Path]:
        return sorted(self.objects.glob("*/*.dcm"))

    def path_of(self, instance: str) -> Path:
        return self.objects / instance[:2] / f"{instance}.dcm"

    # -- waiting --

    def until(self, fact: Callable[[], object], *, what: str, limit: float = WAIT_LIMIT) -> None:
        """Return once `fact()` is true; AssertionError after `limit` seconds."""
        deadline = time.monotonic() + limit
        while not fact():
            if time.monotonic() > deadline:
                states = Counter(row["state"] for row in self.rows("SELECT state FROM delivery"))
                raise AssertionError(f"not within {limit} s: {what}; deliveries are {dict(states)}")
            time.sleep(_LOOK_EVERY)

    def until_state(
        self, uids: Collection[str], state: str, *, destination: str = "pacs", limit: float = WAIT_LIMIT
    ) -> None:
        wanted = set(uids)

        def reached() -> bool:
            states = self.states(destination)
            return all(states.get(uid) == state for uid in wanted)

        self.until(reached, what=f"{len(wanted)} deliveries {state}", limit=limit)

    def until_confirmed(self, uids: Collection[str], *, destination: str = "pacs", limit: float = WAIT_LIMIT) -> None:
        self.until_state(uids, "confirmed", destination=destination, limit=limit)

    def until_alarm(self, code: str, *, limit: float = WAIT_LIMIT) -> None:
        self.until(lambda: code in self.alarms(), what=f"alarm {code}", limit=limit)


@contextmanager
def gateway(
    folder: Path,
    *,
    port: int | None = None,
    roles: tuple[str, ...] = ("all",),
    started: bool = True,
    **settings: Any,
) -> Iterator[Gateway]:
    """A running gateway whose `toml` has these `settings`; afterwards it is gone."""
    folder.mkdir(parents=True, exist_ok=True)
    listen = port or free_port()
    # Paths of Unix sockets end at 107 characters, and pytest's folders are long
    runtime = Path(tempfile.mkdtemp(prefix="gw-"))
    (folder / "gateway.toml").write_text(toml(port=listen, runtime=runtime, **settings), "utf-8")
    box = Gateway(folder=folder, port=listen, roles=roles)
    try:
        yield box.start() if started else box
    except BaseException as failure:
        with suppress(FileNotFoundError):
            failure.add_note(f"--- log of the gateway:\n{box.log()[-_LOG_TAIL:]}")
        raise
    finally:
        box.kill()
        shutil.rmtree(runtime, ignore_errors=True)
