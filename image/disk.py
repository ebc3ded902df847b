"""The disk that a box is made from, and the stick that makes one: partition tables, boot partitions, images in place.

What is promised: no loop device and no mount; the partition that holds the data is made on the box itself, at its first
start, for nobody but the box has its key. A box's partitions are those of one file, which the stick has too
(`PARTITIONS`); they are found by name on the box and by number in grub.cfg.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from gateway.domain.boot import BootState, to_block
from gateway.domain.update import IMAGES, MANIFEST
from image.packages import HERE, BuildFailed, Machine, clean, run
from image.slots import fat

PARTITIONS: Final = HERE / "files/usr/lib/gateway-box/partitions"
ESP_MIB: Final = 40
STICK_SPARE_MIB: Final = 24
"""Room for the loader beside the release."""
_MIB: Final = 1 << 20
_SECTORS_OF_MIB: Final = 2048
_STICK_PARTS: Final = ("stick-boot", "stick-root", "stick-hash", "stick-esp")
"""In the order on which stick.cfg counts."""
_MODULES: Final = "part_gpt fat regexp linux loadenv serial terminal test echo sleep minicmd reboot configfile normal"
_ESP: Final = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B"
_LINUX: Final = "0FC63DAF-8483-4772-8E79-3D69D8477DE4"


def loader(machine: Machine, script: str, out: Path) -> None:
    """GRUB with our script inside: there is no file beside it that could be changed."""
    run(
        "grub-mkstandalone", "-O", machine.grub, "-o", out, "--locales=", "--fonts=", "--themes=",
        f"--install-modules={_MODULES}", "--modules=part_gpt fat", f"boot/grub/grub.cfg={HERE / script}",
    )  # fmt: skip


def boot_partition(
    machine: Machine, script: str, out: Path, *, label: str, mib: int, files: Mapping[str, Path]
) -> None:
    """A boot partition with GRUB and its script, and `files` beside them by their names there."""
    work = out.with_suffix(".files")
    shutil.rmtree(work, ignore_errors=True)
    boot = work / "EFI/BOOT"
    boot.mkdir(parents=True)
    loader(machine, script, boot / machine.loader)
    for name, path in files.items():
        os.link(path, work / name)
    fat(out, work, mib, label=label)
    shutil.rmtree(work)


def box_partition(machine: Machine, out: Path) -> None:
    """The boot partition of a box that was never started."""
    environment = out.with_name("grubenv")
    environment.write_bytes(to_block(BootState()))
    boot_partition(machine, "grub.cfg", out, label="ESP", mib=ESP_MIB, files={"grubenv": environment})
    environment.unlink()


def make(slots: Mapping[str, Path], esp: Path, disk: Path, *, mib: int) -> None:
    """A whole disk of `mib` MiB. `slots`: the folder of images for "a", and for "b" if it is filled too."""
    images = {f"{name}-{slot}": folder / f"{name}.img" for slot, folder in slots.items() for name in IMAGES}
    _fill(disk, PARTITIONS.read_text(), images | {"ESP": esp}, mib=mib)


def make_stick(machine: Machine, folder: Path, bundle: str, stick: Path) -> None:
    """A stick that starts the installer and has a release beside it, for boxes to be made and to be updated alike.
    `folder`: what was built, with the release, the images and a box's boot partition; `bundle`: the release's file."""
    release = {name: folder / name for name in (MANIFEST, bundle)}
    room = sum(path.stat().st_size for path in release.values()) // _MIB + STICK_SPARE_MIB
    started = folder / "stick.img"
    # The label by which a box knows a stick (run-stick.mount)
    boot_partition(machine, "stick.cfg", started, label="GATEWAY", mib=room, files=release)
    images = {"stick": started, "stick-esp": folder / "esp.img"}
    images |= {f"stick-{name}": folder / f"slot/{name}.img" for name in IMAGES}
    sizes = {name: -(-images[name].stat().st_size // _MIB) for name in ("stick", *_STICK_PARTS)}
    table = "label: gpt\n" + "".join(
        f'size={mib}M, type={_ESP if name == "stick" else _LINUX}, name="{name}"\n' for name, mib in sizes.items()
    )
    _fill(stick, table, images, mib=sum(sizes.values()) + 4)
    started.unlink()


def _fill(disk: Path, table: str, images: Mapping[str, Path], *, mib: int) -> None:
    """Divide a file of `mib` MiB as the table says, and put each image into the partition of its name."""
    disk.unlink(missing_ok=True)
    run("truncate", f"--size={mib}M", disk)
    done = subprocess.run(["sfdisk", "-q", disk], input=table, env=clean(), capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise BuildFailed(f"sfdisk: {done.stderr[-500:]}")
    found = json.loads(run("sfdisk", "--json", disk))["partitiontable"]["partitions"]
    starts = {part["name"]: part["start"] // _SECTORS_OF_MIB for part in found}
    for name, image in images.items():
        run("dd", f"if={image}", f"of={disk}", "bs=1M", f"seek={starts[name]}", "conv=notrunc,sparse", "status=none")
