"""Messages that carry their signatures: one canonical form, Ed25519 (RFC 8032), one or two signers. Pure.

Promises
- A message has exactly one spelling: `canonical` of what it says. Another one (keys twice, other order, spaces or
  escapes) is refused before any signature is looked at, so no two readers can read two things in it.
- What `opened` returns was signed by every signer it names, all of them trusted, no two of them the same key. A key's
  id is a digest of the key, so no list can give one key two ids.
- Any bytes at all end in a value: `Opened` or a `Flaw`. Nothing is read of what is longer than `longest`.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, NewType

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

KeyId = NewType("KeyId", str)
"""The first 16 hexadecimal digits of the SHA-256 of the key's 32 bytes."""

SIGNATURES: Final = 2
"""Most signatures of one message."""
FIELD: Final = "sigs"
_CONTEXT: Final = b"dgw/1 signed message\n"
"""In front of what is signed, so that a signature made for anything else never fits."""
KEY_ID: Final = re.compile(r"[0-9a-f]{16}")
SIGNATURE: Final = re.compile(r"[0-9a-f]{128}")


class Flaw(StrEnum):
    """Why bytes are no signed message of somebody we trust."""

    TOO_LONG = "too-long"
    NOT_CANONICAL = "not-canonical"
    """No JSON object, or one that is spelled in another way than `canonical` does."""
    NOT_SIGNED = "not-signed"
    """Without signatures, with more than two, or with what can't be one."""
    UNKNOWN_KEY = "unknown-key"
    SAME_KEY = "same-key-twice"
    BAD_SIGNATURE = "bad-signature"


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """What was said, and who vouches for it."""

    body: Mapping[str, Any]
    signers: tuple[KeyId, ...]


def key_id(key: Ed25519PublicKey) -> KeyId:
    """The name of a key, which no other key has."""
    return KeyId(hashlib.sha256(key.public_bytes_raw()).hexdigest()[:16])


def ring(keys: Iterable[Ed25519PublicKey]) -> dict[KeyId, Ed25519PublicKey]:
    """Trusted keys by their ids."""
    return {key_id(key): key for key in keys}


def canonical(value: object) -> bytes:
    """The one spelling: JSON in ASCII, keys sorted, no spaces. Raises ValueError or TypeError for what JSON has not."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False).encode("ascii")


def sealed(body: Mapping[str, Any], keys: Sequence[Ed25519PrivateKey]) -> bytes:
    """The message that says `body`, signed by each of the keys."""
    said = _CONTEXT + canonical(body)
    signatures = [{"kid": key_id(key.public_key()), "sig": key.sign(said).hex()} for key in keys]
    return canonical({**body, FIELD: signatures})


def opened(raw: bytes, *, trusted: Mapping[KeyId, Ed25519PublicKey], longest: int) -> Opened | Flaw:
    """What a message says, if all who signed it are trusted and their signatures hold."""
    if len(raw) > longest:
        return Flaw.TOO_LONG
    said = _object(raw)
    if said is None:
        return Flaw.NOT_CANONICAL
    signatures = _signatures(said.get(FIELD))
    if not signatures:
        return Flaw.NOT_SIGNED
    if any(signer not in trusted for signer, _ in signatures):
        return Flaw.UNKNOWN_KEY
    signers = tuple(signer for signer, _ in signatures)
    if len(set(signers)) < len(signers):
        return Flaw.SAME_KEY
    body = {key: value for key, value in said.items() if key != FIELD}
    signed = _CONTEXT + canonical(body)
    try:
        for signer, signature in signatures:
            trusted[signer].verify(signature, signed)
    except InvalidSignature:
        return Flaw.BAD_SIGNATURE
    return Opened(body=body, signers=signers)


def _object(raw: bytes) -> dict[str, Any] | None:
    """A JSON object in its canonical spelling; None of anything else."""
    try:
        said = json.loads(raw.decode("ascii"))
        if isinstance(said, dict) and canonical(said) == raw:
            return said
    except (ValueError, RecursionError):  # no text, no JSON, infinite, or nested without end
        pass
    return None


def _signatures(said: object) -> list[tuple[KeyId, bytes]]:
    """Who signed, and how; empty if any of it can't be."""
    if not isinstance(said, list) or len(said) > SIGNATURES:
        return []
    found = []
    for one in said:
        if not isinstance(one, dict) or one.keys() != {"kid", "sig"}:
            return []
        signer, signature = one["kid"], one["sig"]
        if not (isinstance(signer, str) and KEY_ID.fullmatch(signer)):
            return []
        if not (isinstance(signature, str) and SIGNATURE.fullmatch(signature)):
            return []
        found.append((KeyId(signer), bytes.fromhex(signature)))
    return found
