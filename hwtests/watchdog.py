"""The watchdog: a circuit that restarts the box when nothing gives it a sign of life. Whether it fires is tried.

What is promised: `fire` writes down what it is about to do before it does it, and signs of life while it waits, all
forced to the disk; after the restart `judge` says from these alone whether the watchdog did it, and when. Where a
program (systemd) holds the device, the kernel is halted by a crash instead, with its own restart switched off, so
that nothing but the watchdog can start it again. A box that is still running after its time has no working watchdog.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import struct
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, Self

from hwtests.host import boot_id
from hwtests.machine import AS_ROOT, Machine
from hwtests.outcome import Fault, Measured, NotPresent, NotTested
from hwtests.profile import Part

SET_TIMEOUT: Final = 0xC0045706
"""WDIOC_SETTIMEOUT (linux/watchdog.h)."""
CARD_RESET: Final = 0x20
"""WDIOF_CARDRESET: the device says that it did the last restart."""
SIGN_SECONDS: Final = 0.25
_DEVICE: Final = "/dev/watchdog0"
_FOLDER: Final = "/sys/class/watchdog/watchdog0"


@dataclass(frozen=True, slots=True, kw_only=True)
class Armed:
    """What was begun, as it is kept over the restart."""

    boot: str
    """Which start of the kernel it was."""
    at: float
    """Seconds since 1970, of the last sign of life given to the device."""
    timeout: int
    """Seconds."""
    margin: float
    """How many seconds later it may come."""
    crash: bool
    """The kernel was halted, as a program holds the device."""

    def write(self, path: Path) -> None:
        """Keep it, forced to the disk."""
        part = path.with_suffix(".part")
        with part.open("w", encoding="utf-8") as file:
            json.dump(asdict(self), file)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
        folder = os.open(path.parent, os.O_RDONLY)
        os.fsync(folder)
        os.close(folder)

    @classmethod
    def read(cls, path: Path) -> Self | None:
        """What was kept; None if nothing was."""
        try:
            return cls(**json.loads(path.read_text("utf-8")))
        except (OSError, ValueError, TypeError):
            return None


def identity(machine: Machine) -> str:
    """What it calls itself. Raises NotPresent if there is none."""
    found = machine.text(f"{_FOLDER}/identity")
    if found is None:
        raise NotPresent(
            Part.WATCHDOG, "the kernel knows no watchdog; load its driver, or switch it on in the firmware"
        )
    return found


def is_armed(machine: Machine) -> bool:
    """Whether a program holds it."""
    return machine.text(f"{_FOLDER}/state") == "active"


def fire(machine: Machine, timeout: int, record: Path, *, margin: float, restarting: Callable[[Armed], None]) -> None:
    """Stop giving signs of life, or halt the kernel; `restarting` is told just before. Returns only if the box still
    runs when it must not. Raises NotTested if the device can't be had."""
    try:
        device: int | None = os.open(machine.path(_DEVICE), os.O_WRONLY)
    except OSError as error:
        if error.errno != errno.EBUSY:
            raise NotTested(f"{_DEVICE} can't be opened ({error.strerror}); {AS_ROOT}") from None
        device = None
        timeout = machine.number(f"{_FOLDER}/timeout") or timeout
    if device is not None:
        timeout = _set(device, timeout)
    armed = Armed(boot=boot_id(machine), at=time.time(), timeout=timeout, margin=margin, crash=device is None)
    armed.write(record)
    restarting(armed)
    if device is None:
        _crash(machine)
    with signs(record).open("wb", buffering=0) as file:
        end = time.monotonic() + timeout + margin
        while time.monotonic() < end:
            os.pwrite(file.fileno(), struct.pack("<d", time.time()), 0)
            os.fdatasync(file.fileno())
            time.sleep(SIGN_SECONDS)
    if device is not None:
        os.write(device, b"V")  # the magic close: from here on it may be let alone
        os.close(device)


def _set(device: int, timeout: int) -> int:
    """The timeout that the device took, which may be another than the one that was asked for."""
    try:
        taken = fcntl.ioctl(device, SET_TIMEOUT, struct.pack("i", timeout))
    except OSError:
        return timeout
    return int(struct.unpack("i", taken)[0])


def _crash(machine: Machine) -> None:
    """Halt the kernel for good. Raises NotTested where something else than the watchdog would start it again."""
    if machine.number("/sys/kernel/kexec_crash_loaded"):
        raise NotTested("a crash kernel is loaded, which would restart the box instead; unload it: kexec -p -u")
    os.sync()
    try:
        for name, text in (("sys/kernel/panic", "0"), ("sys/kernel/sysrq", "1"), ("sysrq-trigger", "c")):
            machine.path(f"/proc/{name}").write_text(f"{text}\n")
    except OSError as error:
        raise NotTested(f"the kernel can't be halted ({error.strerror}); {AS_ROOT}") from None


def signs(record: Path) -> Path:
    """Where signs of life are kept."""
    return record.with_suffix(".alive")


def judge(machine: Machine, armed: Armed, record: Path, restart: float, measured: Measured) -> None:
    """Say whether the watchdog restarted the box. `restart`: seconds that the firmware may take.
    Raises Fault if it did not, or if something else may have."""
    measured.tell("set to", armed.timeout, "s")
    if boot_id(machine) == armed.boot:
        raise Fault(
            "the watchdog did not restart the box: it still runs; replace the board, or don't rely on it after a crash"
        )
    if armed.crash:
        measured.tell("way", "the kernel was halted, as a program holds the device")
        dead = _started(machine) - armed.at
        measured.at_most(
            "dead until the kernel started again", dead, armed.timeout + armed.margin + restart, "s", remedy=_WHY
        )
        return
    lived = _last_sign(record) - armed.at
    remedy = "something else restarted the box: a person, or its power; try again"
    measured.at_least("lived without a sign of life", lived, armed.timeout / 2 - 1, "s", remedy=remedy)
    measured.at_most("and then stopped within", lived, armed.timeout + armed.margin, "s", remedy=_WHY)
    status = machine.number(f"{_FOLDER}/bootstatus") or 0
    measured.tell("the device says it restarted the box", "yes" if status & CARD_RESET else "it does not say")


_WHY: Final = "the watchdog came too late, or a person helped; try again, and leave the box alone"


def _last_sign(record: Path) -> float:
    try:
        return float(struct.unpack("<d", signs(record).read_bytes())[0])
    except (OSError, struct.error):
        return 0.0


def _started(machine: Machine) -> float:
    """When the kernel started, in seconds since 1970."""
    for line in (machine.text("/proc/stat") or "").splitlines():
        if line.startswith("btime "):
            return float(line.split()[1])
    raise NotTested("the kernel does not tell when it started")
