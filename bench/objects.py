"""What is sent: four kinds of objects, made once, the same on every machine, Explicit VR Little Endian.

Pixels are noise, so nothing on the way can win by compressing them.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

from bench.places import BUILD
from tests.peers import objects as synthetic

_PIECE: Final = 1 << 20
FRAME_BYTES: Final = 3_000_000


def _slice(kind: str, rows: int) -> Callable[[int, Path], Path]:
    def make(number: int, folder: Path) -> Path:
        return synthetic.write(folder, synthetic.KINDS[kind](number, rows=rows, columns=rows, study=f"bench/{kind}"))

    return make


def _multiframe(frames: int) -> Callable[[int, Path], Path]:
    def make(number: int, folder: Path) -> Path:
        return synthetic.write_huge(folder / "made.dcm", frames=frames, frame_bytes=FRAME_BYTES, seed=number)

    return make


_MAKE: Final[dict[str, Callable[[int, Path], Path]]] = {
    "ct": _slice("CT", 512),
    "mr": _slice("MR", 256),
    "dx": _slice("DX", 4600),
    "multiframe": _multiframe(100),
    "small multiframe": _multiframe(3),
}


def objects(kind: str, count: int) -> list[Path]:
    """The first `count` objects of a kind, in the page cache. Those that are missing are made."""
    folder = BUILD / "objects" / kind.replace(" ", "-")
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{number:05}.dcm" for number in range(count)]
    for number, path in enumerate(paths):
        if not path.exists():
            _MAKE[kind](number, folder / "part").rename(path)
    for path in paths:
        warm(path)
    return paths


def warm(path: Path) -> None:
    """Read it once, holding a piece of it."""
    with path.open("rb") as file:
        while file.read(_PIECE):
            pass
