"""The `[commands]` section: whose commands this box carries out, and when none may disturb; and the keys of its folder.

What is promised: a file of the folder that holds anything but one Ed25519 public key is a Problem, a private key one of
its own; no folder, or an empty one, means that no command is carried out.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from gateway.config.problems import Problem
from gateway.config.section import Section, spelled
from gateway.config.values import Duration, Folder

if TYPE_CHECKING:  # ten megabytes, that edge does without
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    from gateway.domain.signature import KeyId

KEYS: Final = "keys/"
_MOST: Final = 100
_BYTES: Final = 4096


class CommandsSection(Section):
    keys: Folder = spelled(KEYS)
    """The folder of the public keys (*.pem, Ed25519) of who may sign commands; none: nothing is carried out."""
    exam_ahead: Duration = spelled("30m")
    """Nothing that restarts the box is done when a step of the worklist begins within this time."""
    exam_behind: Duration = spelled("30m")
    """... nor when one was to begin less than this ago and is not over."""
    kept: Duration = spelled("400d")
    """How long it is kept who asked for what."""


def read_keys(folder: Path) -> tuple[dict[KeyId, Ed25519PublicKey], list[Problem]]:
    """The keys by their ids, and every fault of a file."""
    keys: dict[KeyId, Ed25519PublicKey] = {}
    problems: list[Problem] = []
    try:
        paths = sorted(path for path in folder.iterdir() if path.suffix == ".pem")[:_MOST]
    except OSError:
        paths = []
    for path in paths:
        from gateway.domain.signature import key_id  # noqa: PLC0415  where there is a key

        try:
            key = _key(path)
            keys[key_id(key)] = key
        except (OSError, ValueError) as error:
            wrong = str(error) if isinstance(error, ValueError) else f"can't be read ({error.strerror})"
            remedy = "write the public key there (openssl pkey -pubout), and nothing else"
            problems.append(Problem(key=f"commands.keys {path.name}", wrong=wrong, remedy=remedy))
    return keys, problems


def _key(path: Path) -> Ed25519PublicKey:
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415  as above
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey  # noqa: PLC0415
    from cryptography.hazmat.primitives.serialization import load_pem_public_key  # noqa: PLC0415

    with path.open("rb") as file:
        text = file.read(_BYTES)
    if b"PRIVATE" in text:
        raise ValueError("is a private key, which belongs to the person who signs and to no box")
    try:
        key = load_pem_public_key(text)
    except (ValueError, UnsupportedAlgorithm):
        raise ValueError("is no public key in PEM") from None
    if not isinstance(key, Ed25519PublicKey):
        raise ValueError("is a key of another kind than Ed25519")  # noqa: TRY004  a fault of a file like the others
    return key
