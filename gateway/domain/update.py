"""A release as it travels: a signed manifest, and the images that it names by size and hash.

What is promised: nothing of a release is believed before `read` found its manifest signed by as many trusted keys as
the box asks for (`gateway.domain.signature`); every byte that is written is then checked against the manifest
(`Image.sha256`). `admit` refuses what could not run here, what is not newer (an old release, signed once and faulty
since, can't be played again), and what the version that runs now could not take back: an update that can't be undone is
no update. Errors name the field and the remedy.

A bundle is a tar (POSIX.1-1988 ustar) of the manifest and the images in the order of IMAGES; a mirror has the manifest
beside it too, as the pointer that says which release there is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from gateway.domain.model import PermanentFailure
from gateway.domain.signature import Flaw, KeyId, opened, sealed

SCHEMA: Final = "release/1.0"
"""What the signature is for: a command signed by the same key is no release."""
MANIFEST: Final = "manifest.json"
IMAGES: Final = ("boot", "root", "hash")
"""Kernel and initrd; the read-only root; its hash tree. Each fills a partition of a slot."""
MANIFEST_MAX: Final = 64 * 1024
_VERSION: Final = re.compile(r"\d{1,5}(\.\d{1,5}){2}([-+.][A-Za-z0-9.+-]{1,40})?", re.ASCII)
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,99}")
_HEX: Final = re.compile(r"[0-9a-f]{64}")
_ARCH: Final = re.compile(r"[a-z0-9]{2,16}")
_IMAGE_MAX: Final = 1 << 40
_FIELDS: Final = frozenset(
    {"schema", "version", "sequence", "arch", "bundle", "root_hash", "migrations", "least_migrations", "images"}
)


class Objection(StrEnum):
    """Why a release is not installed, in a word: the code of each failure here, and what a box answers to central."""

    NO_SLOTS = "no-slots"
    NO_SOURCE = "no-source"
    MIRROR = "mirror"
    SIGNATURE = "signature"
    MANIFEST = "manifest"
    OTHER_RELEASE = "other-release"
    ARCH = "arch"
    NOT_NEWER = "not-newer"
    ONE_WAY = "one-way"
    ROOM = "room"
    BUNDLE = "bundle"
    TAMPERED = "tampered"
    FELL_BACK = "fell-back"


REMEDIES: Final[Mapping[Objection, str]] = {
    Objection.NO_SLOTS: "the box was not made from an image: update its package there (apt install modality-gateway)",
    Objection.NO_SOURCE: "the box looks at no mirror: name one in [update] source, by a configuration",
    Objection.MIRROR: "its mirror does not answer, or has no release: look at [update] source there, and at the mirror",
    Objection.SIGNATURE: "nobody whom the box trusts signed the release, or not enough of them: have it signed",
    Objection.MANIFEST: "the box can't read the release: install one between first",
    Objection.OTHER_RELEASE: "its mirror has another release: publish this one there, or ask for that one",
    Objection.ARCH: "the release is for another machine: ask for that of this one",
    Objection.NOT_NEWER: "the box has this release or a later one, or was asked for a later one",
    Objection.ONE_WAY: "the box could not go back from it: install a release between first",
    Objection.ROOM: "the release is larger than the slots of the box: it needs a new installation",
    Objection.BUNDLE: "the bundle at the mirror is not whole, or another release's: publish it again",
    Objection.TAMPERED: "bytes of the bundle are not those that were signed: publish it again",
    Objection.FELL_BACK: "it was tried there and did not hold; look why at the box, and release a later one",
}
"""What to do about each, for who asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """One partition's contents."""

    size: int
    """Bytes."""
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What a release says of itself."""

    version: str
    sequence: int
    """Counts releases; a box takes none that is not above its own."""
    arch: str
    """Debian's name of the machine: amd64, arm64."""
    root_hash: str
    """Of dm-verity over the root; the boot image starts no other root."""
    bundle: str
    """The name of the file that has the images, beside the manifest."""
    migrations: int
    """Those of the database that this version knows."""
    least_migrations: int
    """Those that a version must know to work on the database as this one leaves it."""
    images: Mapping[str, Image]


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """The version that decides about another."""

    version: str
    sequence: int
    arch: str
    migrations: int


def seal(manifest: Manifest, keys: Sequence[Ed25519PrivateKey]) -> bytes:
    """The manifest as it travels, signed by each of the keys."""
    return sealed({"schema": SCHEMA} | asdict(manifest), keys)


def read(raw: bytes, *, trusted: Mapping[KeyId, Ed25519PublicKey], signatures: int) -> Manifest:
    """What a manifest says. Raises PermanentFailure: "signature" if fewer than `signatures` trusted keys signed it or
    any signature does not hold, "manifest" if it is no release's."""
    said = opened(raw, trusted=trusted, longest=MANIFEST_MAX)
    if isinstance(said, Flaw):
        raise PermanentFailure(
            f"the release is not signed by whom this box trusts ({said}): fetch it again; if it stays so, it is not "
            "for this box",
            code=Objection.SIGNATURE,
        )
    if len(said.signers) < signatures:
        raise PermanentFailure(
            f"the release has {len(said.signers)} of the {signatures} signatures this box asks for: have it signed",
            code=Objection.SIGNATURE,
        )
    return _manifest(said.body)


def _manifest(body: Mapping[str, Any]) -> Manifest:
    if body.get("schema") != SCHEMA:
        raise PermanentFailure(f"schema is not {SCHEMA}: update to a version between first", code=Objection.MANIFEST)
    if strange := sorted(body.keys() ^ _FIELDS):
        raise PermanentFailure(f"the manifest's fields differ in {', '.join(strange)[:200]}", code=Objection.MANIFEST)
    images = body["images"]
    if not isinstance(images, dict) or images.keys() != set(IMAGES):
        raise PermanentFailure(f"images are not {', '.join(IMAGES)}", code=Objection.MANIFEST)
    return Manifest(
        version=_text(body, "version", _VERSION),
        sequence=_count(body, "sequence"),
        arch=_text(body, "arch", _ARCH),
        bundle=_text(body, "bundle", _NAME),
        root_hash=_text(body, "root_hash", _HEX),
        migrations=_count(body, "migrations"),
        least_migrations=_count(body, "least_migrations"),
        images={name: _image(images[name], name) for name in IMAGES},
    )


def _image(found: object, name: str) -> Image:
    if not isinstance(found, dict):
        raise PermanentFailure(f"images.{name} is no object", code=Objection.MANIFEST)
    return Image(size=_count(found, "size", most=_IMAGE_MAX), sha256=_text(found, "sha256", _HEX))


def _text(found: Mapping[str, Any], field: str, form: re.Pattern[str]) -> str:
    value = found.get(field)
    if not isinstance(value, str) or not form.fullmatch(value):
        raise PermanentFailure(f"{field} is not of its form {form.pattern}", code=Objection.MANIFEST)
    return value


def _count(found: Mapping[str, Any], field: str, *, most: int = 1 << 31) -> int:
    value = found.get(field)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value <= most:
        raise PermanentFailure(f"{field} is no count from 1 to {most}", code=Objection.MANIFEST)
    return value


def is_newer(manifest: Manifest, running: Running) -> bool:
    """Whether there is anything to install."""
    return manifest.sequence > running.sequence


def admit(manifest: Manifest, running: Running) -> None:
    """Whether this box may take the release. Raises PermanentFailure: "arch", "not-newer" or "one-way"."""
    if manifest.arch != running.arch:
        raise PermanentFailure(
            f"arch: the release is for {manifest.arch}, this box is {running.arch}: fetch that one", code=Objection.ARCH
        )
    if not is_newer(manifest, running):
        raise PermanentFailure(
            f"sequence: release {manifest.sequence} is not newer than {running.sequence}, which runs; to go back to "
            "the version before this one: gateway update rollback",
            code=Objection.NOT_NEWER,
        )
    if manifest.least_migrations > running.migrations:
        raise PermanentFailure(
            f"least_migrations: {running.version} could not take the state back from {manifest.version} (it knows "
            f"{running.migrations} migrations of {manifest.least_migrations}): install a release between first",
            code=Objection.ONE_WAY,
        )


def fit(manifest: Manifest, room: Mapping[str, int]) -> None:
    """Whether each image fits into its partition; `room`: the bytes that each has. Raises PermanentFailure: "room"."""
    for name, image in manifest.images.items():
        if image.size > room[name]:
            raise PermanentFailure(
                f"images.{name}: {image.size} bytes do not fit into its partition of {room[name]}: this box needs a "
                "new installation for this release",
                code=Objection.ROOM,
            )
