"""`gateway status`: is every image safe, and does anything need a person?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Final

import typer

from gateway.cli.failures import DOES_NOT_HOLD
from gateway.cli.options import DEFAULT_CONFIG, AsJson, ConfigPath
from gateway.cli.showing import console, moment, say, show_json, show_table
from gateway.domain.words import age

if TYPE_CHECKING:
    from gateway.cli.opening import Reading
    from gateway.domain.disk import Disk
    from gateway.domain.overview import Overview

STRANGERS_SHOWN: Final = 10


def status(*, as_json: AsJson = False, config: ConfigPath = DEFAULT_CONFIG) -> None:
    """Say in one sentence how the box is, then what stands where.

    Ends with status 0 only if nothing needs a person: no alarm and nothing refused.
    """
    from gateway.cli.opening import reading

    with reading(config) as books:
        overview = look(books)
        if as_json:
            show_json(_as_json(overview))
        else:
            _show(books, overview)
    raise typer.Exit(DOES_NOT_HOLD if overview.needs_a_person else 0)


def look(books: Reading) -> Overview:
    """Everything that stands, at one moment."""
    from gateway.spool.overview import look as look_at

    return look_at(books.c, books.config.configured, now=books.now)


def _as_json(overview: Overview) -> dict[str, object]:
    from gateway.domain.issues import step
    from gateway.domain.overview import sentence

    return {
        "sentence": sentence(overview),
        "needs_a_person": overview.needs_a_person,
        "at": overview.now,
        "instances": dict(overview.instances),
        "quarantined": overview.quarantined,
        "studies_held": overview.studies_held,
        "tasks_open": overview.tasks,
        "destinations": [asdict(one) for one in overview.destinations],
        "worklist": [asdict(one) for one in overview.worklist],
        "never_asked": list(overview.never_asked),
        "mpps": [asdict(one) for one in overview.mpps],
        "orders_out": [asdict(one) for one in overview.orders_out],
        "disk": None if overview.disk is None else asdict(overview.disk) | {"holds_out_s": _seconds(overview.disk)},
        "parts": [asdict(one) | {"found": one.found(overview.now)} for one in overview.parts],
        "alarms": [asdict(one) | {"next_step": step(one.code, one.subject)} for one in overview.alarms],
        "strangers": [asdict(one) for one in overview.strangers],
    }


def _seconds(disk: Disk) -> float | None:
    holds_out = disk.holds_out
    return None if holds_out is None else holds_out.total_seconds()


def _show(books: Reading, overview: Overview) -> None:
    from gateway.domain.disk import sentence as disk_sentence
    from gateway.domain.issues import step
    from gateway.domain.overview import sentence
    from gateway.domain.words import admission, span

    zone, screen = books.config.site.timezone, console()

    def old(when: datetime | None) -> str:
        return "-" if when is None else age(when, overview.now)

    say(screen, sentence(overview))
    alarms = (
        (one.code, one.subject, moment(one.since, zone), one.count, step(one.code, one.subject))
        for one in overview.alarms
    )
    show_table(screen, "Alarms", ("Code", "About", "Since", "Count", "Next step"), alarms)
    states = [(state.value, count) for state, count in overview.instances.items()]
    show_table(screen, "Images", ("State", "Images"), [*states, ("in quarantine", overview.quarantined)])
    towards = (
        (
            one.name if one.configured else f"{one.name} (not configured)",
            one.waiting,
            old(one.oldest),
            one.sent,
            one.refused,
            one.last_status or "-",
        )
        for one in overview.destinations
    )
    columns = ("Destination", "Waiting", "Oldest", "Unconfirmed", "Refused", "Last status")
    show_table(screen, "Destinations", columns, towards)
    if overview.disk is not None:
        holds_out = overview.disk.holds_out
        say(screen, disk_sentence(overview.disk, holds_out="" if holds_out is None else span(holds_out)))
    show_table(screen, "Worklist", ("RIS", "Rows", "Age", "Last error"), worklist_rows(overview))
    for title, to, peers in (
        ("Performed procedure steps", "Relayed to", overview.mpps),
        ("Orders", "Told to", overview.orders_out),
    ):
        relayed = ((one.name, one.waiting, old(one.oldest), one.refused) for one in peers)
        show_table(screen, title, (to, "Waiting", "Oldest", "Refused"), relayed)
    strangers = (
        (
            one.calling_ae,
            one.called_ae,
            one.address,
            one.reason,
            one.count,
            old(one.last_seen),
            admission(one.calling_ae) or "-",
        )
        for one in overview.strangers[:STRANGERS_SHOWN]
    )
    columns_of = ("Calling AE", "Called AE", "Address", "Why", "Calls", "Last", "To admit it")
    show_table(screen, "Callers turned away", columns_of, strangers)


def worklist_rows(overview: Overview) -> Iterator[tuple[object, ...]]:
    """The RISs with the age of their copies."""
    for source in overview.worklist:
        fresh = "never answered" if source.last_success is None else age(source.last_success, overview.now)
        yield source.name, source.rows, fresh, source.last_error or "-"
    for name in overview.never_asked:
        yield name, 0, "never asked", "-"
