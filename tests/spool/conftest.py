"""A real spool on a temporary folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.spool import Spool
from tests.spool.objects import Clock, open_spool


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def spool(tmp_path: Path, clock: Clock) -> Iterator[Spool]:
    opened = open_spool(tmp_path / "state", clock)
    yield opened
    opened.close()
