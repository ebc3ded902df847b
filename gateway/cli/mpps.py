"""`gateway mpps`: performed procedure steps, what the RISs have of them, and what a person decides about the rest."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Final

import typer

from gateway.cli.options import DEFAULT_CONFIG, MOST, AsJson, ConfigPath
from gateway.cli.relaying import Queue, decide, show_standing
from gateway.cli.showing import console, moment, say, show_json, show_table
from gateway.domain.mpps import RelayState, reason_of
from gateway.domain.words import age

if TYPE_CHECKING:
    from datetime import tzinfo
    from pathlib import Path

    from rich.console import Console

    from gateway.cli.opening import Reading
    from gateway.spool.mpps import Relay, Step

STEPS_SHOWN: Final = 20
LISTED: Final = 200
"""Messages that are listed one by one; more of them have the same few causes."""
QUEUE: Final = Queue(command="mpps", listing="`gateway mpps --refused` lists", peers=lambda config: config.mpps_peers)
_RELAY_KEYS: Final = ("id", "request", "target", "state", "attempts", "last_status", "queued_at")
_STEP_KEYS: Final = (
    *("id", "SOPInstanceUID", "calling_ae", "status", "first_at", "last_at", "ended_at", "Modality"),
    *("PerformedProcedureStepID", "PerformedStationAETitle", "reason", "series", "instances"),
)

app = typer.Typer(rich_markup_mode=None, help="Performed procedure steps, and what the RISs have of them.")
Messages = Annotated[
    list[int] | None, typer.Argument(max=MOST, metavar="MESSAGE...", help="Ids, from `gateway mpps --refused`.")
]
To = Annotated[str, typer.Option("--to", metavar="NAME", help="All of this RIS or PACS, by its configured name.")]


@app.callback(invoke_without_command=True)
def mpps(
    ctx: typer.Context,
    *,
    refused: Annotated[bool, typer.Option("--refused", help="What was refused, with ids to decide about it.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many steps, the latest first.")] = STEPS_SHOWN,
    as_json: AsJson = False,
    config: ConfigPath = DEFAULT_CONFIG,
) -> None:
    """Show what waits for each RIS, and the steps that scanners told of last; no patient is named."""
    from gateway.cli.opening import reading
    from gateway.spool import mpps as kept
    from gateway.spool import relays
    from gateway.spool.audit import Subject

    if ctx.invoked_subcommand is not None:
        return
    with reading(config) as books:
        standing = relays.standing(books.c, Subject.MPPS, books.config.mpps_peers)
        steps = () if refused else kept.steps(books.c, limit=limit)
        listed = kept.not_over(books.c, state=RelayState.REFUSED, limit=LISTED) if refused else ()
    if as_json:
        answer: dict[str, object] = {"at": books.now, "peers": [asdict(one) for one in standing]}
        if refused:
            show_json(answer | {"refused": [_relay_as_json(one) | {"step": one.step} for one in listed]})
        else:
            show_json(answer | {"steps": [step_as_json(one) for one in steps]})
        return
    nobody = "Steps are relayed to nobody: mpps is false for every RIS and destination."
    show_standing("Relayed to", standing, now=books.now, reason_of=reason_of, nobody=nobody)
    show_steps(console(), steps, books.config.site.timezone)
    if refused:
        _show_refused(books, listed)


@app.command()
def retry(messages: Messages = None, *, to: To = "", config: ConfigPath = DEFAULT_CONFIG) -> None:
    """Send refused messages again, now that the cause is gone.

    Ends with status 0 only if each of them is queued again.
    """
    _decide(messages, to, config, RelayState.QUEUED)


@app.command()
def dismiss(messages: Messages = None, *, to: To = "", config: ConfigPath = DEFAULT_CONFIG) -> None:
    """Let a RIS go without: of messages that it refused, or that wait for it. With --to: all of both.

    The steps stay in our books. Ends with status 0 only if each of them is dismissed.
    """
    _decide(messages, to, config, RelayState.DISMISSED)


def _relay_as_json(relay: Relay) -> dict[str, object]:
    return {key: getattr(relay, key) for key in _RELAY_KEYS}


def step_as_json(step: Step) -> dict[str, object]:
    """A step and its messages for programs; no patient is named."""
    return {key: getattr(step, key) for key in _STEP_KEYS} | {"relays": [_relay_as_json(one) for one in step.relays]}


def _decide(messages: Sequence[int] | None, to: str, config: Path, state: RelayState) -> None:
    from gateway.spool.audit import Subject

    decide(QUEUE, Subject.MPPS, messages, to=to, config=config, state=state)


def show_steps(screen: Console, steps: Sequence[Step], zone: tzinfo) -> None:
    """Print steps and how far their messages are; nothing where there are none."""
    rows = (
        (
            str(one.id),
            moment(one.last_at, zone),
            one.calling_ae,
            one.Modality or "-",
            " ".join(filter(None, (one.status or "not told", one.reason))),
            "-" if one.instances is None else one.instances,
            ", ".join(_towards(one.relays)) or "-",
        )
        for one in steps
    )
    show_table(screen, "Steps", ("Step", "Last told", "Scanner", "Modality", "Status", "Images", "At the RIS"), rows)


def _towards(relays: Sequence[Relay]) -> Iterator[str]:
    """How far the messages of a step are, for each peer in one word: the worst of them."""
    worst = (RelayState.REFUSED, RelayState.QUEUED, RelayState.SENDING, RelayState.DISMISSED, RelayState.SENT)
    for name in dict.fromkeys(one.target for one in relays):
        found = min((one for one in relays if one.target == name), key=lambda one: worst.index(one.state))
        status = f" {found.last_status}" if found.last_status and found.state is not RelayState.SENT else ""
        yield f"{name} {found.state}{status}"


def _show_refused(books: Reading, listed: Sequence[Relay]) -> None:
    screen = console()
    if not listed:
        say(screen, "Nothing was refused.")
        return
    rows = (
        (
            str(one.id),
            str(one.step),
            one.request,
            one.target,
            one.last_status,
            reason_of(one.last_status),
            age(one.queued_at, books.now),
        )
        for one in listed
    )
    show_table(screen, "Refused", ("Message", "Step", "Request", "RIS", "Status", "Why", "Age"), rows)
    say(screen, "When the cause is gone: `gateway mpps retry MESSAGE...`, or `--to NAME` for all of one RIS.")
    say(screen, "If it was booked there by hand: `gateway mpps dismiss MESSAGE...`.")
