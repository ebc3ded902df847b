"""`gateway orders out`: what the RISs are told of their orders, and what a person decides about the rest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Final

import typer

from gateway.cli.options import DEFAULT_CONFIG, MOST, AsJson, ConfigPath
from gateway.cli.relaying import Queue, decide, show_standing
from gateway.cli.showing import console, moment, say, show_json, show_table
from gateway.domain.mpps import RelayState
from gateway.domain.order_notice import reason_of

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.cli.opening import Reading
    from gateway.spool.orders_out import OrderMessage

LISTED: Final = 100
QUEUE: Final = Queue(
    command="orders out", listing="`gateway orders out list` shows", peers=lambda config: config.order_receivers
)
_KEYS: Final = (
    *("id", "receiver", "order", "event", "control_id", "state", "attempts", "last_status"),
    *("not_before", "queued_at", "settled_at"),
)

app = typer.Typer(rich_markup_mode=None, no_args_is_help=True, help="What the RISs are told of their orders.")
Numbers = Annotated[
    list[int] | None, typer.Argument(max=MOST, metavar="MESSAGE...", help="Numbers, from `gateway orders out list`.")
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
    from gateway.spool import orders_out, relays
    from gateway.spool.audit import Subject

    state = RelayState.REFUSED if refused else None
    with reading(config) as books:
        standing = relays.standing(books.c, Subject.ORDER_MESSAGE, books.config.order_receivers)
        found = orders_out.latest(books.c, state=state, limit=limit)
    if as_json:
        messages = [{key: getattr(one, key) for key in _KEYS} for one in found]
        show_json({"at": books.now, "receivers": [asdict(one) for one in standing], "messages": messages})
        return
    nobody = "No RIS is told of its orders: no [[ris]] has a host in orders_out."
    show_standing("Told", standing, now=books.now, reason_of=reason_of, nobody=nobody)
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


def _decide(messages: Sequence[int] | None, to: str, config: Path, state: RelayState) -> None:
    from gateway.spool.audit import Subject

    decide(QUEUE, Subject.ORDER_MESSAGE, messages, to=to, config=config, state=state)
