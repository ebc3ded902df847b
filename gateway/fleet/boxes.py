"""Boxes, as the fleet's books have them: read and locked, changed by the rules of domain/presence, written."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final

from gateway.domain import presence
from gateway.domain.fleet import BoxId, BoxView, SiteName
from gateway.domain.presence import Presence
from gateway.domain.telemetry import Backfill, Health, Info, State, Status, adapter_of
from gateway.fleet.database import Books, Row, sql
from gateway.fleet.reading import Told

Key = tuple[SiteName, BoxId]

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
    listening = await books.fetch("listening")
    views = [_view(row) for row in await books.fetch("boxes", site)]
    if not listening:
        return Fleet(boxes=views, listening_since=now, listened_at=None, now=now)
    since, at = listening[0]["since"], listening[0]["at"]
    return Fleet(boxes=views, listening_since=since, listened_at=at, now=now if now - at < LISTENING_GAP else at)


async def listen(books: Books, *, now: datetime) -> None:
    """Note that somebody listens now."""
    await books.fetch("listening_on", now, LISTENING_GAP)


def _view(row: Row) -> BoxView:
    told = None
    if row["sid"] is not None:
        told = Presence(sid=row["sid"], state=State(row["state"]), heard=row["heard"], contested=row["contested"])
    return BoxView(
        site=row["site"],
        box=row["box"],
        presence=told,
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
    elif one.live and not isinstance(message, Backfill):
        first = Presence(sid=message.sid, state=State.READY, heard=one.at)
        after = first if known is None else presence.heard(known, sid=message.sid, at=one.at)
    if after != known:
        assert after is not None
        since = view.since if known is not None and known.state is after.state else one.at
        view = replace(view, presence=after, since=since)
    if isinstance(message, Health):
        return replace(view, health=_json(message), health_at=message.ts)
    return replace(view, info=_json(message)) if isinstance(message, Info) else view


def _json(message: Health | Info) -> str:
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
