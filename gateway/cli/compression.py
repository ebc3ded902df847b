"""`gateway compression`: what is not compressed any more, and the images that show whether it may be."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli.failures import DOES_NOT_HOLD, UNKNOWN, CommandFailed
from gateway.cli.options import DEFAULT_CONFIG, AsJson, ConfigPath
from gateway.cli.showing import console, moment, say, show_json, show_table

if TYPE_CHECKING:
    from gateway.config import Destination

app = typer.Typer(rich_markup_mode=None, help="What goes out compressed, and what does not any more.")


@app.callback(invoke_without_command=True)
def compression(ctx: typer.Context, *, as_json: AsJson = False, config: ConfigPath = DEFAULT_CONFIG) -> None:
    """List the destinations that are sent compressed images, and what goes out as it came all the same."""
    from dataclasses import asdict

    from gateway.cli.opening import reading
    from gateway.spool.compression import bars

    if ctx.invoked_subcommand is not None:
        return
    with reading(config) as books:
        found = bars(books.c)
        chosen = [(one.name, one.compression) for one in books.config.destination]
        if as_json:
            show_json({"destinations": dict(chosen), "barred": [asdict(one) for one in found]})
            return
        screen, zone = console(), books.config.site.timezone
        show_table(screen, "Destinations", ("Name", "Compression"), chosen)
        rows = [(one.destination or "all", one.subject, one.why, moment(one.since, zone)) for one in found]
        show_table(screen, "Sent as it came", ("Destination", "What", "Why", "Since"), rows)
        if not found:
            say(screen, "Nothing is barred.")


@app.command()
def allow(
    destination: Annotated[str, typer.Argument(metavar="DESTINATION", help="Its name.")] = "",
    *,
    codecs: Annotated[bool, typer.Option("--codecs", help="What a codec did not give back as it was.")] = False,
    config: ConfigPath = DEFAULT_CONFIG,
) -> None:
    """Compress again what was barred, now that the cause is gone."""
    from gateway.cli.opening import writing
    from gateway.spool import compression as books_of

    if bool(destination) == codecs:
        raise CommandFailed("compression: name a destination, or --codecs")
    with writing(config) as books:
        gone = books.write(partial(books_of.allow, destination=destination, now=books.now))
    if not gone:
        raise CommandFailed(
            "compression: nothing is barred there; `gateway compression` lists what is", status=DOES_NOT_HOLD
        )
    typer.echo(f"allowed again: {gone}")


@app.command("test")
def show(
    destination: Annotated[str, typer.Argument(metavar="DESTINATION", help="Its name.")],
    *,
    as_json: AsJson = False,
    config: ConfigPath = DEFAULT_CONFIG,
) -> None:
    """Send an image of no patient in every form that the destination accepts: look at them there, side by side.

    Ends with status 0 only if at least one compressed form was stored, and none failed.
    """
    import tempfile
    from dataclasses import asdict
    from datetime import UTC, datetime
    from pathlib import Path

    from pydicom.uid import generate_uid

    from gateway.app.compression_test import compression_test
    from gateway.config import load
    from gateway.simulate.test_image import PATIENT

    loaded = load(config)
    chosen = _named(destination, loaded.destination)
    study = str(generate_uid(prefix=None))
    with tempfile.TemporaryDirectory(prefix="gateway-") as folder:
        shown = list(compression_test(loaded, chosen, Path(folder), study=study, at=datetime.now(UTC)))
    if as_json:
        show_json({"destination": destination, "study": study, "images": [asdict(one) for one in shown]})
    else:
        screen = console()
        rows = [(one.form, "colour" if one.colour else "gray", _smaller(one.ratio), one.outcome) for one in shown]
        show_table(screen, f"Sent to {destination}", ("Form", "Image", "Smaller", "Outcome"), rows)
        say(screen, f"Look at the study of {PATIENT} ({study}): all gray images must look alike, and all colour ones.")
    compressed = [one for one in shown[2:] if one.outcome == "stored"]
    if not compressed or any(one.outcome not in {"stored", "not accepted"} for one in shown):
        raise CommandFailed(
            'compression: not every form was stored; leave compression = "none" there until this is understood',
            status=DOES_NOT_HOLD,
        )


def _smaller(ratio: float) -> str:
    return f"{ratio:.1f}x" if ratio else "-"


def _named(name: str, destinations: tuple[Destination, ...]) -> Destination:
    found = next((one for one in destinations if one.name == name), None)
    if found is None:
        known = ", ".join(one.name for one in destinations)
        raise CommandFailed(f"compression: there is no such destination; there are: {known}", status=UNKNOWN)
    return found
