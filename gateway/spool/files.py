"""The files of the spool: the promise itself. The database is only an index of them.

    objects/<aa>/<id>.dcm      as received; whole once the content hash stands in its file meta, then never modified
    derived/                   what can be made again
    quarantine/                kept for a person; nothing here is ever deleted by us

Promises
- No DICOM value becomes a path (invariant 12): names are ids of ours, checked before they are used.
- `<aa>` follows the clock in steps of ten minutes, so that one directory fsync serves a whole group.
- Every directory exists, and is durable, before the first object arrives.
- An object is received under its final name (O_EXCL, 0600). On file systems where the sync of a new file makes
  its name durable too (ext4, XFS, Btrfs), that one sync is all an object costs; elsewhere its folder is synced.
- Errors of the file system are TemporaryFailure with code A700 (PS3.7 C.5.8: out of resources).
- After one, `begin` trusts the disk again only when a write to a new file was synced: an fsync that
  failed must not be repeated on the same file, because the kernel may call lost pages written.
"""

from __future__ import annotations

import os
import re
import secrets
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

import xxhash

from gateway.domain.model import Instance, InstanceId, TemporaryFailure

INSTANCE_ID: Final = re.compile(r"[0-9a-f]{22}")
HASH_DIGITS: Final = 32
"""Hexadecimal digits of an xxh3-128."""
_IOV_MAX: Final = min(1024, os.sysconf("SC_IOV_MAX"))
_FOLDER_SECONDS: Final = 600
_HASHED_AT_ONCE: Final = 1 << 20
_FREE_FOR_SECONDS: Final = 1.0
_DIRECTORY_MODE: Final = 0o700

_NAMES_FOLLOW_FILES: Final = frozenset({"ext4", "xfs", "btrfs"})

Chunk = bytes | bytearray | memoryview


@dataclass(frozen=True, slots=True, kw_only=True)
class Space:
    """The file system of the spool, in bytes."""

    free: int
    total: int
    reserve: int
    """What must stay free."""


class Incoming:
    """An object being received: one file, the running hash and the size of its content.

    One thread at a time. It ends in `abandon`, or in the hands of the committer.
    """

    def __init__(self, instance_id: InstanceId, path: Path, *, seed: bytes, wrote: Callable[[int], None]) -> None:
        self.id = instance_id
        self.path = path
        self.size = 0
        """Content bytes so far."""
        self.file_size = 0
        """All bytes so far, header included."""
        self._hash = xxhash.xxh3_128(seed)
        self._wrote = wrote
        with as_out_of_resources("open a file in objects/"):
            self._fd: int | None = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)

    @property
    def fd(self) -> int:
        """The open file."""
        if self._fd is None:
            raise ValueError("the incoming file is closed: begin a new one")
        return self._fd

    @property
    def content_hash(self) -> str:
        """xxh3-128, hexadecimal, over the seed and the content so far."""
        return self._hash.hexdigest()

    def write(self, views: Sequence[Chunk], *, content: bool = True) -> None:
        """Appends all of the views. `content=False` for the Part 10 header: not hashed, not counted."""
        chunks = [memoryview(view).cast("B") for view in views if len(view) > 0]
        if content:
            for chunk in chunks:
                self._hash.update(chunk)
        total = sum(map(len, chunks))
        with as_out_of_resources("write to objects/"):
            _write_all(self.fd, chunks)
        self.file_size += total
        self.size += total if content else 0
        self._wrote(total)

    def close(self) -> None:
        """Closes the file and leaves it where it is. Closing twice does nothing."""
        fd, self._fd = self._fd, None
        if fd is not None:
            os.close(fd)

    def abandon(self) -> None:
        """Closes the file and removes it. Never raises: what stays behind is swept at the next start."""
        with suppress(OSError):
            self.close()
        with suppress(OSError):
            self.path.unlink(missing_ok=True)


class SpoolFiles:
    """The directories of the spool. Safe to use from any thread."""

    def __init__(
        self, root: Path, *, reserve: Callable[[int], int], now: Callable[[], datetime], monotonic: Callable[[], float]
    ) -> None:
        """Makes the directories durable. `reserve(total_bytes)` is how many bytes must stay free."""
        self.objects = root / "objects"
        self.derived = root / "derived"
        self.quarantine = root / "quarantine"
        self._root = root
        self._reserve = reserve
        self._now = now
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._serial = secrets.randbits(32)
        self._free = (0, 0)
        self._free_until = float("-inf")
        self._doubted = False
        self._make_directories()
        self.sync_names = not _names_follow_files(root)
        """The name of a synced new file is not durable before its folder is synced."""

    def begin(self, *, seed: bytes = b"") -> Incoming:
        """A new file to receive into. `seed` is hashed first: the transfer syntax UID.

        Raises TemporaryFailure A700 if it can't be made, or if the disk is in doubt.
        """
        if self._doubted:
            self.prove()
        instance_id = self.new_id()
        return Incoming(instance_id, self.path_of(instance_id), seed=seed, wrote=self._count_written)

    def doubt(self) -> None:
        """An fsync or a rename failed: the next `begin` proves the disk with a new file first."""
        self._doubted = True

    def new_id(self) -> InstanceId:
        """A name no other object has: folder by the clock, milliseconds, and a serial number."""
        seconds = self._now().timestamp()
        with self._lock:
            self._serial = (self._serial + 1) % 2**32
            serial = self._serial
        folder = int(seconds) // _FOLDER_SECONDS % 256
        return InstanceId(f"{folder:02x}{int(seconds * 1000) % 2**48:012x}{serial:08x}")

    def path_of(self, instance_id: InstanceId) -> Path:
        """Where the object of that id lies. Raises ValueError if it is no id of ours."""
        return _path_in(self.objects, instance_id)

    def free_bytes(self) -> int:
        """Bytes the file system has left for us, at most about a second old."""
        return self._space()[0]

    def space(self) -> Space:
        """The same with all that it is measured by."""
        free, total = self._space()
        return Space(free=free, total=total, reserve=self._reserve(total))

    def below_reserve(self, extra: int = 0) -> bool:
        """Whether `extra` more bytes would eat into the reserve: answer A700 before reading them."""
        free, total = self._space()
        return free - extra < self._reserve(total)

    def keep_one(self, kept: Instance, *, extra: Path) -> bool:
        """Removes a second file of the same bytes; if the first is gone or damaged, the second takes its place.

        Whether it took its place. Raises OSError.
        """
        path = self.path_of(kept.id)
        if path == extra:
            return False
        if _is_whole(path, kept):
            extra.unlink(missing_ok=True)
            return False
        extra.rename(path)
        sync_directory(path.parent)
        return True

    def remove(self, instance_ids: Iterable[InstanceId]) -> None:
        """Removes the files of purged instances; those already gone are fine. Raises OSError."""
        for instance_id in instance_ids:
            self.path_of(instance_id).unlink(missing_ok=True)

    def put_aside(self, path: Path) -> Path:
        """Moves a file that is no object of ours to quarantine/, under an id of ours. Raises OSError."""
        stem = path.stem if INSTANCE_ID.fullmatch(path.stem) else self.new_id()
        target = self.quarantine / f"{stem}.dcm"
        if target.exists():
            target = self.quarantine / f"{self.new_id()}.dcm"
        path.rename(target)
        sync_directory(self.quarantine)
        sync_directory(path.parent)
        return target

    def folders(self) -> Iterator[Path]:
        """The 256 folders of objects/."""
        return (self.objects / f"{number:02x}" for number in range(256))

    def _make_directories(self) -> None:
        self._root.mkdir(parents=True, exist_ok=True, mode=_DIRECTORY_MODE)
        for directory in (self.objects, self.derived, self.quarantine, *self.folders()):
            directory.mkdir(exist_ok=True, mode=_DIRECTORY_MODE)
        for directory in (self.objects, self._root, self._root.parent):
            sync_directory(directory)

    def _space(self) -> tuple[int, int]:
        with self._lock:
            if self._monotonic() >= self._free_until:
                with as_out_of_resources("ask for the free space"):
                    status = os.statvfs(self._root)
                self._free = (status.f_bavail * status.f_frsize, status.f_blocks * status.f_frsize)
                self._free_until = self._monotonic() + _FREE_FOR_SECONDS
            return self._free

    def _count_written(self, count: int) -> None:
        """Between two looks at the file system our own writing counts."""
        with self._lock:
            self._free = (self._free[0] - count, self._free[1])

    def prove(self) -> None:
        """Writes a file of no content of anyone, syncs and removes it. Raises TemporaryFailure A700."""
        path = self.derived / f"{secrets.token_hex(16)}.probe"
        with as_out_of_resources("write a probe to derived/"):
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                _write_all(fd, [memoryview(bytes(4096))])
                os.fsync(fd)
            finally:
                os.close(fd)
                path.unlink(missing_ok=True)
        self._doubted = False


def object_path(state: Path, instance_id: InstanceId) -> Path:
    """Where the object of that id lies in the spool of a state folder, for one who only reads."""
    return _path_in(state / "spool" / "objects", instance_id)


def _path_in(objects: Path, instance_id: InstanceId) -> Path:
    if INSTANCE_ID.fullmatch(instance_id) is None:
        raise ValueError(f"instance id of {len(instance_id)} characters is not 22 lower-case hexadecimal digits")
    return objects / instance_id[:2] / f"{instance_id}.dcm"


def _names_follow_files(path: Path) -> bool:
    """Whether the file system of `path` is known to make a new file's name durable with the file."""
    device = path.stat().st_dev
    number = f"{os.major(device)}:{os.minor(device)}"
    with suppress(OSError):
        for line in Path("/proc/self/mountinfo").read_text().splitlines():
            fields, _, source = line.partition(" - ")
            if fields.split()[2] == number:
                return source.split()[0] in _NAMES_FOLLOW_FILES
    return False


def sync_directory(path: Path) -> None:
    """Makes the names in a directory durable. Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def content_hash(fd: int, *, seed: bytes, start: int) -> tuple[str, int]:
    """xxh3-128, hexadecimal, over the seed and the file's bytes from `start`, and their number.

    Reads a piece at a time: an object of gigabytes costs no memory. Raises OSError.
    """
    content = xxhash.xxh3_128(seed)
    position = start
    while piece := os.pread(fd, _HASHED_AT_ONCE, position):
        content.update(piece)
        position += len(piece)
    return content.hexdigest(), position - start


def data_set_start(fd: int, instance: Instance) -> int | None:
    """Where the data set begins, if by its hash it is the one that was received; else None. Raises OSError."""
    start = os.fstat(fd).st_size - instance.size
    seed = instance.TransferSyntaxUID.encode("latin-1", "surrogateescape")
    whole = start >= 0 and content_hash(fd, seed=seed, start=start)[0] == instance.content_hash
    return start if whole else None


def _is_whole(path: Path, instance: Instance) -> bool:
    """Whether the file ends in the data set that was received."""
    try:
        with path.open("rb") as file:
            return data_set_start(file.fileno(), instance) is not None
    except OSError:
        return False


@contextmanager
def as_out_of_resources(what: str) -> Iterator[None]:
    """An OSError becomes TemporaryFailure A700; the message names what was tried, and no path."""
    try:
        yield
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else type(error).__name__
        raise TemporaryFailure(f"can't {what}: {reason}; check the disk and its free space", code="A700") from error


def _write_all(fd: int, chunks: list[memoryview]) -> None:
    """writev of everything: at most IOV_MAX views in one call, and a short write goes on where it ended."""
    pending = chunks
    while pending:
        written = os.writev(fd, pending[:_IOV_MAX])
        done = 0
        while done < len(pending) and written >= len(pending[done]):
            written -= len(pending[done])
            done += 1
        pending = pending[done:]
        if written:
            pending[0] = pending[0][written:]
