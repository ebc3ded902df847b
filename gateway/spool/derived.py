"""Files in derived/ that are made of objects and can be made again: compressed, or native, whole data sets.

Promises
- They are a cache and nothing else: no row names them, none outlives the process that made it (`sweep`), and none is
  synced, for what a power cut takes is made again; their hash is compared before they are sent.
- Together they never hold more than `most` bytes: what was not asked for the longest goes first. They count as used
  space, and none is made of an object that would take the disk below its reserve.
"""

from __future__ import annotations

import itertools
import threading
from collections import OrderedDict
from collections.abc import Collection, Hashable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gateway.domain.model import GatewayError, InstanceId
from gateway.spool.files import SpoolFiles

_SUFFIXES: Final = frozenset({".dataset", ".part"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """One file of the cache."""

    instance: InstanceId
    path: Path
    size: int


class Derived:
    """The cache of one process. Safe from any thread."""

    def __init__(self, files: SpoolFiles, *, most: int) -> None:
        """`most`: bytes. What an earlier process left is removed."""
        self._files = files
        self._most = most
        self._lock = threading.Lock()
        self._kept: OrderedDict[Hashable, Kept] = OrderedDict()
        self._bytes = 0
        self._serial = itertools.count()
        self.sweep()

    def sweep(self) -> None:
        for path in self._files.derived.iterdir():
            if path.suffix in _SUFFIXES:
                path.unlink(missing_ok=True)

    def new_path(self, instance: InstanceId) -> Path:
        """A name that no file has."""
        return self._files.derived / f"{instance}-{next(self._serial)}.dataset"

    def has_room(self, size: int) -> bool:
        """Whether as many bytes more leave the disk its reserve; False if the disk can't say."""
        try:
            return size <= self._most and not self._files.below_reserve(size)
        except GatewayError:
            return False

    def keep(self, key: Hashable, kept: Kept) -> None:
        """Enter a file that is whole; others may go for it."""
        with self._lock:
            self._kept[key] = kept
            self._bytes += kept.size
            while self._bytes > self._most and len(self._kept) > 1:
                self._drop(next(iter(self._kept)))

    def get(self, key: Hashable) -> Kept | None:
        with self._lock:
            kept = self._kept.get(key)
            if kept is not None:
                self._kept.move_to_end(key)
            return kept

    def let_go(self, instances: Collection[InstanceId]) -> None:
        """Nobody waits for anything made of these."""
        with self._lock:
            for key in [key for key, kept in self._kept.items() if kept.instance in instances]:
                self._drop(key)

    @property
    def size(self) -> int:
        """Bytes of all of them."""
        return self._bytes

    def _drop(self, key: Hashable) -> None:
        kept = self._kept.pop(key)
        self._bytes -= kept.size
        with suppress(OSError):  # who has it open reads on; what stays is swept at the next start
            kept.path.unlink(missing_ok=True)
