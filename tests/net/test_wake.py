"""A door bell is heard across processes, costs nothing where nobody is, and says why it can't be hung up."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.domain.model import ConfigError
from gateway.net.wake import LONGEST_PATH, Bell, Wake


@pytest.mark.asyncio
async def test_a_ring_ends_the_wait(tmp_path: Path) -> None:
    path = tmp_path / "run" / "forward.sock"
    wake = await Wake.bind(path)
    bell = Bell(path)
    bell.ring()
    await wake.wait(60)  # the test's own limit is the deadline: without the ring it is met
    bell.close()
    wake.close()


def test_nobody_at_home_is_no_error(tmp_path: Path) -> None:
    bell = Bell(tmp_path / "nobody.sock")
    bell.ring()
    bell.close()


@pytest.mark.asyncio
async def test_a_path_that_is_too_long_names_the_key_and_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"box\.runtime: .* write a shorter folder"):
        await Wake.bind(tmp_path / ("x" * LONGEST_PATH) / "forward.sock")
