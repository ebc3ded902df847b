"""`gateway queue`: what waits for each destination and for how long, in the manner of Postfix's qshape."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Final

import typer

from gateway.cli.destinations import must_be_known
from gateway.cli.options import DEFAULT_CONFIG, AsJson, ConfigPath, DestinationOption
from gateway.cli.showing import console, say, show_json, show_table
from gateway.domain.model import Delivery, DeliveryState, DestinationName
from gateway.domain.words import age, images, reason_of

if TYPE_CHECKING:
    from gateway.cli.opening import Reading

COLUMNS: Final = ("<1m", "1-10m", "10m-1h", "1-4h", "4-24h", ">1d")
_BOUNDS: Final = (
    timedelta(minutes=1),
    timedelta(minutes=10),
    timedelta(hours=1),
    timedelta(hours=4),
    timedelta(days=1),
)
_OPEN: Final = (DeliveryState.QUEUED, DeliveryState.SENDING, DeliveryState.SENT)
LISTED: Final = 200
"""Refused deliveries that are listed one by one; more of them have the same few causes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """How many deliveries of one destination stand in one state, by age."""

    destination: str
    state: DeliveryState
    total: int
    ages: tuple[int, ...]
    """As COLUMNS."""


def queue(
    *,
    destination: DestinationOption = "",
    refused: Annotated[bool, typer.Option("--refused", help="What was refused, with ids for `gateway retry`.")] = False,
    watch: Annotated[
        bool, typer.Option("--watch", help="Show it anew each second, study by study, until nothing waits.")
    ] = False,
    as_json: AsJson = False,
    config: ConfigPath = DEFAULT_CONFIG,
) -> None:
    """Show how much waits for which destination, by age.

    queued: waits for its turn or its next attempt; sending: under way; sent: the destination has not
    confirmed it yet; refused: waits for a person.
    """
    from gateway.cli.opening import reading

    if watch:
        from gateway.cli.watching import watch as watch_it

        watch_it(config, destination, json_lines=as_json)
        return
    with reading(config) as books:
        must_be_known(destination, books, command="queue")
        every = _shapes(books, states=(*_OPEN, DeliveryState.REFUSED))
        meant = [shape for shape in every if destination in {"", shape.destination}]
        shapes = [shape for shape in meant if (shape.state is DeliveryState.REFUSED) is refused]
        for_a_person = sum(shape.total for shape in meant if shape.state is DeliveryState.REFUSED)
        listed = _refused(books, sorted({shape.destination for shape in shapes})) if refused else []
    if as_json:
        answer: dict[str, object] = {"destinations": [_as_json(shape) for shape in shapes]}
        show_json(answer | ({"refused": [_refused_as_json(one) for one in listed]} if refused else {}))
        return
    screen = console()
    if not shapes:
        waits = "Nothing waits to be sent." if for_a_person else "Nothing waits."
        say(screen, "Nothing was refused." if refused else waits)
    rows = ((shape.destination, shape.state, shape.total, *shape.ages) for shape in shapes)
    show_table(screen, "Images by age", ("Destination", "State", "Total", *COLUMNS), rows)
    columns = ("Delivery", "Destination", "Status", "Why", "Attempts", "Age")
    since = ((one, age(one.queued_at, books.now)) for one in listed)
    rows_of = ((str(o.id), o.destination, o.last_status, reason_of(o.last_status), o.attempts, old) for o, old in since)
    show_table(screen, "Refused", columns, rows_of)
    if listed:
        say(
            screen, "When the cause is gone: `gateway retry DELIVERY...`, or `gateway retry --refused` for all of them."
        )
    elif for_a_person:
        told = f"{'was refused and waits' if for_a_person == 1 else 'were refused and wait'} for a person"
        say(screen, f"{images(for_a_person)} {told}: `gateway queue --refused`.")


def _shapes(books: Reading, *, states: Sequence[DeliveryState]) -> list[Shape]:
    from gateway.spool import deliveries

    totals: dict[tuple[str, DeliveryState], int] = {}
    for backlog in deliveries.backlog(books.c):
        key = (backlog.destination, backlog.state)
        totals[key] = totals.get(key, 0) + backlog.count
    shapes = []
    for state in states:
        younger = deliveries.younger(books.c, state=state, bounds=[books.now - bound for bound in _BOUNDS])
        for (destination, found), total in totals.items():
            if found is state:
                growing = (0, *younger.get(DestinationName(destination), (0,) * len(_BOUNDS)), total)
                ages = tuple(after - before for before, after in pairwise(growing))
                shapes.append(Shape(destination=destination, state=state, total=total, ages=ages))
    return sorted(shapes, key=lambda shape: (shape.destination, states.index(shape.state)))


def _refused(books: Reading, destinations: Sequence[str]) -> list[Delivery]:
    from gateway.spool import deliveries

    found: list[Delivery] = []
    for name in destinations:
        found += deliveries.in_state(
            books.c, destination=DestinationName(name), state=DeliveryState.REFUSED, limit=LISTED - len(found)
        )
    return found


def _as_json(shape: Shape) -> dict[str, object]:
    return {
        "destination": shape.destination,
        "state": shape.state,
        "total": shape.total,
        "ages": dict(zip(COLUMNS, shape.ages, strict=True)),
    }


def _refused_as_json(one: Delivery) -> dict[str, object]:
    keys = ("id", "instance", "destination", "lane", "last_status", "attempts", "queued_at")
    return {key: getattr(one, key) for key in keys}
