"""Lanes and default routes."""

from __future__ import annotations

import pytest

from gateway.domain.model import DestinationName, Lane
from gateway.domain.routing import Route, default_routes, lane_for


@pytest.mark.parametrize(
    ("priority", "lane"),
    [(1, Lane.STAT), (0, Lane.ROUTINE), (2, Lane.BULK), (3, Lane.ROUTINE), (-1, Lane.ROUTINE), (0xFFFF, Lane.ROUTINE)],
)
def test_lane_for(priority: int, lane: Lane) -> None:
    assert lane_for(priority) is lane


def test_default_routes_go_once_to_each_destination_in_order() -> None:
    pacs, archive = DestinationName("pacs"), DestinationName("archive")
    assert default_routes(priority=1, destinations=[pacs, archive, pacs]) == (
        Route(destination=pacs, lane=Lane.STAT),
        Route(destination=archive, lane=Lane.STAT),
    )
    assert default_routes(priority=1, destinations=[]) == ()
