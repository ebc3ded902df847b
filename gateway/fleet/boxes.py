"""Boxes, as the fleet's books have them: read and locked, changed by the rules of domain/presence, written."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final

from gateway.domain import presence
from gateway.domain.fleet import BoxView
from gateway.domain.presence import Presence
from gateway.domain.telemetry import Backfill, Envelope, Health, Info, Reported, State, Status, adapter_of
from gateway.fleet.database import Books, Row, sql
from gateway.fleet.reading import Told

LISTENING_GAP: Final = timedelta(seconds=15)
"""Nobody listened if nobody said so for so long."""


async def write(c: Any, told: Sequence[Told]) -> None:
    """Apply what boxes said of themselves, in the order it came."""
    keys = sorted({(one.site, one.box) for one in told})
    sites, names = [site for site, _ in keys], [box for _, box in keys]
    await c.execute(sql("boxes_known"), sites, names, [told[0].at] * len(keys))
    views = {(row["site"], row["box"]): _view(row) for row in await c.fetch(sql("boxes_locked"), sites, names)}
    before = dict(views)
    for one in told:
        views[one.site, one.box] = _after(views[one.site, one.box], one)
    changed = [view for key, view in views.items() if view != before[key]]
    if changed:
        await c.execute(sql("boxes_write"), *_columns(changed))


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """Every box at one moment."""

    boxes: Sequence[BoxView]
    listening_since: datetime
    listened_at: datetime | None
    """When somebody said last that it listens; None: nobody ever did."""
    now: datetime

    def standing(self, view: BoxView) -> State:
        return view.standing(self.now, listening_since=self.listening_since)


async def fleet(books: Books, *, now: datetime, site: str = "") -> Fleet:
    """Every box, or those of a site. While nobody listens the moment is the last one that somebody did."""
    heard = await listening(books, now=now)
    return replace(heard, boxes=[_view(row) for row in await books.fetch("boxes", site)])


async def listening(books: Books, *, now: datetime) -> Fleet:
    """Whether somebody listens, without the boxes."""
    found = await books.fetch("listening")
    if not found:
        return Fleet(boxes=(), listening_since=now, listened_at=None, now=now)
    since, at = found[0]["since"], found[0]["at"]
    return Fleet(boxes=(), listening_since=since, listened_at=at, now=now if now - at < LISTENING_GAP else at)


async def listen(books: Books, *, now: datetime) -> None:
    """Note that somebody listens now."""
    await books.fetch("listening_on", now, LISTENING_GAP)


def presence_of(row: Row) -> Presence | None:
    """Whether a box is there, as its row tells."""
    if row["sid"] is None:
        return None
    return Presence(sid=row["sid"], state=State(row["state"]), heard=row["heard"], contested=row["contested"])


def _view(row: Row) -> BoxView:
    return BoxView(
        site=row["site"],
        box=row["box"],
        presence=presence_of(row),
        since=row["since"],
        health=row["health"],
        health_at=row["health_at"],
        info=row["info"],
        reported=row["reported"],
    )


def _after(view: BoxView, one: Told) -> BoxView:
    message, known = one.message, view.presence
    after = known
    if isinstance(message, Status):
        after = presence.told(known, sid=message.sid, state=message.state, at=one.at)
    elif isinstance(message, Envelope) and one.live and not isinstance(message, Backfill):
        first = Presence(sid=message.sid, state=State.READY, heard=one.at)
        after = first if known is None else presence.heard(known, sid=message.sid, at=one.at)
    if after != known:
        assert after is not None
        since = view.since if known is not None and known.state is after.state else one.at
        view = replace(view, presence=after, since=since)
    if isinstance(message, Health):
        return replace(view, health=_json(message), health_at=message.ts)
    if isinstance(message, Reported):
        return replace(view, reported=_json(message))
    return replace(view, info=_json(message)) if isinstance(message, Info) else view


def _json(message: Health | Info | Reported) -> str:
    """What we know the meaning of, and no more."""
    return adapter_of(type(message)).dump_json(message, exclude_none=True).decode()


def _columns(views: Iterable[BoxView]) -> tuple[list[object], ...]:
    rows = []
    for view in views:
        told = view.presence
        spoken = (told.sid, told.state.value, told.heard, told.contested) if told else (None, None, None, None)
        rest = (view.since, view.health, view.health_at, view.info, view.reported)
        rows.append((view.site, view.box, *spoken, *rest))
    return tuple(list(column) for column in zip(*rows, strict=True))
