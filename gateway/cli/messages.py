"""`gateway messages`: HL7 messages as they were received, what was answered, and those that wait for a person."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated, Final

import typer

from gateway.cli.failures import DOES_NOT_HOLD, UNKNOWN, CommandFailed
from gateway.cli.options import DEFAULT_CONFIG, MOST, AsJson, ConfigPath
from gateway.cli.showing import console, moment, say, show_json, show_table

if TYPE_CHECKING:
    from gateway.spool.messages import Kept

LISTED: Final = 200
app = typer.Typer(rich_markup_mode=None, no_args_is_help=True, help="HL7 messages as they were received.")


@app.command("list")
def list_(
    *,
    waiting: Annotated[bool, typer.Option("--waiting", help="Only those that wait for a person.")] = False,
    sender: Annotated[str, typer.Option(help="Only those of this [[sender]].")] = "",
    as_json: AsJson = False,
    config: ConfigPath = DEFAULT_CONFIG,
) -> None:
    """List the latest messages, newest first, without what is in them."""
    from gateway.cli.opening import reading
    from gateway.spool import messages

    with reading(config) as books:
        found = messages.latest(books.c, sender=sender, still_open=waiting, limit=LISTED)
        zone = books.config.site.timezone
    if as_json:
        show_json({"messages": [_summary(kept) for kept in found]})
        return
    lines = (
        (
            str(kept.id),
            moment(kept.received_at, zone),
            kept.received.sender,
            kept.received.kind,
            kept.received.control_id,
            kept.code,
            "; ".join(fault.text for fault in kept.faults) or kept.effect,
            "" if kept.seen_at else "waits",
        )
        for kept in found
    )
    columns = ("Message", "Received", "Sender", "Type", "Control id", "Answer", "What it did", "")
    show_table(console(), "Messages", columns, lines)
    if not found:
        say(console(), "No message waits." if waiting else "No message.")


@app.command()
def show(
    number: Annotated[int, typer.Argument(max=MOST, metavar="MESSAGE", help="Its number in `gateway messages list`.")],
    *,
    as_json: AsJson = False,
    config: ConfigPath = DEFAULT_CONFIG,
) -> None:
    """Show a message as it was received, and its answer: only where nobody else looks."""
    from gateway.cli.opening import reading
    from gateway.spool import messages

    with reading(config) as books:
        kept = messages.get(books.c, number)
        settings = next((one for one in books.config.sender if kept and one.name == kept.received.sender), None)
    if kept is None:
        raise CommandFailed(f"message {number}: there is none; look at `gateway messages list`", status=UNKNOWN)
    charsets = (settings.charset, settings.fallback_charset) if settings else ("", "")
    received, answer = _text(kept.received.raw, *charsets), _text(kept.answer)
    if as_json:
        show_json({**_summary(kept), "received": received, "answer": answer})
        return
    for title, text in (("Received", received), ("Answer", answer)):
        show_table(console(), title, ("Segment",), ((line,) for line in text))
    for fault in kept.faults:
        say(console(), f"{fault.code} at {fault.segment}-{fault.field}: {fault.text}")


@app.command()
def seen(
    numbers: Annotated[
        list[int], typer.Argument(max=MOST, metavar="MESSAGE...", help="Numbers in `gateway messages list`.")
    ],
    *,
    config: ConfigPath = DEFAULT_CONFIG,
) -> None:
    """Say that messages were looked at: they wait no longer. What they asked for is not done by it."""
    from gateway.cli.opening import writing
    from gateway.spool import messages

    with writing(config) as books:
        count = books.write(partial(messages.see, numbers=numbers, now=books.now))
    if not count:
        remedy = "look at `gateway messages list --waiting`"
        raise CommandFailed(f"messages: none of them waits for a person; {remedy}", status=DOES_NOT_HOLD)
    typer.echo(f"{count} of {len(numbers)} waited and wait no longer.")


def _summary(kept: Kept) -> dict[str, object]:
    received = kept.received
    return {
        "id": kept.id,
        "received_at": kept.received_at,
        "sender": received.sender,
        "address": received.address,
        "kind": received.kind,
        "control_id": received.control_id,
        "answer_code": kept.code,
        "effect": kept.effect,
        "faults": [{name: getattr(fault, name) for name in fault.__dataclass_fields__} for fault in kept.faults],
        "seen_at": kept.seen_at,
    }


def _text(raw: bytes, charset: str = "", fallback: str = "") -> list[str]:
    """The segments, also of bytes that are no message."""
    from gateway.domain.hl7 import Hl7Error, Message

    try:
        return [segment.text for segment in Message.parse(raw, charset=charset, fallback=fallback).segments]
    except Hl7Error:
        return raw.strip(b"\x0b\x1c\r\n").decode("latin_1").splitlines()
