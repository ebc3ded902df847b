"""Desks for HL7 messages, and books that do not wait for each other."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest

from gateway.spool import db
from tests.roles import orders_desk


@pytest.fixture
def open_desk(tmp_path: Path) -> Iterator[orders_desk.Opener]:
    with ExitStack() as stack:
        yield partial(orders_desk.open_desk, stack, tmp_path / "state")


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spools that are opened behind this give up at once where another holds the books."""
    monkeypatch.setattr(db, "BUSY_TIMEOUT_MS", 1)
    monkeypatch.setattr(db, "BUSY_ATTEMPTS", 1)
