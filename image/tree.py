"""The root file system: the package layer, the gateway's package, our files, one initrd; nothing of the build's time.

What is promised: the tree is a function of the layer, the .deb, `files/` and the release; /var is empty (everything a
box keeps is on its data partition); every .pyc is valid whatever its source's time (trap 1 of the reference: on a
read-only root a stale one is compiled again at every start). Needs root, for owners are kept.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from image.packages import EPOCH, HERE, BuildFailed, run

FILES: Final = HERE / "files"
RELEASE: Final = "usr/lib/gateway-box/release.json"
_EMPTIED: Final = ("var", "tmp", "run", "root", "usr/share/doc-base", "usr/share/python3/runtime.d/__pycache__")
_OMITTED: Final = (
    "bluetooth brltty btrfs cifs crypt crypt-gpg crypt-loop dmraid dmsquash-live fcoe fido2 i18n iscsi lunmask lvm "
    "mdraid memstrack modsign multipath network nfs nvdimm nvmf overlay-root overlayfs pcsc pkcs11 plymouth qemu "
    "resume rescue systemd-coredump systemd-resolved systemd-timesyncd tpm2-tss virtfs virtiofs 90kernel-modules-extra"
)
_DRIVERS: Final = (
    "erofs dm-verity dm-mod lz4 ahci nvme sd_mod virtio_blk virtio_pci virtio_scsi usb_storage uas xhci_pci"
)
_MANAGER: Final = "etc/systemd/system.conf.d/box.conf"
_WATCHDOGS: Final = "iTCO_wdt i6300esb sp5100_tco"


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """What the image says of itself (release.json), and the update agent compares."""

    version: str
    sequence: int
    arch: str


def plant(
    layer: Path, deb: Path, release: Release, tree: Path, *, overlays: tuple[Path, ...] = ()
) -> list[dict[str, str]]:
    """Make the tree anew; Debian's packages in it. `overlays`: folders of files on top of all others."""
    shutil.rmtree(tree, ignore_errors=True)
    tree.mkdir(parents=True)
    run("tar", "--extract", "--file", layer, "--directory", tree, "--numeric-owner", "--same-owner")
    _install(deb, tree)
    for folder in (FILES, *overlays):
        run("cp", "--recursive", "--no-target-directory", folder, tree)
    (tree / RELEASE).write_text(json.dumps(asdict(release), indent=1) + "\n")
    _settings(tree)
    run("systemctl", f"--root={tree}", "preset-all")
    _compile(tree)
    _initrd(tree)
    debian = packages_of(tree)
    _forget(tree)
    _normalise(tree)
    return debian


def _install(deb: Path, tree: Path) -> None:
    """By dpkg in the tree, with no service started and no network."""
    shutil.copy(deb, tree / "gateway.deb")
    policy = tree / "usr/sbin/policy-rc.d"
    policy.write_text("#!/bin/sh\nexit 101\n")
    policy.chmod(0o755)
    _chroot(tree, "dpkg", "--install", "/gateway.deb")
    policy.unlink()
    (tree / "gateway.deb").unlink()


def _chroot(tree: Path, *command: str) -> str:
    """In namespaces of its own, with a /proc and /dev of its own: nothing of the builder is seen or changed."""
    script = (
        'mount -t proc proc "$0/proc" && mount -t devtmpfs dev "$0/dev" 2>/dev/null || mount --rbind /dev "$0/dev"; '
        'exec chroot "$0" "$@"'
    )
    return run("unshare", "--mount", "--pid", "--fork", "--ipc", "--net", "sh", "-c", script, tree, *command)


def _settings(tree: Path) -> None:
    """What of /etc belongs to the site lies on the data partition; the rest is read-only."""
    etc = tree / "etc"
    shipped = etc / "gateway"
    if shipped.is_dir():
        shutil.copytree(shipped, tree / "usr/share/gateway-box/etc", dirs_exist_ok=True)
        shutil.rmtree(shipped)
    shipped.symlink_to("/var/etc/gateway")
    (etc / "machine-id").write_text("")
    (etc / "hostname").write_text("gateway\n")
    (etc / "hosts").write_text("127.0.0.1 localhost gateway\n::1 localhost\n")
    (etc / "fstab").write_text("")
    (etc / "motd").write_text("")
    (tree / "efi").mkdir()
    resolv = etc / "resolv.conf"
    resolv.unlink(missing_ok=True)
    resolv.symlink_to("/run/systemd/resolve/stub-resolv.conf")
    for source in [etc / "apt/sources.list", *(etc / "apt").glob("sources.list.d/*")]:
        source.unlink(missing_ok=True)
    # No shell for anyone who comes by: accounts are locked and there is no getty
    for account, words in (("passwd", 6), ("shadow", 1)):
        lines = [line.split(":") for line in (etc / account).read_text().splitlines()]
        for fields in lines:
            if account == "passwd":
                fields[words] = "/usr/sbin/nologin"
            else:
                fields[words] = "*"
                fields[2] = str(EPOCH // 86400)
        (etc / account).write_text("".join(":".join(fields) + "\n" for fields in lines))
    for unit in ("getty@.service", "serial-getty@.service", "console-getty.service", "container-getty@.service"):
        _mask(tree, unit)
    # its work is done by box-data, which knows the disk (usr/lib/gateway-box/data)
    for unit in (
        "systemd-repart.service",
        "systemd-networkd-wait-online.service",
        "e2scrub_all.timer",
        "dpkg-db-backup.timer",
        "fstrim.timer",
    ):
        _mask(tree, unit)


def _mask(tree: Path, unit: str) -> None:
    link = tree / "etc/systemd/system" / unit
    link.unlink(missing_ok=True)
    link.symlink_to("/dev/null")


def _compile(tree: Path) -> None:
    """Bytecode that is never checked against its source: the source can't change on a read-only root."""
    places = [
        "usr/lib/python3",
        "usr/lib/python3.11",
        *(str(p.relative_to(tree)) for p in tree.glob("usr/lib/gateway*")),
    ]
    for cache in [*tree.glob("usr/**/__pycache__")]:
        shutil.rmtree(cache)
    _chroot(
        # -B: else what compileall itself imports is there already, checked by time, and left as it is
        tree, "python3", "-B", "-m", "compileall", "-q", "-f", "-j1", "-x", "/(test|tests|lib2to3)/",
        "--invalidation-mode", "unchecked-hash", *(f"/{place}" for place in places if (tree / place).exists()),
    )  # fmt: skip


def kernel(tree: Path) -> str:
    """The one kernel's version. Raises BuildFailed if there is not exactly one."""
    found = [path.name for path in (tree / "usr/lib/modules").iterdir()]
    if len(found) != 1:
        raise BuildFailed(f"the tree has {len(found)} kernels, not one")
    return found[0]


def _initrd(tree: Path) -> None:
    """Any machine's, not this one's; with the watchdogs, so that one can bite before the root is there."""
    for made in [*tree.glob("boot/initrd*"), *tree.glob("initrd*"), *tree.glob("vmlinuz*")]:
        made.unlink()
    _chroot(
        tree, "dracut", "--force", "--quiet", "--no-hostonly", "--no-hostonly-cmdline", "--reproducible",
        "--compress", "zstd -9 -T1", "--tmpdir", "/tmp", "--kver", kernel(tree),
        "--add", "systemd-veritysetup watchdog-modules", "--omit", _OMITTED,
        "--include", f"/{_MANAGER}", f"/{_MANAGER}",
        "--include", "/usr/lib/gateway-box/initrd-emergency.conf", "/etc/systemd/system/emergency.service.d/box.conf",
        "--add-drivers", f"{_DRIVERS} {_WATCHDOGS}", "/boot/initrd.img",
    )  # fmt: skip


def _forget(tree: Path) -> None:
    """What packages leave of the build: logs, caches, backups, the package manager's books (the SBOM has them)."""
    for name in _EMPTIED:
        place = tree / name
        if place.exists():
            shutil.rmtree(place)
        if "/" not in name:
            place.mkdir(mode=0o755)
    (tree / "tmp").chmod(0o1777)
    (tree / "root").chmod(0o700)
    for pattern in ("etc/*-", "etc/.pwd.lock", "etc/ld.so.cache~", "usr/share/info/dir*"):
        for left in tree.glob(pattern):
            left.unlink()


def _normalise(tree: Path) -> None:
    """One time for all, and nobody's write permission beyond the owner's."""
    for folder, _, names in os.walk(tree):
        for path in (Path(folder), *(Path(folder) / name for name in names)):
            os.utime(path, (EPOCH, EPOCH), follow_symlinks=False)


def packages_of(tree: Path) -> list[dict[str, str]]:
    """Debian's packages in the tree with version and source, by dpkg's books; before `_forget`."""
    books = (tree / "var/lib/dpkg/status").read_text()
    found = []
    for block in books.split("\n\n"):
        fields = dict(re.findall(r"^([A-Z][A-Za-z-]*): (.*)$", block, re.MULTILINE))
        if fields.get("Status", "").endswith(" installed"):
            found.append({name: fields.get(name, "") for name in ("Package", "Version", "Architecture", "Source")})
    return sorted(found, key=lambda one: (one["Package"], one["Architecture"]))
