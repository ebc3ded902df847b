"""`gateway retry` and `gateway release`: a person's decisions about what does not go on by itself."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Annotated, Final

import typer

from gateway.cli.failures import DOES_NOT_HOLD, UNKNOWN, CommandFailed
from gateway.cli.options import DEFAULT_CONFIG, ConfigPath, DestinationOption
from gateway.domain.model import DeliveryState, DestinationName, InstanceId

if TYPE_CHECKING:
    from gateway.cli.opening import Writing
    from gateway.spool import Connection

AT_ONCE: Final = 200
"""Deliveries in one transaction: the running roles wait for it."""
_ALL: Final = 10_000_000


def retry(
    deliveries: Annotated[
        list[int] | None, typer.Argument(metavar="DELIVERY...", help="Ids, from `gateway queue --refused`.")
    ] = None,
    *,
    refused: Annotated[bool, typer.Option("--refused", help="All that were refused.")] = False,
    destination: DestinationOption = "",
    config: ConfigPath = DEFAULT_CONFIG,
) -> None:
    """Send refused images again, now that the cause is gone.

    Ends with status 0 only if each of them is queued again.
    """
    from gateway.cli.opening import writing

    if bool(deliveries) == refused or (destination and not refused):
        raise CommandFailed("retry: name delivery ids, or --refused, with --destination for one destination alone")
    with writing(config) as books:
        ids = _refused(books, destination) if refused else list(dict.fromkeys(deliveries or []))
        asked = 0
        for first in range(0, len(ids), AT_ONCE):
            asked += books.write(partial(_ask_again, books=books, ids=ids[first : first + AT_ONCE]))
        books.wake_forward()
    typer.echo(f"queued again: {asked:,} of {len(ids):,}")
    if asked < len(ids):
        remedy = "`gateway queue --refused` lists what can be"
        raise CommandFailed(
            f"retry: {len(ids) - asked:,} can't be asked again, being unknown or not refused; {remedy}",
            status=DOES_NOT_HOLD,
        )


def release(
    instance: Annotated[str, typer.Argument(metavar="INSTANCE_ID", help="The id, from the alarm or `gateway study`.")],
    *,
    config: ConfigPath = DEFAULT_CONFIG,
) -> None:
    """Let a copy out of quarantine: it goes to its destinations like any other image."""
    from gateway.cli.opening import writing
    from gateway.spool import instances

    with writing(config) as books:
        instance_id = InstanceId(instance.strip())
        if instances.get(books.c, instance_id) is None:
            raise CommandFailed(
                "release: there is no such instance; `gateway status` names those that wait", status=UNKNOWN
            )
        let_go = books.write(
            partial(instances.release, instance_id=instance_id, now=books.now, by=books.by, why="released")
        )
        books.wake_forward()
    if not let_go:
        raise CommandFailed("release: the instance is not in quarantine; there is nothing to do", status=DOES_NOT_HOLD)
    typer.echo(f"{instance_id} goes on its way.")


def _refused(books: Writing, destination: str) -> list[int]:
    """The ids of what was refused."""
    from gateway.spool import deliveries

    names = sorted({one.destination for one in deliveries.backlog(books.c) if one.state is DeliveryState.REFUSED})
    wanted = [name for name in names if destination in {"", name}]
    return [
        one.id
        for name in wanted
        for one in deliveries.in_state(books.c, destination=name, state=DeliveryState.REFUSED, limit=_ALL)
    ]


def _ask_again(c: Connection, *, books: Writing, ids: Sequence[int]) -> int:
    """Queue those of the deliveries that are refused; how many. The alarm ends with the last one of a destination."""
    from gateway.spool import audit, deliveries

    touched: set[DestinationName] = set()
    asked = 0
    for delivery_id in ids:
        found = deliveries.get(c, delivery_id)
        if found is not None and found.state is DeliveryState.REFUSED:
            deliveries.requeue(c, delivery_id, now=books.now, by=books.by, why="asked again")
            touched.add(found.destination)
            asked += 1
    for name in touched:
        if not deliveries.in_state(c, destination=name, state=DeliveryState.REFUSED, limit=1):
            audit.clear_alarm(c, code="delivery-refused", subject=name, now=books.now)
    return asked
