"""PostgreSQL from Debian as a cluster of its own, run by a user that is not root, gone when left.

The server refuses to run as root; there its files belong to `nobody` in a folder of the system's, since the folder of a
test may not be entered by others. Nothing is synced: what a power cut does to PostgreSQL is not tested here.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from tests.peers.processes import HOST, Program, free_port, program

USER = "nobody"
_NAMES = count(1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Postgres:
    """A running server."""

    port: int
    server: Program

    def database(self) -> str:
        """A new, empty database: its name."""
        name = f"fleet{next(_NAMES)}"
        self.sql(f"CREATE DATABASE {name}", database="postgres")
        return name

    def dsn(self, name: str) -> str:
        """How to reach a database."""
        return f"postgresql://gateway@{HOST}:{self.port}/{name}"

    def sql(self, statement: str, *, database: str) -> str:
        """Run a statement; what psql shows of it."""
        command = ["psql", "-XAtq", "-h", HOST, "-p", str(self.port), "-U", "gateway", "-d", database, "-c", statement]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@contextmanager
def postgres(*, tuned: tuple[str, ...] = ("fsync=off", "full_page_writes=off")) -> Iterator[Postgres]:
    """A cluster that was made anew; `tuned` are settings of the server."""
    folder = Path(tempfile.mkdtemp(prefix="gateway-pg-"))
    port = free_port()
    try:
        if os.geteuid() == 0:
            who = pwd.getpwnam(USER)
            os.chown(folder, who.pw_uid, who.pw_gid)
        trusting = ["-A", "trust", "-U", "gateway", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync"]
        made = _as_user([str(_bin() / "initdb"), "-D", str(folder / "data"), *trusting])
        subprocess.run(made, check=True, capture_output=True, cwd="/")
        settings = ("listen_addresses=127.0.0.1", f"port={port}", "unix_socket_directories=", *tuned)
        command = [str(_bin() / "postgres"), "-D", str(folder / "data"), *(w for one in settings for w in ("-c", one))]
        with program(_as_user(command), port=port, folder=folder) as server:
            _wait_until_ready(port, server)
            yield Postgres(port=port, server=server)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _wait_until_ready(port: int, server: Program) -> None:
    """The port answers before the server lets anybody in."""
    while subprocess.run(
        ["pg_isready", "-q", "-U", "gateway", "-d", "postgres", "-h", HOST, "-p", str(port)], check=False
    ).returncode:
        assert server.running, server.text()


def _as_user(command: list[str]) -> list[str]:
    if os.geteuid() != 0:
        return command
    return ["setpriv", f"--reuid={USER}", f"--regid={pwd.getpwnam(USER).pw_gid}", "--clear-groups", *command]


def _bin() -> Path:
    """Where Debian keeps the programs of the newest version that is installed."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    assert found, "PostgreSQL is not installed: make setup"
    return found[-1].parent
