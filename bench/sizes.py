"""How much is measured: the sizes of issue 3, or next to nothing to see that the bench itself works."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.objects import objects


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    counts: dict[str, int]
    """Objects of a case."""
    multiframe: str
    entries: tuple[int, ...]
    """Worklist sizes, ours."""
    others: tuple[int, ...]
    """Worklist sizes at which the file-based servers are measured too."""
    queries: int
    few: int
    """Queries to a server that takes a second for one."""
    burst: float
    """Seconds of ingest while we measure latency."""
    scanners: int
    """Consoles that poll."""
    orders: tuple[int, int]
    """Messages from many senders, and from one."""
    boxes: tuple[int, float]
    """Of a simulated fleet, and for how many seconds they play."""
    flood: tuple[int, float]
    """Boxes, and seconds between two health messages of each, that are more than a collector carries."""
    pictures: int
    """Of a hundred objects to compress."""

    def files(self, case: str) -> list[Path]:
        """The objects of a case; "ct, 100" is a shorter row of the same objects as "ct"."""
        kind = case.partition(",")[0]
        return objects(self.multiframe if kind == "multiframe" else kind, self.counts[case])


FULL: Final = Size(
    counts={
        "ct": 500,
        "mr": 2000,
        "dx": 10,
        "multiframe": 1,
        "ct, default": 100,
        "mr, default": 200,
        "ct, single": 200,
        "mr, single": 400,
        "mr, pynetdicom": 400,
        "mr, slow": 6_000,
        "ct, backlog": 10_000,
    },
    multiframe="multiframe",
    entries=(1_000, 10_000, 100_000),
    others=(1_000, 10_000),
    queries=300,
    few=6,
    burst=10.0,
    scanners=200,
    orders=(15_000, 1_000),
    boxes=(10_000, 150.0),
    flood=(2_000, 0.4),
    pictures=100,
)
SMOKE: Final = Size(
    counts={
        "ct": 8,
        "mr": 12,
        "dx": 1,
        "multiframe": 1,
        "ct, default": 4,
        "mr, default": 4,
        "ct, single": 4,
        "mr, single": 4,
        "mr, pynetdicom": 4,
        "mr, slow": 40,
        "ct, backlog": 40,
    },
    multiframe="small multiframe",
    entries=(400, 800),
    others=(400,),
    queries=10,
    few=2,
    burst=2.0,
    scanners=20,
    orders=(64, 16),
    boxes=(100, 15.0),
    flood=(200, 0.2),
    pictures=10,
)
