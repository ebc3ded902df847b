"""The test files that pydicom carries, as an unchanged corpus of odd real objects.

Data set bytes are cut from the file, never re-encoded. A file is sendable when its file meta names a storage SOP
class, an instance and a transfer syntax, and pydicom can read the data set.
"""

import struct
import warnings
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from pydicom import dcmread
from pydicom.data import data_manager
from pydicom.errors import InvalidDicomError

_MEDIA_DIRECTORY = "1.2.840.10008.1.3.10"
_LONG_LENGTH = {b"OB", b"OW", b"SQ", b"UN", b"UT"}


@dataclass(frozen=True, slots=True, kw_only=True)
class BundledFile:
    """One file; the UIDs are the file meta's, which is what a sender says on the wire.

    `consistent` is false when the data set names other UIDs than the meta, or none. `duplicate` is true for every
    file but the first that carries its SOPInstanceUID; `same_bytes` tells whether it also repeats its data set.
    """

    path: Path
    SOPClassUID: str
    SOPInstanceUID: str
    TransferSyntaxUID: str
    dataset: bytes
    consistent: bool
    duplicate: bool
    same_bytes: bool


def data_set_offset(content: bytes) -> int:
    """Where the data set begins: after preamble, DICM and group 0002 (always Explicit VR LE, PS3.10 7.1)."""
    position = 132
    while content[position : position + 2] == b"\x02\x00":
        vr = content[position + 4 : position + 6]
        if vr in _LONG_LENGTH:
            position += 12 + struct.unpack_from("<L", content, position + 8)[0]
        else:
            position += 8 + struct.unpack_from("<H", content, position + 6)[0]
    return position


def data_set_bytes(path: Path) -> bytes:
    """The data set of a Part 10 file exactly as stored."""
    content = path.read_bytes()
    return content[data_set_offset(content) :]


@cache
def sendable_pydicom_files() -> tuple[BundledFile, ...]:
    """Every bundled file that can be sent, in path order; nothing is downloaded."""
    root = Path(data_manager.DATA_ROOT)
    found: list[BundledFile] = []
    seen: dict[str, bytes] = {}
    for path in sorted(path for path in root.rglob("*") if path.is_file()):
        names = _names(path)
        if names is None:
            continue
        sop_class, instance, syntax, consistent = names
        dataset = data_set_bytes(path)
        found.append(
            BundledFile(
                path=path,
                SOPClassUID=sop_class,
                SOPInstanceUID=instance,
                TransferSyntaxUID=syntax,
                dataset=dataset,
                consistent=consistent,
                duplicate=instance in seen,
                same_bytes=seen.get(instance) == dataset,
            )
        )
        seen.setdefault(instance, dataset)
    return tuple(found)


def _names(path: Path) -> tuple[str, str, str, bool] | None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            ds = dcmread(path)
        except (InvalidDicomError, EOFError):
            return None
        meta = ds.file_meta
        sop_class, instance = meta.get("MediaStorageSOPClassUID"), meta.get("MediaStorageSOPInstanceUID")
        syntax = meta.get("TransferSyntaxUID")
        if not (sop_class and instance and syntax) or sop_class == _MEDIA_DIRECTORY:
            return None
        consistent = (sop_class, instance) == (ds.get("SOPClassUID"), ds.get("SOPInstanceUID"))
    return str(sop_class), str(instance), str(syntax), consistent
