"""Where the bench keeps its things, and how its own programs are started."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
BUILD: Final = ROOT / "build" / "bench"
"""Objects, spools and logs; not in the repository. On the disk that is measured."""
PAGE: Final = ROOT / "docs" / "performance.md"
RESULTS: Final = ROOT / "docs" / "performance.json"
PLOT: Final = ROOT / "docs" / "performance.png"

TUNED: Final = {"TCP_NODELAY": "1", "TCP_BUFFER_LENGTH": "1048576"}
"""What a careful site sets for every DCMTK and Orthanc process."""


def python(module: str, *arguments: object) -> list[str]:
    """The command that runs a module of this repository, from any folder."""
    return [sys.executable, "-m", module, *map(str, arguments)]


def environment(*, tuned: bool) -> dict[str, str]:
    """What the environment of a measured process has besides ours."""
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH", ""))))
    return {"PYTHONPATH": path, **(TUNED if tuned else {})}
