"""`gateway desk`: worklist entries made here while the order is missing, and what becomes of them."""

from __future__ import annotations

import secrets
import uuid
from collections.abc import Callable, Iterator
from dataclasses import asdict
from datetime import tzinfo
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli.failures import DOES_NOT_HOLD, UNKNOWN, CommandFailed
from gateway.cli.options import DEFAULT_CONFIG, AsJson, ConfigPath
from gateway.cli.showing import console, moment, say, show_json, show_table

if TYPE_CHECKING:
    from gateway.cli.opening import Writing
    from gateway.config import Config
    from gateway.domain.desk import Entry
    from gateway.domain.desk_orders import Suggestion
    from gateway.spool import Connection

app = typer.Typer(
    rich_markup_mode=None, no_args_is_help=True, help="Worklist entries for patients whose order has not come."
)
EntryArgument = Annotated[
    str, typer.Argument(metavar="ENTRY", help="Its number, its accession number or its Study Instance UID.")
]


@app.command()
def add(
    *,
    station: Annotated[
        list[str], typer.Option("--station", metavar="AE", help="The scanner's AE title; may be repeated.")
    ],
    modality: Annotated[str, typer.Option(metavar="CODE", help="CT, MR, US, DX ...")],
    name: Annotated[
        str, typer.Option(metavar="FAMILY^GIVEN", help="None: somebody nobody knows, named by the configuration.")
    ] = "",
    patient_id: Annotated[str, typer.Option("--patient-id", metavar="ID", help="None: one is made.")] = "",
    birth_date: Annotated[str, typer.Option("--birth-date", metavar="YYYY-MM-DD")] = "",
    sex: Annotated[str, typer.Option(metavar="M|F|O")] = "",
    procedure: Annotated[str, typer.Option(metavar="TEXT", help="What is to be done.")] = "",
    emergency: Annotated[bool, typer.Option("--emergency", help="Priority STAT.")] = False,
    as_json: AsJson = False,
    config: ConfigPath = DEFAULT_CONFIG,
) -> None:
    """Put a patient on a scanner's worklist, at once.

    The accession number that is shown is provisional: type it at the RIS when it is back, and the order is linked
    to the images by itself.
    """
    from gateway.cli.opening import writing
    from gateway.domain.desk import SALTS, Request, accepted
    from gateway.domain.model import UID
    from gateway.spool import desk

    request = Request(
        stations=tuple(station),
        Modality=modality,
        PatientName=name,
        PatientID=patient_id,
        PatientBirthDate=birth_date,
        PatientSex=sex,
        procedure=procedure,
        emergency=emergency,
    )
    with writing(config) as books:
        local = books.now.astimezone(books.config.site.timezone)
        policy = books.config.desk.policy
        request = accepted(request, policy=policy, known=_stations(books), today=local.date())
        entry = books.write(
            partial(
                desk.add,
                request=request,
                policy=policy,
                uid=UID(f"2.25.{uuid.uuid4().int}"),
                salt=partial(secrets.randbelow, SALTS),
                now=books.now,
                local=local,
                by=books.by,
            )
        )
    _tell(entry, books.config, as_json=as_json)


@app.command("list")
def list_entries(
    *,
    every: Annotated[bool, typer.Option("--all", help="Linked and cancelled ones too.")] = False,
    as_json: AsJson = False,
    config: ConfigPath = DEFAULT_CONFIG,
) -> None:
    """Show the entries that wait for their order, with patients: only where nobody else looks."""
    from gateway.cli.opening import reading
    from gateway.spool import desk

    with reading(config) as books:
        found = desk.entries(books.c, every=every)
    if as_json:
        show_json({"entries": [_as_json(entry) for entry in found]})
        return
    screen, zone = console(), books.config.site.timezone
    lines = (
        (
            str(entry.number),
            entry.state,
            moment(entry.added_at, zone),
            ", ".join(entry.stations),
            entry.Modality,
            entry.PatientName,
            entry.PatientID,
            entry.AccessionNumber,
            "-" if entry.link is None else entry.link.AccessionNumber,
        )
        for entry in found
    )
    columns = ("Entry", "State", "Added", "Station", "Modality", "Name", "Patient ID", "Accession", "Order")
    show_table(screen, "Desk", columns, lines)
    if not found:
        say(screen, "No entry waits for its order.")


@app.command()
def suggest(entry: EntryArgument, *, as_json: AsJson = False, config: ConfigPath = DEFAULT_CONFIG) -> None:
    """Show the orders of the worklist that may be the entry's, most likely first; nothing is changed."""
    from gateway.cli.opening import reading
    from gateway.spool import desk_links

    with reading(config) as books:
        found = _found(books.c, entry)
        prefix = books.config.desk.accession_prefix
        suggested = desk_links.suggest(books.c, found, accession_prefix=prefix)
    if as_json:
        show_json({"entry": found.number, "suggestions": [_suggestion_as_json(one) for one in suggested]})
        return
    screen = console()
    lines = (
        (
            one.order.AccessionNumber,
            one.order.PatientName,
            one.order.PatientID,
            one.order.PatientBirthDate,
            one.order.Modality,
            str(one.order.start or "-"),
            one.order.source,
            ", ".join(one.reasons),
            ", ".join(one.differs) or "-",
        )
        for one in suggested
    )
    columns = ("Accession", "Name", "Patient ID", "Born", "Modality", "Day", "RIS", "Same", "Differs")
    show_table(screen, f"Orders that may be entry {found.number}", columns, lines)
    remedy = (
        f"`gateway desk reconcile {found.number} --to ACCESSION` links one." if suggested else "No order is like it."
    )
    say(screen, remedy)


@app.command()
def reconcile(
    entry: EntryArgument,
    *,
    to: Annotated[str, typer.Option("--to", metavar="ACCESSION", help="The accession number of the real order.")],
    study: Annotated[str, typer.Option(metavar="UID", help="Which of several orders with that accession number.")] = "",
    although_different: Annotated[
        bool, typer.Option("--although-different", help="Although patient id, birth date or name differ.")
    ] = False,
    as_json: AsJson = False,
    config: ConfigPath = DEFAULT_CONFIG,
) -> None:
    """Link an entry to its real order; the entry leaves the worklist. `gateway desk unlink` takes it back."""
    from gateway.spool import desk_links

    def link(c: Connection, found: Entry, books: Writing) -> Entry:
        return desk_links.reconcile(
            c,
            found,
            AccessionNumber=to,
            StudyInstanceUID=study,
            although_different=although_different,
            now=books.now,
            by=books.by,
        )

    _decide(entry, link, config, as_json=as_json)


@app.command()
def unlink(entry: EntryArgument, *, as_json: AsJson = False, config: ConfigPath = DEFAULT_CONFIG) -> None:
    """Take a link back: the entry waits for its order again, and only a person links it."""
    from gateway.spool import desk_links

    def part(c: Connection, found: Entry, books: Writing) -> Entry:
        return desk_links.unlink(c, found, now=books.now, by=books.by)

    _decide(entry, part, config, as_json=as_json)


@app.command()
def cancel(entry: EntryArgument, *, as_json: AsJson = False, config: ConfigPath = DEFAULT_CONFIG) -> None:
    """Take an entry off the worklist for good."""
    from gateway.spool import desk

    def take_back(c: Connection, found: Entry, books: Writing) -> Entry:
        return desk.cancel(c, found, now=books.now, by=books.by)

    _decide(entry, take_back, config, as_json=as_json)


def _decide(key: str, decision: Callable[[Connection, Entry, Writing], Entry], config: Path, *, as_json: bool) -> None:
    """Carry out a person's decision about one entry: found and changed in one transaction."""
    from gateway.cli.opening import writing
    from gateway.domain.desk import EntryRefused

    with writing(config) as books:
        try:
            entry = books.write(lambda c: decision(c, _found(c, key), books))
        except EntryRefused as error:
            raise CommandFailed(str(error), status=DOES_NOT_HOLD) from None
    _tell(entry, books.config, as_json=as_json)


def _found(c: Connection, key: str) -> Entry:
    from gateway.spool import desk

    entry = desk.find(c, key)
    if entry is None:
        raise CommandFailed("desk: there is no such entry; `gateway desk list --all` shows them", status=UNKNOWN)
    return entry


def _stations(books: Writing) -> list[str]:
    """The scanners that may call."""
    from gateway.spool.peers import scanners

    return [*(one.ae for one in books.config.scanner), *(one.ae for one in scanners(books.c))]


def _tell(entry: Entry, config: Config, *, as_json: bool) -> None:
    """Say what an entry is now."""
    if as_json:
        show_json(_as_json(entry))
        return
    screen, zone = console(), config.site.timezone
    say(screen, f"Entry {entry.number} is {entry.state}.")
    for label, value in _lines(entry, zone):
        say(screen, f"  {label:<18}{value}")


def _lines(entry: Entry, zone: tzinfo) -> Iterator[tuple[str, str]]:
    yield "Accession", entry.AccessionNumber
    yield "Patient ID", f"{entry.PatientID}{' (made here)' if entry.mints_patient else ''}"
    yield "Name", entry.PatientName
    yield "Station", ", ".join(entry.stations)
    if entry.state == "open":
        yield "Served until", moment(entry.expires_at, zone)
    if entry.link is not None:
        yield "Order", f"{entry.link.AccessionNumber} of {entry.link.source}"


def _as_json(entry: Entry) -> dict[str, object]:
    return asdict(entry) | {"start": entry.start.isoformat()}


def _suggestion_as_json(one: Suggestion) -> dict[str, object]:
    start = one.order.start
    return asdict(one.order) | {
        "start": start.isoformat() if start else None,
        "reasons": one.reasons,
        "differs": one.differs,
    }
