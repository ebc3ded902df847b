"""A process ends in order when it was begun by another configuration than the one in place."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from gateway.app import _watch_configuration
from gateway.config import Overlay


@pytest.mark.asyncio
@pytest.mark.parametrize("late", [False, True], ids=["while it starts", "while it runs"])
async def test_another_configuration_ends_the_process(tmp_path: Path, late: bool) -> None:
    overlay, stop = Overlay(tmp_path), asyncio.Event()
    begun_by = overlay.mark()
    if not late:
        overlay.put("wished", over="local")
    watching = asyncio.create_task(_watch_configuration(overlay, begun_by, stop))
    await asyncio.sleep(0)
    if late:
        assert not watching.done()
        overlay.put("wished", over="local")
    async with asyncio.timeout(60):
        await watching
    assert not stop.is_set()
