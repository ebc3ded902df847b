"""The rest of the machine: what it is, its memory, its security chip, its temperature, its battery.

What is promised: a count is read from the kernel and not from a program's opinion; a load loads every processor; a
pattern is written to and read back from memory that was really taken.
"""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from hwtests.machine import AS_ROOT, Machine
from hwtests.outcome import Fault, NotPresent, NotTested
from hwtests.profile import Part

_GET_RANDOM: Final = bytes.fromhex("80010000000c0000017b0010")
"""TPM2_GetRandom of 16 bytes, without sessions (TPM 2.0 part 3, 16.1)."""
_TPM_DEVICE: Final = "/dev/tpmrm0"
_BLOCK: Final = 1 << 20
LOOK_SECONDS: Final = 0.5


def identity(machine: Machine) -> dict[str, str]:
    """Which machine it is, as its maker and its system say; "" where they say nothing."""
    dmi = "/sys/class/dmi/id"
    system = dict(line.split("=", 1) for line in (machine.text("/etc/os-release") or "").splitlines() if "=" in line)
    return {
        "maker": machine.text(f"{dmi}/sys_vendor") or "",
        "product": machine.text(f"{dmi}/product_name") or "",
        "serial": _readable(machine, f"{dmi}/product_serial"),
        "firmware": machine.text(f"{dmi}/bios_version") or "",
        "kernel": machine.text("/proc/sys/kernel/osrelease") or "",
        "system": system.get("PRETTY_NAME", "").strip('"'),
        "image": system.get("IMAGE_VERSION", "").strip('"'),
    }


def _readable(machine: Machine, name: str) -> str:
    try:
        return machine.text(name) or ""
    except NotTested:
        return ""


def boot_id(machine: Machine) -> str:
    """Another after each start of the kernel."""
    return machine.text("/proc/sys/kernel/random/boot_id") or ""


def memory_total(machine: Machine) -> int:
    """Bytes that the kernel has. Raises NotTested if it does not tell."""
    for line in (machine.text("/proc/meminfo") or "").splitlines():
        if line.startswith("MemTotal:"):
            return int(line.split()[1]) * 1024
    raise NotTested("the kernel does not tell how much memory there is")


def memory_errors(machine: Machine) -> tuple[int, int]:
    """Corrected and uncorrected errors since the start of the kernel. Raises NotPresent without ECC."""
    folder = "/sys/devices/system/edac/mc"
    controllers = [name for name in machine.names(folder) if name.startswith("mc") and name[2:].isdigit()]
    if not controllers:
        raise NotPresent(Part.ECC, "the memory has no error correction that the kernel knows of")

    def count(kind: str) -> int:
        return sum(machine.number(f"{folder}/{name}/{kind}_count") or 0 for name in controllers)

    return count("ce"), count("ue")


def patterns_differ(size: int) -> int:
    """Fill `size` bytes with each of four patterns, read them back, and return how many blocks were not the same."""
    blocks = max(1, size // _BLOCK)
    wrong = 0
    for pattern in (0x00, 0xFF, 0x55, 0xAA):
        wanted = bytes([pattern]) * _BLOCK
        memory = bytearray().join([wanted] * blocks)
        wrong += sum(memory[at : at + _BLOCK] != wanted for at in range(0, len(memory), _BLOCK))
    return wrong


def tpm_version(machine: Machine) -> int:
    """Its major version. Raises NotPresent if there is none."""
    if not machine.names("/sys/class/tpm"):
        raise NotPresent(Part.TPM, "the kernel knows no TPM; switch it on in the firmware")
    return machine.number("/sys/class/tpm/tpm0/tpm_version_major") or 1


def tpm_random(machine: Machine) -> bytes:
    """16 bytes of the chip's own. Raises Fault if it does not answer as it must."""
    try:
        device = os.open(machine.path(_TPM_DEVICE), os.O_RDWR)
    except PermissionError:
        raise NotTested(f"{_TPM_DEVICE} can't be opened; {AS_ROOT}") from None
    except OSError as error:
        raise Fault(f"{_TPM_DEVICE} can't be opened ({error.strerror}); look at the kernel's log") from None
    try:
        os.write(device, _GET_RANDOM)
        answer = os.read(device, 4096)
    except OSError as error:
        raise Fault(f"the TPM does not answer ({error.strerror}); look at the kernel's log") from None
    finally:
        os.close(device)
    if len(answer) < 28 or answer[6:10] != bytes(4):
        raise Fault("the TPM answers with a fault; clear it in the firmware, or replace the board")
    return answer[12:28]


def temperatures(machine: Machine) -> dict[str, float]:
    """Degrees Celsius by sensor: thermal zones, else those of the processor. Raises NotPresent if there are none."""
    found: dict[str, float] = {}
    for name in machine.names("/sys/class/thermal"):
        folder = f"/sys/class/thermal/{name}"
        if name.startswith("thermal_zone") and (value := machine.number(f"{folder}/temp")) is not None:
            found[machine.text(f"{folder}/type") or name] = value / 1000
    for chip in machine.names("/sys/class/hwmon") if not found else []:
        folder = f"/sys/class/hwmon/{chip}"
        if machine.text(f"{folder}/name") not in {"coretemp", "k10temp", "cpu_thermal", "zenpower"}:
            continue
        for file in machine.names(folder):
            if file.endswith("_input") and (value := machine.number(f"{folder}/{file}")) is not None:
                found[file] = value / 1000
    if not found:
        raise NotPresent(Part.TEMPERATURE, "there is no sensor of temperature that the kernel knows of")
    return found


def throttled(machine: Machine) -> int | None:
    """How often processors were slowed down for heat since the start of the kernel; None if nothing counts it."""
    folder = "/sys/devices/system/cpu"
    names = ("core_throttle_count", "package_throttle_count")
    found = [
        value
        for cpu in machine.names(folder)
        for name in names
        if (value := machine.number(f"{folder}/{cpu}/thermal_throttle/{name}")) is not None
    ]
    return sum(found) if found else None


def load(seconds: float, look: Callable[[], None]) -> None:
    """Load every processor for so long, and `look` again and again meanwhile."""
    stop = threading.Event()
    block = bytes(_BLOCK)

    def work() -> None:
        while not stop.is_set():
            hashlib.sha256(block).digest()  # the interpreter's lock is let go for a block of this size

    workers = [threading.Thread(target=work, daemon=True) for _ in range(os.cpu_count() or 1)]
    for worker in workers:
        worker.start()
    end = time.monotonic() + seconds
    try:
        while (left := end - time.monotonic()) > 0:
            look()
            stop.wait(min(LOOK_SECONDS, left))
    finally:
        stop.set()
        for worker in workers:
            worker.join()


@dataclass(frozen=True, slots=True, kw_only=True)
class Ups:
    """What NUT says of the battery."""

    status: str
    """ "OL" on the line, "OB" on the battery, more words beside (RFC 9271 5.1)."""
    charge: float | None
    """Percent."""
    runtime: float | None
    """Seconds."""


def ups(machine: Machine, name: str) -> Ups:
    """Ask NUT. Raises NotPresent if no UPS is named, NotTested without NUT, Fault if the UPS does not answer."""
    if not name:
        raise NotPresent(Part.UPS, "no UPS is named; write its name into [ups] of the profile if there is one")
    said = machine.run("upsc", name)
    found = dict(line.split(": ", 1) for line in said.out.splitlines() if ": " in line)
    if said.status or "ups.status" not in found:
        raise Fault("NUT does not know the UPS; check its cable, then `upsc` and the log of nut-driver")
    return Ups(
        status=found["ups.status"],
        charge=_figure(found.get("battery.charge")),
        runtime=_figure(found.get("battery.runtime")),
    )


def _figure(text: str | None) -> float | None:
    try:
        return None if text is None else float(text)
    except ValueError:
        return None
