"""The disk that a box is made from: boot partition, two slots of which the first is filled, room for the data.

What is promised: no loop device and no mount; the partition that holds the data is made on the box itself, at its first
start, for nobody but the box has its key. Partitions are found by name on the box and by number in grub.cfg.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from gateway.domain.boot import BootState, to_block
from image.packages import HERE, BuildFailed, Machine, clean, run
from image.slots import BOOT_MIB, fat

ESP_MIB: Final = 40
ROOT_MIB: Final = 640
HASH_MIB: Final = 16
_ESP: Final = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B"
_LINUX: Final = "0FC63DAF-8483-4772-8E79-3D69D8477DE4"
_PARTITIONS: Final = (
    ("ESP", ESP_MIB, _ESP),
    ("boot-a", BOOT_MIB, _LINUX),
    ("boot-b", BOOT_MIB, _LINUX),
    ("root-a", ROOT_MIB, _LINUX),
    ("hash-a", HASH_MIB, _LINUX),
    ("root-b", ROOT_MIB, _LINUX),
    ("hash-b", HASH_MIB, _LINUX),
)
_MODULES: Final = "part_gpt fat regexp linux loadenv serial terminal test echo sleep minicmd reboot configfile normal"


def loader(machine: Machine, work: Path) -> Path:
    """GRUB with our grub.cfg inside: there is no file beside it that could be changed."""
    out = work / machine.loader
    out.unlink(missing_ok=True)
    run(
        "grub-mkstandalone", "-O", machine.grub, "-o", out, "--locales=", "--fonts=", "--themes=",
        f"--install-modules={_MODULES}", "--modules=part_gpt fat", f"boot/grub/grub.cfg={HERE / 'grub.cfg'}",
    )  # fmt: skip
    return out


def make(slots: Mapping[str, Path], disk: Path, machine: Machine, work: Path, *, state: BootState, mib: int) -> None:
    """A whole disk of `mib` MiB. `slots`: the folder of images for "a", and for "b" if it is filled too."""
    shutil.rmtree(work, ignore_errors=True)
    boot = work / "esp/EFI/BOOT"
    boot.mkdir(parents=True)
    shutil.copy(loader(machine, work), boot / machine.loader)
    (work / "esp/grubenv").write_bytes(to_block(state))
    fat(work / "esp.img", work / "esp", ESP_MIB, label="ESP")
    disk.unlink(missing_ok=True)
    run("truncate", f"--size={mib}M", disk)
    starts = _partition(disk)
    _put(work / "esp.img", disk, starts["ESP"])
    for slot, images in slots.items():
        for name in ("boot", "root", "hash"):
            _put(images / f"{name}.img", disk, starts[f"{name}-{slot}"])
    shutil.rmtree(work)


def _partition(disk: Path) -> dict[str, int]:
    """Write the table; where each partition starts, in MiB."""
    table = "label: gpt\n" + "".join(f'size={mib}M, type={kind}, name="{name}"\n' for name, mib, kind in _PARTITIONS)
    done = subprocess.run(["sfdisk", "-q", disk], input=table, env=clean(), capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise BuildFailed(f"sfdisk: {done.stderr[-500:]}")
    found = json.loads(run("sfdisk", "--json", disk))["partitiontable"]["partitions"]
    return {part["name"]: part["start"] // 2048 for part in found}


def _put(image: Path, disk: Path, mib: int) -> None:
    run("dd", f"if={image}", f"of={disk}", "bs=1M", f"seek={mib}", "conv=notrunc,sparse", "status=none")
