"""The files of a codec process: an object read and hashed, and a file that is there when it is whole.

Promises: `Source` reads one object of the spool, hashes what is read in order, and `confirm`s that it was what was
received. `Output` gives a file its name when the work ended well and removes it otherwise. Failure: `Stays` for an
object that is not what it should be; errors of the disk are OSError.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Final

import xxhash

from gateway.dicom import pixels as found_by
from gateway.dicom.convert import Extent, explicit_little_endian
from gateway.dicom.pixels import Found, Place, number, text
from gateway.domain.compression import ImagePixel
from gateway.net.codec_task import Left, Made, Task

AT_ONCE: Final = 1 << 20
"""Bytes of one read."""
LONGEST_HEADER: Final = 64 << 20
"""Bytes before and behind the pixels: they are held in memory."""


class Stays(Exception):
    """The object goes out as it came."""

    def __init__(self, why: str, *, mismatch: str = "") -> None:
        super().__init__(why)
        self.left = Left(why=why, mismatch=mismatch)


class Source:
    """The data set of the task's file, and the hash of what was read of it in order."""

    def __init__(self, task: Task) -> None:
        self._file = task.source.open("rb")
        self._fd = self._file.fileno()
        self._start = os.fstat(self._fd).st_size - task.size
        self._expected = task.content_hash
        self._digest = xxhash.xxh3_128(task.TransferSyntaxUID.encode("latin-1"))
        self._hashed = 0
        self.size = task.size
        self.syntax = task.TransferSyntaxUID
        if self._start < 0:
            self._file.close()
            raise Stays("damaged")

    def __enter__(self) -> Source:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    @contextmanager
    def view(self) -> Iterator[memoryview]:
        """The data set, mapped: look at it, and hold nothing of it."""
        with (
            mmap.mmap(self._fd, 0, prot=mmap.PROT_READ) as mapped,
            memoryview(mapped) as whole,
            whole[self._start :] as dataset,
        ):
            yield dataset

    def read(self, offset: int, length: int) -> bytes:
        """Those bytes; they must be there."""
        content = os.pread(self._fd, length, self._start + offset)
        if len(content) != length:
            raise Stays("damaged")
        return content

    def in_order(self, offset: int, length: int) -> bytes:
        """Those bytes, read for the last time: what lies between them and the last ones is hashed too."""
        self.hash_to(offset)
        content = self.read(offset, length)
        self._digest.update(content)
        self._hashed += length
        return content

    def hash_to(self, offset: int) -> None:
        while self._hashed < offset:
            piece = self.read(self._hashed, min(AT_ONCE, offset - self._hashed))
            self._digest.update(piece)
            self._hashed += len(piece)

    def confirm(self) -> None:
        """What was read is what was received, to the last byte."""
        self.hash_to(self.size)
        if self._digest.hexdigest() != self._expected:
            raise Stays("damaged")


class Output:
    """A file in the making: it has its name when the work ended well, and is not there otherwise."""

    def __init__(self, target: Path) -> None:
        self._target = target
        self._part = target.with_suffix(".part")

    def __enter__(self) -> BinaryIO:
        self._file: BinaryIO = self._part.open("w+b", buffering=AT_ONCE)
        return self._file

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            self._file.close()
            if kind is None:
                self._part.rename(self._target)
        finally:
            with suppress(OSError):
                self._part.unlink(missing_ok=True)


def made(file: BinaryIO, syntax: str, *, frames: int) -> Made:
    """What became of it, read once more from its beginning."""
    file.seek(0)
    digest, size = xxhash.xxh3_128(syntax.encode("ascii")), 0
    while piece := file.read(AT_ONCE):
        digest.update(piece)
        size += len(piece)
    return Made(TransferSyntaxUID=syntax, size=size, content_hash=digest.hexdigest(), frames=frames)


def described(found: Found) -> ImagePixel | None:
    """What the header says of its pixels (-1 where it says nothing); None if there are none."""

    def of(tag: int) -> int:
        value = number(found.values, tag)
        return -1 if value is None else value

    if found.pixels is None:
        return None
    return ImagePixel(
        Rows=of(found_by.ROWS),
        Columns=of(found_by.COLUMNS),
        SamplesPerPixel=of(found_by.SAMPLES_PER_PIXEL),
        BitsAllocated=of(found_by.BITS_ALLOCATED),
        BitsStored=of(found_by.BITS_STORED),
        HighBit=of(found_by.HIGH_BIT),
        PixelRepresentation=of(found_by.PIXEL_REPRESENTATION),
        PhotometricInterpretation=text(found.values, found_by.PHOTOMETRIC_INTERPRETATION),
        PlanarConfiguration=number(found.values, found_by.PLANAR_CONFIGURATION),
        NumberOfFrames=of(found_by.NUMBER_OF_FRAMES) if found_by.NUMBER_OF_FRAMES in found.values else 1,
    )


def around(dataset: memoryview, place: Place, syntax: str) -> tuple[bytes, bytes]:
    """What stands before and behind the pixels, in Explicit VR Little Endian."""
    if place.start + len(dataset) - place.stop > LONGEST_HEADER:
        raise Stays("header")
    with dataset[: place.start] as before, dataset[place.stop :] as behind:
        return _flat(before, syntax), _flat(behind, syntax)


def _flat(part: memoryview, syntax: str) -> bytes:
    return b"".join(
        bytes(part[one.offset : one.offset + one.length]) if isinstance(one, Extent) else one
        for one in explicit_little_endian(part, syntax)
    )
