"""`gateway commission`: is this box, where it stands, fit for its work? Its report, and whether a report is genuine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from gateway.cli.failures import DOES_NOT_HOLD, CommandFailed
from gateway.cli.options import DEFAULT_CONFIG, AsJson, ConfigPath
from gateway.cli.showing import console, say, show_json, show_table

if TYPE_CHECKING:
    from gateway.config import Config
    from hwtests.outcome import Line
    from hwtests.run import Written
    from hwtests.watchdog import Armed

app = typer.Typer(rich_markup_mode=None, help="Is this box, where it stands, fit for its work?")
FOLDER: Final = "commissioning"
"""Of the state folder."""
_INSTALL: Final = "install the gateway with its extra `commission` (pytest)"


@app.callback(invoke_without_command=True)
def commission(
    ctx: typer.Context,
    *,
    profile: Annotated[
        str, typer.Option("--profile", metavar="NAME|FILE", help="What this kind of box must have and reach.")
    ] = "appliance",
    operator: Annotated[str, typer.Option(help="Who tests, for the report.")] = "",
    report: Annotated[
        Path | None,
        typer.Option("--report", metavar="FOLDER", help="Where the report goes; else `commissioning` of the state."),
    ] = None,
    no_store: Annotated[bool, typer.Option("--no-store", help="Store no test images at the destinations.")] = False,
    fires: Annotated[bool, typer.Option("--watchdog", help="At the end let the watchdog restart the box.")] = False,
    only: Annotated[
        list[str] | None, typer.Option("--only", metavar="LINE", help="These lines alone, by how they begin.")
    ] = None,
    listed: Annotated[bool, typer.Option("--list", help="List the lines and test nothing.")] = False,
    sysroot: Annotated[
        Path, typer.Option("--sysroot", metavar="FOLDER", help="A described machine instead of this one.")
    ] = Path("/"),
    as_json: AsJson = False,
    config: ConfigPath = DEFAULT_CONFIG,
) -> None:
    """Test this box and its peers, and write a signed report.

    Ends with status 0 only if every line passed that was asked for, but for hardware that the profile does not
    expect. Images of no patient are stored at each destination. Run it as root, on a box that has no patient yet.
    """
    from gateway.config import load

    if ctx.invoked_subcommand is not None:
        return
    loaded = load(config)
    with _told_plainly():
        from hwtests.run import Wanted, plan_of
        from hwtests.run import commission as run

        wanted = Wanted(
            settings=config.absolute(),
            profile=profile,
            operator=operator,
            folder=report or loaded.box.state / FOLDER,
            root=sysroot,
            store=not no_store,
            fires=fires,
            only=tuple(only or ()),
        )
        if listed:
            from hwtests.plugin import Commissioning

            every = Commissioning(plan=plan_of(loaded, wanted))
            every.run()
            _show_titles(every.titles, as_json=as_json)
            return
        _ready(loaded)
        written = run(loaded, wanted, tell=_silent if as_json else _tell, restarting=_restarting)
    _show(written, as_json=as_json)


@app.command()
def resume(
    *,
    report: Annotated[
        Path | None, typer.Option("--report", metavar="FOLDER", help="As it was given before the restart.")
    ] = None,
    as_json: AsJson = False,
    config: ConfigPath = DEFAULT_CONFIG,
) -> None:
    """After the watchdog was let restart the box: complete the report."""
    from gateway.config import load

    loaded = load(config)
    with _told_plainly():
        from hwtests.run import resume as complete

        written = complete(loaded, report or loaded.box.state / FOLDER, config, tell=_silent if as_json else _tell)
    if written is None:
        raise CommandFailed("commission: no report waits for its watchdog; begin with `gateway commission --watchdog`")
    _show(written, as_json=as_json)


@app.command()
def verify(
    report: Annotated[Path, typer.Argument(metavar="REPORT", help="The report (.json), or its page (.html).")],
    *,
    key: Annotated[str, typer.Option(metavar="ID", help="The id of the key of the box that it must be of.")] = "",
    as_json: AsJson = False,
    config: ConfigPath = DEFAULT_CONFIG,
) -> None:
    """Check that a report is as this box signed it, or the box whose key is named.

    Says what the report came to, too; the exit status is about the signature alone.
    """
    from hwtests.report import NoReport
    from hwtests.report import verify as check

    try:
        found, signer = check(report)
    except NoReport as error:
        raise CommandFailed(f"commission: {error}", status=DOES_NOT_HOLD) from None
    wanted = key.strip().lower() or _own_key(config)
    if as_json:
        show_json({"genuine": signer == wanted, "key": signer, "report": found})
    else:
        box = found["box"]
        say(console(), f"box {box['id']}, site {box['site']}, {found['begun']}: {found['result']}; key {signer}")
    if signer != wanted:
        remedy = "name the key of the box that it is of: --key"
        raise CommandFailed(f"commission: the report is whole, and of another box; {remedy}", status=DOES_NOT_HOLD)


def _own_key(config: Path) -> str:
    """The id of this box's key. Raises CommandFailed if it has none yet."""
    from gateway.config import load
    from gateway.domain.signature import key_id
    from gateway.net.box_key import FILE, box_key

    box = load(config).box
    path = box.key or box.state / FILE
    if not path.exists():
        raise CommandFailed("commission: this box has no key yet; name the key that signed: --key")
    with _told_plainly():
        return key_id(box_key(path).public_key())


def _ready(config: Config) -> None:
    """The state folder must be there: what is measured is its disk."""
    if not config.box.state.is_dir():
        remedy = "mount it, and start the gateway once"
        raise CommandFailed(f"commission: there is no folder {config.box.state}; {remedy}")


@contextmanager
def _told_plainly() -> Iterator[None]:
    """What ends a commissioning before its report, as one line."""
    try:
        from hwtests.outcome import Fault
    except ModuleNotFoundError as error:
        raise CommandFailed(f"commission: {error.name} is missing; {_INSTALL}") from None
    try:
        yield
    except ModuleNotFoundError as error:
        raise CommandFailed(f"commission: {error.name} is missing; {_INSTALL}") from None
    except Fault as error:
        raise CommandFailed(f"commission: {error}") from None
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise CommandFailed(f"commission: the report can't be written ({reason}); run this as root") from None


def _silent(_: Line) -> None:
    """For programs: the report says it all."""


def _tell(line: Line) -> None:
    say(console(), f"{line.state:<12} {line.id}{f': {line.why}' if line.why else ''}")


def _restarting(armed: Armed) -> None:
    how = "the kernel is halted" if armed.crash else "no sign of life is given any more"
    typer.echo(
        f"Now {how}; the box must restart within {armed.timeout} s. Leave it alone, then log in and run:\n"
        "  gateway commission resume",
        err=True,
    )


def _show_titles(titles: dict[str, str], *, as_json: bool) -> None:
    if as_json:
        show_json({"lines": titles})
    else:
        show_table(console(), "Lines", ("Line", "What it says"), titles.items())


def _show(written: Written, *, as_json: bool) -> None:
    from hwtests.report import GOOD

    report = written.report
    if as_json:
        show_json({**report, "files": {"json": str(written.files.json), "html": str(written.files.html)}})
    else:
        counts = ", ".join(f"{count} {state}" for state, count in report["counts"].items())
        say(console(), f"{str(report['result']).upper()}: {counts}")
        say(console(), f"Print and file: {written.files.html}")
    if report["result"] not in GOOD:
        remedy = "see the lines above that failed or were not tested"
        raise CommandFailed(f"commission: {report['result']}; {remedy}", status=DOES_NOT_HOLD)
