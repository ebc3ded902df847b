"""`gateway queue --watch`: what is on its way now, study by study, until nothing waits.

What is promised: each look is one moment's view of the books; a rate or a time that is not known is a dash, never a
guess. With --json a look is one line.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

import typer

from gateway.cli.destinations import must_be_known
from gateway.cli.showing import as_json, console, say, show_table
from gateway.domain.model import DestinationName
from gateway.domain.transit import Journey, Transit
from gateway.domain.words import span

if TYPE_CHECKING:
    from gateway.cli.opening import Reading

SECONDS: Final = 1.0
STUDIES: Final = 15
pause = time.sleep


def watch(config: Path, destination: str, *, json_lines: bool) -> None:
    """Show the queues and the studies in them again and again; return when nothing waits, or at the person's wish."""
    from gateway.cli.opening import reading

    with suppress(KeyboardInterrupt), reading(config) as opened:
        must_be_known(destination, opened, command="queue")
        books = opened
        while True:
            looked = _look(books, destination)
            if json_lines:
                typer.echo(json.dumps(_as_json(*looked), default=as_json))
            else:
                _show(*looked)
            if not any(one.waiting_images or one.sent_images for one in looked[0]):
                return
            pause(SECONDS)
            books = books.anew()


Looked = tuple[list[Transit], list[Journey]]


def _look(books: Reading, destination: str) -> Looked:
    """The queues, and the studies that have waited longest in them."""
    from gateway.spool import transit

    wanted = DestinationName(destination)
    queues = [one for one in transit.queues(books.c, now=books.now) if not destination or one.destination == wanted]
    found = [transit.journey(books.c, uid, now=books.now) for uid in transit.under_way(books.c, limit=STUDIES)]
    return queues, [one for one in found if one is not None]


def _show(queues: list[Transit], journeys: list[Journey]) -> None:
    screen = console()
    screen.clear()
    if not queues:
        say(screen, "Nothing waits.")
        return
    rows = (
        (one.destination, one.waiting_images, _size(one.waiting_size), one.sent_images, one.refused_images, *_pace(one))
        for one in queues
    )
    columns = ("Destination", "Waiting", "Size", "Unconfirmed", "Refused", "Rate", "Sent in")
    show_table(screen, "On the way", columns, rows)
    show_table(screen, "Studies", ("Study", "To", "Sent", "Images", "Left", "Rate", "There in"), _studies(journeys))


def _studies(journeys: list[Journey]) -> Iterator[tuple[object, ...]]:
    for journey in journeys:
        for one in journey.destinations:
            if one.waiting_images:
                there = one.sent_images + one.confirmed_images
                yield (
                    journey.StudyInstanceUID,
                    one.destination,
                    f"{100 * there // one.images} %",
                    f"{there:,} of {one.images:,}",
                    _size(one.waiting_size),
                    *_pace(one),
                )


def _pace(one: Transit) -> tuple[str, str]:
    """The rate and the time that is left; a dash where it can't be told."""
    left = one.arrives_in
    return f"{one.rate / 1e6:,.1f} MB/s" if one.rate else "-", "-" if left is None else span(left)


def _size(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"


def _as_json(queues: list[Transit], journeys: list[Journey]) -> dict[str, object]:
    return {
        "destinations": [_told(one) for one in queues],
        "studies": [
            {
                "StudyInstanceUID": one.StudyInstanceUID,
                "at": one.at,
                "is_over": one.is_over,
                "destinations": [_told(each) for each in one.destinations],
            }
            for one in journeys
        ],
    }


def _told(one: Transit) -> dict[str, object]:
    keys = ("destination", "images", "waiting_images", "sent_images", "confirmed_images", "refused_images")
    left = one.arrives_in
    return {
        **{key: getattr(one, key) for key in keys},
        "size_bytes": one.size,
        "waiting_bytes": one.waiting_size,
        "ahead_bytes": one.ahead_size,
        "rate_bytes_per_s": one.rate,
        "arrives_in_s": None if left is None else left.total_seconds(),
    }
