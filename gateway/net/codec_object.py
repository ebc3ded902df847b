"""One object made smaller, or native, from file to file, holding one frame at a time (PS3.5 8.2, A.4, A.5).

Promises: what is encoded is hashed as it is read and must be what was received; every frame is decoded again and
compared, container byte for container byte; nothing in the header changes but the photometric interpretation of
JPEG 2000's colour transform and the planar configuration. The file appears under its name when it is whole.
Memory is flat: the header, one frame and its code, whatever the number of frames.

Failure: `Left` says why the object stays as it is, and no file is left.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import BinaryIO, Final

import xxhash

from gateway.dicom import pixels as found_by
from gateway.dicom.convert import Segment, explicit_little_endian
from gateway.dicom.encapsulation import Encapsulation
from gateway.dicom.layout import ElementError
from gateway.dicom.pixels import Found, Place, locate, with_values
from gateway.domain.compression import (
    DEFLATED,
    NATIVE_FROM,
    RLE,
    WAVELETS,
    Content,
    ImagePixel,
    is_worth_it,
    smallest,
    to_try,
)
from gateway.net.codec_files import AT_ONCE, Output, Source, Stays, around, described, made
from gateway.net.codec_frames import CODECS, by_pixel, greatest
from gateway.net.codec_native import native
from gateway.net.codec_task import Answer, Left, Made, Task

_DEFLATE_LEVEL: Final = 6


def work(task: Task) -> Answer:
    """Do it; nothing is raised."""
    try:
        with Source(task) as source:
            return _smaller(source, task) if task.preferred else native(source, task)
    except Stays as stays:
        return stays.left
    except ElementError:
        return Left(why="header")
    except MemoryError:
        return Left(why="memory")
    except OSError as error:
        return Left(why=f"disk {error.errno}")
    except Exception as error:  # noqa: BLE001 -- the edge of the codecs: whatever they raise, the original goes out
        return Left(why=f"codec {type(error).__name__}")


# -- smaller --


def _smaller(source: Source, task: Task) -> Made:
    if task.TransferSyntaxUID not in NATIVE_FROM:
        raise Stays("syntax")
    with source.view() as dataset:
        found = locate(dataset, task.TransferSyntaxUID)
    pixel = described(found)
    content = pixel.content if pixel is not None and _whole(found.pixels, pixel) else Content.OTHER
    tried = [one for one in dict(task.preferred).get(content, ()) if one == DEFLATED or one in CODECS]
    if pixel is None or found.pixels is None or content is Content.OTHER:
        return _deflated(source, task, tried)
    reader = _Frames(source, found.pixels, pixel)
    precision = pixel.precision(reader.greatest()) if pixel.may_be_narrow else pixel.BitsAllocated
    overlaid = pixel.may_be_narrow and precision == pixel.BitsAllocated
    usable = [
        one
        for one in tried
        if one == DEFLATED or (pixel.may_use(one, whole_container=overlaid) and pixel.kind(one) not in task.barred)
    ]
    chosen = _chosen(reader, to_try(content, usable), precision)
    if chosen == DEFLATED:
        return _deflated(source, task, [DEFLATED])
    return _encoded(source, task, found, reader, precision, chosen)


def _whole(place: Place | None, pixel: ImagePixel) -> bool:
    """Whether the pixels are frames and nothing else but the byte that makes them even."""
    if place is None or place.encapsulated:
        return False
    frames = pixel.frame_bytes * pixel.NumberOfFrames
    return place.stop - place.value == frames + frames % 2


class _Frames:
    """The frames of native pixels; the only one of a single-frame object is read once and kept."""

    def __init__(self, source: Source, place: Place, pixel: ImagePixel) -> None:
        self.pixel = pixel
        self._source = source
        self._place = place
        self._only = source.read(place.value, pixel.frame_bytes) if pixel.NumberOfFrames == 1 else b""

    def __len__(self) -> int:
        return self.pixel.NumberOfFrames

    def peek(self, frame: int) -> bytes:
        """A frame as it stands."""
        return self._only or self._source.read(
            self._place.value + frame * self.pixel.frame_bytes, self.pixel.frame_bytes
        )

    def in_order(self, frame: int) -> bytes:
        """The same, read to be encoded."""
        return self._source.in_order(*self._extent(frame))

    def _extent(self, frame: int) -> tuple[int, int]:
        return self._place.value + frame * self.pixel.frame_bytes, self.pixel.frame_bytes

    def greatest(self) -> int:
        """One precision for the whole object: of all frames."""
        return max(greatest(self.peek(frame), self.pixel) for frame in range(len(self)))


def _chosen(reader: _Frames, tried: tuple[str, ...], precision: int) -> str:
    """The transfer syntax to use: where several are worth a trial, what makes the middle frame smallest."""
    if not tried:
        raise Stays("nothing accepted")
    if len(tried) == 1:
        return tried[0]
    frame = by_pixel(reader.peek(len(reader) // 2), reader.pixel)

    def size(syntax: str) -> int:
        if syntax == DEFLATED:
            return len(zlib.compress(frame, _DEFLATE_LEVEL))
        return len(CODECS[syntax].encode(frame, reader.pixel, precision))

    return smallest({syntax: size(syntax) for syntax in tried})


def _encoded(  # noqa: PLR0917
    source: Source, task: Task, found: Found, reader: _Frames, precision: int, syntax: str
) -> Made:
    assert found.pixels is not None
    pixel, codec = reader.pixel, CODECS[syntax]
    with source.view() as dataset:
        head, tail = around(dataset, found.pixels, task.TransferSyntaxUID)
    element = Encapsulation(len(reader))
    head = with_values(head, _required(pixel, syntax))
    with Output(task.target) as file:
        file.write(head)
        file.write(element.opening())
        for number in range(len(reader)):
            frame = by_pixel(reader.in_order(number), pixel)
            code = codec.encode(frame, pixel, precision)
            if codec.decode(code, pixel) != frame:
                raise Stays("mismatch", mismatch=pixel.kind(syntax))
            file.writelines(element.frame(code))
            if not is_worth_it(task.size, file.tell()):
                raise Stays("ratio")
        source.confirm()
        file.write(element.closing())
        file.write(tail)
        file.seek(len(head) + element.table_at)
        file.write(element.offset_table())
        return made(file, syntax, frames=len(reader))


def _required(pixel: ImagePixel, syntax: str) -> dict[int, tuple[str, bytes] | None]:
    """What the transfer syntax requires of the header, and nothing else (PS3.5 8.2.2, 8.2.4)."""
    if pixel.SamplesPerPixel == 1:
        return {}
    # The segments of RLE are colour planes; the others code colour by pixel
    changes: dict[int, tuple[str, bytes] | None] = {
        found_by.PLANAR_CONFIGURATION: ("US", b"\1\0" if syntax == RLE else b"\0\0")
    }
    if syntax in WAVELETS and pixel.content is Content.RGB:
        changes[found_by.PHOTOMETRIC_INTERPRETATION] = ("CS", b"YBR_RCT")
    return changes


# -- deflated --


def _deflated(source: Source, task: Task, tried: list[str]) -> Made:
    """The whole data set deflated, and inflated again as it is written (PS3.5 A.5)."""
    if DEFLATED not in tried:
        raise Stays("nothing accepted")
    with source.view() as dataset:
        segments = explicit_little_endian(dataset, task.TransferSyntaxUID)
    deflate = zlib.compressobj(_DEFLATE_LEVEL, wbits=-zlib.MAX_WBITS)
    inflate = zlib.decompressobj(-zlib.MAX_WBITS)
    before, after = xxhash.xxh3_128(), xxhash.xxh3_128()
    with Output(task.target) as file:
        for piece in _pieces(source, segments):
            before.update(piece)
            _pass_on(deflate.compress(piece), file, inflate, after)
        _pass_on(deflate.flush(), file, inflate, after)
        if not inflate.eof or before.digest() != after.digest():
            raise Stays("mismatch", mismatch=f"{DEFLATED} {Content.OTHER}")
        source.confirm()
        file.write(bytes(file.tell() % 2))
        if not is_worth_it(task.size, file.tell()):
            raise Stays("ratio")
        return made(file, DEFLATED, frames=0)


def _pieces(source: Source, segments: list[Segment]) -> Iterator[bytes]:
    for one in segments:
        if isinstance(one, bytes):
            yield one
            continue
        for offset in range(one.offset, one.offset + one.length, AT_ONCE):
            yield source.read(offset, min(AT_ONCE, one.offset + one.length - offset))


def _pass_on(code: bytes, file: BinaryIO, inflate: zlib._Decompress, after: xxhash.xxh3_128) -> None:
    file.write(code)
    while code:
        after.update(inflate.decompress(code, AT_ONCE))
        code = inflate.unconsumed_tail
