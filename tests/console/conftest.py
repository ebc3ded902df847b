"""A box for each test, and its console."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.site import Site
from tests.console.box import Served, made, serving


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    opened = Site(tmp_path)
    yield opened
    opened.close()


@pytest.fixture
def console(site: Site) -> Iterator[Served]:
    """Fill the site before the first question, or move its clock: what was read stands for a second."""
    with serving(made(site)) as served:
        yield served
