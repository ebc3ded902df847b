"""The key of this box (Ed25519, RFC 8032): what it signs can be shown to be its own, and unchanged.

What is promised: the key is made once, by whoever needs it first, is readable by its owner alone from the moment it is
there, and is never written over. A public key is told as base64 of its 32 bytes, and for people by its fingerprint.
"""

from __future__ import annotations

import base64
import os
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from gateway.domain.model import PermanentFailure

FILE: Final = "box.key"
"""In the state folder."""


@dataclass(frozen=True, slots=True)
class BoxKey:
    """The private key, in memory."""

    _private: Ed25519PrivateKey

    @classmethod
    def of(cls, path: Path) -> BoxKey:
        """The key in that file; it is made if there is none. Raises PermanentFailure for a file that is no such key,
        OSError if it can't be read or made."""
        try:
            made = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            return cls(_read(path))
        private = Ed25519PrivateKey.generate()
        with os.fdopen(made, "wb") as file:
            file.write(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
            file.flush()
            os.fsync(file.fileno())
        return cls(private)

    @property
    def public(self) -> str:
        """For those who check what it signed."""
        return base64.b64encode(self._private.public_key().public_bytes_raw()).decode()

    def sign(self, content: bytes) -> bytes:
        """64 bytes (RFC 8032 5.1.6)."""
        return self._private.sign(content)


def holds(public: str, signature: bytes, content: bytes) -> bool:
    """Whether the owner of that public key signed this content."""
    try:
        Ed25519PublicKey.from_public_bytes(base64.b64decode(public, validate=True)).verify(signature, content)
    except (InvalidSignature, ValueError):
        return False
    return True


def fingerprint_of(public: str) -> str:
    """A public key as people compare it."""
    return f"SHA256:{base64.b64encode(sha256(public.encode()).digest()).decode().rstrip('=')}"


def _read(path: Path) -> Ed25519PrivateKey:
    try:
        found = load_pem_private_key(path.read_bytes(), password=None)
    except (ValueError, TypeError):
        found = None
    if not isinstance(found, Ed25519PrivateKey):
        raise PermanentFailure(
            "box.key is no Ed25519 key in PEM; restore it, or move it away and a new one is made", code="box-key"
        )
    return found
