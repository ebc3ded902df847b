"""`gateway destinations`: where images go, and whether each can be reached, step by step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli.failures import DOES_NOT_HOLD, UNKNOWN, CommandFailed
from gateway.cli.options import DEFAULT_CONFIG, AsJson, ConfigPath
from gateway.cli.showing import console, moment, show_json, show_table

if TYPE_CHECKING:
    from gateway.cli.opening import Reading, Writing

app = typer.Typer(rich_markup_mode=None, help="Where images go, and whether each place can be reached.")


@app.callback(invoke_without_command=True)
def destinations(ctx: typer.Context, *, as_json: AsJson = False, config: ConfigPath = DEFAULT_CONFIG) -> None:
    """List the destinations, how each is reached, what proves delivery, and when it is sent to."""
    from datetime import UTC, datetime

    from gateway.config import load

    if ctx.invoked_subcommand is not None:
        return
    loaded, now = load(config), datetime.now(UTC)
    zone = loaded.site.timezone
    found = [
        {
            "name": one.name,
            "kind": one.kind,
            "confirm": str(one.confirm),
            "rate": one.rate,
            "failover": list(one.failover),
            "opens": one.window.opens(now, zone),
        }
        for one in loaded.destination
    ]
    if as_json:
        show_json({"destinations": found})
        return
    rows = [
        (
            one.name,
            one.kind,
            one.confirm,
            f"{one.rate:,} B/s" if one.rate else "no cap",
            ", ".join(one.failover) or "-",
            "now" if one.window.is_open(now, zone) else moment(one.window.opens(now, zone), zone),
        )
        for one in loaded.destination
    ]
    show_table(console(), "Destinations", ("Name", "Kind", "Confirm", "Rate", "Failover", "Sent to"), rows)


def must_be_known(name: str, books: Reading | Writing, *, command: str) -> None:
    """Raises CommandFailed for a name that the configuration has not and for which nothing waits; "" is all of them."""
    from gateway.spool import deliveries

    known = {one.destination for one in deliveries.backlog(books.c)} | {one.name for one in books.config.destination}
    if name and name not in known:
        remedy = f"name one of: {', '.join(sorted(known))}"
        raise CommandFailed(f"{command}: there is no such destination; {remedy}")


@app.command("test")
def try_out(
    name: Annotated[str, typer.Argument(metavar="DESTINATION", help="Its name.")],
    *,
    prepare: Annotated[
        bool, typer.Option("--prepare", help="Mark the folder as this destination's, now that the share is mounted.")
    ] = False,
    as_json: AsJson = False,
    config: ConfigPath = DEFAULT_CONFIG,
) -> None:
    """Try to reach a destination as the gateway does, and tell of each step; nothing is stored there.

    An image of no patient is sent by `gateway compression test`.
    """
    from dataclasses import asdict

    from gateway.app.commissioning import commission
    from gateway.config import FolderDestination, load

    loaded = load(config)
    chosen = next((one for one in loaded.destination if one.name == name), None)
    if chosen is None:
        known = ", ".join(one.name for one in loaded.destination)
        raise CommandFailed(f"destinations: there is no such destination; there are: {known}", status=UNKNOWN)
    if prepare and not isinstance(chosen, FolderDestination):
        raise CommandFailed("destinations: --prepare is for folders")
    steps = list(commission(loaded, chosen, prepared=prepare))
    if as_json:
        show_json({"destination": name, "steps": [asdict(step) for step in steps]})
    else:
        rows = [(step.name, "ok" if step.holds else "FAILS", step.said) for step in steps]
        show_table(console(), f"Destination {name}", ("Step", "", "Found"), rows)
    if not all(step.holds for step in steps):
        raise CommandFailed(f"destinations: {name} can't be used as it is", status=DOES_NOT_HOLD)
