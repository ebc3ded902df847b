"""Which process is which part of a spool: one edge, one forward, told by a lock that dies with its holder.

Two edges would sweep each other's objects; a spool without an edge takes nothing in, and one without a
forward lets nothing out, however well its books look. The time of a lock's file is when it was taken
last, or let go in order.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from gateway.domain.model import TemporaryFailure
from gateway.domain.parts import IMAGES, Life, Part


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
        os.utime(fd)
        yield
        os.utime(fd)
    finally:
        os.close(fd)


def unclaimed(state: Path) -> tuple[Part, ...]:
    """The parts that images need and no process is."""
    return tuple(one.part for one in lives(state, IMAGES) if not one.running)


def lives(state: Path, parts: Collection[Part]) -> tuple[Life, ...]:
    """How each of these parts is, by its lock. Only looks: a lock tried here could turn away who starts."""
    locked = _locked_files()
    return tuple(_life(part, _lock(state, part), locked) for part in parts)


def _life(part: Part, lock: Path, locked: Collection[int]) -> Life:
    try:
        found = lock.stat()
    except OSError:
        return Life(part=part, running=False, seen=None)
    return Life(part=part, running=found.st_ino in locked, seen=datetime.fromtimestamp(found.st_mtime, UTC))


def _lock(state: Path, part: Part) -> Path:
    return state / f"{part}.lock"


def _locked_files() -> set[int]:
    """Inodes under an flock (proc(5), /proc/locks: number, FLOCK, ADVISORY, WRITE, pid, device:inode, ...)."""
    with suppress(OSError):
        lines = [line.split() for line in Path("/proc/locks").read_text().splitlines()]
        return {int(words[5].rpartition(":")[2]) for words in lines if words[1] == "FLOCK"}
    return set()
