"""Where an instance goes and in which lane: the default rules, before any rule of a site."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from gateway.domain.model import DestinationName, Lane

_LANES: Final = {1: Lane.STAT, 2: Lane.BULK}


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One delivery to make."""

    destination: DestinationName
    lane: Lane


def lane_for(priority: int) -> Lane:
    """The lane of a Priority (0000,0700), PS3.7 E.1: high is stat, low is bulk, medium and unknown are routine."""
    return _LANES.get(priority, Lane.ROUTINE)


def default_routes(*, priority: int, destinations: Sequence[DestinationName]) -> tuple[Route, ...]:
    """One route to each destination of `routing.default`, in its order, each destination once."""
    lane = lane_for(priority)
    return tuple(Route(destination=name, lane=lane) for name in dict.fromkeys(destinations))
