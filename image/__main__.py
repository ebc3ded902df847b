"""`python -m image`: build the appliance's image, a release of it, or a key to sign releases with.

    python -m image build --deb build/modality-gateway_0.1.0_amd64.deb --version 0.1.0 --sequence 1
    python -m image key release-2026

What is promised of `build`: under build/image/<variant>/ there are stick.raw (from which boxes are made and updated),
disk.raw (a box's disk), the release (manifest.json, *.release) and sbom.json when it ends with 0, and no half of any
when not. `--twice` builds two times and fails unless both have the same images.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import shutil
import sys
import tarfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gateway.domain import update
from gateway.domain.model import PermanentFailure
from gateway.net.box_key import box_key
from gateway.spool import migrations
from image import checks, disk, packages, sbom, slots, tree
from image.packages import HERE, BuildFailed
from image.tree import Release

BUILD: Final = HERE.parent / "build" / "image"
TEST_FILES: Final = HERE / "test" / "files"
# The kernel's, for an emulated machine alone (trap 5), which may stand still while its host does other work
TEST_WORDS: Final = "mitigations=off systemd.default_timeout_start_sec=900"
DISK_MIB: Final = 3584


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """One image."""

    folder: Path
    root_hash: str
    manifest: update.Manifest


def build(
    deb: Path, release: Release, *, keys: list[Ed25519PrivateKey], test: bool, folder: Path, trusted: Path
) -> Built:
    """Everything of one release, in `folder`."""
    machine = packages.machine(release.arch)
    timed = _Timed()
    layer = packages.layer(machine, BUILD / "cache")
    timed("packages")
    folder.mkdir(parents=True, exist_ok=True)
    planted = folder / "tree"
    overlays = (trusted, TEST_FILES) if test else (trusted,)
    debian = tree.plant(layer, deb, release, planted, overlays=overlays)
    timed("tree")
    if found := checks.faults(planted, released=not test):
        raise BuildFailed("\n".join(found[:20]))
    timed("checks")
    root_hash = slots.make(planted, folder / "slot", machine, more=TEST_WORDS if test else "")
    (folder / "root-hash").write_text(f"{root_hash}\n")
    timed("slot")
    disk.box_partition(machine, folder / "esp.img")
    disk.make({"a": folder / "slot"}, folder / "esp.img", folder / "disk.raw", mib=DISK_MIB)
    timed("disk")
    sbom.write(planted, debian, release, root_hash, folder / "sbom.json")
    manifest = publish(folder / "slot", folder, release, root_hash, keys)
    timed("release")
    disk.make_stick(machine, folder, manifest.bundle, folder / "stick.raw")
    timed("stick")
    return Built(folder=folder, root_hash=root_hash, manifest=manifest)


def publish(
    images: Path, folder: Path, release: Release, root_hash: str, keys: list[Ed25519PrivateKey]
) -> update.Manifest:
    """The signed release of a slot's images: the pointer and the bundle, as a mirror or a stick has them."""
    bundle = f"gateway-{release.version}-{release.arch}.release"
    said = slots.manifest(
        images, release, root_hash, bundle=bundle, known=len(migrations.scripts()), least=migrations.least()
    )
    raw = update.seal(said, keys)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / update.MANIFEST).write_bytes(raw)
    with tarfile.open(folder / bundle, "w", format=tarfile.USTAR_FORMAT) as tar:
        tar.addfile(_member(update.MANIFEST, len(raw)), io.BytesIO(raw))
        for name in update.IMAGES:
            path = images / f"{name}.img"
            with path.open("rb") as file:
                tar.addfile(_member(path.name, path.stat().st_size), file)
    return said


def _member(name: str, size: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size, member.mtime = size, packages.EPOCH
    return member


class _Timed:
    """Says how long each step took."""

    def __init__(self) -> None:
        self._last = time.monotonic()

    def __call__(self, step: str) -> None:
        now = time.monotonic()
        print(f"image: {step:9} {now - self._last:6.1f} s", flush=True)
        self._last = now


def key(path: Path) -> Ed25519PrivateKey:
    """A key to sign with; made if it is not there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        return box_key(path)
    except PermanentFailure as error:
        raise BuildFailed(f"{path.name}: {error}") from None


def trust(keys: list[Ed25519PrivateKey], folder: Path) -> Path:
    """An overlay that has the public halves, where the update agent looks (gateway/config/update.py)."""
    place = folder / "usr/share/gateway-box/release-keys"
    shutil.rmtree(folder, ignore_errors=True)
    place.mkdir(parents=True)
    for number, one in enumerate(keys, 1):
        public = one.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        (place / f"release-{number}.pem").write_bytes(public)
    return folder


def _digests(folder: Path) -> Iterator[tuple[str, str]]:
    for name in ("boot", "root", "hash"):
        with (folder / "slot" / f"{name}.img").open("rb") as file:
            yield name, hashlib.file_digest(file, "sha256").hexdigest()


def main(words: list[str]) -> int:
    """Exit status 0 if all of it was built."""
    parser = argparse.ArgumentParser(prog="python -m image", description="Build the appliance's image.")
    verbs = parser.add_subparsers(dest="verb", required=True)
    one = verbs.add_parser("build")
    one.add_argument("--deb", type=Path, required=True)
    one.add_argument("--version", default="0.1.0")
    one.add_argument("--sequence", type=int, default=1)
    one.add_argument("--arch", default="amd64", choices=["amd64", "arm64"])
    one.add_argument("--key", type=Path, action="append", help="who signs; a second for two signatures")
    one.add_argument("--test", action="store_true", help="with the shell of the image's test")
    one.add_argument("--twice", action="store_true", help="fail unless two builds are the same")
    made = verbs.add_parser("key")
    made.add_argument("path", type=Path)
    asked = parser.parse_args(words)
    if asked.verb == "key":
        key(asked.path)
        return 0
    keys = [key(path) for path in asked.key or [BUILD / "keys" / "development.pem"]]
    release = Release(version=asked.version, sequence=asked.sequence, arch=asked.arch)
    folder = BUILD / ("test" if asked.test else "released")
    trusted = trust(keys, BUILD / "trusted")
    try:
        built = build(asked.deb, release, keys=keys, test=asked.test, folder=folder, trusted=trusted)
        if asked.twice:
            again = replace(built, folder=folder.with_name(f"{folder.name}-again"))
            build(asked.deb, release, keys=keys, test=asked.test, folder=again.folder, trusted=trusted)
            if differing := sorted({name for name, _ in {*_digests(folder)} ^ {*_digests(again.folder)}}):
                raise BuildFailed(f"two builds differ in {', '.join(differing)}")
            shutil.rmtree(again.folder)
            print("image: two builds are the same")
    except BuildFailed as error:
        print(f"image: {error}", file=sys.stderr)
        return 1
    print(f"image: {folder.relative_to(Path.cwd()) if folder.is_relative_to(Path.cwd()) else folder.name}")
    print(f"image: root hash {built.root_hash}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
