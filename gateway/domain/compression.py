"""What an object may be compressed to without loss, and which of that is best for a destination (PS3.5 8.2).

What is compressed and what is not
- Gray and palette images of 8 or 16 bits: JPEG-LS, else HTJ2K, JPEG 2000, RLE. RGB: JPEG 2000 with its reversible
  colour transform on a slow link, else HTJ2K or JPEG-LS. YBR_FULL: JPEG 2000 or JPEG-LS, as it is a transform's
  result already.
- Bits above High Bit (overlays) survive in JPEG-LS and RLE alone, which code the whole container.
- Everything else (SEG, float, 32 bits, YBR_FULL_422, SR, PDF): deflated, where the destination takes it.
- What is encapsulated, deflated or big endian already goes out as it came.

The precision of a code stream is that of its samples only if these are unsigned and none has a bit above it; else
the whole container is coded. So what is decoded is the container, byte for byte, whatever the header says.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Final

JPEG_LS: Final = "1.2.840.10008.1.2.4.80"
JPEG_2000: Final = "1.2.840.10008.1.2.4.90"
HTJ2K: Final = "1.2.840.10008.1.2.4.201"
HTJ2K_RPCL: Final = "1.2.840.10008.1.2.4.202"
RLE: Final = "1.2.840.10008.1.2.5"
DEFLATED: Final = "1.2.840.10008.1.2.1.99"
IMAGE_CODECS: Final = frozenset({JPEG_LS, JPEG_2000, HTJ2K, HTJ2K_RPCL, RLE})
WAVELETS: Final = frozenset({JPEG_2000, HTJ2K, HTJ2K_RPCL})

_WAVELETS_FROM: Final = 32
"""Rows and columns that five levels of decomposition need."""
NATIVE_FROM: Final = frozenset({"1.2.840.10008.1.2", "1.2.840.10008.1.2.1"})
"""What is compressed at all: native, little endian."""
LEAST_RATIO: Final = 1.05
"""Below it the object is sent as it is: it would cost the destination a decoder and save nothing."""
SMALLEST: Final = 8 << 10
"""Bytes of a data set that is worth the work."""
USUAL_LINK: Final = 12_500_000.0
"""Bytes a second of a destination whose link was not measured yet."""
DEFLATE_FROM: Final = 1.2
"""How much smaller than an image codec deflate must be: fewer viewers read it, and a correction costs more."""


class Syntax(StrEnum):
    """What objects can be made smaller to, as a site names it."""

    JPEG_LS = "jpeg-ls"
    JPEG_2000 = "jpeg-2000"
    HTJ2K = "htj2k"
    RLE = "rle"
    DEFLATED = "deflated"


SYNTAXES: Final[Mapping[Syntax, frozenset[str]]] = {
    Syntax.JPEG_LS: frozenset({JPEG_LS}),
    Syntax.JPEG_2000: frozenset({JPEG_2000}),
    Syntax.HTJ2K: frozenset({HTJ2K, HTJ2K_RPCL}),
    Syntax.RLE: frozenset({RLE}),
    Syntax.DEFLATED: frozenset({DEFLATED}),
}


class Content(StrEnum):
    """What the codecs distinguish."""

    GRAY = "gray"
    RGB = "rgb"
    YBR = "ybr"
    PALETTE = "palette"
    WIDE_PALETTE = "wide-palette"
    """16 bits: the indices need not be alike in neighbours, so what is smallest is tried."""
    OTHER = "other"


@dataclass(frozen=True, slots=True, kw_only=True)
class ImagePixel:
    """The attributes of the Image Pixel module that say how samples lie in Pixel Data (PS3.3 C.7.6.3)."""

    Rows: int
    Columns: int
    SamplesPerPixel: int
    BitsAllocated: int
    BitsStored: int
    HighBit: int
    PixelRepresentation: int
    PhotometricInterpretation: str
    PlanarConfiguration: int | None
    """None where the header has none."""
    NumberOfFrames: int

    @property
    def frame_bytes(self) -> int:
        """Bytes of one frame of whole containers."""
        return self.Rows * self.Columns * self.SamplesPerPixel * self.BitsAllocated // 8

    @property
    def content(self) -> Content:
        """What the codecs may take it for; OTHER wherever one of them could change a byte of it."""
        sound = (
            0 < self.Rows <= 0xFFFF
            and 0 < self.Columns <= 0xFFFF
            and self.NumberOfFrames > 0
            and self.BitsAllocated in {8, 16}
            and 0 < self.BitsStored <= self.BitsAllocated
            and self.BitsStored - 1 <= self.HighBit < self.BitsAllocated
            and self.PixelRepresentation in {0, 1}
        )
        if not sound:
            return Content.OTHER
        match self.SamplesPerPixel, self.PhotometricInterpretation:
            case 1, "MONOCHROME1" | "MONOCHROME2":
                return Content.GRAY
            case 1, "PALETTE COLOR":
                return Content.PALETTE if self.BitsAllocated == 8 else Content.WIDE_PALETTE
            case 3, "RGB" | "YBR_FULL" as colour if self.PlanarConfiguration in {0, 1} and not self.PixelRepresentation:
                return Content.RGB if colour == "RGB" else Content.YBR
            case _:
                return Content.OTHER

    @property
    def may_be_narrow(self) -> bool:
        """Whether the samples may need fewer bits than their container: their greatest tells."""
        return self.BitsAllocated == 16 and self.HighBit < 15 and not self.PixelRepresentation

    def precision(self, greatest: int) -> int:
        """Bits to code of a sample, when the greatest of all frames, unsigned, is `greatest`.

        Never less than decoders need to give the container back: 9 bits for two bytes.
        """
        bits = max(self.HighBit + 1, 9)
        return bits if self.may_be_narrow and greatest >> bits == 0 else self.BitsAllocated

    def may_use(self, transfer_syntax: str, *, whole_container: bool) -> bool:
        """Wavelets lose what lies above High Bit, or seem to, and need room for their levels.

        `whole_container`: a sample has a bit above High Bit.
        """
        return transfer_syntax not in WAVELETS or not (whole_container or min(self.Rows, self.Columns) < _WAVELETS_FROM)

    def kind(self, transfer_syntax: str) -> str:
        """What one fault of a codec would be common to: it is what is barred after a mismatch."""
        bits = f"{self.BitsAllocated}.{self.BitsStored}.{self.HighBit}.{self.PixelRepresentation}"
        return f"{transfer_syntax} {self.content} {bits} {self.PlanarConfiguration}"


_MB: Final = 1e6
_RATES: Final[Mapping[Content, Mapping[str, tuple[float, float]]]] = {
    Content.GRAY: {
        JPEG_LS: (46 * _MB, 4.0),
        JPEG_2000: (11 * _MB, 4.0),
        HTJ2K: (115 * _MB, 3.6),
        HTJ2K_RPCL: (115 * _MB, 3.6),
    },
    Content.RGB: {
        JPEG_LS: (62 * _MB, 4.2),
        JPEG_2000: (12 * _MB, 6.7),
        HTJ2K: (105 * _MB, 6.1),
        HTJ2K_RPCL: (105 * _MB, 6.1),
    },
    Content.YBR: {
        JPEG_LS: (65 * _MB, 9.5),
        JPEG_2000: (12 * _MB, 12.3),
    },
    Content.PALETTE: {
        JPEG_LS: (90 * _MB, 10.2),
        JPEG_2000: (10 * _MB, 5.9),
        HTJ2K: (90 * _MB, 5.3),
        HTJ2K_RPCL: (90 * _MB, 5.3),
    },
}
"""Native bytes a second that one core encodes and decodes again, and the usual ratio; the order settles ties."""

Preference = tuple[tuple[Content, tuple[str, ...]], ...]
"""For each content the transfer syntaxes to try, best first; nothing where it stays as it is."""


def preference(accepted: Iterable[str], *, link: float = 0.0) -> Preference:
    """What to try for a destination that accepted these transfer syntaxes, over `link` bytes a second (0: not
    measured yet).

    The best is what is through first: the encoder or the link, whichever takes longer.
    """
    return _preference(frozenset(accepted), link or USUAL_LINK)


@lru_cache(maxsize=64)
def _preference(taken: frozenset[str], speed: float) -> Preference:
    """It is asked for each object, and nearly always the same."""

    def seconds(content: Content, syntax: str) -> float:
        encoder, ratio = _RATES[content][syntax]
        return max(1 / encoder, 1 / (ratio * speed))

    found: list[tuple[Content, tuple[str, ...]]] = []
    for content in _RATES:
        usable = sorted(taken & _RATES[content].keys(), key=lambda syntax: list(_RATES[content]).index(syntax))
        best = [min(usable, key=lambda syntax: seconds(content, syntax))] if usable else []
        # Deflate is for what neighbours do not tell: dithered, replicated or synthetic colour
        tried = best if content is Content.GRAY else [*best, *_of(taken, DEFLATED)]
        whole = [one for one in usable if one not in WAVELETS]
        found.append((content, tuple(dict.fromkeys([*tried, *whole, *_of(taken, RLE)]))))
    found.append((Content.WIDE_PALETTE, _of(taken, JPEG_LS, JPEG_2000, DEFLATED, RLE)))
    found.append((Content.OTHER, _of(taken, DEFLATED)))
    return tuple(found)


def _of(taken: frozenset[str], *wanted: str) -> tuple[str, ...]:
    return tuple(one for one in wanted if one in taken)


def to_try(content: Content, usable: Sequence[str]) -> tuple[str, ...]:
    """Which of these, best first, to encode one frame with, to take the smallest; one alone needs no trial."""
    if content is Content.WIDE_PALETTE:
        return tuple(usable)
    return tuple(usable[:2] if usable[1:2] == [DEFLATED] else usable[:1])


def smallest(sizes: Mapping[str, int]) -> str:
    """The transfer syntax of the smallest frame; deflate only where it is clearly smaller."""
    return min(sizes, key=lambda syntax: sizes[syntax] * (DEFLATE_FROM if syntax == DEFLATED else 1.0))


def is_worth_it(before: int, after: int) -> bool:
    """Whether the object became so much smaller that it goes out compressed."""
    return before >= after * LEAST_RATIO


def quantised(link: float) -> float:
    """The speed to the next power of two: one measurement more must not make another file of the same object."""
    return float(2 ** round(math.log2(link))) if link >= 1 else 0.0
