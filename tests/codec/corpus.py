"""Objects of every kind that compression meets: made here, and those that pydicom carries.

The made ones are deterministic, small, and smooth enough to become smaller. `made` is by name, so that a test can
ask for the one that a trap is about.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset, dcmwrite
from pydicom.dataset import FileDataset
from pydicom.sequence import Sequence as ItemSequence
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    EncapsulatedPDFStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    ParametricMapStorage,
    RTDoseStorage,
    SecondaryCaptureImageStorage,
    SegmentationStorage,
)

from tests.peers import objects

ROWS, COLUMNS = 48, 52


def smooth(
    rows: int = ROWS, columns: int = COLUMNS, *, bits: int, signed: bool = False, seed: int = 0
) -> NDArray[np.int64]:
    """A gradient with a disc and a little noise: what a slice looks like to an encoder."""
    y, x = np.mgrid[:rows, :columns]
    top = 2**bits
    disc = ((y - rows / 2) ** 2 + (x - columns / 2) ** 2 < (min(rows, columns) / 3) ** 2) * top // 3
    noise = np.random.default_rng(seed).integers(0, max(top // 256, 2), (rows, columns))
    picture = (x * top // (2 * columns) + disc + noise + seed).clip(0, top - 1)
    return picture - top // 2 if signed else picture


def gray(
    name: str,
    *,
    allocated: int = 16,
    stored: int = 12,
    high: int | None = None,
    signed: bool = False,
    frames: int = 1,
    rows: int = ROWS,
    columns: int = COLUMNS,
    kind: str = "MONOCHROME2",
    above: int = 0,
    **values: object,
) -> FileDataset:
    """`above`: bits set above High Bit in every third sample, as an overlay lies there."""
    ds = objects.mr(abs(hash_of(name)), rows=rows, columns=columns)
    high = stored - 1 if high is None else high
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = allocated, stored, high, int(signed)
    ds.PhotometricInterpretation = kind
    pixels = [
        smooth(rows, columns, bits=stored, signed=signed, seed=one) << (high - stored + 1) for one in range(frames)
    ]
    volume = np.stack(pixels)
    if above:
        volume[..., ::3] |= above
    if frames > 1:
        ds.NumberOfFrames = frames
    return filled(ds, volume.astype(np.dtype(f"<{'i' if signed else 'u'}{allocated // 8}")).tobytes(), **values)


def colour(
    name: str, *, kind: str = "RGB", planar: int = 0, frames: int = 1, rows: int = ROWS, columns: int = COLUMNS
) -> FileDataset:
    ds = objects.us(abs(hash_of(name)), rows=rows, columns=columns, frames=frames)
    ds.PhotometricInterpretation, ds.PlanarConfiguration = kind, planar
    base = [smooth(rows, columns, bits=8, seed=one) for one in range(frames)]
    volume = np.stack([np.stack([one, one // 2 + 20, 255 - one], axis=-1) for one in base]).astype("u1")
    if planar:
        volume = np.moveaxis(volume, -1, 1)
    return filled(ds, np.ascontiguousarray(volume).tobytes())


def subsampled(name: str) -> FileDataset:
    """YBR_FULL_422, native: two bytes a pixel."""
    ds = objects.us(hash_of(name), rows=ROWS, columns=COLUMNS, frames=1)
    ds.PhotometricInterpretation = "YBR_FULL_422"
    return filled(ds, smooth(ROWS, COLUMNS * 2, bits=8).astype("u1").tobytes())


def palette(name: str, *, bits: int) -> FileDataset:
    ds = gray(name, allocated=bits, stored=bits, kind="PALETTE COLOR")
    ds.SOPClassUID = SecondaryCaptureImageStorage
    for component in ("Red", "Green", "Blue"):
        setattr(ds, f"{component}PaletteColorLookupTableDescriptor", [256, 0, 16])
        setattr(ds, f"{component}PaletteColorLookupTableData", np.arange(256, dtype="<u2").tobytes())
    return ds


def segmentation(name: str) -> FileDataset:
    ds = gray(name, allocated=8, stored=8)
    ds.SOPClassUID, ds.BitsAllocated, ds.BitsStored, ds.HighBit = SegmentationStorage, 1, 1, 0
    ds.NumberOfFrames, ds.SegmentationType = 32, "BINARY"
    volume = np.stack([smooth(bits=8, seed=one) > 128 for one in range(32)])
    return filled(ds, np.packbits(volume, bitorder="little").tobytes())


def real(name: str, *, double: bool) -> FileDataset:
    ds = gray(name)
    ds.SOPClassUID = ParametricMapStorage
    del ds.PixelData, ds.BitsStored, ds.HighBit, ds.PixelRepresentation
    ds.BitsAllocated = 64 if double else 32
    values = smooth(bits=12).astype("<f8" if double else "<f4").tobytes()
    setattr(ds, "DoubleFloatPixelData" if double else "FloatPixelData", values)
    return ds


def dose(name: str) -> FileDataset:
    ds = gray(name)
    ds.SOPClassUID, ds.BitsAllocated, ds.BitsStored, ds.HighBit = RTDoseStorage, 32, 32, 31
    return filled(ds, smooth(bits=20).astype("<u4").tobytes())


def pdf(name: str) -> FileDataset:
    ds = objects.sr(hash_of(name))
    ds.SOPClassUID, ds.Modality, ds.MIMETypeOfEncapsulatedDocument = EncapsulatedPDFStorage, "DOC", "application/pdf"
    del ds.ContentSequence
    ds.EncapsulatedDocument = b"%PDF-1.4 " + b"TEST words of a document " * 900
    return ds


def report(name: str) -> FileDataset:
    return objects.sr(hash_of(name), text="TEST finding. " * 1000)


def with_icon(name: str) -> FileDataset:
    ds = gray(name)
    icon = Dataset()
    icon.Rows, icon.Columns, icon.SamplesPerPixel, icon.PhotometricInterpretation = 8, 8, 1, "MONOCHROME2"
    icon.BitsAllocated, icon.BitsStored, icon.HighBit, icon.PixelRepresentation = 8, 8, 7, 0
    icon.PixelData = bytes(range(64))
    icon["PixelData"].VR = "OB"
    ds.IconImageSequence = ItemSequence([icon])
    ds["IconImageSequence"].is_undefined_length = True
    return ds


def with_trailing(name: str) -> FileDataset:
    ds = gray(name)
    ds.add_new(0xFFFCFFFC, "OB", b"\0" * 10)
    return ds


def ragged(name: str) -> FileDataset:
    """More bytes than its frames need: what lies behind them is no padding that may go."""
    ds = gray(name)
    ds.PixelData += bytes(64)
    return ds


def overlaid_late(name: str) -> FileDataset:
    """Bits above High Bit in the last of its frames alone: one look at the first would not see them."""
    ds = gray(name, frames=4)
    pixels = np.frombuffer(ds.PixelData, "<u2").copy()
    pixels[-5:] |= 1 << 15
    return filled(ds, pixels.tobytes())


def private(name: str) -> FileDataset:
    ds = gray(name)
    block = ds.private_block(0x0029, "TEST CREATOR", create=True)
    block.add_new(0x10, "OB", bytes(range(256)) * 300)
    block.add_new(0x11, "SQ", ItemSequence([Dataset()]))
    return ds


def hash_of(name: str) -> int:
    return int(objects.uid(name)[5:]) % 100_000


def filled(ds: FileDataset, pixels: bytes, **values: object) -> FileDataset:
    ds.PixelData = pixels + b"\0" * (len(pixels) % 2)
    ds["PixelData"].VR = "OW" if ds.BitsAllocated > 8 else "OB"
    for keyword, value in values.items():
        setattr(ds, keyword, value)
    return ds


Make = Callable[[str], FileDataset]
MADE: dict[str, tuple[Make, str]] = {
    name: (make, ExplicitVRLittleEndian)
    for name, make in {
        **{
            f"unsigned-{stored}-of-{allocated}": lambda n, a=allocated, s=stored: gray(n, allocated=a, stored=s)
            for allocated, stored in (
                (8, 8),
                (8, 6),
                (16, 8),
                (16, 9),
                (16, 10),
                (16, 12),
                (16, 14),
                (16, 15),
                (16, 16),
            )
        },
        **{
            f"signed-{stored}-of-{allocated}": lambda n, a=allocated, s=stored: gray(
                n, allocated=a, stored=s, signed=True
            )
            for allocated, stored in ((8, 8), (16, 8), (16, 12), (16, 14), (16, 16))
        },
        "monochrome1": lambda n: gray(n, kind="MONOCHROME1"),
        "high-bit-15": lambda n: gray(n, stored=12, high=15),
        "high-bit-13": lambda n: gray(n, stored=12, high=13),
        "overlay-14": lambda n: gray(n, above=1 << 14),
        "overlay-12-15": lambda n: gray(n, above=0xF000),
        "overlay-late": overlaid_late,
        "overlay-signed": lambda n: gray(n, above=1 << 14, signed=True),
        "overlay-8": lambda n: gray(n, allocated=8, stored=6, above=1 << 7),
        "frames": lambda n: gray(n, frames=7),
        "frames-8-bit": lambda n: gray(n, allocated=8, stored=8, frames=3),
        "odd-frame": lambda n: gray(n, allocated=8, stored=8, rows=101, columns=101),
        "odd-frames": lambda n: gray(n, allocated=8, stored=8, rows=101, columns=101, frames=5),
        "odd-frame-12": lambda n: gray(n, rows=101, columns=101),
        "rgb": colour,
        "rgb-planar": lambda n: colour(n, planar=1),
        "rgb-frames": lambda n: colour(n, frames=4),
        "rgb-planar-frames": lambda n: colour(n, planar=1, frames=4),
        "rgb-odd": lambda n: colour(n, rows=33, columns=35),
        "rgb-odd-frames": lambda n: colour(n, rows=33, columns=35, frames=3),
        "ybr-full": lambda n: colour(n, kind="YBR_FULL"),
        "ybr-full-planar": lambda n: colour(n, kind="YBR_FULL", planar=1),
        "ybr-full-frames": lambda n: colour(n, kind="YBR_FULL", frames=3),
        "ybr-full-422": subsampled,
        "palette-8": lambda n: palette(n, bits=8),
        "palette-16": lambda n: palette(n, bits=16),
        "segmentation": segmentation,
        "float": lambda n: real(n, double=False),
        "double": lambda n: real(n, double=True),
        "dose-32": dose,
        "report": report,
        "pdf": pdf,
        "icon": with_icon,
        "trailing": with_trailing,
        "ragged": ragged,
        "padding-value": lambda n: gray(
            n, PixelPaddingValue=0, SmallestImagePixelValue=0, LargestImagePixelValue=4095, LossyImageCompression="00"
        ),
        "private": private,
    }.items()
} | {
    "implicit": (with_icon, ImplicitVRLittleEndian),
    "implicit-signed": (lambda n: gray(n, stored=14, signed=True, PixelPaddingValue=-1), ImplicitVRLittleEndian),
    "implicit-rgb": (lambda n: colour(n, planar=1), ImplicitVRLittleEndian),
    "big-endian": (gray, ExplicitVRBigEndian),
    "deflated": (gray, DeflatedExplicitVRLittleEndian),
}


@cache
def _bytes_of(name: str) -> bytes:
    make, syntax = MADE[name]
    ds = make(name)
    ds.file_meta.TransferSyntaxUID = syntax
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    if syntax == ExplicitVRBigEndian:
        ds.PixelData = np.frombuffer(ds.PixelData, "<u2").byteswap().tobytes()
    sink = BytesIO()
    dcmwrite(sink, ds, enforce_file_format=True)
    return sink.getvalue()


def made(name: str, folder: Path) -> Path:
    """The object of that name as a Part 10 file in `folder`."""
    path = folder / f"{name}.dcm"
    path.write_bytes(_bytes_of(name))
    return path
