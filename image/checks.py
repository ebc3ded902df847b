"""What went wrong once and must not again: each a look at the tree or the images before anything is booted.

What is promised: `faults` names each that is there; an image with any is not built. The numbers are those of the traps
in docs/operations/image.md.
"""

from __future__ import annotations

import re
import stat
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from image.packages import HERE
from image.slots import COMMAND_LINE
from image.tree import kernel

_UNCHECKED_HASH: Final = 0b01
_SETUID: Final = frozenset(
    {"usr/bin/chfn", "usr/bin/chsh", "usr/bin/gpasswd", "usr/bin/mount", "usr/bin/newgrp", "usr/bin/passwd",
     "usr/bin/su", "usr/bin/umount", "usr/lib/dbus-1.0/dbus-daemon-launch-helper", "usr/bin/chage", "usr/bin/expiry",
     "usr/sbin/unix_chkpwd"}
)  # fmt: skip
_REGISTRY: Final = re.compile(r"^\s*(deb|URIs:)\s", re.MULTILINE)


def faults(tree: Path, *, released: bool) -> list[str]:
    """Every fault of a tree. `released`: not the variant that has the test's shell."""
    found = [*_bytecode(tree), *_loader(), *_units(tree), *_initrd(tree), *_doors(tree), *_leaks(tree)]
    if released:
        found += _released(tree)
    return found


def _bytecode(tree: Path) -> Iterator[str]:
    """1: a .pyc that is checked against its source is compiled again at every start of a read-only root."""
    seen = 0
    for path in tree.glob("usr/lib/**/*.pyc"):
        flags = struct.unpack("<I", path.read_bytes()[4:8])[0]
        seen += 1
        if flags != _UNCHECKED_HASH:
            yield f"1: {path.relative_to(tree)} is checked against its source at each start"
    missing = [path for path in (tree / "usr/lib/gateway").glob("**/gateway/**/*.py") if not _compiled(path)]
    if not seen or missing:
        yield f"1: {len(missing)} modules of the gateway have no bytecode"


def _compiled(path: Path) -> bool:
    return any((path.parent / "__pycache__").glob(f"{path.stem}.cpython-*.pyc"))


def _loader() -> Iterator[str]:
    """2: a disk that is named by its number is another one when a second is there."""
    for name in ("grub.cfg", "stick.cfg"):
        script = (HERE / name).read_text()
        if re.search(r"\bhd\d", re.sub(r"^#.*$", "", script, flags=re.MULTILINE)) or "$cmdpath" not in script:
            yield f"2: {name} names its disk by number"
    script = (HERE / "grub.cfg").read_text()
    if "load_env" not in script or "save_env" not in script:
        yield "2: grub.cfg does not count starts"


def _units(tree: Path) -> Iterator[str]:
    """3, 4: how long a start and a feeding of the watchdog may take."""
    common = "".join(
        path.read_text() for path in sorted((tree / "usr/lib/systemd/system/gateway-.service.d").glob("*.conf"))
    )
    if "TimeoutStartSec=300" not in common:
        yield "4: the gateway's units have no TimeoutStartSec=300"
    settings = "".join(path.read_text() for path in sorted((tree / "etc/systemd/system.conf.d").glob("*.conf")))
    if "RuntimeWatchdogSec=" not in settings:
        yield "3: PID 1 feeds no watchdog"


def _initrd(tree: Path) -> Iterator[str]:
    """One initrd, by dracut; a root that does not match its hash ends in a restart."""
    made = sorted(path.name for path in (tree / "boot").glob("initrd*"))
    if made != ["initrd.img"]:
        yield f"initrd: there are {len(made)} initrds, not one"
    if (tree / "usr/sbin/mkinitramfs").exists():
        yield "initrd: initramfs-tools is there beside dracut"
    for word in ("panic-on-corruption", "panic=10", "rd.shell=0"):
        if word not in COMMAND_LINE:
            yield f"initrd: the kernel's command line has no {word}"
    if not (tree / f"boot/vmlinuz-{kernel(tree)}").exists():
        yield "initrd: there is no kernel"


def _doors(tree: Path) -> Iterator[str]:
    """No way in but the panel: no shell of an account, no password, no getty, no more setuid than Debian's own."""
    for line in (tree / "etc/passwd").read_text().splitlines():
        if not line.endswith(":/usr/sbin/nologin"):
            yield f"{line.split(':')[0]} has a shell"
    for line in (tree / "etc/shadow").read_text().splitlines():
        if line.split(":")[1] != "*":
            yield f"{line.split(':')[0]} may have a password"
    for unit in ("getty@.service", "serial-getty@.service"):
        if not (tree / "etc/systemd/system" / unit).is_symlink():
            yield f"{unit} is not masked"
    for path in tree.glob("usr/**/*"):
        if not path.is_symlink() and path.is_file() and path.stat().st_mode & (stat.S_ISUID | stat.S_ISGID):
            name = str(path.relative_to(tree))
            if path.stat().st_mode & stat.S_ISUID and name not in _SETUID:
                yield f"{name} is setuid"


def _leaks(tree: Path) -> Iterator[str]:
    """Nothing of the machine that built it: package sources, pip's settings, logs, the time of the build."""
    for path in [*(tree / "etc/apt").glob("**/*")] if (tree / "etc/apt").exists() else []:
        if path.is_file() and _REGISTRY.search(path.read_text(errors="replace")):
            yield f"leak: {path.relative_to(tree)} names a package source"
    for name in ("etc/pip.conf", "root/.config", "etc/resolv.conf.bak"):
        if (tree / name).exists():
            yield f"leak: {name} is the builder's"
    if any((tree / "var").iterdir()):
        yield "leak: /var is not empty"


def _released(tree: Path) -> Iterator[str]:
    """5: what helps an emulated machine has no place in a released one."""
    if "mitigations" in COMMAND_LINE:
        yield "5: the kernel's command line switches mitigations off"
    if [*tree.glob("usr/lib/systemd/system/*test-shell*")]:
        yield "5: the test's shell is in the tree"
