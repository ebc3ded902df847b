"""`gateway send`: a person has a study sent to a destination, whatever the rules said and what it holds already."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Annotated, Final

import typer

from gateway.cli.failures import DOES_NOT_HOLD, UNKNOWN, CommandFailed
from gateway.cli.options import DEFAULT_CONFIG, ConfigPath
from gateway.domain.model import UID, DestinationName, Instance, Lane
from gateway.domain.routing import Route
from gateway.domain.words import images

if TYPE_CHECKING:
    from gateway.cli.opening import Writing
    from gateway.spool import Connection

AT_ONCE: Final = 200
"""Images queued in one transaction: the running roles wait for it."""


def send(
    study: Annotated[str, typer.Argument(metavar="STUDY", help="The Study Instance UID.")],
    *,
    to: Annotated[str, typer.Option("--to", metavar="DESTINATION", help="A destination's configured name.")],
    series: Annotated[str, typer.Option("--series", metavar="UID", help="Only this series.")] = "",
    instance: Annotated[str, typer.Option("--instance", metavar="UID", help="Only this SOP Instance UID.")] = "",
    priority: Annotated[Lane, typer.Option("--priority", help="How urgent it is.")] = Lane.ROUTINE,
    config: ConfigPath = DEFAULT_CONFIG,
) -> None:
    """Send a study, a series or an image to a destination, also if it has confirmed it already.

    Who asked is in the journal (`gateway study STUDY --journal`). Ends with status 0 only if all of it is queued.
    """
    from gateway.cli.opening import writing
    from gateway.spool import instances

    with writing(config) as books:
        route = Route(destination=_destination(books, to.strip()), lane=_lane(books, to.strip(), priority))
        meant = [
            one
            for one in instances.in_study(books.c, UID(study.strip()))
            if series.strip() in {"", one.SeriesInstanceUID} and instance.strip() in {"", one.SOPInstanceUID}
        ]
        if not meant:
            remedy = "check the UIDs with `gateway study`"
            raise CommandFailed(f"send: no image that was received is meant; {remedy}", status=UNKNOWN)
        queued = 0
        for first in range(0, len(meant), AT_ONCE):
            part = meant[first : first + AT_ONCE]
            queued += books.write(partial(_queue, meant=part, route=route, books=books))
        books.wake_forward()
    typer.echo(f"queued for {route.destination}: {queued:,} of {images(len(meant))}")
    if queued < len(meant):
        remedy = "`gateway study` shows which: purged here, or in quarantine until `gateway release`"
        raise CommandFailed(f"send: {len(meant) - queued:,} can't be sent; {remedy}", status=DOES_NOT_HOLD)


def _destination(books: Writing, name: str) -> DestinationName:
    from gateway.config.values import suggestion

    known = [one.name for one in books.config.destination]
    if name not in known:
        near = suggestion(name, known)
        raise CommandFailed(f"send: there is no such destination; {near}name one of: {', '.join(known) or 'none'}")
    return DestinationName(name)


def _lane(books: Writing, name: str, wanted: Lane) -> Lane:
    """The lane of that priority, or the first that the destination has."""
    lanes = next(one.lanes for one in books.config.destination if one.name == name)
    return wanted if wanted in lanes else lanes[0]


def _queue(c: Connection, *, meant: Sequence[Instance], route: Route, books: Writing) -> int:
    from gateway.spool import deliveries

    asked = (deliveries.send_by_hand(c, one.id, route=route, now=books.now, by=books.by) for one in meant)
    return sum(one is not None for one in asked)
