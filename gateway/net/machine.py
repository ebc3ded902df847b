"""What the machine says of itself: load, heat, clock, certificates, units.

What is promised: what this machine can't tell is None, and never a guess; no look takes longer than PATIENCE.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

import psutil
from cryptography import x509

PATIENCE: Final = 5.0
"""Seconds for a program of the system."""
_SYSTEMD: Final = Path("/run/systemd/system")
_UNSYNCHRONISED: Final = 0x40
"""STA_UNSYNC of adjtimex(2)."""
_TIMEX_BYTES: Final = 512
_STATUS_AT: Final = 10
"""`status` among the ints of struct timex, where a long has eight bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockState:
    """How the clock is."""

    offset: timedelta | None
    """Ahead of its source, or behind (below zero)."""
    kept: bool | None
    """Whether something keeps it."""


def cpu() -> float:
    """Share of the processors that was busy since the last call."""
    return psutil.cpu_percent(None) / 100


def memory() -> float:
    """Share of the memory in use."""
    return float(psutil.virtual_memory().percent) / 100


def hottest() -> float | None:
    """Degrees Celsius of the hottest sensor."""
    with suppress(AttributeError, OSError):
        found = [one.current for many in psutil.sensors_temperatures().values() for one in many]
        return max(found, default=None)
    return None


def clock() -> ClockState:
    """As chrony sees it; else as the kernel does, which knows only whether something keeps it."""
    program = shutil.which("chronyc")
    told = _output([program, "-n", "-c", "tracking"]) if program else ""
    words = told.strip().split(",")
    if len(words) > 13:
        with suppress(ValueError):
            return ClockState(offset=timedelta(seconds=-float(words[4])), kept=words[13] != "Not synchronised")
    return ClockState(offset=None, kept=True if _kept_by_kernel() else None)


def failed_units(units: Sequence[str]) -> frozenset[str] | None:
    """Which of these systemd gave up; None: there is no systemd here."""
    program = shutil.which("systemctl")
    if program is None or not _SYSTEMD.is_dir():
        return None
    told = _output([program, "show", "--property=Id,ActiveState", *units])
    if not told:
        return None
    blocks = (dict(line.split("=", 1) for line in block.splitlines() if "=" in line) for block in told.split("\n\n"))
    return frozenset(
        one["Id"].removesuffix(".service") for one in blocks if one.get("ActiveState") == "failed" and "Id" in one
    )


def not_after(certificate: Path) -> datetime | None:
    """When the first certificate of a PEM file ends; None: it can't be read."""
    try:
        return x509.load_pem_x509_certificate(certificate.read_bytes()).not_valid_after_utc
    except (OSError, ValueError):
        return None


def _kept_by_kernel() -> bool:
    """Whether adjtimex(2) says that the clock is synchronised; False also where that can't be asked."""
    timex = (ctypes.c_int * (_TIMEX_BYTES // 4))()
    with suppress(AttributeError, OSError):
        if ctypes.sizeof(ctypes.c_long) == 8 and ctypes.CDLL(None).adjtimex(ctypes.byref(timex)) >= 0:
            return not timex[_STATUS_AT] & _UNSYNCHRONISED
    return False


def _output(command: Sequence[str]) -> str:
    """What a program prints; empty if it can't be run, fails or takes too long."""
    try:
        environment = {**os.environ, "LC_ALL": "C"}
        done = subprocess.run(  # noqa: S603 -- programs of the system by their paths, and no word of a peer
            command, capture_output=True, text=True, timeout=PATIENCE, check=False, env=environment
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout if done.returncode == 0 else ""
