"""The gateway as its operators run it: a configuration file, a process, its books read through its own command.

What is promised: `Box` writes a `gateway.toml` with every peer on loopback, starts `serve all` in a process of
its own session (a Ctrl-C reaches it only through us), and stops it by SIGTERM, at last by SIGKILL. What it
prints goes to a file whose end `log_end` returns. Nothing here looks into the gateway's files or database.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from gateway.simulate.acceptor import free_port

GATEWAY: Final = (sys.executable, "-m", "gateway")
STOP_SECONDS: Final = 30.0
COMMAND_SECONDS: Final = 60.0

_TOML: Final = """\
# Made by `gateway simulate trip`: everything on loopback, nothing of a real patient.
[site]
name = "demo"
timezone = "UTC"

[box]
id = "demo"
state = "state"

[[listen]]
address = "127.0.0.1"
port = {port}
ae = ["GATEWAY", "GATEWAY_MWL"]

[mllp]
address = "127.0.0.1"
port = 0

[[scanner]]
ae = "{scanner_ae}"
address = ["127.0.0.1"]

[[ris]]
name = "ris"
host = "127.0.0.1"
port = {ris_port}
ae = "RIS"
refresh = "10s"

[[destination]]
name = "pacs"
host = "127.0.0.1"
port = {pacs_port}
ae = "PACS"
confirm = "commitment"
compression = "none"
retry = {{ base = "1s", cap = "10s" }}

[console]
address = "127.0.0.1"
port = {console_port}

[metrics]
port = 0
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Books:
    """What the gateway says of one study, by SOP Instance UID. An instance without a delivery is in neither."""

    delivered: frozenset[str]
    """Every delivery of every copy was answered, or is confirmed."""
    confirmed: frozenset[str]
    """Every delivery of every copy is confirmed."""


class Box:
    """A running gateway. Use with `async with`."""

    def __init__(
        self,
        folder: Path,
        *,
        ris_port: int,
        pacs_port: int,
        scanner_ae: str,
        command: Sequence[str] = GATEWAY,
    ) -> None:
        """Write the configuration into `folder`. `command` is how the gateway is called."""
        self.port = free_port()
        self.console_port = free_port()
        self.config = folder / "gateway.toml"
        self._log = folder / "gateway.log"
        self._command = tuple(command)
        self._process: Process | None = None
        self.config.write_text(
            _TOML.format(
                port=self.port,
                console_port=self.console_port,
                ris_port=ris_port,
                pacs_port=pacs_port,
                scanner_ae=scanner_ae,
            ),
            "utf-8",
        )

    async def __aenter__(self) -> Box:
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *(*self._command, "serve", "all", "--config", str(self.config)),
                stdin=DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        return self

    async def __aexit__(self, *_: object) -> None:
        process = self._process
        if process is None or process.returncode is not None:
            return
        process.send_signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(process.wait(), STOP_SECONDS)
        except TimeoutError:
            process.kill()
            await process.wait()

    @property
    def ended(self) -> bool:
        """Whether the process is no more."""
        return self._process is None or self._process.returncode is not None

    async def wait(self) -> None:
        """Return when the process has ended."""
        if self._process is not None:
            await self._process.wait()

    def log_end(self, lines: int = 15) -> str:
        """The last lines of what the gateway printed."""
        return "\n".join(self._log.read_text("utf-8", "replace").splitlines()[-lines:])

    async def books(self, study: str) -> Books | None:
        """What `gateway study UID --json` says; None if it says nothing (yet)."""
        with self._log.open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                *(*self._command, "study", study, "--json", "--config", str(self.config)),
                stdin=DEVNULL,
                stdout=PIPE,
                stderr=log,
            )
        try:
            out, _ = await asyncio.wait_for(process.communicate(), COMMAND_SECONDS)
        except BaseException:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            raise
        return read_books(out)


def read_books(out: bytes) -> Books | None:
    """The answer of `gateway study UID --json`; None if it is not one."""
    try:
        instances: list[dict[str, Any]] = json.loads(out)["instances"]
        states: dict[str, list[str]] = {}
        for instance in instances:
            found = [str(delivery["state"]) for delivery in instance["deliveries"]]
            states.setdefault(str(instance["SOPInstanceUID"]), []).extend(found or ["no delivery"])
    except (ValueError, KeyError, TypeError):
        return None
    return Books(
        delivered=frozenset(uid for uid, found in states.items() if {"sent", "confirmed"}.issuperset(found)),
        confirmed=frozenset(uid for uid, found in states.items() if {"confirmed"}.issuperset(found)),
    )
