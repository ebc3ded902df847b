"""One frame through a codec, and back: bytes in, bytes out, in a child process alone.

Frames are colour-by-pixel, little endian, whole containers. `encode` and `decode` are each other's inverse for what
`gateway.domain.compression` lets them have; whether they were is found by comparing, never assumed. They hold the
GIL, may crash the process (openjpeg in threads: SIGSEGV) and print to no one.

The libraries: pyjpegls (CharLS), pylibjpeg-openjpeg, pylibjpeg-rle; with the extra `htj2k` imagecodecs (OpenJPH,
and libjpeg-turbo to read JPEG). Failure: what the library raises.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import jpeg_ls
import numpy as np
import openjpeg.utils
import rle.utils

from gateway.domain.compression import HTJ2K, HTJ2K_RPCL, JPEG_2000, JPEG_LS, RLE, Content, ImagePixel

try:
    import imagecodecs
except ImportError:
    _EXTRA = False
else:
    _EXTRA = True

Encode = Callable[[bytes, ImagePixel, int], bytes]
"""A frame, what it is, and the bits of a sample to code."""
Decode = Callable[[bytes, ImagePixel], bytes]

_SRGB: Final = 1
_UNSPECIFIED: Final = 0
_BY_PIXEL: Final = 2
_LEVELS: Final = ((8, 0, "u1"), (8, 1, "i1"), (16, 0, "<u2"), (16, 1, "<i2"))
_TYPES: Final = {(bits, signed): np.dtype(name) for bits, signed, name in _LEVELS}


def by_pixel(frame: bytes, pixel: ImagePixel) -> bytes:
    """A frame of colour planes as colour by pixel; another as it is."""
    if pixel.PlanarConfiguration != 1 or pixel.SamplesPerPixel == 1:
        return frame
    return _turned(frame, pixel, planes_first=True)


def _turned(frame: bytes, pixel: ImagePixel, *, planes_first: bool) -> bytes:
    samples, count = pixel.SamplesPerPixel, pixel.Rows * pixel.Columns
    shape = (samples, count) if planes_first else (count, samples)
    return np.frombuffer(frame, np.dtype(f"u{pixel.BitsAllocated // 8}")).reshape(shape).T.tobytes()


def greatest(frame: bytes, pixel: ImagePixel) -> int:
    """The greatest sample of a frame of unsigned ones."""
    return int(np.frombuffer(frame, _TYPES[pixel.BitsAllocated, 0]).max())


def _encode_jpeg_ls(frame: bytes, pixel: ImagePixel, precision: int) -> bytes:
    return bytes(
        jpeg_ls.encode_buffer(
            frame,
            pixel.Rows,
            pixel.Columns,
            pixel.SamplesPerPixel,
            precision,
            lossy_error=0,
            interleave_mode=_BY_PIXEL if pixel.SamplesPerPixel > 1 else 0,
        )
    )


def _decode_jpeg_ls(content: bytes, pixel: ImagePixel) -> bytes:
    frame, header = jpeg_ls.decode_pixel_data(content)
    planes = header["components"] > 1 and header["interleave_mode"] == 0
    return _turned(frame, pixel, planes_first=True) if planes else bytes(frame)


def _encode_jpeg_2000(frame: bytes, pixel: ImagePixel, precision: int) -> bytes:
    colour = pixel.content is Content.RGB
    return openjpeg.utils.encode_buffer(
        frame,  # bytes: a bytearray has crashed it
        pixel.Columns,
        pixel.Rows,
        pixel.SamplesPerPixel,
        precision,
        bool(pixel.PixelRepresentation),
        photometric_interpretation=_SRGB if colour else _UNSPECIFIED,
        use_mct=colour,
    )


def _decode_jpeg_2000(content: bytes, pixel: ImagePixel) -> bytes:
    return bytes(openjpeg.utils.decode_pixel_data(content, version=2))


def _encode_rle(frame: bytes, pixel: ImagePixel, precision: int) -> bytes:
    return rle.utils.encode_pixel_data(
        frame,
        byteorder="<",
        rows=pixel.Rows,
        columns=pixel.Columns,
        samples_per_pixel=pixel.SamplesPerPixel,
        bits_allocated=pixel.BitsAllocated,
    )


def _decode_rle(content: bytes, pixel: ImagePixel) -> bytes:
    planes = rle.utils.decode_pixel_data(
        content, version=2, rows=pixel.Rows, columns=pixel.Columns, bits_allocated=pixel.BitsAllocated
    )
    return _turned(bytes(planes), pixel, planes_first=True) if pixel.SamplesPerPixel > 1 else bytes(planes)


def _encode_htj2k(frame: bytes, pixel: ImagePixel, precision: int) -> bytes:
    samples = np.frombuffer(frame, _TYPES[pixel.BitsAllocated, pixel.PixelRepresentation])
    shape = (pixel.Rows, pixel.Columns) + ((pixel.SamplesPerPixel,) if pixel.SamplesPerPixel > 1 else ())
    return bytes(imagecodecs.htj2k_encode(samples.reshape(shape), reversible=True, tlm=True))


def _decode_htj2k(content: bytes, pixel: ImagePixel) -> bytes:
    return bytes(imagecodecs.htj2k_decode(content).tobytes())


def _decode_jpeg(content: bytes, pixel: ImagePixel) -> bytes:
    """The samples as they are coded: what they mean the header says, and the stream's own marks often say wrong."""
    alike = "RGB" if pixel.SamplesPerPixel == 3 else None
    return bytes(imagecodecs.jpeg8_decode(content, colorspace=alike, outcolorspace=alike).tobytes())


@dataclass(frozen=True, slots=True, kw_only=True)
class Codec:
    """A way there and back."""

    encode: Encode
    decode: Decode


CODECS: Final[dict[str, Codec]] = {
    JPEG_LS: Codec(encode=_encode_jpeg_ls, decode=_decode_jpeg_ls),
    JPEG_2000: Codec(encode=_encode_jpeg_2000, decode=_decode_jpeg_2000),
    RLE: Codec(encode=_encode_rle, decode=_decode_rle),
}
"""By transfer syntax: what can be sent compressed."""
DECODERS: Final[dict[str, Decode]] = {
    **{syntax: codec.decode for syntax, codec in CODECS.items()},
    "1.2.840.10008.1.2.4.81": _decode_jpeg_ls,
    "1.2.840.10008.1.2.4.91": _decode_jpeg_2000,
    HTJ2K: _decode_jpeg_2000,  # OpenJPEG reads it too
    HTJ2K_RPCL: _decode_jpeg_2000,
    "1.2.840.10008.1.2.4.203": _decode_jpeg_2000,
}
"""By transfer syntax: what can be made native for a destination that takes nothing else."""
if _EXTRA:
    CODECS.update(dict.fromkeys((HTJ2K, HTJ2K_RPCL), Codec(encode=_encode_htj2k, decode=_decode_htj2k)))
    DECODERS.update(dict.fromkeys((f"1.2.840.10008.1.2.4.{one}" for one in (50, 51, 57, 70)), _decode_jpeg))
