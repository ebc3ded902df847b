"""An encapsulated object made native, for a destination that takes nothing else (PS3.5 8.2, A.4).

Promises: UIDs and lossy flags stay; Photometric Interpretation becomes what the decoder gives (YBR_RCT and YBR_ICT:
RGB; YBR_FULL_422: YBR_FULL), Planar Configuration 0, and an Extended Offset Table goes, for nothing is left that it
could point at. A frame that does not fill its containers exactly is not sent, nor one whose colour the header and the
code stream tell differently. Failure: `Stays`, ElementError, and what a codec raises; OSError for the disk.
"""

from __future__ import annotations

from array import array
from typing import Final

import numpy as np

from gateway.dicom import pixels as found_by
from gateway.dicom.encapsulation import frames
from gateway.dicom.layout import EXPLICIT, EXPLICIT_LITTLE, element_header
from gateway.dicom.pixels import Found, Place, locate, with_values
from gateway.domain.compression import ImagePixel
from gateway.net.codec_files import Output, Source, Stays, around, described, made
from gateway.net.codec_frames import DECODERS
from gateway.net.codec_task import Made, Task

_LONGEST: Final = 0xFFFFFFFE
_J2K: Final = frozenset(f"1.2.840.10008.1.2.4.{one}" for one in (90, 91, 201, 202, 203))
_FROM_WAVELETS: Final = {"RGB": b"RGB", "YBR_RCT": b"RGB", "YBR_ICT": b"RGB", "YBR_FULL": b"YBR_FULL"}
_FROM_OTHERS: Final = {"RGB": b"RGB", "YBR_FULL": b"YBR_FULL", "YBR_FULL_422": b"YBR_FULL"}
"""Photometric Interpretation of a code stream, and of what its decoder gives (PS3.5 8.2.1, 8.2.4)."""


def native(source: Source, task: Task) -> Made:
    """Decode every frame into a data set in Explicit VR Little Endian."""
    decode = DECODERS.get(task.TransferSyntaxUID)
    if decode is None:
        raise Stays("no decoder")
    with source.view() as dataset:
        found = locate(dataset, task.TransferSyntaxUID)
        pixel = _sound(found)
        assert found.pixels is not None
        parts, stop = frames(dataset, found.pixels.value, count=pixel.NumberOfFrames, extended=_offsets(dataset, found))
        place = Place(start=found.pixels.start, value=found.pixels.value, stop=stop)
        head, tail = around(dataset, place, task.TransferSyntaxUID)
    length = pixel.frame_bytes * pixel.NumberOfFrames
    padding = bytes(length % 2)
    if length + len(padding) > _LONGEST:
        raise Stays("too large")
    with Output(task.target) as file:
        file.write(with_values(head, _decoded_values(pixel, task.TransferSyntaxUID)))
        vr = "OW" if pixel.BitsAllocated > 8 else "OB"
        file.write(element_header(found_by.PIXEL_DATA, vr, length + len(padding), EXPLICIT))
        for fragments in parts:
            code = b"".join(source.in_order(*fragment) for fragment in fragments)
            if _untold(code, pixel, task.TransferSyntaxUID):
                raise Stays("colour")
            file.write(_container(decode(code, pixel), pixel))
        source.confirm()
        file.write(padding)
        file.write(tail)
        return made(file, EXPLICIT_LITTLE, frames=pixel.NumberOfFrames)


def _sound(found: Found) -> ImagePixel:
    """What the header says, if frames of it can be told apart."""
    pixel = described(found)
    sound = (
        pixel is not None
        and found.pixels is not None
        and found.pixels.encapsulated
        and min(pixel.Rows, pixel.Columns, pixel.NumberOfFrames) > 0
        and pixel.SamplesPerPixel in {1, 3}
        and pixel.BitsAllocated in {8, 16}
        and pixel.PixelRepresentation in {0, 1}
    )
    if pixel is None or not sound:
        raise Stays("content")
    return pixel


def _offsets(dataset: memoryview, found: Found) -> array[int]:
    place = found.places.get(found_by.EXTENDED_OFFSETS)
    offsets = array("Q")
    if place is not None:
        offsets.frombytes(bytes(dataset[place.value : place.stop - (place.stop - place.value) % 8]))
    return offsets


def _decoded_values(pixel: ImagePixel, syntax: str) -> dict[int, tuple[str, bytes] | None]:
    changes: dict[int, tuple[str, bytes] | None] = {
        found_by.EXTENDED_OFFSETS: None,
        found_by.EXTENDED_LENGTHS: None,
    }
    if pixel.SamplesPerPixel == 3:
        changes[found_by.PLANAR_CONFIGURATION] = ("US", b"\0\0")
        decoded = (_FROM_WAVELETS if syntax in _J2K else _FROM_OTHERS).get(pixel.PhotometricInterpretation)
        if decoded is None:
            raise Stays("colour")
        changes[found_by.PHOTOMETRIC_INTERPRETATION] = ("CS", decoded)
    return changes


def _untold(code: bytes, pixel: ImagePixel, syntax: str) -> bool:
    """Whether the header promises a colour transform that the code stream does not have (COD, SGcod)."""
    if syntax not in _J2K or pixel.PhotometricInterpretation not in {"YBR_RCT", "YBR_ICT"}:
        return False
    style = code.find(b"\xff\x52")
    return style < 0 or code[style + 8 : style + 9] != b"\1"


def _container(frame: bytes, pixel: ImagePixel) -> bytes:
    """The frame in whole containers: a decoder gives bytes where a code stream has 8 bits or fewer of 16."""
    if pixel.BitsAllocated == 16 and len(frame) * 2 == pixel.frame_bytes:
        sign = "i" if pixel.PixelRepresentation else "u"
        frame = np.frombuffer(frame, np.dtype(f"{sign}1")).astype(np.dtype(f"<{sign}2")).tobytes()
    if len(frame) != pixel.frame_bytes:
        raise Stays("length")
    return frame
