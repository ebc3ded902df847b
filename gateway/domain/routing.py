"""Where an image goes, how urgently and in which form: the rules of the site, and what holds where none fires.

Promises
- No image is left without a destination for a rule's sake: where no rule that fires names one, the defaults are the
  destinations. `route` is total.
- Rules are looked at in their order; one that fires with `stop` ends the look. A destination that several name is
  sent to once; what the first of them says of its lane and form counts.
- A priority that a rule without destinations gives is that of every destination which no rule gave one.
- `explain` says of each rule what kept it from firing, by the same conditions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from gateway.domain.conditions import Condition, Facts
from gateway.domain.model import DestinationName, Lane

DEFAULTS: Final = "@default"
"""In the destinations of a rule: those of [routing] default. No destination can be named so."""
DEFAULT_ROUTE: Final = "default route"

_LANES: Final = {1: Lane.STAT, 2: Lane.BULK}


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One delivery to make."""

    destination: DestinationName
    lane: Lane
    compression: str = ""
    """"none" or "lossless"; empty: as the destination's own setting says."""
    rule: str = ""
    """The rule that named the destination; empty: none did."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule of the site."""

    id: str
    when: tuple[Condition, ...]
    """All must hold."""
    unless: tuple[Condition, ...] = ()
    """None may hold."""
    to: tuple[str, ...] = ()
    """Destinations, or DEFAULTS; empty: it only says how urgent the image is."""
    priority: Lane | None = None
    compression: str = ""
    stop: bool = False

    @property
    def keys(self) -> frozenset[str]:
        """What it has to know of an image."""
        return frozenset(condition.key for condition in (*self.when, *self.unless))

    def fires(self, facts: Facts) -> bool:
        return all(one.holds(facts) for one in self.when) and not any(one.holds(facts) for one in self.unless)


@dataclass(frozen=True, slots=True, kw_only=True)
class Routed:
    """Where an image goes."""

    routes: tuple[Route, ...]
    fired: tuple[str, ...] = ()
    """The rules that did, in their order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Missed:
    """A condition that kept a rule from firing."""

    key: str
    wanted: tuple[str, ...]
    found: tuple[str, ...]
    unwanted: bool = False
    """It is one of `unless`, and held."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Looked:
    """What became of one rule."""

    rule: str
    fired: bool
    missed: tuple[Missed, ...] = ()
    stopped_by: str = ""
    """The rule before it that ended the look."""


def lane_for(priority: int) -> Lane:
    """The lane of a Priority (0000,0700), PS3.7 E.1: high is stat, low is bulk, medium and unknown are routine."""
    return _LANES.get(priority, Lane.ROUTINE)


def base_lane(*, sent: int, ordered: Sequence[str], scanner: Lane | None) -> Lane:
    """How urgent an image is before any rule. An order that is STAT (RequestedProcedurePriority) goes before all;
    then what the site says of the scanner; then the priority it was sent with."""
    if any(value.strip().upper() == "STAT" for value in ordered):
        return Lane.STAT
    return lane_for(sent) if scanner is None else scanner


def default_routes(*, lane: Lane, destinations: Sequence[DestinationName]) -> tuple[Route, ...]:
    """One route to each destination of `routing.default`, in its order, each destination once."""
    return tuple(Route(destination=name, lane=lane) for name in dict.fromkeys(destinations))


def route(rules: Sequence[Rule], facts: Facts, *, lane: Lane, default: Sequence[DestinationName]) -> Routed:
    """Where an image goes of which these facts are known; `lane` is `base_lane`."""
    fired = list(_firing(rules, facts))
    if not fired:
        return Routed(routes=default_routes(lane=lane, destinations=default))
    general = next((rule.priority for rule in fired if rule.priority is not None and not rule.to), None)
    naming: dict[DestinationName, list[Rule]] = {}
    for rule in fired:
        for name in _named(rule, default):
            naming.setdefault(name, []).append(rule)
    if not naming:
        naming = {name: [] for name in default}
    routes = tuple(_route(name, by, general or lane) for name, by in naming.items())
    return Routed(routes=routes, fired=tuple(rule.id for rule in fired))


def explain(rules: Sequence[Rule], facts: Facts) -> tuple[Looked, ...]:
    """What became of each rule."""
    told: list[Looked] = []
    stopped_by = ""
    for rule in rules:
        missed = () if stopped_by else tuple(_missed(rule, facts))
        fired = not missed and not stopped_by
        told.append(Looked(rule=rule.id, fired=fired, missed=missed, stopped_by=stopped_by))
        if fired and rule.stop:
            stopped_by = rule.id
    return tuple(told)


def _firing(rules: Sequence[Rule], facts: Facts) -> Iterator[Rule]:
    for rule in rules:
        if rule.fires(facts):
            yield rule
            if rule.stop:
                return


def _named(rule: Rule, default: Sequence[DestinationName]) -> Iterator[DestinationName]:
    for name in rule.to:
        if name == DEFAULTS:
            yield from default
        else:
            yield DestinationName(name)


def _route(name: DestinationName, by: Sequence[Rule], lane: Lane) -> Route:
    return Route(
        destination=name,
        lane=next((rule.priority for rule in by if rule.priority is not None), lane),
        compression=next((rule.compression for rule in by if rule.compression), ""),
        rule=by[0].id if by else "",
    )


def _missed(rule: Rule, facts: Facts) -> Iterator[Missed]:
    for unwanted, conditions in ((False, rule.when), (True, rule.unless)):
        for one in conditions:
            if one.holds(facts) is unwanted:
                yield Missed(
                    key=one.key,
                    wanted=tuple(pattern.written for pattern in one.patterns),
                    found=tuple(facts.get(one.key, ())),
                    unwanted=unwanted,
                )
