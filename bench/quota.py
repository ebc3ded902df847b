"""No more than a share of the processor for a process, as a container's limit gives it (cgroup v2, else v1)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from bench.measure import CellFailed

_PERIOD_US: Final = 100_000
_V2, _V1 = Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup/cpu")


@contextmanager
def limited(pid: int, *, cores: float) -> Iterator[None]:
    """The process and its threads get so many cores at most. Raises CellFailed where the kernel does not let us."""
    v2 = (_V2 / "cgroup.controllers").exists()
    group = (_V2 if v2 else _V1) / f"gateway-bench-{pid}"
    quota = int(cores * _PERIOD_US)
    try:
        group.mkdir()
        if v2:
            (group / "cpu.max").write_text(f"{quota} {_PERIOD_US}")
        else:
            (group / "cpu.cfs_quota_us").write_text(str(quota))
        (group / "cgroup.procs").write_text(str(pid))
    except OSError as error:
        raise CellFailed(f"no share of the processor can be set: {error.strerror}; run as root") from error
    try:
        yield
    finally:
        (group.parent / "cgroup.procs").write_text(str(pid))
        group.rmdir()
