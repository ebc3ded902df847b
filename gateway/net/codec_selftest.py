"""What a codec must get right before a patient's image is given to it: at the start of every codec process.

Known streams of other implementations (DCMTK, FFmpeg) must decode to what they were made of; and frames that are
known to break encoders must come back as they went in: signed samples of 14 bits in 16, bits above High Bit, colour
planes, a frame of odd length. HTJ2K is read by OpenJPEG as well, which did not write it.
"""

from __future__ import annotations

from typing import Final

from gateway.domain.compression import HTJ2K, HTJ2K_RPCL, JPEG_2000, JPEG_LS, RLE, WAVELETS, ImagePixel
from gateway.net.codec_frames import CODECS, DECODERS, Codec, by_pixel, greatest


def _pixel(
    bits: int, stored: int, *, signed: int = 0, colour: bool = False, rows: int = 35, columns: int = 37
) -> ImagePixel:
    return ImagePixel(
        Rows=rows,
        Columns=columns,
        SamplesPerPixel=3 if colour else 1,
        BitsAllocated=bits,
        BitsStored=stored,
        HighBit=stored - 1,
        PixelRepresentation=signed,
        PhotometricInterpretation="RGB" if colour else "MONOCHROME2",
        PlanarConfiguration=1 if colour else None,
        NumberOfFrames=1,
    )


_COUNT: Final = 35 * 37
_SMOOTH: Final = [number // 37 * 40 + number % 37 * 3 for number in range(_COUNT)]
_FRAMES: Final = (
    (_pixel(16, 14, signed=1), b"".join((value - 700).to_bytes(2, "little", signed=True) for value in _SMOOTH)),
    (_pixel(16, 12), b"".join((value | value // 64 % 2 << 14).to_bytes(2, "little") for value in _SMOOTH)),
    (_pixel(8, 8, colour=True), bytes(value // factor % 256 for factor in (3, 5, 7) for value in _SMOOTH)),
    (_pixel(8, 8), bytes(value // 8 for value in _SMOOTH)),
)
"""Signed of 14 bits in 16; an overlay above High Bit; colour planes; an odd number of bytes."""
_FIVE_BY_THREE: Final = bytes.fromhex("00e0ffff00000100ff1f0700f9ff64009cff0500000000000000000000e0")
_KNOWN: Final = {
    JPEG_LS: (
        _pixel(16, 14, signed=1, rows=3, columns=5),
        _FIVE_BY_THREE,
        "ffd8fff7000b100003000501011100fff8000d01ffff0012004301140040ffda00080101000000000000ff60001ff600140020003fd8"
        "00040e0000835322c7cd281b06e0058f00008000ffd9",
    ),
    JPEG_2000: (
        _pixel(8, 8, rows=3, columns=5),
        bytes(range(0, 150, 10)),
        "ff4fff510029000000000005000000030000000000000000000001000000010000000000000000000001070101ff52000c0000000100"
        "0602020001ff5c00162040484850484850484850484850484850484850ff64001100014c61766335392e33372e313030ff90000a0000"
        "000000220001ff93cfa808097f000000c7d40402cfa7da0601c79f00ffd9",
    ),
    RLE: (
        _pixel(16, 14, signed=1, rows=3, columns=5),
        _FIVE_BY_THREE,
        "020000004000000050000000" + "00" * 52 + "04e0ff00001f0400ff00ff00fd0000e00400ff0001ff0407f9649c05fc00",
    ),
}
"""What it is, the frame, and its stream as DCMTK (JPEG-LS, RLE) or FFmpeg (JPEG 2000) wrote it."""


def passed() -> frozenset[str]:
    """The transfer syntaxes whose codec may be used."""
    return frozenset(syntax for syntax, codec in CODECS.items() if _passes(syntax, codec))


def _passes(syntax: str, codec: Codec) -> bool:
    try:
        return _reads(syntax, codec) and all(_returns(syntax, codec, *one) for one in _FRAMES)
    except Exception:  # noqa: BLE001 -- whatever it raises, it is not used
        return False


def _reads(syntax: str, codec: Codec) -> bool:
    if syntax not in _KNOWN:
        return True
    pixel, frame, stream = _KNOWN[syntax]
    return codec.decode(bytes.fromhex(stream), pixel) == frame


def _returns(syntax: str, codec: Codec, pixel: ImagePixel, frame: bytes) -> bool:
    whole = pixel.may_be_narrow and pixel.precision(greatest(frame, pixel)) == pixel.BitsAllocated
    if whole and syntax in WAVELETS:
        return True  # it is never given such a frame
    wanted = by_pixel(frame, pixel)
    stream = codec.encode(wanted, pixel, pixel.BitsAllocated)
    readers = [codec.decode] + ([DECODERS[syntax]] if syntax in {HTJ2K, HTJ2K_RPCL} else [])
    return all(read(stream, pixel) == wanted for read in readers)
