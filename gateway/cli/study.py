"""`gateway study UID`: what became of one study, hop by hop."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer
from rich.console import Console

from gateway.cli.failures import DOES_NOT_HOLD, UNKNOWN, CommandFailed
from gateway.cli.mpps import show_steps, step_as_json
from gateway.cli.options import DEFAULT_CONFIG, AsJson, ConfigPath
from gateway.cli.showing import console, moment, say, show_json, show_table
from gateway.domain.model import UID, Delivery, DeliveryState, Instance, InstanceState
from gateway.domain.words import images

if TYPE_CHECKING:
    from gateway.cli.opening import Reading
    from gateway.spool.audit import JournalRow

_INSTANCE_KEYS: Final = ("id", "SOPInstanceUID", "SOPClassUID", "TransferSyntaxUID", "size", "state", "quarantine")
_DELIVERY_KEYS: Final = (
    *("id", "destination", "lane", "compression", "state", "attempts", "last_status", "sent_as"),
    *("queued_at", "sent_at", "confirmed_at"),
)
_PROOFS: Final = {"commitment": "storage commitment", "found": "query", "status": "status alone"}
"""By the first word of the journal's reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """One instance and where it was sent."""

    instance: Instance
    deliveries: tuple[Delivery, ...]

    @property
    def is_safe(self) -> bool:
        """Whether every destination that it was routed to confirmed it."""
        states = {delivery.state for delivery in self.deliveries}
        return states == {DeliveryState.CONFIRMED} and not self.instance.quarantine


def study(
    uid: Annotated[str, typer.Argument(metavar="UID", help="The Study Instance UID.")],
    *,
    journal: Annotated[bool, typer.Option("--journal", help="Every step of every image, with who and why.")] = False,
    export: Annotated[
        Path | None, typer.Option("--export", metavar="FILE", help="Write the chain of custody to a new JSON file.")
    ] = None,
    as_json: AsJson = False,
    config: ConfigPath = DEFAULT_CONFIG,
) -> None:
    """Show what became of a study: received, routed, sent, confirmed, purged.

    Ends with status 0 only if every image is confirmed at every destination, 1 if not, 3 if no image
    of that study ever came.
    """
    from gateway.cli.opening import reading
    from gateway.spool import deliveries, instances, mpps

    with reading(config) as books:
        held = [
            Held(instance=instance, deliveries=deliveries.of_instance(books.c, instance.id))
            for instance in instances.in_study(books.c, UID(uid.strip()))
        ]
        if not held:
            remedy = "check the UID, and `gateway status` for callers that were turned away"
            raise CommandFailed(f"study: no image of that study was received; {remedy}", status=UNKNOWN)
        complete = all(one.is_safe for one in held)
        if export is not None:
            _export(books, uid.strip(), export)
            raise typer.Exit(0 if complete else DOES_NOT_HOLD)
        steps = mpps.steps_of_study(books.c, UID(uid.strip()))
        if as_json:
            show_json(
                {
                    "StudyInstanceUID": uid.strip(),
                    "instances": [_as_json(one) for one in held],
                    "steps": [step_as_json(one) for one in steps],
                    "complete": complete,
                    **({"journal": [_row_as_json(row) for row in _journal(books, held)]} if journal else {}),
                }
            )
        else:
            _show(console(), books, held, journal=journal)
            show_steps(console(), steps, books.config.site.timezone)
    raise typer.Exit(0 if complete else DOES_NOT_HOLD)


def _export(books: Reading, uid: str, path: Path) -> None:
    """Write the whole record; a file that is there is never written over."""
    from pydantic import TypeAdapter

    from gateway.domain.custody import StudyCustody
    from gateway.spool import custody

    config = books.config
    told = custody.of_study(books.c, uid, site=config.site.name, box=config.box.id, now=books.now)
    assert told is not None, "the study was found in the same view of the books"
    written = TypeAdapter(StudyCustody).dump_json(told, indent=2) + b"\n"
    try:
        with path.open("xb") as file:
            file.write(written)
    except FileExistsError:
        raise CommandFailed("study: the file of --export exists; name a new one") from None
    except OSError as error:
        raise CommandFailed(f"study: the file of --export can't be written ({error.strerror})") from None
    typer.echo(f"{images(len(told.instances))}: {path}")


def _as_json(held: Held) -> dict[str, object]:
    origin = held.instance.origin
    return {
        **{key: getattr(held.instance, key) for key in _INSTANCE_KEYS},
        "received_at": origin.received_at,
        "calling_ae": origin.calling_ae,
        "deliveries": [{key: getattr(one, key) for key in _DELIVERY_KEYS} for one in held.deliveries],
    }


def _row_as_json(row: JournalRow) -> dict[str, object]:
    return {key: getattr(row, key) for key in ("at", "who", "kind", "subject", "from_state", "to_state", "why")}


def _journal(books: Reading, held: Sequence[Held]) -> list[JournalRow]:
    """Every step of these instances and their deliveries, in the order they were made."""
    from gateway.spool.audit import Subject, journal_of

    subjects = [(Subject.INSTANCE, str(one.instance.id)) for one in held]
    subjects += [(Subject.DELIVERY, str(delivery.id)) for one in held for delivery in one.deliveries]
    rows = [row for kind, subject in subjects for row in journal_of(books.c, kind=kind, subject=subject)]
    return sorted(rows, key=lambda row: row.seq)


def _show(screen: Console, books: Reading, held: Sequence[Held], *, journal: bool) -> None:
    zone = books.config.site.timezone
    safe = sum(one.is_safe for one in held)
    say(screen, f"{safe:,} of {images(len(held))} {'is' if safe == 1 else 'are'} confirmed at every destination.")
    rows = _journal(books, held)
    show_table(screen, "Hops", ("Hop", "Images", "What", "From", "To"), _hops(held, rows, zone))
    how = {
        row.subject: _PROOFS.get(row.why.partition(" ")[0], row.why)
        for row in rows
        if row.to_state == DeliveryState.CONFIRMED
    }
    show_table(
        screen,
        "Deliveries",
        ("Destination", "State", "Images", "Last status", "Attempts", "Queued", "Sent", "Confirmed", "How"),
        _deliveries(held, how, zone),
    )
    waiting = [one.instance for one in held if one.instance.quarantine]
    show_table(screen, "Waiting for a person", ("Instance", "Why"), ((one.id, one.quarantine) for one in waiting))
    if waiting:
        say(screen, "Send one on with `gateway release INSTANCE_ID`.")
    if journal:
        columns = ("When", "Who", "What", "Id", "From", "To", "Why")
        steps = ((moment(r.at, zone), r.who, r.kind, r.subject, r.from_state, r.to_state, r.why) for r in rows)
        show_table(screen, "Journal", columns, steps)


def _hops(held: Sequence[Held], journal: Sequence[JournalRow], zone: tzinfo) -> Iterator[tuple[object, ...]]:
    """Received per scanner, routed, and purged for which reason: how many, and between which times."""
    by_sender: dict[tuple[str, str], list[Instance]] = {}
    for one in held:
        by_sender.setdefault((one.instance.origin.calling_ae, one.instance.origin.address), []).append(one.instance)
    for (ae, address), received in by_sender.items():
        times = [instance.origin.received_at for instance in received]
        size = sum(instance.size for instance in received)
        what = f"from {ae}{f' at {address}' if address else ''}, {size / 1e6:,.1f} MB"
        yield "received", len(received), what, moment(min(times), zone), moment(max(times), zone)
    routed = [one for one in held if one.deliveries]
    if routed:
        times = [delivery.queued_at for one in routed for delivery in one.deliveries]
        names = ", ".join(sorted({delivery.destination for one in routed for delivery in one.deliveries}))
        yield "routed", len(routed), f"to {names}", moment(min(times), zone), moment(max(times), zone)
    purged: dict[str, list[datetime]] = {}
    for row in journal:
        if row.to_state == InstanceState.PURGED:
            purged.setdefault(row.why, []).append(row.at)
    for why, times in purged.items():
        yield "purged", len(times), why, moment(min(times), zone), moment(max(times), zone)


def _deliveries(held: Sequence[Held], how: dict[str, str], zone: tzinfo) -> Iterator[tuple[object, ...]]:
    """A row for each destination, state and last status."""
    groups: dict[tuple[str, DeliveryState, str], list[Delivery]] = {}
    for delivery in (delivery for one in held for delivery in one.deliveries):
        groups.setdefault((delivery.destination, delivery.state, delivery.last_status), []).append(delivery)
    for (destination, state, status), found in sorted(groups.items()):
        proofs = Counter(how[str(one.id)] for one in found if str(one.id) in how and one.confirmed_at)
        yield (
            destination,
            state,
            len(found),
            status or "-",
            max(one.attempts for one in found),
            _latest([one.queued_at for one in found], zone),
            _latest([one.sent_at for one in found], zone),
            _latest([one.confirmed_at for one in found], zone),
            ", ".join(proofs) or "-",
        )


def _latest(times: Sequence[datetime | None], zone: tzinfo) -> str:
    return moment(max((time for time in times if time is not None), default=None), zone)
