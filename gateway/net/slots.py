"""The partitions of a slot and the block that chooses between two slots, as files or devices.

What is promised: an image counts as written only after it was synced and read back from the disk with the hash that the
manifest names; bytes beyond it are not touched. The environment block is rewritten in place in one call and synced, for
GRUB knows it by its place on the disk (`gateway.domain.boot`). Faults of the disk are TemporaryFailure, contents that
are not what was signed PermanentFailure ("tampered").
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from gateway.domain.boot import BLOCK, BootState, Slot, from_block, to_block
from gateway.domain.model import PermanentFailure, TemporaryFailure
from gateway.domain.update import IMAGES, Image, Objection

CHUNK: Final = 1 << 20


class Slots:
    """Both slots of a box."""

    def __init__(self, *, partitions: Path, environment: Path) -> None:
        """`partitions`: the folder with boot-a, root-a, hash-a, boot-b ...; `environment`: GRUB's block."""
        self._partitions = partitions
        self._environment = environment

    def state(self) -> BootState:
        """What is kept between starts."""
        with _disk("the boot state"), self._environment.open("rb") as file:
            return from_block(file.read(BLOCK + 1))

    def keep(self, state: BootState) -> None:
        """On the disk when it returns."""
        with _disk("the boot state"), self._environment.open("r+b", buffering=0) as file:
            file.write(to_block(state))
            os.fsync(file.fileno())

    def room(self, slot: Slot) -> Mapping[str, int]:
        """Bytes that each partition of a slot has."""
        return {name: self._size(slot, name) for name in IMAGES}

    def write(self, slot: Slot, name: str, chunks: Iterable[bytes], image: Image) -> None:
        """Fill a partition of a slot that nothing starts, and prove what the disk has."""
        fill(self._place(slot, name), chunks, image, called=f"images.{name}")

    def _size(self, slot: Slot, name: str) -> int:
        place = self._place(slot, name)
        with _disk(place.name), place.open("rb") as file:
            return file.seek(0, os.SEEK_END)

    def _place(self, slot: Slot, name: str) -> Path:
        return self._partitions / f"{name}-{slot}"


def fill(place: Path, chunks: Iterable[bytes], image: Image, *, called: str) -> None:
    """Write an image to a partition, and prove what the disk has. `called`: what errors name it by."""
    came, digest = 0, hashlib.sha256()
    with _disk(place.name), place.open("r+b", buffering=0) as file:
        for chunk in chunks:
            came += len(chunk)
            if came > image.size:
                break
            digest.update(chunk)
            _write_all(file.fileno(), chunk)
        os.fsync(file.fileno())
    if came != image.size or digest.hexdigest() != image.sha256:
        raise _tampered(f"{called}: {came} bytes came, not the {image.size} that were signed, or others")
    if contents(place, image.size).sha256 != image.sha256:
        raise TemporaryFailure(f"{place.name} does not hold what was written: install again, or test the disk")


def contents(place: Path, size: int = 0) -> Image:
    """What a partition really holds in its first `size` bytes, or all: pages that were written are dropped first."""
    digest = hashlib.sha256()
    with _disk(place.name), place.open("rb", buffering=0) as file:
        size = size or file.seek(0, os.SEEK_END)
        file.seek(0)
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        left = size
        while left and (chunk := file.read(min(CHUNK, left))):
            digest.update(chunk)
            left -= len(chunk)
    return Image(size=size - left, sha256=digest.hexdigest())


def chunks_of(place: Path) -> Iterator[bytes]:
    """A partition from its beginning to its end."""
    with _disk(place.name), place.open("rb", buffering=0) as file:
        while chunk := file.read(CHUNK):
            yield chunk


def _write_all(descriptor: int, chunk: bytes) -> None:
    view = memoryview(chunk)
    while view:
        view = view[os.write(descriptor, view) :]


def _tampered(said: str) -> PermanentFailure:
    return PermanentFailure(f"{said}: fetch the release again", code=Objection.TAMPERED)


@contextmanager
def _disk(name: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise TemporaryFailure(f"{name} can't be read or written ({reason}): run this on the box, as root") from None
