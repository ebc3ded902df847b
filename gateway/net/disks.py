"""The disks of a machine that is to become a box: which there are, and how one is divided.

What is promised: lsblk(8), sfdisk(8) and udev(7) of the system do the work; one that fails is a TemporaryFailure that
has its last words, which name devices and nothing else. What a disk says of itself is shown, never used.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from gateway.domain.model import TemporaryFailure

_SECONDS: Final = 120.0
_BLOCK: Final = Path("/sys/class/block")


@dataclass(frozen=True, slots=True, kw_only=True)
class Disk:
    """One disk that can be written to."""

    path: Path
    model: str
    size: int
    """Bytes."""


def disks() -> tuple[Disk, ...]:
    """All that there are, by their names."""
    _run("udevadm", "settle")
    return listed(_run("lsblk", "--json", "--bytes", "--nodeps", "--output", "PATH,TYPE,RO,SIZE,MODEL"))


def listed(said: str) -> tuple[Disk, ...]:
    """The disks of what lsblk said."""
    found: list[dict[str, Any]] = json.loads(said)["blockdevices"]
    return tuple(
        Disk(path=Path(one["path"]), model=one["model"] or "no model", size=one["size"])
        for one in sorted(found, key=lambda one: str(one["path"]))
        if one["type"] == "disk" and not one["ro"] and one["size"]
    )


def disk_of(partition: Path) -> Path:
    """The disk that a partition lies on."""
    return Path("/dev") / (_BLOCK / partition.resolve().name).resolve().parent.name


def divide(disk: Path, table: Path) -> Mapping[str, Path]:
    """Give a disk the partitions of an sfdisk script; all that was on it is lost. Each partition by its name."""
    script = table.read_text(encoding="utf-8")
    _run("sfdisk", "--quiet", "--wipe=always", "--wipe-partitions=always", str(disk), script=script)
    _run("udevadm", "settle")
    return divided(_run("sfdisk", "--json", str(disk)))


def divided(said: str) -> Mapping[str, Path]:
    """The partitions of what sfdisk said."""
    return {one["name"]: Path(one["node"]) for one in json.loads(said)["partitiontable"]["partitions"]}


def _run(*words: str, script: str = "") -> str:
    try:
        done = subprocess.run(  # noqa: S603  words of ours
            words, input=script, capture_output=True, text=True, check=False, timeout=_SECONDS
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise TemporaryFailure(f"{words[0]} can't be run ({type(error).__name__}): try another disk") from None
    if done.returncode != 0:
        last = done.stderr.strip().rpartition("\n")[2][:200]
        raise TemporaryFailure(f"{words[0]} ended with {done.returncode} ({last}): try again, or another disk")
    return done.stdout
