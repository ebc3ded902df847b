"""Releases and boxes made of small files: the agent writes to files as it would to partitions."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from dataclasses import dataclass, replace
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gateway.app.updating import Box
from gateway.domain import update
from gateway.domain.boot import BootState, Slot, next_start, to_block
from gateway.domain.signature import ring
from gateway.domain.update import IMAGES, Image, Manifest
from gateway.net.slots import Slots

KEY = Ed25519PrivateKey.from_private_bytes(b"\x01" * 32)
SECOND = Ed25519PrivateKey.from_private_bytes(b"\x02" * 32)
STRANGER = Ed25519PrivateKey.from_private_bytes(b"\x03" * 32)
TRUSTED = ring([KEY.public_key(), SECOND.public_key()])
ROOM = 64 * 1024


def contents(name: str, version: str) -> bytes:
    """What an image of that release has; no two are alike."""
    return f"{name} of {version} ".encode() * 1500


def manifest(version: str = "1.1.0", sequence: int = 2) -> Manifest:
    images = {name: contents(name, version) for name in IMAGES}
    return Manifest(
        version=version,
        sequence=sequence,
        arch="amd64",
        bundle=f"gateway-{version}.release",
        root_hash="ab" * 32,
        migrations=30,
        least_migrations=1,
        images={name: Image(size=len(raw), sha256=hashlib.sha256(raw).hexdigest()) for name, raw in images.items()},
    )


def publish(folder: Path, said: Manifest, keys: list[Ed25519PrivateKey], **other: bytes) -> bytes:
    """Put a release into a folder: the pointer and the bundle. `other`: images that are not what is signed."""
    folder.mkdir(parents=True, exist_ok=True)
    raw = update.seal(said, keys)
    (folder / update.MANIFEST).write_bytes(raw)
    with tarfile.open(folder / said.bundle, "w", format=tarfile.USTAR_FORMAT) as tar:
        files = {update.MANIFEST: raw} | {
            f"{name}.img": other.get(name, contents(name, said.version)) for name in IMAGES
        }
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return raw


@dataclass
class Appliance:
    """A box: its partitions are files, its starts are GRUB's moves."""

    root: Path
    booted: Slot = Slot.A

    @property
    def box(self) -> Box:
        return Box(
            partitions=self.root / "parts",
            environment=self.root / "grubenv",
            release=self.root / f"release-{self.booted}.json",
            command_line=self.root / "cmdline",
        )

    @property
    def state(self) -> BootState:
        return self.box.slots().state()

    def start(self) -> Slot:
        """Press the power switch."""
        state, self.booted = next_start(self.state)
        self.box.slots().keep(state)
        (self.root / "cmdline").write_text(f"quiet gateway.slot={self.booted} panic=10\n")
        return self.booted

    def holds(self, slot: Slot) -> dict[str, bytes]:
        return {name: (self.root / "parts" / f"{name}-{slot}").read_bytes() for name in IMAGES}


def appliance(root: Path) -> Appliance:
    """As it leaves the factory: release 1.0.0 in slot a."""
    (root / "parts").mkdir(parents=True)
    for slot in Slot:
        for name in IMAGES:
            (root / "parts" / f"{name}-{slot}").write_bytes(b"\0" * ROOM)
        version, sequence = ("1.0.0", 1) if slot is Slot.A else ("1.1.0", 2)
        said = {"version": version, "sequence": sequence, "arch": "amd64"}
        (root / f"release-{slot}.json").write_text(json.dumps(said))
    (root / "grubenv").write_bytes(to_block(BootState()))
    made = Appliance(root)
    made.start()
    return made


__all__ = [
    "KEY",
    "SECOND",
    "STRANGER",
    "TRUSTED",
    "Appliance",
    "Slots",
    "appliance",
    "contents",
    "manifest",
    "publish",
    "replace",
]
