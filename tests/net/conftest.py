"""A real server on uvloop in a thread."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.net.wire import Box, Opener


@pytest.fixture
def open_box() -> Iterator[Opener]:
    opener = Opener()
    yield opener
    opener.close()


@pytest.fixture
def box(open_box: Opener) -> Box:
    return open_box()
