"""The invented messages that the tests of orders share, byte for byte as a sender would send them."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Final

FILE: Final = Path(__file__).parent / "data" / "hl7_messages.txt"


@cache
def messages() -> dict[str, bytes]:
    """Every message by its name."""
    found = {}
    for part in FILE.read_text(encoding="utf-8").removesuffix("\n").split("\n== ")[1:]:
        heading, _, body = part.partition("\n")
        name, codec, *end = heading.split()
        found[name] = body.replace("\n", "\n" if end else "\r").encode(codec)
    return found


def message(number: str, *changes: tuple[str, str]) -> bytes:
    """The message whose name begins with that number; each change replaces one text of it by another."""
    found = next(content for name, content in messages().items() if name.startswith(f"{number}_"))
    for old, new in changes:
        assert old.encode() in found, f"{old} is not in message {number}"
        found = found.replace(old.encode(), new.encode())
    return found
