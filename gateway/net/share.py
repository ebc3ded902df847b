"""A folder, or a mounted share, as a place to store files in (PS3.10 files, one for each object).

What is promised: a file is there whole or not at all (written aside, synced, renamed, its folder synced); it can be
read back and compared, past the cache of this host where the system obeys; names are ours. Nothing is ever written
into a folder that was not prepared: a mark tells it from the empty folder that is left when a share is not mounted,
and all is done relative to that very folder, so that a share that goes meanwhile takes nothing to another place.
Failures are `TemporaryFailure`: "share-away", "share-full", "share", "spool" (our own file) or "read-back".
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import xxhash

from gateway.dicom.convert import Segment
from gateway.domain.model import TemporaryFailure
from gateway.net.pieces import PIECE, pieces

MARK: Final = ".modality-gateway"
"""The file that says whose folder it is: the name of the destination."""
_NAME: Final = re.compile(r"[0-9a-f]{1,64}")
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


class Share:
    """A prepared folder, held open."""

    def __init__(self, path: Path, owner: str) -> None:
        """Raises `TemporaryFailure` "share-away" unless `prepare` marked it for that owner."""
        with _told():
            try:
                self._fd = os.open(path, _FOLDER)
            except OSError as error:
                raise TemporaryFailure(f"the folder can't be opened: {_shape(error)}", code="share-away") from error
        try:
            self._look_at_mark(owner)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Share:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        os.close(self._fd)

    def _look_at_mark(self, owner: str) -> None:
        try:
            mark = os.open(MARK, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW, dir_fd=self._fd)
        except OSError as error:
            raise TemporaryFailure("the folder was not prepared, or is not mounted", code="share-away") from error
        with _told(), os.fdopen(mark, "rb") as file:
            if file.read(1024).decode("ascii", "replace").strip() != owner:
                raise TemporaryFailure("the folder was prepared for another destination", code="share-away")

    def store(
        self, group: str, name: str, segments: Sequence[Segment], source: int, *, allow: Callable[[int], int]
    ) -> str:
        """Write one file of bytes and extents of the file `source`, in place of one of that name; the hash of what
        was written. `group` and `name` are lower-case hexadecimal."""
        folder = self._group(group)
        try:
            aside = f".{_plain(name)}.part"
            digest = xxhash.xxh3_128()
            with _told():
                flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
                out = os.open(aside, flags, 0o640, dir_fd=folder)
                try:
                    for piece in pieces(segments, source, allow):
                        digest.update(piece)
                        _write(out, piece)
                    os.fsync(out)
                except BaseException:
                    with suppress(OSError):
                        os.unlink(aside, dir_fd=folder)
                    raise
                finally:
                    os.close(out)
                os.rename(aside, f"{name}.dcm", src_dir_fd=folder, dst_dir_fd=folder)
                _sync_names(folder)
            return digest.hexdigest()
        finally:
            os.close(folder)

    def try_out(self) -> None:
        """Write a file, read it back and remove it. Raises `TemporaryFailure`."""
        group, name = group_of("try out"), secrets.token_hex(8)
        written = self.store(group, name, [secrets.token_bytes(PIECE)], -1, allow=int)
        read = self.hash_of(group, name)
        with _told():
            os.unlink(f"{group}/{name}.dcm", dir_fd=self._fd)
            with suppress(OSError):  # a trial that was broken off left something there, or another goes on
                os.rmdir(group, dir_fd=self._fd)
        if read != written:
            raise TemporaryFailure("what was written reads back differently", code="read-back")

    def hash_of(self, group: str, name: str) -> str:
        """Of the file as it reads now; "" if there is none."""
        with _told():
            try:
                fd = os.open(f"{_plain(group)}/{_plain(name)}.dcm", os.O_RDONLY | os.O_CLOEXEC, dir_fd=self._fd)
            except FileNotFoundError:
                return ""
            with os.fdopen(fd, "rb", buffering=0) as file:
                os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
                digest = xxhash.xxh3_128()
                while piece := file.read(1 << 20):
                    digest.update(piece)
            return digest.hexdigest()

    def _group(self, group: str) -> int:
        """The folder of a group, open; made if it isn't there."""
        with _told():
            try:
                return os.open(_plain(group), _FOLDER | os.O_NOFOLLOW, dir_fd=self._fd)
            except FileNotFoundError:
                with suppress(FileExistsError):
                    os.mkdir(group, 0o750, dir_fd=self._fd)
                _sync_names(self._fd)
                return os.open(group, _FOLDER | os.O_NOFOLLOW, dir_fd=self._fd)


def prepare(path: Path, owner: str) -> None:
    """Mark a folder that exists for a destination. Raises `TemporaryFailure` if it can't be, or is another's."""
    with _told():
        try:
            with (path / MARK).open("x", encoding="ascii") as file:
                file.write(owner + "\n")
                file.flush()
                os.fsync(file.fileno())
        except FileExistsError:
            pass
    Share(path, owner).close()


def group_of(uid: str) -> str:
    """The folder of a study: no name of a file is a value of DICOM."""
    return hashlib.blake2b(uid.encode("utf-8", "surrogateescape"), digest_size=10).hexdigest()


def _write(out: int, piece: bytes) -> None:
    view = memoryview(piece)
    while view:
        view = view[os.write(out, view) :]


def _sync_names(folder: int) -> None:
    try:
        os.fsync(folder)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network file systems keep names by themselves
            raise


def _plain(name: str) -> str:
    if _NAME.fullmatch(name) is None:
        raise ValueError("a name in a share is lower-case hexadecimal: give it a digest or an id of ours")
    return name


@contextmanager
def _told() -> Iterator[None]:
    """Our failures for those of the file system."""
    try:
        yield
    except OSError as error:
        code = "share-full" if error.errno in _FULL else "share"
        raise TemporaryFailure(f"the folder: {_shape(error)}", code=code) from error


def _shape(error: OSError) -> str:
    return error.strerror or type(error).__name__
