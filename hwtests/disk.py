"""The disk under the spool: which it is, what it says of itself, and how fast it really keeps what it is given.

What is promised: a figure comes from writing in the folder of the spool and forcing it to the disk, as an image is;
what was written is removed. What no program can see (whether a cache survives a power cut) is never measured here: the
profile states it, and the report says that it was stated.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from hwtests.machine import Machine
from hwtests.outcome import Fault, NotPresent, NotTested
from hwtests.profile import Part

_MIB: Final = 1 << 20
_NOT_A_DISK: Final = "0:"
"""How the number of a file system begins that has no device of its own: in memory, overlays, the network."""
_MOST_LAYERS: Final = 8
CRITICAL: Final = "critical warning"


@dataclass(frozen=True, slots=True, kw_only=True)
class Disk:
    """The disk that the file system is on, below partitions, encryption and mirrors' first half."""

    name: str
    """nvme0n1, sda, vda."""
    model: str
    serial: str
    cache: str
    """ "write back": a cache that a flush empties; "write through": none that matters."""

    @property
    def kind(self) -> str:
        """nvme, sata or virtio; other for the rest."""
        kinds = {"nvme": "nvme", "sd": "sata", "vd": "virtio"}
        return next((kind for start, kind in kinds.items() if self.name.startswith(start)), "other")


def disk_of(machine: Machine) -> Disk:
    """The disk under the spool. Raises NotPresent if it is on none."""
    name = _lowest(machine, _device(machine).resolve())
    folder = f"/sys/class/block/{name}"
    return Disk(
        name=name,
        model=machine.text(f"{folder}/device/model") or "",
        serial=machine.text(f"{folder}/device/serial") or "",
        cache=machine.text(f"{folder}/queue/write_cache") or "",
    )


def _device(machine: Machine) -> Path:
    """What the file system of the spool is mounted from, in sysfs by its number; by name where it has none (Btrfs)."""
    mounts = [line.split() for line in (machine.text("/proc/self/mountinfo") or "").splitlines()]
    place = machine.mounted_at
    above = [fields for fields in mounts if place.is_relative_to(fields[4])]
    if not above:
        raise NotPresent(Part.DISK, "the kernel does not tell where the folder of the spool is mounted from")
    fields = max(reversed(above), key=lambda fields: len(fields[4]))  # the last mounted of those at the same place
    source = fields[fields.index("-") + 2]
    if not fields[2].startswith(_NOT_A_DISK):
        return machine.path(f"/sys/dev/block/{fields[2]}")
    if source.startswith("/dev/"):
        return machine.path(f"/sys/class/block/{machine.path(source).resolve().name}")
    raise NotPresent(Part.DISK, "the folder of the spool is on no disk; mount its file system")


def _lowest(machine: Machine, folder: Path) -> str:
    """Down from a mapped device or a partition to a whole disk, by the names in sysfs."""
    for _ in range(_MOST_LAYERS):
        slaves = sorted(folder.glob("slaves/*"))
        if slaves:
            folder = slaves[0].resolve()
        elif (folder / "partition").exists():
            folder = folder.parent
        else:
            break
    if not folder.exists():
        raise NotPresent(Part.DISK, "the kernel knows no disk under the folder of the spool")
    return folder.name


def smart(machine: Machine, disk: Disk) -> dict[str, float]:
    """What the disk says of its health, under names for people. Raises NotPresent if it says nothing, NotTested
    without smartctl, Fault if the disk itself says that it is failing."""
    said = machine.run("smartctl", "--json", "--all", f"/dev/{disk.name}")
    try:
        raw: dict[str, Any] = json.loads(said.out)
    except ValueError:
        raise NotTested("the answer of smartctl can't be read") from None
    passed = raw.get("smart_status", {}).get("passed")
    if passed is None:
        raise NotPresent(Part.SMART, "the disk answers no question about its health")
    if not passed:
        raise Fault("the disk says that it is failing; replace it before any image is on it")
    nvme = raw.get("nvme_smart_health_information_log", {})
    attributes = {one["id"]: one for one in raw.get("ata_smart_attributes", {}).get("table", [])}
    found = {
        "temperature": raw.get("temperature", {}).get("current"),
        "hours in use": raw.get("power_on_time", {}).get("hours"),
        "worn": nvme.get("percentage_used", _worn(attributes)),
        "media errors": nvme.get("media_errors", _raw(attributes, 5)),
        CRITICAL: nvme.get("critical_warning"),
        "unsafe shutdowns": nvme.get("unsafe_shutdowns"),
    }
    return {what: value for what, value in found.items() if value is not None}


def _worn(attributes: dict[int, Any]) -> int | None:
    """Media_Wearout_Indicator and its like count down from 100."""
    left = next((attributes[number]["value"] for number in (231, 233, 177, 202) if number in attributes), None)
    return None if left is None else 100 - left


def _raw(attributes: dict[int, Any], number: int) -> int | None:
    return attributes[number]["raw"]["value"] if number in attributes else None


@contextmanager
def scratch(folder: Path) -> Iterator[Path]:
    """A file of its own in that folder, gone afterwards."""
    path = folder / f".commission-{os.getpid()}"
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


def fsync_times(folder: Path, times: int) -> list[float]:
    """How long each of `times` writes of 4 KiB took until the disk had it, in milliseconds, shortest first."""
    found = []
    with scratch(folder) as path, path.open("wb", buffering=0) as file:
        for number in range(times):
            block = bytes([number % 256]) * 4096
            began = time.perf_counter()
            file.write(block)
            os.fdatasync(file.fileno())
            found.append((time.perf_counter() - began) * 1000)
    return sorted(found)


def write_rate(folder: Path, size: int) -> float:
    """MB/s of writing `size` bytes in one piece until the disk had them all."""
    block = os.urandom(_MIB)
    with scratch(folder) as path, path.open("wb", buffering=0) as file:
        began = time.perf_counter()
        for _ in range(max(1, size // _MIB)):
            file.write(block)
        os.fdatasync(file.fileno())
        taken = time.perf_counter() - began
    return max(1, size // _MIB) * _MIB / 1e6 / taken


def free_space(machine: Machine) -> tuple[int, int]:
    """Free to us and in all, in bytes, of the file system of the spool."""
    found = os.statvfs(machine.state)
    return found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize


def percentile(ordered: list[float], share: float) -> float:
    """Of figures in order."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]
