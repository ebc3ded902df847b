"""`gateway worklist`: the copy of the RISs' worklists that scanners are answered from."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Final

import typer

from gateway.cli import worklist_erase, worklist_explain, worklist_profiles
from gateway.cli.options import DEFAULT_CONFIG, AsJson, ConfigPath
from gateway.cli.showing import console, say, show_json, show_table
from gateway.domain.words import age

if TYPE_CHECKING:
    from gateway.domain.overview import WorklistSource
    from gateway.spool.worklist import StoredRow

ROWS_SHOWN: Final = 5000
_KEYS: Final = (
    *("source", "start_date", "start_time", "Modality", "ScheduledStationAETitle"),
    *("AccessionNumber", "PatientID", "status"),
)


app = typer.Typer(rich_markup_mode=None, help="What scanners are answered from, how fresh it is, and why.")
app.command("explain")(worklist_explain.explain)
app.command("erase")(worklist_erase.erase)
app.command("profiles")(worklist_profiles.profiles)
app.command("capture")(worklist_profiles.capture)
app.command("replay")(worklist_profiles.replay)


@app.callback(invoke_without_command=True)
def worklist(
    ctx: typer.Context,
    *,
    rows: Annotated[
        bool, typer.Option("--rows", help="The rows too, with patient ids: only where nobody else looks.")
    ] = False,
    as_json: AsJson = False,
    config: ConfigPath = DEFAULT_CONFIG,
) -> None:
    """Show how fresh the worklist of each RIS is, and with --rows what is scheduled."""
    from gateway.cli.opening import reading
    from gateway.spool.worklist import WorklistKeys, sources
    from gateway.spool.worklist import rows as rows_of

    if ctx.invoked_subcommand is not None:
        return
    with reading(config) as books:
        asked = sources(books.c)
        kept = rows_of(books.c, WorklistKeys(), limit=ROWS_SHOWN) if rows else ()
        never = [ris.name for ris in books.config.ris if ris.name not in {source.name for source in asked}]
        now = books.now
    if as_json:
        answer: dict[str, object] = {"sources": [asdict(source) for source in asked], "never_asked": never}
        show_json(answer | ({"rows": [_as_json(row) for row in kept]} if rows else {}))
        return
    screen = console()

    def shown(source: WorklistSource) -> tuple[object, ...]:
        fresh = "never answered" if source.last_success is None else age(source.last_success, now)
        return source.name, source.rows, fresh, age(source.last_attempt, now), source.last_error or "-"

    unasked = ((name, 0, "never asked", "-", "-") for name in never)
    show_table(screen, "RISs", ("RIS", "Rows", "Age", "Last asked", "Last error"), [*map(shown, asked), *unasked])
    if not asked and not never:
        say(screen, "No RIS is configured: write a [[ris]] section.")
    columns = ("Date", "Time", "Modality", "Station AE", "Accession", "Patient ID", "Status", "RIS")
    lines = (
        (
            r.start_date,
            r.start_time,
            r.Modality,
            r.ScheduledStationAETitle,
            r.AccessionNumber,
            r.PatientID,
            r.status,
            r.source,
        )
        for r in (one.row for one in kept)
    )
    show_table(screen, "Scheduled", columns, lines)


def _as_json(stored: StoredRow) -> dict[str, object]:
    return {key: getattr(stored.row, key) for key in _KEYS} | {
        "first_seen": stored.first_seen,
        "last_confirmed": stored.last_confirmed,
    }
