"""`gateway worklist`: the copy of the RISs' worklists that scanners are answered from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Final, TypeAlias

import typer

from gateway.cli import worklist_erase, worklist_explain, worklist_profiles
from gateway.cli.options import DEFAULT_CONFIG, AsJson, ConfigPath
from gateway.cli.showing import console, say, show_json, show_table
from gateway.domain.model import SourceName
from gateway.domain.words import age

if TYPE_CHECKING:
    from datetime import datetime

    from rich.console import Console

    from gateway.cli.opening import Reading
    from gateway.domain.overview import WorklistSource
    from gateway.domain.worklist import Freshness
    from gateway.spool.query_log import LoggedQuery
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
    """Show how fresh the worklist of each RIS is, and what became of each scanner's last question.

    fresh: a scanner is answered from the copy at once; stale: the RIS is asked first; expired: not served.
    """
    from gateway.cli.opening import reading
    from gateway.spool import query_log
    from gateway.spool import worklist as copy

    if ctx.invoked_subcommand is not None:
        return
    with reading(config) as books:
        asked = copy.sources(books.c)
        copied = copy.copied(books.c)
        kept = copy.rows(books.c, copy.WorklistKeys(), limit=ROWS_SHOWN) if rows else ()
        scanners = _scanners(books, asked, query_log.askers(books.c))
    never = [ris.name for ris in books.config.ris if ris.name not in {source.name for source in asked}]
    if as_json:
        answer = {
            "sources": [asdict(source) for source in asked],
            "never_asked": never,
            "copied": copied,
            "scanners": [_scanner_as_json(*one) for one in scanners],
        }
        show_json(answer | ({"rows": [_as_json(row) for row in kept]} if rows else {}))
        return
    screen = console()
    unasked = ((name, 0, copied.get(SourceName(name), 0), "never asked", "-", "-") for name in never)
    columns = ("RIS", "Rows", "In the copy", "Age", "Last asked", "Last error")
    show_table(screen, "RISs", columns, [*(_source(one, copied, books.now) for one in asked), *unasked])
    if not asked and not never:
        say(screen, "No RIS is configured: write a [[ris]] section.")
    other = [(name, count) for name, count in copied.items() if name not in {one.name for one in asked}]
    show_table(screen, "From messages and the desk", ("Source", "In the copy"), other)
    columns = ("Scanner", "Served from", "Last asked", "Rows", "Left out", "Ended")
    show_table(screen, "Scanners", columns, (_scanner(*one, books.now) for one in scanners))
    _show_rows(screen, kept)


def _source(source: WorklistSource, copied: Mapping[SourceName, int], now: datetime) -> tuple[object, ...]:
    fresh = "never answered" if source.last_success is None else age(source.last_success, now)
    resting = source.resting_until is not None and source.resting_until > now
    last = f"{age(source.last_attempt, now)}{', left alone' if resting else ''}"
    return source.name, source.rows, copied.get(source.name, 0), fresh, last, source.last_error or "-"


_Scanner: TypeAlias = "tuple[str, dict[str, Freshness], LoggedQuery | None]"


def _scanners(books: Reading, asked: Sequence[WorklistSource], askers: Sequence[LoggedQuery]) -> list[_Scanner]:
    """Those of the configuration, then the others that asked: by which freshness served, and the last question."""
    from gateway.config import WorklistPolicy
    from gateway.domain.admission import same_ae
    from gateway.domain.overview import served_from

    policies = {one.ae: one.worklist for one in books.config.scanner}
    others = [one.calling_ae for one in askers if not any(same_ae(one.calling_ae, ae) for ae in policies)]
    return [
        (
            ae,
            served_from(asked, fresh_for=policy.fresh_for, max_stale=policy.max_stale, now=books.now),
            next((one for one in askers if same_ae(one.calling_ae, ae)), None),
        )
        for ae, policy in [*policies.items(), *((ae, WorklistPolicy()) for ae in others)]
    ]


def _scanner(ae: str, served: Mapping[str, Freshness], last: LoggedQuery | None, now: datetime) -> tuple[object, ...]:
    copies = ", ".join(f"{source} {fresh}" for source, fresh in served.items()) or "-"
    if last is None:
        return ae, copies, "not yet", 0, "-", "-"
    left_out = ", ".join(f"{stage} {count:,}" for stage, count in last.dropped.items()) or "-"
    return ae, copies, age(last.last_asked, now), last.answered, left_out, last.outcome


def _show_rows(screen: Console, kept: Iterable[StoredRow]) -> None:
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


def _scanner_as_json(ae: str, served: Mapping[str, Freshness], last: LoggedQuery | None) -> dict[str, object]:
    told: dict[str, object] = {"ae": ae, "served_from": dict(served), "last": None}
    if last is not None:
        told["last"] = {
            "asked_at": last.last_asked,
            "count": last.count,
            "outcome": last.outcome,
            "answered": last.answered,
            "dropped": dict(last.dropped),
            "sources": dict(last.sources),
        }
    return told


def _as_json(stored: StoredRow) -> dict[str, object]:
    return {key: getattr(stored.row, key) for key in _KEYS} | {
        "first_seen": stored.first_seen,
        "last_confirmed": stored.last_confirmed,
    }
