"""`gateway` under cProfile, all of its threads: `FOLDER ARGUMENT...`; writes FOLDER/<thread>.prof at the end."""

from __future__ import annotations

import cProfile
import importlib
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from gateway.cli import main


def profile_threads(folder: Path) -> None:
    """Let every thread that starts from now on write its own profile."""
    run: Callable[[threading.Thread], None] = threading.Thread.run

    def profiled(thread: threading.Thread) -> None:
        profile = cProfile.Profile()
        try:
            profile.runcall(run, thread)
        finally:
            profile.dump_stats(folder / f"{thread.name}-{thread.ident}.prof")

    setattr(threading.Thread, "run", profiled)  # noqa: B010  a method may not be assigned in mypy's eyes


if __name__ == "__main__":
    home = Path(sys.argv.pop(1))
    for name in ("gateway.app", "gateway.config"):
        importlib.import_module(name)  # what the command imports is not what is measured
    profile_threads(home)
    whole = cProfile.Profile()
    try:
        whole.runcall(main)
    finally:
        whole.dump_stats(home / "main.prof")
