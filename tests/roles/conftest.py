"""Desks for HL7 messages."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest

from tests.roles import orders_desk


@pytest.fixture
def open_desk(tmp_path: Path) -> Iterator[orders_desk.Opener]:
    with ExitStack() as stack:
        yield partial(orders_desk.open_desk, stack, tmp_path / "state")
