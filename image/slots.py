"""A release's three images: the read-only root, its hash tree, and the kernel with its initrd.

What is promised: the images are a function of the tree (erofs 1.5, dm-verity format 1, FAT16 with fixed serial and
times), so that two builds have one root hash; no image is mounted. The kernel's command line travels with the slot: it
names the root hash, without which nothing of that slot starts.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path
from typing import Final

from gateway.domain.update import Image, Manifest
from image.packages import EPOCH, BuildFailed, Machine, run
from image.tree import Release, kernel

BOOT_MIB: Final = 64
COMMAND_LINE: Final = (
    "root=/dev/mapper/root ro rootfstype=erofs systemd.verity=1 systemd.gpt_auto=0 "
    # A root that doesn't match its hash must end in a restart, not in endless input/output errors
    "systemd.verity_root_options=panic-on-corruption panic=10 rd.shell=0 rd.emergency=reboot "
    "quiet loglevel=4 systemd.show_status=error consoleblank=0"
)
"""Of every image; `mitigations=off` belongs to the test's alone (trap 5)."""


def make(tree: Path, out: Path, machine: Machine, *, more: str = "") -> str:
    """Write boot.img, root.img and hash.img into `out`; the root hash. `more`: words for the kernel, of the test."""
    out.mkdir(parents=True, exist_ok=True)
    root, hashes = out / "root.img", out / "hash.img"
    for old in (root, hashes):
        old.unlink(missing_ok=True)
    uuid = "5e7a6c9e-0b1d-4f7e-9d52-6f0e5d0c0a11"
    run(
        "mkfs.erofs", "--quiet", "-zlz4hc,6", f"-T{EPOCH}", f"-U{uuid}", "-x1", "--exclude-regex=^boot/.*", root, tree,
    )  # fmt: skip
    said = run("veritysetup", "format", f"--salt={'5a' * 32}", f"--uuid={uuid}", root, hashes)
    words = dict(line.split(":", 1) for line in said.splitlines() if ":" in line)
    if (root_hash := words.get("Root hash", "").strip()) == "":
        raise BuildFailed("veritysetup said no root hash")
    boot(tree, out / "boot.img", command_line(machine, root_hash, more=more))
    return root_hash


def command_line(machine: Machine, root_hash: str, *, more: str = "") -> str:
    """What the kernel of a slot is told."""
    return f"{COMMAND_LINE} console=tty0 console={machine.console} roothash={root_hash} {more}".strip()


def boot(tree: Path, image: Path, words: str) -> None:
    """The image of kernel, initrd and command line."""
    work = image.with_suffix(".files")
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    shutil.copy(tree / f"boot/vmlinuz-{kernel(tree)}", work / "vmlinuz")
    shutil.copy(tree / "boot/initrd.img", work / "initrd.img")
    (work / "slot.cfg").write_text(f'set cmdline="{words}"\n')
    fat(image, work, BOOT_MIB, label="BOOT")
    shutil.rmtree(work)


def fat(image: Path, files: Path, mib: int, *, label: str) -> None:
    """A FAT file system with the files of a folder, all of one time."""
    image.unlink(missing_ok=True)
    run("mkfs.vfat", "-C", "-F16", "-n", label, "-i", "67617465", "--invariant", image, str(mib * 1024))
    for path in sorted(files.rglob("*")):
        os.utime(path, (EPOCH, EPOCH))
        inside = f"::/{path.relative_to(files)}"
        command = ["mmd", "-i", image, inside] if path.is_dir() else ["mcopy", "-m", "-i", image, path, inside]
        run(*command, TZ="UTC")


def manifest(out: Path, release: Release, root_hash: str, *, bundle: str, known: int, least: int) -> Manifest:
    """What is signed of the images in `out`. `known`, `least`: migrations (gateway/spool/migrations.py)."""
    return Manifest(
        version=release.version,
        sequence=release.sequence,
        arch=release.arch,
        bundle=bundle,
        root_hash=root_hash,
        migrations=known,
        least_migrations=least,
        images={name: _image(out / f"{name}.img") for name in ("boot", "root", "hash")},
    )


def _image(path: Path) -> Image:
    with path.open("rb") as file:
        return Image(size=path.stat().st_size, sha256=hashlib.file_digest(file, "sha256").hexdigest())
