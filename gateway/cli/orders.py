"""`gateway orders`: what the messages of the RIS ordered, what was set aside, and how a sender's messages are read."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from gateway.cli import orders_out
from gateway.cli.failures import DOES_NOT_HOLD, UNKNOWN, CommandFailed
from gateway.cli.options import DEFAULT_CONFIG, MOST, AsJson, ConfigPath
from gateway.cli.showing import console, moment, say, show_json, show_table

if TYPE_CHECKING:
    from gateway.config import Config
    from gateway.domain.hl7 import Message
    from gateway.domain.orders import Sender
    from gateway.spool.order_books import Conflict, Order

LISTED: Final = 200
FILE_MAX: Final = 8 * 2**20
app = typer.Typer(rich_markup_mode=None, no_args_is_help=True, help="Orders that came as HL7 messages.")
app.add_typer(orders_out.app, name="out")


@app.command("list")
def list_(
    *,
    number: Annotated[
        str, typer.Argument(metavar="[NUMBER]", help="Only with this accession, patient, order number or study.")
    ] = "",
    as_json: AsJson = False,
    config: ConfigPath = DEFAULT_CONFIG,
) -> None:
    """Show the orders, latest changed first, with patient ids: only where nobody else looks."""
    from gateway.cli.opening import reading
    from gateway.spool import order_books

    with reading(config) as books:
        found = order_books.latest(books.c, number=number, limit=LISTED)
        zone = books.config.site.timezone
    if as_json:
        show_json({"orders": [_as_json(order) for order in found]})
        return
    columns = ("Order", "Status", "Accession", "Patient ID", "Procedure", "Start", "Sender", "Changed")
    lines = (
        (
            str(order.id),
            order.status,
            order.procedure.accession.value,
            order.patient.PatientID,
            order.procedure.RequestedProcedureDescription,
            moment(next((step.start for step in order.procedure.steps), None), zone),
            order.source,
            moment(order.changed_at, zone),
        )
        for order in found
    )
    show_table(console(), "Orders", columns, lines)
    if not found:
        say(console(), "No order." if not number else "No order has this number.")


@app.command()
def show(
    number: Annotated[int, typer.Argument(max=MOST, metavar="ORDER", help="Its number in `gateway orders list`.")],
    *,
    as_json: AsJson = False,
    config: ConfigPath = DEFAULT_CONFIG,
) -> None:
    """Show all that is known of an order: only where nobody else looks."""
    from gateway.cli.opening import reading
    from gateway.domain.order_explaining import shown
    from gateway.spool import order_books, patients, progress

    with reading(config) as books:
        order = order_books.order(books.c, number)
        if order is None:
            raise CommandFailed(f"order {number}: there is none; look at `gateway orders list`", status=UNKNOWN)
        patient = patients.patient(books.c, order.patient)
        performed = progress.of_study(books.c, order.procedure.StudyInstanceUID)
        zone = books.config.site.timezone
    if as_json:
        examination = None if performed is None else asdict(performed)
        show_json({**_as_json(order), "patient": asdict(patient), "examination": examination})
        return
    screen = console()
    told = {
        "Status": order.status,
        "Sender": order.source,
        "Sender's time": f"{order.stamp.event:%Y-%m-%d %H:%M:%S %Z}",
    }
    if performed is not None:
        told["Examination"] = f"{performed.progress} ({performed.because})"
        told["Begun"], told["Last word of it"] = moment(performed.first_at, zone), moment(performed.last_at, zone)
        told["Late instances"] = str(performed.late or "")
    parts: list[tuple[str, dict[str, object]]] = [(f"Order {order.id}", dict(told))]
    procedure = {name: getattr(order.procedure, name) for name in order.procedure.__dataclass_fields__}
    steps = procedure.pop("steps")
    procedure["flags"] = tuple(sorted(procedure["flags"]))
    parts += [("Patient", asdict(patient) | {"identifiers": patient.identifiers}), ("Procedure", procedure)]
    parts += [
        (f"Step {count}", {name: getattr(step, name) for name in step.__dataclass_fields__})
        for count, step in enumerate(steps, 1)
    ]
    for title, values in parts:
        lines = ((name, shown(value)) for name, value in values.items() if value)
        show_table(screen, title, ("Attribute", "Value"), lines)


@app.command()
def conflicts(*, as_json: AsJson = False, config: ConfigPath = DEFAULT_CONFIG) -> None:
    """Show the orders that were set aside because they name another patient than the one known."""
    from gateway.cli.opening import reading
    from gateway.spool import order_books

    with reading(config) as books:
        found = order_books.conflicts(books.c, limit=LISTED)
        zone = books.config.site.timezone
    if as_json:
        show_json({"conflicts": [_conflict_as_json(conflict) for conflict in found]})
        return
    lines = (
        (str(each.id), moment(each.at, zone), each.source, each.kind, str(each.order), each.patient.PatientID)
        for each in found
    )
    columns = ("Conflict", "When", "Sender", "Shares the", "With order", "But names patient")
    show_table(console(), "Orders set aside", columns, lines)
    if not found:
        say(console(), "No order was set aside.")
    else:
        say(console(), "Correct each in the RIS, which then sends it again; then: gateway orders settle CONFLICT")


@app.command()
def settle(
    number: Annotated[
        int, typer.Argument(max=MOST, metavar="CONFLICT", help="Its number in `gateway orders conflicts`.")
    ],
    *,
    config: ConfigPath = DEFAULT_CONFIG,
) -> None:
    """Say that a conflict was looked at and corrected where it came from; the order that is known stays as it is."""
    from gateway.cli.opening import writing
    from gateway.spool import order_books

    with writing(config) as books:
        settled = books.write(partial(order_books.settle, number=number, by=books.by, now=books.now))
    if not settled:
        remedy = "look at `gateway orders conflicts`"
        raise CommandFailed(f"conflict {number}: there is none that is open; {remedy}", status=UNKNOWN)
    say(console(), f"Conflict {number} is settled.")


@app.command()
def lint(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="One message, or several, as a sender would send them.")],
    *,
    sender: Annotated[str, typer.Option("--sender", metavar="NAME", help="Read it as this [[sender]]'s.")] = "",
    mapping: Annotated[str, typer.Option("--mapping", metavar="NAME", help="Read it by this mapping.")] = "",
    as_json: AsJson = False,
    config: ConfigPath = DEFAULT_CONFIG,
) -> None:
    """Show what would be taken from messages, field by field, and where they leave the structure of HL7.

    Nothing is entered. The exit status is 0 if each message would be applied as a whole.
    """
    from gateway.config import load

    configured = load(config)
    reader = _sender(configured, sender, mapping)
    sets = next(((one.charset, one.fallback_charset) for one in configured.sender if one.name == reader.name), ("", ""))
    told = [_linted(part, reader, *sets) for part in _content(file)]
    if as_json:
        show_json({"messages": told})
    else:
        for number, each in enumerate(told, 1):
            _show_lint(number, each)
    if any(each["faults"] for each in told):
        raise typer.Exit(DOES_NOT_HOLD)


def _sender(config: Config, name: str, mapping: str) -> Sender:
    from dataclasses import replace

    from gateway.config.mappings import order_mapping, order_senders
    from gateway.domain.model import SourceName
    from gateway.domain.orders import Sender

    known = {sender.name: sender for sender in order_senders(config)}
    if name and name not in known:
        told = ", ".join(known) or "none"
        raise CommandFailed(f"sender: no [[sender]] of that name; configured here: {told}")
    by_name = known.get(SourceName(name)) if name else next(iter(known.values()), None)
    if by_name is not None and not mapping:
        return by_name
    table = order_mapping(mapping or "generic", config.orders.mappings)
    if by_name is not None:
        return replace(by_name, mapping=table)
    scanners = tuple(scanner.ae for scanner in config.scanner)
    return Sender(name=SourceName("lint"), mapping=table, zone=config.site.timezone, scanners=scanners)


def _content(file: Path) -> list[bytes]:
    from gateway.domain.hl7 import split_batch

    try:
        with file.open("rb") as opened:
            raw = opened.read(FILE_MAX + 1)
    except OSError as error:
        raise CommandFailed(f"{file}: can't be read ({error.strerror}); check its name and mode") from None
    if len(raw) > FILE_MAX:
        raise CommandFailed(f"{file}: more than {FILE_MAX} bytes; split it")
    found = [part for frame in raw.split(b"\x1c") if frame.strip(b"\x0b\r\n ") for part in split_batch(frame)]
    if not found:
        raise CommandFailed(f"{file}: there is no message in it; name a file as its sender sends it")
    return found


def _linted(raw: bytes, sender: Sender, charset: str, fallback: str) -> dict[str, list[dict[str, object]]]:
    from datetime import UTC, datetime

    from gateway.domain.hl7 import Hl7Error, Message
    from gateway.domain.order_explaining import explain
    from gateway.domain.orders import read
    from gateway.net.hl7_conformance import findings

    try:
        message = Message.parse(raw, charset=charset, fallback=fallback)
    except Hl7Error as error:
        return {
            "faults": [{"code": error.code, "place": error.location, "text": str(error)}],
            "taken": [],
            "structure": [],
        }
    found = read(message, sender, datetime.now(UTC))
    faults = [{"code": one.code, "place": f"{one.segment}-{one.field}", "text": one.text} for one in found.faults]
    return {
        "faults": [dict(fault) for fault in faults],
        "taken": [asdict(taken) for taken in explain(message, sender)],
        "structure": [{"text": text} for text in findings(_plain(message))],
    }


def _plain(message: Message) -> str:
    return "\r".join(segment.text for segment in message.segments)


def _show_lint(number: int, told: dict[str, list[dict[str, object]]]) -> None:
    screen = console()
    columns = ("Order", "Attribute", "From", "Value")
    lines = ((str(t["order"] or "-"), t["attribute"], t["place"] or "-", t["value"]) for t in told["taken"])
    show_table(screen, f"Message {number}: taken", columns, lines)
    show_table(
        screen, "Not applied", ("Code", "Place", "Why"), ((f["code"], f["place"], f["text"]) for f in told["faults"])
    )
    show_table(screen, "Outside the structure of HL7", ("Finding",), ((each["text"],) for each in told["structure"]))


def _as_json(order: Order) -> dict[str, object]:
    procedure = asdict(order.procedure)
    procedure["flags"] = sorted(order.procedure.flags)
    return {
        "id": order.id,
        "status": order.status,
        "source": order.source,
        "patient_id": order.patient.PatientID,
        "issuer": order.patient.issuer,
        "event": order.stamp.event,
        "first_seen": order.first_seen,
        "changed_at": order.changed_at,
        "procedure": procedure,
    }


def _conflict_as_json(conflict: Conflict) -> dict[str, object]:
    return {
        "id": conflict.id,
        "at": conflict.at,
        "source": conflict.source,
        "kind": conflict.kind,
        "order": conflict.order,
        "patient_id": conflict.patient.PatientID,
        "issuer": conflict.patient.issuer,
    }
