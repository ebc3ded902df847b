"""`gateway retry` and `gateway release`: a person's decisions about what does not go on by itself."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Annotated, Final

import typer

from gateway.cli.failures import DOES_NOT_HOLD, CommandFailed
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
    key: Annotated[
        str, typer.Argument(metavar="TASK|STUDY|INSTANCE_ID", help="A task, a study, or a copy in quarantine.")
    ],
    *,
    remember: Annotated[
        bool, typer.Option("--remember", help="For every later study with exactly the same evidence, too.")
    ] = False,
    why: Annotated[str, typer.Option("--why", metavar="TEXT", help="For whoever looks at it later; no patient.")] = "",
    config: ConfigPath = DEFAULT_CONFIG,
) -> None:
    """Let a study go on as it came, or a copy out of quarantine."""
    from gateway.cli.opening import writing
    from gateway.cli.tasks import decided
    from gateway.domain.task import Choice
    from gateway.spool import instances

    with writing(config) as books:
        instance = instances.get(books.c, InstanceId(key.strip()))
        if instance is not None and instance.quarantine:
            job = partial(instances.release, instance_id=instance.id, now=books.now, by=books.by, why="released")
            books.write(job)
            books.wake_forward()
            typer.echo(f"{instance.id} goes on its way.")
            return
    if instance is not None and not instance.held:
        raise CommandFailed("release: the instance is neither held nor in quarantine", status=DOES_NOT_HOLD)
    decided(key, Choice.RELEASE, config, why=why, remember=remember)


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
