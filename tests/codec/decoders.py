"""Decoders that share no code with our encoders: DCMTK for JPEG-LS, RLE and deflate, FFmpeg's own for JPEG 2000.

`pixels` gives the bytes of all frames as the decoder's file holds them. HTJ2K is written by OpenJPH here and read by
OpenJPEG. DCMTK's JPEG-LS is CharLS like ours, of another version, in another program; `libjpeg` reads every code
stream by itself, so GDCM's CharLS is asked as well.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import openjpeg.utils
from pydicom import Dataset, dcmread
from pydicom.encaps import generate_frames

from gateway.domain.compression import DEFLATED, HTJ2K, HTJ2K_RPCL, JPEG_2000, JPEG_LS, RLE

BIN = Path("/usr/bin")
_DCMTK = {JPEG_LS: "dcmdjpls", RLE: "dcmdrle", DEFLATED: "dcmconv"}


def native(path: Path, syntax: str) -> Dataset:
    """The object as DCMTK writes it in Explicit VR Little Endian."""
    out = path.with_suffix(".native")
    subprocess.run([BIN / _DCMTK[syntax], "+te", path, out], check=True, capture_output=True, timeout=60)
    return dcmread(out)


def pixels(path: Path, syntax: str) -> bytes:
    """The bytes of Pixel Data, without padding, as another implementation decodes them."""
    if syntax in _DCMTK:
        return bytes(native(path, syntax).PixelData)
    ds = dcmread(path)
    streams = generate_frames(ds.PixelData, number_of_frames=int(ds.get("NumberOfFrames") or 1))
    if syntax in (HTJ2K, HTJ2K_RPCL):
        return b"".join(bytes(openjpeg.utils.decode_pixel_data(stream, version=2)) for stream in streams)
    assert syntax == JPEG_2000
    return b"".join(_ffmpeg(stream, ds) for stream in streams)


def gdcm(path: Path) -> bytes:
    """As GDCM decodes them."""
    out = path.with_suffix(".gdcm")
    subprocess.run([BIN / "gdcmconv", "--raw", path, out], check=True, capture_output=True, timeout=60)
    return bytes(dcmread(out).PixelData)


def _ffmpeg(stream: bytes, ds: Dataset) -> bytes:
    """FFmpeg gives samples of more than 8 bits in the upper bits of 16, and signed ones as if they were not."""
    header = openjpeg.utils.get_parameters(stream)
    precision = int(header["precision"])
    layout = "rgb24" if ds.SamplesPerPixel == 3 else "gray" if precision == 8 else "gray16le"
    command = [BIN / "ffmpeg", "-v", "error", "-f", "j2k_pipe", "-c:v", "jpeg2000", "-i", "-"]
    decoded = subprocess.run(
        [*command, "-pix_fmt", layout, "-f", "rawvideo", "-"], input=stream, check=True, capture_output=True, timeout=60
    )
    samples = np.frombuffer(decoded.stdout, "u1" if precision == 8 else "<u2")
    if precision > 8:
        samples = samples >> (16 - precision)
    if header["is_signed"]:
        samples = samples ^ samples.dtype.type(1 << (precision - 1))
    return samples.tobytes()
