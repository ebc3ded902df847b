"""How much the processes of the box log for a while, by a file in the folder of their sockets.

What is promised: each process takes it up within seconds and goes back by itself when the time is over, also if it was
restarted meanwhile; a file that says anything else changes nothing.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import structlog

from gateway.net.upkeep import pause

LEVELS: Final = ("debug", "info", "warning", "error")
LOOK_SECONDS: Final = 2.0


class LogLevel:
    """The file, and what it says."""

    def __init__(self, runtime: Path) -> None:
        self._path = runtime / "log-level"

    def ask(self, level: str, *, until: datetime) -> None:
        """Log from that level on, in every process, until then. Raises OSError."""
        written = self._path.with_suffix(".new")
        written.write_text(f"{level} {until.timestamp():.0f}\n", "ascii")
        written.replace(self._path)

    def asked(self, now: datetime) -> str:
        """The level that is wanted now; empty: none is."""
        with suppress(OSError, ValueError, OverflowError):
            level, until = self._path.read_text("ascii").split()
            if level in LEVELS and now < datetime.fromtimestamp(int(until), UTC):
                return level
        return ""

    async def follow(self, stop: asyncio.Event, *, now: Callable[[], datetime]) -> None:
        """Until `stop`, let this process log as it is wanted."""
        usual, last = structlog.get_config()["wrapper_class"], ""
        while not stop.is_set():
            wanted = self.asked(now())
            if wanted != last:
                number = logging.getLevelNamesMapping()[wanted.upper()] if wanted else 0
                changed = structlog.make_filtering_bound_logger(number) if wanted else usual
                structlog.configure(wrapper_class=changed)
                last = wanted
            await pause(LOOK_SECONDS, stop)
