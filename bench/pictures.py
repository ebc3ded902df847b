"""Objects that compress as real ones do: a body in air, a head, an ultrasound sector, the same on every machine.

dcmcjpls makes the CT and MR ones 2.5 to 5 times smaller (issue 7); what is measured here says by how much. No patient.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pydicom import dcmwrite
from pydicom.dataset import FileDataset

from bench.objects import warm
from bench.places import BUILD
from tests.peers import objects as synthetic

MULTIFRAME: Final = 600
_DIFFERENT: Final = 20
Picture = NDArray[np.floating[Any]]


def pictures(kind: str, count: int) -> list[Path]:
    """The first `count` objects of a kind; those that are missing are made."""
    folder = BUILD / "pictures" / kind
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{number:05}.dcm" for number in range(count)]
    for number, path in enumerate(paths):
        if not path.exists():
            _MAKE[kind](number, path)
        warm(path)
    return paths


def _ellipse(side: int, *, at: tuple[float, float], radii: tuple[float, float]) -> NDArray[np.bool_]:
    y, x = np.mgrid[:side, :side] / side - 0.5
    return ((y - at[0]) / radii[0]) ** 2 + ((x - at[1]) / radii[1]) ** 2 < 1


def _smoothed(noise: Picture) -> Picture:
    """Noise as a reconstruction leaves it: alike in neighbours."""
    for axis in (0, 1):
        noise = (noise + np.roll(noise, 1, axis) + np.roll(noise, -1, axis)) / 3
    return noise


def _slice(side: int, number: int, *, sigma: float) -> NDArray[np.uint16]:
    """12 bits: air around a body with organs, bones and noise."""
    random = np.random.default_rng([side, number])
    body = _ellipse(side, at=(0, 0), radii=(0.40, 0.46))
    picture = np.where(body, 1040.0, 24.0)
    for organ in range(6):
        at = (0.2 * np.sin(organ + number / 40), 0.26 * np.cos(organ * 1.7))
        picture[_ellipse(side, at=at, radii=(0.05 + organ / 90, 0.07)) & body] = 900 + organ * 90
    picture[_ellipse(side, at=(0.24, 0), radii=(0.05, 0.06))] = 1900
    noise = _smoothed(random.normal(0, sigma * 2.2, (side, side)))
    inside = _ellipse(side, at=(0, 0), radii=(0.5, 0.5))
    return np.where(inside, picture + np.where(body, noise, noise / 2), 0).clip(0, 4095).astype("<u2")


def _gray(kind: str, side: int, sigma: float) -> Callable[[int, Path], None]:
    def make(number: int, path: Path) -> None:
        ds = synthetic.KINDS[kind](number, rows=side, columns=side, study=f"bench/picture/{kind}")
        ds.BitsStored, ds.HighBit = 12, 11
        ds.PixelData = _slice(side, number, sigma=sigma).tobytes()
        _write(ds, path)

    return make


def _ultrasound(number: int, path: Path) -> None:
    """A gray sector of speckle with a coloured flow in it and a colour bar, 8-bit RGB."""
    rows, columns = 480, 640
    random = np.random.default_rng([77, number])
    y, x = np.mgrid[:rows, :columns]
    radius, angle = np.hypot(y + 40, x - columns / 2), np.arctan2(x - columns / 2, y + 40)
    sector = (radius < 500) & (radius > 70) & (abs(angle) < 0.65)
    speckle = _smoothed(random.rayleigh(38, (rows, columns)) * (1 + np.cos(radius / 60 + number)))
    gray = np.where(sector, speckle, 0).clip(0, 255)
    image = np.stack([gray] * 3, axis=-1)
    flow = sector & (np.hypot(y - 260, x - 330) < 60)
    image[flow] = np.stack([gray * 1.4, gray * 0.3, 255 - gray], axis=-1)[flow]
    image[40:200, 600:616] = np.linspace([255, 0, 0], [0, 0, 255], 160)[:, None, :]
    ds = synthetic.us(number, rows=rows, columns=columns, frames=1, study="bench/picture/US")
    ds.PixelData = image.clip(0, 255).astype("u1").tobytes()
    _write(ds, path)


def _multiframe(number: int, path: Path) -> None:
    """315 MB: frames of a CT, some of them again and again."""
    ds = synthetic.ct(number, rows=512, columns=512, study="bench/picture/multiframe")
    ds.BitsStored, ds.HighBit, ds.NumberOfFrames = 12, 11, MULTIFRAME
    del ds.PixelData
    frames = [_slice(512, one, sigma=16).tobytes() for one in range(_DIFFERENT)]
    part = path.with_suffix(".part")
    dcmwrite(part, ds, enforce_file_format=True)
    with part.open("ab") as file:
        file.write(struct.pack("<HH2sHL", 0x7FE0, 0x0010, b"OW", 0, MULTIFRAME * len(frames[0])))
        for one in range(MULTIFRAME):
            file.write(frames[one % _DIFFERENT])
    part.rename(path)


def _write(ds: FileDataset, path: Path) -> None:
    part = path.with_suffix(".part")
    dcmwrite(part, ds, enforce_file_format=True)
    part.rename(path)


_MAKE: Final[dict[str, Callable[[int, Path], None]]] = {
    "ct": _gray("CT", 512, 16),
    "mr": _gray("MR", 256, 22),
    "us": _ultrasound,
    "multiframe": _multiframe,
}
