"""The key of this box (Ed25519, PEM): what it signs can be shown to be its own (`gateway.domain.signature`).

What is promised: the key is made once, by whoever needs it first, is readable from the moment it is there by the owner
of its folder alone, and is never written over. Two who make it at once use the same.
"""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from pathlib import Path
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from gateway.domain.model import PermanentFailure

FILE: Final = "box.key"
"""In the state folder, where the configuration names no other."""


def box_key(path: Path) -> Ed25519PrivateKey:
    """The key in that file, made if there is none. Raises PermanentFailure for a file that is no such key, OSError if
    it can't be read or made."""
    if not path.exists():
        _make(path)
    found = read_key(path)
    if found is None:
        remedy = "restore it, or move it away and another is made, with which old signatures are not this box's"
        raise PermanentFailure(f"the key of the box is no Ed25519 key in PEM; {remedy}", code="box-key")
    return found


def read_key(path: Path) -> Ed25519PrivateKey | None:
    """The Ed25519 key of a PEM file without a password; None for a file that is none. Raises OSError."""
    try:
        found = load_pem_private_key(path.read_bytes(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return None
    return found if isinstance(found, Ed25519PrivateKey) else None


def _make(path: Path) -> None:
    """Whole, or not at all: it gets its name once it is on the disk, and takes it from nobody."""
    private = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    part = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(private)
            _hand_over(file.fileno(), path.parent)
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):
            path.hardlink_to(part)
    finally:
        part.unlink(missing_ok=True)


def _hand_over(file: int, folder: Path) -> None:
    """Root makes it for whoever has the folder: the gateway's own processes sign with it too."""
    if os.geteuid() == 0:
        owner = folder.stat()
        os.fchown(file, owner.st_uid, owner.st_gid)
