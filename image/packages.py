"""The package layer: Debian's packages unpacked once, kept as a tar under build/ and named by what it is made of.

What is promised: the same list, suite and recipe find the same tar again; nothing of this machine's environment gets
in (`clean`), and no name of a package source stays behind. Needs root (or a user namespace with sub-ids) and the
machine's own apt sources. Fails with the last words of the program that failed.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

HERE: Final = Path(__file__).parent
EPOCH: Final = 1_767_225_600
"""2026-01-01: every time in an image is this one, so that two builds are the same (reproducible-builds.org)."""
_RECIPE: Final = 3
"""Count up when the way a layer is made changes, so that no older one is taken for it."""


class BuildFailed(Exception):
    """A step of the build did not hold; the message has the program's last words."""


def clean(**more: str) -> dict[str, str]:
    """An environment of ours alone: PIP_* of the machine that builds would reach into the tree (trap of the page)."""
    return {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": "/",
        "LC_ALL": "C.UTF-8",
        "SOURCE_DATE_EPOCH": str(EPOCH),
        "DEBIAN_FRONTEND": "noninteractive",
    } | more


def run(*command: str | Path, cwd: Path | None = None, **more: str) -> str:
    """Run a program of the build; what it said on stdout. Raises BuildFailed with its last words."""
    words = [str(word) for word in command]
    done = subprocess.run(words, cwd=cwd, env=clean(**more), capture_output=True, text=True, check=False)
    if done.returncode != 0:
        said = (done.stdout[-1500:] + done.stderr[-3000:]).strip()
        raise BuildFailed(f"{' '.join(words)[:300]} ended with {done.returncode}:\n{said}")
    return done.stdout


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What differs between amd64 and arm64; the rest of the recipe is one."""

    arch: str
    suite: str
    packages: tuple[str, ...]
    grub: str
    """GRUB's name of the platform."""
    loader: str
    """The file the firmware starts (UEFI 3.5.1.1)."""
    console: str
    leave_out: tuple[str, ...]
    keep: tuple[str, ...]


def machine(arch: str) -> Machine:
    """The recipe for an architecture, as packages.toml says."""
    recipe: dict[str, Any] = tomllib.loads((HERE / "packages.toml").read_text())
    own = recipe[arch]
    return Machine(
        arch=arch,
        suite=recipe["suite"],
        packages=tuple(sorted({*own["packages"], *(name for names in recipe["packages"].values() for name in names)})),
        grub=own["grub"],
        loader=own["loader"],
        console=own["console"],
        leave_out=tuple(recipe["leave_out"]["paths"]),
        keep=tuple(recipe["leave_out"]["keep"]),
    )


def layer(wanted: Machine, cache: Path) -> Path:
    """The tar of the package layer; made if it is not there."""
    key = json.dumps([_RECIPE, wanted.arch, wanted.suite, wanted.packages, wanted.leave_out, wanted.keep])
    tar = cache / f"packages-{wanted.arch}-{hashlib.sha256(key.encode()).hexdigest()[:16]}.tar"
    if tar.exists():
        return tar
    cache.mkdir(parents=True, exist_ok=True)
    made = tar.with_suffix(".part")
    run(
        "mmdebstrap",
        "--mode=root" if os.geteuid() == 0 else "--mode=unshare",
        "--variant=essential",
        f"--architectures={wanted.arch}",
        "--format=tar",
        "--aptopt=APT::Install-Recommends false",
        "--aptopt=Acquire::Languages none",
        *(f"--dpkgopt=path-exclude={path}" for path in wanted.leave_out),
        *(f"--dpkgopt=path-include={path}" for path in wanted.keep),
        # dracut would make an initrd for each kernel as it is unpacked; ours is made once, at the end
        '--essential-hook=mkdir -p "$1/etc/kernel/postinst.d" "$1/etc/dracut.conf.d"',
        f"--include={','.join(wanted.packages)}",
        wanted.suite,
        str(made),
    )
    made.rename(tar)
    return tar
