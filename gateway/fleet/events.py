"""Events of boxes: inserted once, and how far each numbering is here without a gap.

What is promised: what `write` returns holds when its transaction is committed, and not before. Two collectors with
events of one box wait for each other, so neither overlooks what the other has just written.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from gateway.domain.fleet import BoxId, SiteName, reached
from gateway.domain.telemetry import Backfill, Event, adapter_of
from gateway.fleet.database import Books, sql, take_watch
from gateway.fleet.reading import Told

LOOKED_AT: Final = 5000
"""Numbers beyond a gap that are looked at in one transaction; the next one goes on from there."""

TRIM_AT_ONCE: Final = 5000
"""Events that are let go in one transaction; there is one every few seconds."""


@dataclass(frozen=True, slots=True, order=True)
class Stream:
    """The numbering of a box's events."""

    site: SiteName
    box: BoxId
    log: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What a transaction did with events."""

    new: int
    again: int
    """Were here already."""
    upto: dict[Stream, int]
    """How far each stream that was told of is whole: what its box may forget."""


async def write(c: Any, told: Sequence[Told]) -> Written:
    """Insert the events that came, live or as backfill, and find how far each stream is whole."""
    streams = sorted({_stream(one) for one in told})
    events = list({(stream, event.seq): (stream, event, one) for stream, event, one in _events(told)}.values())
    if not streams:
        return Written(new=0, again=0, upto={})
    keys = _keys(streams)
    await c.execute(sql("streams_known"), *keys)
    upto = {_of(row): row["upto"] for row in await c.fetch(sql("streams_locked"), *keys)}
    new = await _insert(c, events)
    await _note_spans(c, told, upto)
    upto = await _advance(c, streams, upto)
    return Written(new=new, again=sum(1 for _ in _events(told)) - new, upto=upto)


async def trim(books: Books, *, before: datetime) -> None:
    """Let some of what is older go: an event is not kept for ever, and what no box was told to forget yet stays."""
    async with books.transaction() as c:
        if await take_watch(c):
            await c.execute(sql("events_trim"), before, TRIM_AT_ONCE)


async def _insert(c: Any, events: Sequence[tuple[Stream, Event, Told]]) -> int:
    if not events:
        return 0
    adapter = adapter_of(Event)
    rows = [
        (
            stream.site, stream.box, stream.log, event.seq, event.ts, one.at, event.kind, event.sev.value,
            adapter.dump_json(event, exclude_none=True).decode(),
        )
        for stream, event, one in events
    ]  # fmt: skip
    return len(await c.fetch(sql("events_insert"), *(list(column) for column in zip(*rows, strict=True))))


async def _note_spans(c: Any, told: Sequence[Told], upto: dict[Stream, int]) -> None:
    """What a box keeps nothing of any more, or said all of, is no gap."""
    spans: set[tuple[str, str, str, int, int]] = set()
    for one in told:
        if isinstance(one.message, Backfill):
            stream, whole = _stream(one), one.message
            for after, end in ((0, whole.acked), (whole.after, whole.upto)):
                if max(after, upto[stream]) < end:
                    spans.add((*_names(stream), after, end))
    if spans:
        await c.execute(sql("spans_insert"), *(list(column) for column in zip(*sorted(spans), strict=True)))


async def _advance(c: Any, streams: Sequence[Stream], upto: dict[Stream, int]) -> dict[Stream, int]:
    keys = _keys(streams)
    spans: dict[Stream, list[tuple[int, int]]] = {}
    for row in await c.fetch(sql("spans_of"), *keys):
        spans.setdefault(_of(row), []).append((row["after"], row["upto"]))
    beyond = await c.fetch(sql("streams_beyond"), *keys, LOOKED_AT, [upto[stream] for stream in streams])
    here = {_of(row): row["seqs"] or [] for row in beyond}
    after = {stream: reached(upto[stream], here.get(stream, []), spans.get(stream, [])) for stream in streams}
    moved = [stream for stream in streams if after[stream] > upto[stream]]
    if moved:
        values = [after[stream] for stream in moved]
        await c.execute(sql("streams_advance"), *_keys(moved), values)
        if spans:
            await c.execute(sql("spans_passed"), *_keys(moved), values)
    return after


def _events(told: Sequence[Told]) -> Iterator[tuple[Stream, Event, Told]]:
    for one in told:
        message = one.message
        items = message.items if isinstance(message, Backfill) else (message,)
        for item in items:
            if isinstance(item, Event):
                yield Stream(one.site, one.box, item.log), item, one


def _stream(one: Told) -> Stream:
    message = one.message
    assert isinstance(message, Event | Backfill)
    return Stream(one.site, one.box, message.log)


def _names(stream: Stream) -> tuple[str, str, str]:
    return stream.site, stream.box, stream.log


def _of(row: Any) -> Stream:
    return Stream(row["site"], row["box"], row["log"])


def _keys(streams: Sequence[Stream]) -> tuple[list[str], list[str], list[str]]:
    return [one.site for one in streams], [one.box for one in streams], [one.log for one in streams]
