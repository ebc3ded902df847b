"""`gateway fleet ...`: what central IT types. Needs the extra `fleet`; nothing here touches the spool of a box.

What is promised: `watch` shows one moment of the fleet's books; a box that nobody listens to is not called lost, and
that nobody listens is said first. With --once the status is 0 only if somebody listens and no incident is open.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from gateway.cli import fleet_command, fleet_rollout
from gateway.cli.failures import DOES_NOT_HOLD, HOLDS, UNKNOWN, CommandFailed
from gateway.cli.fleet_options import DEFAULT_CONFIG, FleetPath, needs_extra, opened_books
from gateway.cli.options import AsJson

if TYPE_CHECKING:
    from rich.console import Group

    from gateway.domain.fleet import BoxView
    from gateway.domain.telemetry import State
    from gateway.fleet.boxes import Fleet
    from gateway.fleet.database import Books
    from gateway.fleet.incidents import Shown

LOOK_SECONDS: Final = 2.0
ROWS: Final = 30
"""Boxes that are shown, those that need somebody first."""

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="The fleet, as central sees and steers it.")
app.command("command")(fleet_command.command)
app.add_typer(fleet_rollout.app, name="rollout")
SiteOption = Annotated[str, typer.Option("--site", metavar="NAME", help="Only this site.")]


@app.command()
def collect(
    *,
    config: FleetPath = DEFAULT_CONFIG,
    log_level: Annotated[str, typer.Option(help="debug, info, warning or error.")] = "info",
) -> None:
    """Take what the boxes say into the fleet's books, until stopped. Any number may run side by side."""
    from gateway.cli.logs import log_to_stderr
    from gateway.config.fleet import load_fleet

    needs_extra()
    from gateway.app.fleet import collect as run

    log_to_stderr(log_level)
    raise typer.Exit(run(load_fleet(config)))


@app.command()
def watch(
    *,
    config: FleetPath = DEFAULT_CONFIG,
    site: SiteOption = "",
    once: Annotated[bool, typer.Option("--once", help="One look; status 0 if nothing is amiss.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show incidents and boxes, again and again; those that need somebody first."""
    needs_extra()
    if once or as_json:
        raise typer.Exit(asyncio.run(_once(config, site, as_json=as_json)))
    with suppress(KeyboardInterrupt):
        asyncio.run(_live(config, site))


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """The fleet at one moment."""

    fleet: Fleet
    incidents: Sequence[Shown]

    @property
    def listened(self) -> bool:
        """Whether a collector listens."""
        from gateway.fleet.boxes import LISTENING_GAP

        at = self.fleet.listened_at
        return at is not None and datetime.now(UTC) - at < LISTENING_GAP

    def states(self) -> Counter[State]:
        return Counter(self.fleet.standing(view) for view in self.fleet.boxes)

    def worst_first(self) -> list[BoxView]:
        """Lost boxes, then those with an alarm, then the others by name."""
        from gateway.domain.telemetry import State

        order = {State.LOST: 0, State.ALERT: 1, State.DRAINING: 2, State.DISCONNECTED: 3, State.READY: 4}
        return sorted(self.fleet.boxes, key=lambda view: (order[self.fleet.standing(view)], view.site, view.box))


async def _once(config: Path, site: str, *, as_json: bool) -> int:
    from gateway.cli.showing import console, show_json

    async with opened_books(config) as books:
        look = await _look(books, site)
    if as_json:
        show_json(_as_json(look))
    else:
        console().print(_shown(look))
    return HOLDS if look.listened and not look.incidents else DOES_NOT_HOLD


async def _live(config: Path, site: str) -> None:
    from rich.live import Live

    from gateway.cli.showing import console

    async with opened_books(config) as books:
        looks = live_looks(books, site)
        with Live(await anext(looks), console=console(), screen=True, auto_refresh=False) as live:
            async for shown in looks:
                live.update(shown, refresh=True)


async def live_looks(books: Books, site: str) -> AsyncIterator[Group]:
    """What there is to see, look by look. Once there was one, a database that is away is said above the last."""
    from rich.console import Group
    from rich.text import Text

    from gateway.fleet.database import BooksAway

    last = _shown(await _look(books, site))
    yield last
    while True:
        await asyncio.sleep(LOOK_SECONDS)
        try:
            last = _shown(await _look(books, site))
        except BooksAway as error:
            yield Group(Text(f"This is how things were: {error}", "red"), last)
        else:
            yield last


async def _look(books: Books, site: str) -> Look:
    from gateway.fleet import boxes, incidents

    now = datetime.now(UTC)
    found = await incidents.shown(books, now=now)
    here = [one for one in found if not site or site in one.sites]
    fleet = await boxes.fleet(books, now=now, site=site)
    if site and not fleet.boxes:
        remedy = "write it as [site] name of the box, or leave --site out"
        raise CommandFailed(f"fleet watch: no box of that site was ever heard; {remedy}", status=UNKNOWN)
    return Look(fleet=fleet, incidents=here)


def _shown(look: Look) -> Group:
    from rich.console import Group
    from rich.text import Text

    states = look.states()
    counts = ", ".join(f"{number:,} {state}" for state, number in states.most_common())
    lines = [Text(f"{len(look.fleet.boxes):,} boxes: {counts or 'none was heard yet'}", style="bold")]
    if not look.listened:
        lines.append(Text("No collector listens, so this is how things were: start `gateway fleet collect`.", "red"))
    incidents = _table(
        ("Incident", "About", "Severity", "Boxes", "of", "Sites", "Since"),
        (
            (one.code, one.instance, one.severity, one.boxes_now, one.boxes, _few(one.sites), _ago(one.opened_at))
            for one in look.incidents
        ),
    )
    return Group(*lines, incidents, _table(("Site", "Box", "State", "Since", "Waiting", "Alarms"), _rows(look)))


def _rows(look: Look) -> Iterable[tuple[object, ...]]:
    import json

    for view in look.worst_first()[:ROWS]:
        health = json.loads(view.health) if view.health else {}
        waiting, alarms = health.get("spool_n", "-"), health.get("alarms_n", "-")
        yield view.site, view.box, look.fleet.standing(view), _ago(view.since), waiting, alarms


def _table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> Any:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    from gateway.domain.words import printable

    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(column)
    for row in rows:
        table.add_row(*(Text(printable(str(cell))) for cell in row))
    return table if table.rows else Text("")


def _few(sites: Sequence[str]) -> str:
    return ", ".join(sites) if len(sites) <= 3 else f"{len(sites)} sites"


def _ago(when: datetime) -> str:
    from gateway.domain.words import span

    return span(datetime.now(UTC) - when)


def _as_json(look: Look) -> dict[str, object]:
    import json

    return {
        "listening": look.listened,
        "at": look.fleet.now,
        "states": look.states(),
        "incidents": [
            {
                "number": one.number,
                "code": one.code,
                "instance": one.instance,
                "severity": one.severity,
                "opened_at": one.opened_at,
                "boxes": one.boxes,
                "boxes_now": one.boxes_now,
                "sites": one.sites,
            }
            for one in look.incidents
        ],
        "boxes": [
            {
                "site": view.site,
                "box": view.box,
                "state": look.fleet.standing(view),
                "since": view.since,
                "heard": view.presence.heard if view.presence else None,
                "contested": view.presence.contested if view.presence else None,
                "health": json.loads(view.health) if view.health else None,
            }
            for view in look.worst_first()
        ],
    }
