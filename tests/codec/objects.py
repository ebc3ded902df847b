"""A Part 10 file as a task for the codecs, and what they made of it as a Part 10 file again."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import xxhash
from pydicom.dataset import FileMetaDataset
from pydicom.filewriter import write_file_meta_info
from pydicom.uid import UID

from gateway.dicom import part10
from gateway.domain.compression import DEFLATED, HTJ2K, JPEG_2000, JPEG_LS, RLE, preference
from gateway.net.codec_task import Made, Task

EACH = (JPEG_LS, JPEG_2000, RLE, DEFLATED, HTJ2K)
SHORT = {JPEG_LS: "JPEG-LS", JPEG_2000: "JPEG 2000", RLE: "RLE", DEFLATED: "Deflated", HTJ2K: "HTJ2K"}


def task(
    path: Path,
    *,
    accepted: Sequence[str] = (),
    link: float = 0.0,
    target: Path | None = None,
    barred: tuple[str, ...] = (),
) -> Task:
    """What forward asks for the object of a file; nothing accepted: make it native."""
    content = path.read_bytes()
    meta = part10.read(content)
    dataset = content[meta.data_offset :]
    return Task(
        source=path,
        size=len(dataset),
        TransferSyntaxUID=meta.TransferSyntaxUID,
        content_hash=xxhash.xxh3_128_hexdigest(meta.TransferSyntaxUID.encode() + dataset),
        target=target or path.with_suffix(f".{accepted[0].rpartition('.')[2] if accepted else 'native'}"),
        preferred=preference(accepted, link=link) if accepted else (),
        barred=barred,
    )


def as_file(asked: Task, made: Made) -> Path:
    """The data set that was made, with a file meta before it."""
    before = part10.read(asked.source.read_bytes())
    path = asked.target.with_suffix(f"{asked.target.suffix}.dcm")
    content = asked.target.read_bytes()
    return part10_file(path, content, before.SOPClassUID, before.SOPInstanceUID, made.TransferSyntaxUID)


def part10_file(path: Path, dataset: bytes, sop_class: str, sop_instance: str, syntax: str) -> Path:
    """These bytes behind a file meta."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = UID(sop_class), UID(sop_instance)
    meta.TransferSyntaxUID = UID(syntax)
    header = BytesIO()
    write_file_meta_info(header, meta)
    path.write_bytes(b"\0" * 128 + b"DICM" + header.getvalue() + dataset)
    return path
