"""What a simulated PACS holds: an index in memory, and the objects themselves if it has a folder.

What is promised: for each SOP Instance UID the first object that came whole is kept; how often it came, and
how often with other bytes, is counted. "Same bytes" is the xxh3-128 over Transfer Syntax UID and data set,
as received. With a folder every object is a Part 10 file there before `add` returns (a program that is
killed loses nothing; a host that loses its power may), and a new archive on it holds the same objects;
counts begin at one again. File names come from a digest of the UID, never from the UID.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, Final

import xxhash

from gateway.dicom import part10
from gateway.dicom.elements import ElementError, leading
from gateway.dicom.part10 import LONGEST_HEADER
from gateway.simulate.keywords import tag

HEAD: Final = 256 << 10
"""Bytes of a data set in which the study's and the series' UID are looked for."""
_PIECE: Final = 1 << 20
_STUDY: Final = tag("StudyInstanceUID")
_SERIES: Final = tag("SeriesInstanceUID")


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """One object of the archive."""

    SOPClassUID: str
    SOPInstanceUID: str
    StudyInstanceUID: str
    SeriesInstanceUID: str
    TransferSyntaxUID: str
    content_hash: str
    """xxh3-128, hexadecimal, over TransferSyntaxUID and data set."""
    size: int
    """Bytes of the data set."""
    received: int = 1
    """Times it came whole."""
    differing: int = 0
    """Times of these that it came with other bytes than the first time."""
    path: Path | None = None


class Arrival:
    """One object coming in."""

    def __init__(self, *, SOPClassUID: str, SOPInstanceUID: str, TransferSyntaxUID: str, folder: Path | None) -> None:
        self.SOPClassUID = SOPClassUID
        self.SOPInstanceUID = SOPInstanceUID
        self.TransferSyntaxUID = TransferSyntaxUID
        self.size = 0
        self.head = bytearray()
        self._hash = xxhash.xxh3_128(TransferSyntaxUID.encode("latin-1", "replace"))
        self.part: Path | None = None
        self._file: BinaryIO | None = None
        if folder is not None:
            self.part = folder / f"{os.urandom(8).hex()}.part"
            self._file = self.part.open("xb")

    def write(self, piece: bytes | memoryview) -> None:
        """Take bytes of the data set."""
        self._hash.update(piece)
        self.size += len(piece)
        if len(self.head) < HEAD:
            self.head += piece[: HEAD - len(self.head)]
        if self._file is not None:
            self._file.write(piece)

    def write_header(self, header: bytes) -> None:
        """Take the bytes that stand before the data set in a file."""
        if self._file is not None:
            self._file.write(header)

    def close(self) -> Held:
        """The object, whole."""
        if self._file is not None:
            self._file.close()
        found = leading(bytes(self.head), self.TransferSyntaxUID, frozenset({_STUDY, _SERIES}))
        return Held(
            SOPClassUID=self.SOPClassUID,
            SOPInstanceUID=self.SOPInstanceUID,
            StudyInstanceUID=_text(found.get(_STUDY)),
            SeriesInstanceUID=_text(found.get(_SERIES)),
            TransferSyntaxUID=self.TransferSyntaxUID,
            content_hash=self._hash.hexdigest(),
            size=self.size,
        )

    def abandon(self) -> None:
        """Drop what came."""
        if self._file is not None:
            self._file.close()
        if self.part is not None:
            self.part.unlink(missing_ok=True)


class Archive:
    """Objects by SOP Instance UID."""

    def __init__(self, folder: Path | None) -> None:
        """Read the folder's objects; what was not whole when its program died is removed."""
        self.folder = folder
        self.held: dict[str, Held] = {}
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            for part in folder.glob("*.part"):
                part.unlink()
            for path in sorted(folder.glob("*.dcm")):
                one = read_file(path)
                self.held[one.SOPInstanceUID] = one

    def begin(
        self, *, SOPClassUID: str, SOPInstanceUID: str, TransferSyntaxUID: str, calling_ae: str, called_ae: str
    ) -> Arrival:
        """Open an object. Raises OSError if its file can't be made."""
        arrival = Arrival(
            SOPClassUID=SOPClassUID,
            SOPInstanceUID=SOPInstanceUID,
            TransferSyntaxUID=TransferSyntaxUID,
            folder=self.folder,
        )
        meta = part10.build(
            SOPClassUID=SOPClassUID,
            SOPInstanceUID=SOPInstanceUID,
            TransferSyntaxUID=TransferSyntaxUID,
            calling_ae=calling_ae,
            called_ae=called_ae,
            address="",
            association="",
            received_at=datetime.now(UTC),
        )
        arrival.write_header(meta.header)
        return arrival

    def add(self, arrival: Arrival) -> Held:
        """Keep an object that is whole, or count it if its UID is held."""
        came = arrival.close()
        first = self.held.get(came.SOPInstanceUID)
        if first is not None:
            arrival.abandon()
            differs = first.content_hash != came.content_hash
            kept = replace(first, received=first.received + 1, differing=first.differing + differs)
        elif arrival.part is not None:
            name = hashlib.blake2b(came.SOPInstanceUID.encode("latin-1", "replace"), digest_size=16).hexdigest()
            kept = replace(came, path=arrival.part.rename(arrival.part.with_name(f"{name}.dcm")))
        else:
            kept = came
        self.held[kept.SOPInstanceUID] = kept
        return kept


def read_file(path: Path) -> Held:
    """What an archive would hold after it received this Part 10 file. Raises ElementError, OSError."""
    with path.open("rb") as source:
        meta = part10.read(source.read(LONGEST_HEADER))
        source.seek(meta.data_offset)
        arrival = Arrival(
            SOPClassUID=meta.SOPClassUID,
            SOPInstanceUID=meta.SOPInstanceUID,
            TransferSyntaxUID=meta.TransferSyntaxUID,
            folder=None,
        )
        while piece := source.read(_PIECE):
            arrival.write(piece)
    return replace(arrival.close(), path=path)


def part10_files(folder: Path) -> list[Path]:
    """The Part 10 files in a folder and below, sorted; other files are passed over."""
    found = []
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            with contextlib.suppress(ElementError):
                read_file_meta(path)
                found.append(path)
    return found


def read_file_meta(path: Path) -> part10.FileMetaRead:
    """The file meta of a Part 10 file. Raises ElementError if it is none."""
    with path.open("rb") as source:
        return part10.read(source.read(LONGEST_HEADER))


def _text(value: bytes | None) -> str:
    return (value or b"").decode("latin-1").strip(" \0")
