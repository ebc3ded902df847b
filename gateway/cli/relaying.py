"""What a person decides about messages that a peer refused, or that wait for it: by number, or all of a peer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

from gateway.cli.failures import DOES_NOT_HOLD, CommandFailed
from gateway.cli.showing import console, say, show_table
from gateway.domain.mpps import Relaying, RelayState
from gateway.domain.words import age

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime
    from pathlib import Path

    from gateway.cli.opening import Writing
    from gateway.config import Config
    from gateway.spool import Connection
    from gateway.spool.audit import Subject

AT_ONCE: Final = 200
"""Decisions in one transaction: the running roles wait for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Queue:
    """The messages of one kind, as a command speaks of them."""

    command: str
    listing: str
    """The command that lists what can be decided."""
    peers: Callable[[Config], Sequence[str]]
    """The names of the configuration."""


def decide(
    queue: Queue, kind: Subject, messages: Sequence[int] | None, *, to: str, config: Path, state: RelayState
) -> None:
    """Queue refused messages again, or dismiss what was refused or waits; CommandFailed unless each of them is."""
    from gateway.cli.opening import writing
    from gateway.spool import relays

    again = state is RelayState.QUEUED
    command = f"{queue.command} {'retry' if again else 'dismiss'}"
    if bool(messages) == bool(to):
        raise CommandFailed(f"{command}: name message numbers, or --to for all of one RIS")
    with writing(config) as books:
        known = sorted({one.name for one in relays.standing(books.c, kind, queue.peers(books.config))})
        if to and to not in known:
            raise CommandFailed(f"{command}: nothing goes to that name; name one of: {', '.join(known)}")
        # What is being sent now is nobody's to decide until its answer is here
        states = {RelayState.REFUSED} if again else {RelayState.REFUSED, RelayState.QUEUED}
        numbers = (
            relays.undecided(books.c, kind, target=to, states=states) if to else list(dict.fromkeys(messages or []))
        )
        done = 0
        for first in range(0, len(numbers), AT_ONCE):
            some = numbers[first : first + AT_ONCE]
            done += books.write(partial(_decided, books=books, kind=kind, numbers=some, state=state))
        books.wake_forward()
    say(console(), f"{'queued again' if again else 'dismissed'}: {done:,} of {len(numbers):,}")
    if done < len(numbers):
        raise CommandFailed(
            f"{command}: {len(numbers) - done:,} can't be decided, being unknown or over; {queue.listing} what can be",
            status=DOES_NOT_HOLD,
        )


def _decided(c: Connection, *, books: Writing, kind: Subject, numbers: Sequence[int], state: RelayState) -> int:
    from gateway.spool import relays

    return sum(relays.decide(c, kind, number, state, now=books.now, by=books.by) for number in numbers)


def show_standing(
    title: str, standing: Sequence[Relaying], *, now: datetime, reason_of: Callable[[str], str], nobody: str
) -> None:
    """Print how it stands with each peer; `nobody`: what is said if there is none."""
    rows = (
        (
            one.name if one.configured else f"{one.name} (not configured)",
            one.waiting,
            "-" if one.oldest is None else age(one.oldest, now),
            one.refused,
            f"{one.last_status}: {reason_of(one.last_status)}" if one.last_status else "-",
        )
        for one in standing
    )
    show_table(console(), title, ("RIS", "Waiting", "Oldest", "Refused", "Last status"), rows)
    if not standing:
        say(console(), nobody)
