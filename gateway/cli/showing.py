"""How things are shown: tables and times for people, one JSON object for programs.

What is promised: no value of ours or of a peer is read as markup or reaches the terminal as a control
character. Text that is piped is not cut to the width of a terminal that is not there.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, tzinfo
from typing import Final

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from gateway.domain.words import printable

PIPED_COLUMNS: Final = 200


def console() -> Console:
    """Where people read: stdout, as it is now."""
    return Console(highlight=False, width=None if sys.stdout.isatty() else PIPED_COLUMNS)


def show_table(screen: Console, title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a table; numbers are set to the right. Nothing is printed where there are no rows."""
    table = Table(title=title, box=SIMPLE_HEAD, title_justify="left", pad_edge=False)
    whole = [[*row] for row in rows]
    for number, column in enumerate(columns):
        right = all(isinstance(row[number], int) for row in whole)
        table.add_column(Text(column), justify="right" if right else "left", overflow="fold")
    for row in whole:
        table.add_row(*(Text(f"{cell:,}" if isinstance(cell, int) else printable(str(cell))) for cell in row))
    if whole:
        screen.print(table)


def say(screen: Console, text: str) -> None:
    """Print one paragraph as it is."""
    screen.print(Text(printable(text)), soft_wrap=True)


def show_json(answer: dict[str, object]) -> None:
    """Print the answer for programs."""
    typer.echo(json.dumps(answer, indent=2, default=as_json))


def moment(when: datetime | None, zone: tzinfo) -> str:
    """A time in the site's zone; a dash if there is none."""
    return "-" if when is None else f"{when.astimezone(zone):%Y-%m-%d %H:%M:%S %Z}"


def as_json(value: object) -> str:
    """The form of a value that JSON has none for."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    raise TypeError(f"{type(value).__name__} has no form in JSON")
