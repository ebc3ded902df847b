"""`gateway peers`: who may call us, who was turned away, and how to admit or dismiss a scanner."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from gateway.cli.failures import DOES_NOT_HOLD, CommandFailed
from gateway.cli.options import DEFAULT_CONFIG, AsJson, ConfigPath
from gateway.cli.profile import profile_named
from gateway.cli.showing import console, moment, say, show_json, show_table
from gateway.domain.words import age

if TYPE_CHECKING:
    from gateway.cli.opening import Reading

T = TypeVar("T")

app = typer.Typer(rich_markup_mode=None, help="Who may call us, and who was turned away.")
AeArgument = Annotated[str, typer.Argument(metavar="AE", help="The AE title it calls with.")]


@app.callback(invoke_without_command=True)
def peers(ctx: typer.Context, *, as_json: AsJson = False, config: ConfigPath = DEFAULT_CONFIG) -> None:
    """List the scanners of the configuration, those added by a command, and the callers turned away."""
    from gateway.cli.opening import reading
    from gateway.spool.peers import callers, scanners

    if ctx.invoked_subcommand is not None:
        return
    with reading(config) as books:
        added, strangers = scanners(books.c), callers(books.c)
        if as_json:
            show_json(
                {
                    "configured": _configured(books),
                    "added": [asdict(one) for one in added],
                    "strangers": [asdict(one) for one in strangers],
                }
            )
            return
        screen, zone = console(), books.config.site.timezone
        show_table(
            screen,
            "Scanners",
            ("AE", "Address", "Profile", "From"),
            [
                *(
                    (one.ae, ", ".join(map(str, one.address)) or "any", one.profile, "configuration")
                    for one in books.config.scanner
                ),
                *(
                    (
                        one.ae,
                        ", ".join(one.addresses) or "any",
                        one.profile,
                        f"{one.added_by}, {moment(one.added_at, zone)}",
                    )
                    for one in added
                ),
            ],
        )
        if not added and not books.config.scanner:
            say(screen, "No scanner may call yet: `gateway peers add AE`, or write a [[scanner]] section.")
        turned_away = (
            (one.calling_ae, one.called_ae, one.address, one.reason, one.count, age(one.last_seen, books.now))
            for one in strangers
        )
        show_table(screen, "Turned away", ("Calling AE", "Called AE", "Address", "Why", "Calls", "Last"), turned_away)


@app.command()
def add(
    ae: AeArgument,
    *,
    address: Annotated[
        list[str] | None,
        typer.Option(
            "--address", metavar="IP", help="An address or network it calls from; may be repeated. None: any."
        ),
    ] = None,
    profile: Annotated[str, typer.Option(help="The profile of its make and model.")] = "generic",
    config: ConfigPath = DEFAULT_CONFIG,
) -> None:
    """Admit a scanner from now on, or change one that was added; no restart is needed."""
    from gateway.cli.opening import writing
    from gateway.config.values import parse_ae, parse_name, parse_network
    from gateway.spool.peers import add_scanner

    title = _checked("AE", parse_ae, ae)
    networks = [str(_checked("--address", parse_network, one)) for one in address or []]
    plain = _checked("--profile", parse_name, profile)
    with writing(config) as books:
        profile_named(books.config.worklist.profiles, plain, key="--profile")
        books.write(partial(add_scanner, ae=title, addresses=networks, profile=plain, now=books.now, by=books.by))
    typer.echo(f"{title} may call from {', '.join(networks) or 'any address'}.")


@app.command()
def remove(ae: AeArgument, *, config: ConfigPath = DEFAULT_CONFIG) -> None:
    """Turn a scanner away from now on that was added by a command."""
    from gateway.cli.opening import writing
    from gateway.config.values import parse_ae
    from gateway.spool.peers import remove_scanner

    title = _checked("AE", parse_ae, ae)
    with writing(config) as books:
        gone = books.write(partial(remove_scanner, ae=title, now=books.now, by=books.by))
        still = any(one.ae == title for one in books.config.scanner)
    if not gone:
        remedy = "remove its [[scanner]] section and restart" if still else "`gateway peers` lists them"
        raise CommandFailed(f"peers: no such scanner was added by a command; {remedy}", status=DOES_NOT_HOLD)
    typer.echo(f"{title} is removed{', and the configuration still admits it' if still else ''}.")


def _checked(name: str, parse: Callable[[object], T], value: str) -> T:
    """The value as the configuration would take it. Raises CommandFailed with the same words."""
    from pydantic_core import PydanticCustomError

    try:
        return parse(value)
    except PydanticCustomError as error:
        raise CommandFailed(f"{name}: {error.message()}") from None


def _configured(books: Reading) -> list[dict[str, object]]:
    return [
        {"ae": one.ae, "addresses": [*map(str, one.address)], "called_ae": [*one.called_ae], "profile": one.profile}
        for one in books.config.scanner
    ]
