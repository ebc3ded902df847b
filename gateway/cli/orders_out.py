"""`gateway orders out`: what the RISs are told of their orders, and what a person decides about the rest."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Annotated, Final

import typer

from gateway.cli.failures import DOES_NOT_HOLD, CommandFailed
from gateway.cli.options import DEFAULT_CONFIG, AsJson, ConfigPath
from gateway.cli.showing import console, moment, say, show_json, show_table
from gateway.domain.mpps import RelayState
from gateway.domain.order_notice import reason_of
from gateway.domain.words import age

if TYPE_CHECKING:
    from gateway.cli.opening import Reading, Writing
    from gateway.spool import Connection
    from gateway.spool.orders_out import OrderMessage

LISTED: Final = 100
AT_ONCE: Final = 200
"""Decisions in one transaction: the running roles wait for it."""
_ALL: Final = 1_000_000
_KEYS: Final = (
    *("id", "receiver", "order", "event", "control_id", "state", "attempts", "last_status"),
    *("not_before", "queued_at", "settled_at"),
)

app = typer.Typer(rich_markup_mode=None, no_args_is_help=True, help="What the RISs are told of their orders.")
Numbers = Annotated[
    list[int] | None, typer.Argument(metavar="MESSAGE...", help="Numbers, from `gateway orders out list`.")
]
To = Annotated[str, typer.Option("--to", metavar="NAME", help="All of this RIS, by its configured name.")]


@app.command("list")
def list_(
    *,
    refused: Annotated[bool, typer.Option("--refused", help="Only what was refused.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many messages.")] = LISTED,
    as_json: AsJson = False,
    config: ConfigPath = DEFAULT_CONFIG,
) -> None:
    """Show what waits for each RIS, then the messages: those that are not over first; no patient is named."""
    from dataclasses import asdict

    from gateway.cli.opening import reading
    from gateway.spool import orders_out

    state = RelayState.REFUSED if refused else None
    with reading(config) as books:
        standing = orders_out.standing(books.c, books.config.order_receivers)
        found = orders_out.latest(books.c, state=state, limit=limit)
    if as_json:
        messages = [{key: getattr(one, key) for key in _KEYS} for one in found]
        show_json({"at": books.now, "receivers": [asdict(one) for one in standing], "messages": messages})
        return
    receivers = (
        (
            one.name if one.configured else f"{one.name} (not configured)",
            one.waiting,
            "-" if one.oldest is None else age(one.oldest, books.now),
            one.refused,
            f"{one.last_status}: {reason_of(one.last_status)}" if one.last_status else "-",
        )
        for one in standing
    )
    show_table(console(), "Told", ("RIS", "Waiting", "Oldest", "Refused", "Last status"), receivers)
    if not standing:
        say(console(), "No RIS is told of its orders: no [[ris]] has a host in orders_out.")
    _show(books, found)


def _show(books: Reading, found: Sequence[OrderMessage]) -> None:
    rows = (
        (
            str(one.id),
            str(one.order or "-"),
            one.event,
            one.receiver,
            one.state,
            one.last_status or "-",
            one.attempts,
            moment(one.queued_at, books.config.site.timezone),
        )
        for one in found
    )
    columns = ("Message", "Order", "Tells", "RIS", "State", "Status", "Tries", "Since")
    show_table(console(), "Messages", columns, rows)
    if any(one.state is RelayState.REFUSED for one in found):
        say(
            console(), "When the cause is gone: `gateway orders out retry MESSAGE...`, or `--to NAME` for all of a RIS."
        )
        say(console(), "If it was booked there by hand: `gateway orders out dismiss MESSAGE...`.")


@app.command()
def retry(messages: Numbers = None, *, to: To = "", config: ConfigPath = DEFAULT_CONFIG) -> None:
    """Send refused messages again as they are, now that the cause is gone; later ones of their orders follow.

    Ends with status 0 only if each of them is queued again.
    """
    _decide(messages, to, config, RelayState.QUEUED)


@app.command()
def dismiss(messages: Numbers = None, *, to: To = "", config: ConfigPath = DEFAULT_CONFIG) -> None:
    """Let a RIS go without: of messages that it refused, or that wait for it. With --to: all of both.

    Ends with status 0 only if each of them is dismissed.
    """
    _decide(messages, to, config, RelayState.DISMISSED)


def _decide(messages: Sequence[int] | None, to: str, config: ConfigPath, state: RelayState) -> None:
    from gateway.cli.opening import writing
    from gateway.spool import orders_out

    again = state is RelayState.QUEUED
    verb = "retry" if again else "dismiss"
    if bool(messages) == bool(to):
        raise CommandFailed(f"orders out {verb}: name message numbers, or --to for all of one RIS")
    with writing(config) as books:
        known = sorted({one.name for one in orders_out.standing(books.c, books.config.order_receivers)})
        if to and to not in known:
            raise CommandFailed(f"orders out {verb}: nobody of that name is told; name one of: {', '.join(known)}")
        numbers = _all_of(books, to, again=again) if to else list(dict.fromkeys(messages or []))
        done = 0
        for first in range(0, len(numbers), AT_ONCE):
            done += books.write(partial(_decided, books=books, numbers=numbers[first : first + AT_ONCE], state=state))
        books.wake_forward()
    say(console(), f"{'queued again' if again else 'dismissed'}: {done:,} of {len(numbers):,}")
    if done < len(numbers):
        remedy = "`gateway orders out list` shows what can be"
        raise CommandFailed(
            f"orders out {verb}: {len(numbers) - done:,} can't be decided, being unknown or over; {remedy}",
            status=DOES_NOT_HOLD,
        )


def _all_of(books: Writing, receiver: str, *, again: bool) -> list[int]:
    """What a person may decide of one RIS: what is being sent now is nobody's until its answer is here."""
    from gateway.spool import orders_out

    states = (RelayState.REFUSED,) if again else (RelayState.REFUSED, RelayState.QUEUED)
    found = [orders_out.latest(books.c, receiver=receiver, state=state, limit=_ALL) for state in states]
    return sorted(one.id for messages in found for one in messages)


def _decided(c: Connection, *, books: Writing, numbers: Sequence[int], state: RelayState) -> int:
    from gateway.spool import orders_out

    return sum(orders_out.decide(c, number, state, now=books.now, by=books.by) for number in numbers)
