"""Which process is which part of a spool: one edge, one forward, told by a lock that dies with its holder.

Two edges would sweep each other's objects; a spool without an edge takes nothing in, and one without a
forward lets nothing out, however well its books look.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from enum import StrEnum
from pathlib import Path
from typing import Final

from gateway.domain.model import TemporaryFailure


class Part(StrEnum):
    EDGE = "edge"
    FORWARD = "forward"
    REPORTING = "reporting"
    """Tells central of the box."""
    HEALTH = "health"
    """It watches; the box works without it."""
    ROUND = "round"
    """The synthetic patient, on its way through the box."""


IMAGES: Final = (Part.EDGE, Part.FORWARD)
"""Without these no image moves."""


@contextmanager
def claim(state: Path, part: Part) -> Iterator[None]:
    """Be `part` until the context ends. Raises TemporaryFailure if another process is."""
    fd = os.open(_lock(state, part), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise TemporaryFailure(
                f"another process is the {part} of this spool; stop it, or give this one a state folder of its own",
                code="claimed",
            ) from error
        yield
    finally:
        os.close(fd)


def unclaimed(state: Path) -> tuple[Part, ...]:
    """The parts that images need and no process is. Only looks: a lock tried here could turn away who starts."""
    held = _locked_files()
    return tuple(part for part in IMAGES if _inode(_lock(state, part)) not in held)


def _lock(state: Path, part: Part) -> Path:
    return state / f"{part}.lock"


def _inode(path: Path) -> int:
    with suppress(OSError):
        return path.stat().st_ino
    return 0


def _locked_files() -> set[int]:
    """Inodes under an flock (proc(5), /proc/locks: number, FLOCK, ADVISORY, WRITE, pid, device:inode, ...)."""
    with suppress(OSError):
        lines = [line.split() for line in Path("/proc/locks").read_text().splitlines()]
        return {int(words[5].rpartition(":")[2]) for words in lines if words[1] == "FLOCK"}
    return set()
