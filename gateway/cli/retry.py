"""`gateway retry` and `gateway release`: a person's decisions about what does not go on by itself."""

from __future__ import annotations

from functools import partial
from typing import Annotated

import typer

from gateway.cli.destinations import must_be_known
from gateway.cli.failures import DOES_NOT_HOLD, CommandFailed
from gateway.cli.options import DEFAULT_CONFIG, MOST, ConfigPath, DestinationOption
from gateway.domain.model import InstanceId


def retry(
    deliveries: Annotated[
        list[int] | None, typer.Argument(max=MOST, metavar="DELIVERY...", help="Ids, from `gateway queue --refused`.")
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
    from gateway.spool.refused import AT_ONCE, ask_again, numbers

    if bool(deliveries) == refused or (destination and not refused):
        raise CommandFailed("retry: name delivery ids, or --refused, with --destination for one destination alone")
    with writing(config) as books:
        must_be_known(destination, books, command="retry")
        ids = numbers(books.c, destination) if refused else list(dict.fromkeys(deliveries or []))
        asked = 0
        for first in range(0, len(ids), AT_ONCE):
            asked += books.write(partial(ask_again, ids=ids[first : first + AT_ONCE], now=books.now, by=books.by))
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
