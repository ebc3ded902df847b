"""A folder into which others put files for us, and in which they find what became of each.

    FOLDER/NAME           put there by others
    FOLDER/taken/NAME     ours: it is being read
    FOLDER/NAME.ack       what we answer; for others to fetch
    FOLDER/done/NAME, FOLDER/failed/NAME

Promises
- Nothing that a file holds, or that a link points to, becomes a path: links are not followed, and a file is moved by
  its own name only.
- What is read is what was taken: a file of the same name that is put there meanwhile is another file.
- Every list and every file is bounded. Nothing is overwritten but an older answer.
- A kill at any moment leaves each file in one of these places, and an answer whole or not there.

Failure: OSError, with the folder as it was before the step.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Final, NamedTuple

TAKEN: Final = "taken"
DONE: Final = "done"
FAILED: Final = "failed"
ANSWER: Final = ".ack"
MOST_LISTED: Final = 20_000
"""Names of a folder that are looked at at once."""
LONGEST_NAME: Final = 200
"""Bytes of a name; beyond it there is no room for what we add."""
SHORTENED: Final = 50
"""Characters at the end of a name that are left where it has to be made longer."""

_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_CONTENT: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_WRITTEN: Final = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
_UNFINISHED: Final = f".unfinished{ANSWER}"


_NO_FILE: Final = frozenset({errno.ELOOP, errno.ENXIO, errno.EACCES, errno.EPERM})
"""A link, a pipe or socket, somebody else's."""


class Signature(NamedTuple):
    """What changes with the content of a file."""

    device: int
    inode: int
    size: int
    mtime_ns: int


class Unusable(Exception):
    """No file that can be read: a link, a pipe, or one that we may not open."""


class TooLong(Unusable):
    """More bytes than are read."""


class WatchedFolder:
    """One folder. Its methods wait for the disk: call them from a thread of their own."""

    def __init__(self, path: Path, *, size_max: int) -> None:
        """`size_max`: bytes of a file that are read."""
        self.path = path
        self._size_max = size_max

    def prepare(self) -> None:
        """Make the folders for what is read; what was there stays."""
        for name in (TAKEN, DONE, FAILED):
            (self.path / name).mkdir(mode=0o770, exist_ok=True)

    def look(self, suffix: str, place: str = "") -> dict[str, Signature]:
        """What lies there (in the folder itself, or in TAKEN, DONE, FAILED) with that suffix, oldest first."""
        with self._open(place) as folder, os.scandir(folder) as entries:
            found: dict[str, Signature] = {}
            for entry in entries:
                if len(found) == MOST_LISTED:
                    break
                if entry.name.startswith(".") or not entry.name.lower().endswith(suffix):
                    continue
                with suppress(FileNotFoundError):
                    if not entry.is_dir(follow_symlinks=False):
                        found[entry.name] = _signature(entry.stat(follow_symlinks=False))
        return dict(sorted(found.items(), key=lambda one: (one[1].mtime_ns, one[0])))

    def identity(self) -> tuple[int, int]:
        """Which folder it is: another one if a disk was mounted there or taken away."""
        found = self.path.stat()
        return found.st_dev, found.st_ino

    def take(self, name: str) -> bool:
        """Make a file ours; False if one of its name still is, or it has gone."""
        with self._open() as folder, self._open(TAKEN) as taken:
            if _is_there(name, taken):
                return False
            with suppress(FileNotFoundError):
                os.rename(name, name, src_dir_fd=folder, dst_dir_fd=taken)
                return True
        return False

    def read(self, name: str, place: str = "") -> tuple[bytes, Signature]:
        """The content of a file. Raises Unusable, and FileNotFoundError if it has gone."""
        with self._open(place) as folder:
            try:
                opened = os.open(name, _CONTENT, dir_fd=folder)
            except OSError as error:
                if error.errno not in _NO_FILE:
                    raise
                raise Unusable(f"can't be opened ({type(error).__name__})") from None
            with os.fdopen(opened, "rb") as file:
                found = os.fstat(opened)
                if not stat.S_ISREG(found.st_mode):
                    raise Unusable("is no file")
                content = file.read(self._size_max + 1)
        if len(content) > self._size_max:
            raise TooLong(f"is longer than {self._size_max} bytes")
        return content, _signature(found)

    def answer(self, name: str, content: bytes, now: datetime) -> None:
        """Put the answer beside where the file was; it is whole there on return, and on the disk."""
        with self._open() as folder:
            file = os.open(_UNFINISHED, _WRITTEN, 0o660, dir_fd=folder)
            with os.fdopen(file, "wb") as written:
                written.write(content)
                written.flush()
                os.fsync(written.fileno())
            os.utime(_UNFINISHED, (now.timestamp(),) * 2, dir_fd=folder)
            os.rename(_UNFINISHED, f"{name}{ANSWER}", src_dir_fd=folder, dst_dir_fd=folder)
            os.fsync(folder)

    def put_away(self, name: str, place: str, now: datetime) -> None:
        """Move what was taken to DONE or FAILED; beside an older file of its name it gets a longer one."""
        with self._open(TAKEN) as taken, self._open(place) as into:
            target = f"{now:%Y%m%dT%H%M%S%f}-{name[-SHORTENED:]}" if _is_there(name, into) else name
            with suppress(FileNotFoundError):
                with suppress(PermissionError):  # somebody else's file keeps its own time
                    os.utime(name, (now.timestamp(),) * 2, dir_fd=taken, follow_symlinks=False)
                os.rename(name, target, src_dir_fd=taken, dst_dir_fd=into)
            os.fsync(into)

    def is_unchanged(self, name: str, since: Signature) -> bool:
        """Whether what was taken is still as it was read."""
        with self._open(TAKEN) as taken:
            try:
                return _signature(os.stat(name, dir_fd=taken, follow_symlinks=False)) == since
            except FileNotFoundError:
                return True

    def erase(self, before: datetime) -> int:
        """Erase what was done, failed or answered before then; how many files."""
        gone = 0
        for place, suffix in ((DONE, ""), (FAILED, ""), ("", ANSWER)):
            old = [name for name, it in self.look(suffix, place).items() if it.mtime_ns < before.timestamp() * 1e9]
            with self._open(place) as folder:
                for name in old:
                    with suppress(FileNotFoundError):
                        os.unlink(name, dir_fd=folder)
                        gone += 1
        return gone

    def erase_if(self, names: Callable[[bytes], bool]) -> tuple[int, int]:
        """Erase what was done or failed and of which `names` says so; how many files, and how many can't be read.
        Answers hold nothing of a patient."""
        gone = unread = 0
        for place in (DONE, FAILED):
            found = self.look("", place)
            unread += len(found) == MOST_LISTED  # there may be more
            for name in found:
                try:
                    is_named = names(self.read(name, place)[0])
                except FileNotFoundError:
                    continue
                except Unusable:
                    unread += 1
                    continue
                if is_named:
                    with self._open(place) as folder:
                        os.unlink(name, dir_fd=folder)
                    gone += 1
        return gone, unread

    @contextmanager
    def _open(self, place: str = "") -> Iterator[int]:
        folder = os.open(self.path / place, _DIRECTORY | (os.O_NOFOLLOW if place else 0))
        try:
            yield folder
        finally:
            os.close(folder)


def _signature(found: os.stat_result) -> Signature:
    return Signature(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)


def _is_there(name: str, folder: int) -> bool:
    try:
        os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True
