"""Rollouts in the fleet's books: entered once, locked by whoever moves one, read with what the boxes say.

What is promised: a box is in one rollout at a time (the database sees to that); what was entered is what is asked of
the boxes until the end, whatever becomes of the files that it was read from.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Final

import asyncpg

from gateway.domain.command import Outcome, Phase
from gateway.domain.fleet import BoxId, BoxView, Key, SiteName
from gateway.domain.incidents import BOX_LOST
from gateway.domain.issue import Severity
from gateway.domain.model import PermanentFailure
from gateway.domain.rollout import Step
from gateway.domain.rollout_model import (
    Answer,
    Asked,
    Cause,
    Found,
    Halt,
    Kind,
    Limits,
    Mark,
    Member,
    Rollout,
    Sight,
    Stage,
)
from gateway.domain.telemetry import Info, Reported, Result, State, read
from gateway.fleet.boxes import Fleet, presence_of
from gateway.fleet.database import Books, Row, sql
from gateway.fleet.reading import Told

SHOWN: Final = 50
"""Rollouts that are listed."""
_GRAVE: Final = [Severity.ERROR.value, Severity.CRITICAL.value]
_GONE: Final = frozenset({State.LOST, State.DISCONNECTED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A box of a new rollout."""

    key: Key
    ring: int
    toml: str = ""
    digest: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A rollout at one moment."""

    number: int
    rollout: Rollout
    asked: Mapping[str, str | int]
    """Arguments of the command that are the same for each box."""
    signers: str
    entered_at: datetime
    looked_at: datetime | None
    """When somebody carried it last."""
    members: Mapping[Key, Member]
    sights: Mapping[Key, Sight]


async def enter(
    books: Books, rollout: Rollout, entries: Sequence[Entry], *, asked: Mapping[str, str | int], signers: str
) -> int:
    """Write a new rollout down; its number. Raises PermanentFailure if another has one of the boxes."""
    about = (rollout.kind, rollout.version, json.dumps(asked), [*rollout.rings])
    limits = rollout.limits
    bounds = (limits.failures, limits.soak, limits.patience, limits.absence)
    columns = _columns((*one.key, one.ring, one.toml, one.digest) for one in entries)
    try:
        async with books.transaction() as c:
            number = int(await c.fetchval(sql("rollout_enter"), *about, *bounds, rollout.begun_at, signers))
            await c.execute(sql("rollout_boxes_enter"), number, *columns)
    except asyncpg.UniqueViolationError:
        taken = await books.fetch("rollout_boxes_taken", columns[0], columns[1])
        names = ", ".join(f"{row['site']}/{row['box']} in rollout {row['rollout']}" for row in taken[:3])
        raise PermanentFailure(
            f"{len(taken)} boxes are in another rollout ({names}): wait until it is done, or abort it", code="taken"
        ) from None
    return number


async def load(c: Any, number: int, fleet: Fleet, *, lock: bool = False) -> Kept:
    """A rollout and its boxes as `fleet`'s moment has them; locked until the transaction ends if `lock`. Raises
    PermanentFailure."""
    row = await c.fetchrow(sql("rollout_locked") if lock else sql("rollout"), number)
    if row is None:
        raise PermanentFailure(f"there is no rollout {number}: gateway fleet rollout status", code="unknown")
    rollout = _rollout(row)
    members, sights = dict[Key, Member](), dict[Key, Sight]()
    for one in await c.fetch(sql("rollout_boxes"), number, _GRAVE, [BOX_LOST], fleet.now):
        key = (SiteName(one["site"]), BoxId(one["box"]))
        members[key] = _member(one)
        sights[key] = _sight(one, rollout.kind, fleet)
    return Kept(
        number=number,
        rollout=rollout,
        asked=json.loads(row["asked"]),
        signers=row["signers"],
        entered_at=row["entered_at"],
        looked_at=row["looked_at"],
        members=members,
        sights=sights,
    )


async def listed(books: Books) -> list[tuple[int, Rollout, int]]:
    """The latest rollouts: number, how it stands, and how many boxes."""
    return [(row["id"], _rollout(row), row["boxes"]) for row in await books.fetch("rollouts", SHOWN)]


async def texts(c: Any, number: int, keys: Iterable[Key]) -> dict[Key, str]:
    """The configurations of some of its boxes."""
    names = _columns(keys) or [[], []]
    return {(row["site"], row["box"]): row["toml"] for row in await c.fetch(sql("rollout_texts"), number, *names)}


async def move(c: Any, number: int, rollout: Rollout) -> None:
    """So it stands now."""
    halt = None if rollout.halt is None else json.dumps(asdict(rollout.halt))
    about = (rollout.stage, rollout.ring, rollout.begun_at, rollout.whole_at, halt)
    await c.execute(sql("rollout_moved"), number, *about)


async def write(c: Any, before: Kept, step: Step, *, nonces: Mapping[Key, str], now: datetime) -> None:
    """What a step did; `nonces` are of what is asked in it."""
    number = before.number
    if step.rollout != before.rollout:
        await move(c, number, step.rollout)
    await c.execute(sql("rollout_carried"), number, now)
    known = {**step.notes, **step.asks}
    if known:
        rows = (
            (*key, one.first, one.last, one.there, json.dumps(sorted(one.alarms))) for key, one in known.items()
        )  # fmt: skip
        await c.execute(sql("rollout_asked"), number, *_columns(rows))
    if nonces:
        await c.execute(sql("rollout_nonces"), number, *_columns((*key, nonce) for key, nonce in nonces.items()))
    if step.withdraws:
        await c.execute(sql("rollout_withdrawn"), number, *_columns(step.withdraws))
    if step.rollout.stage in {Stage.ABORTED, Stage.DONE}:
        await c.execute(sql("rollout_left"), number)


async def excuse(c: Any, number: int, keys: Iterable[Key]) -> None:
    """A person goes on in spite of these."""
    if names := _columns(keys):
        await c.execute(sql("rollout_excused"), number, *names)


async def answered(c: Any, told: Sequence[Told]) -> None:
    """Note what boxes answered to what they were asked last; answers to anything else pass by."""
    rows = {}
    for one in told:
        result = one.message
        assert isinstance(result, Result)
        rows[one.site, one.box, result.nonce] = (one.site, one.box, result.nonce, result.outcome.value, result.code)
    if rows:
        await c.execute(sql("rollout_answers"), *_columns(rows.values()))


def _rollout(row: Row) -> Rollout:
    return Rollout(
        kind=Kind(row["kind"]),
        version=row["version"],
        rings=tuple(row["rings"]),
        limits=Limits(
            failures=row["failures"], soak=row["soak"], patience=row["patience"], absence=row["absence"]
        ),
        begun_at=row["begun_at"],
        stage=Stage(row["stage"]),
        ring=row["ring"],
        whole_at=row["whole_at"],
        halt=_halt(json.loads(row["halt"])) if row["halt"] else None,
    )  # fmt: skip


def _halt(said: Mapping[str, Any]) -> Halt:
    cause = said["cause"]
    found = (
        Found(site=one["site"], box=one["box"], mark=Mark(one["mark"]), words=tuple(one["words"]))
        for one in said["found"]
    )
    return Halt(
        cause=Cause(cause) if cause in set(Cause) else Mark(cause),
        ring=said["ring"],
        boxes=said["boxes"],
        found=tuple(found),
    )


def _member(row: Row) -> Member:
    asked = answer = None
    if row["asked_at"] is not None:
        before = frozenset(row["before"] or ())
        asked = Asked(first=row["asked_at"], last=row["said_at"], there=row["was_there"], alarms=before)
    if row["outcome"] is not None:
        answer = Answer(outcome=Outcome(row["outcome"]), code=row["code"])
    return Member(ring=row["ring"], asked=asked, answer=answer, excused=row["excused"])


def _sight(row: Row, kind: Kind, fleet: Fleet) -> Sight:
    presence = presence_of(row)
    view = BoxView(site=row["site"], box=row["box"], presence=presence, since=row["since"])
    away_since = None
    if fleet.standing(view) in _GONE:
        spoke = presence is not None and presence.state not in _GONE
        away_since = presence.heard if presence is not None and spoke else row["since"]
    says = _configuration(row) if kind is Kind.CONFIGURATION else _release(row)
    return Sight(away_since=away_since, alarms=frozenset(row["alarms"]), **says)


def _configuration(row: Row) -> dict[str, Any]:
    if not row["reported"]:
        return {}
    said = read(Reported, row["reported"].encode())
    same = said.config == row["digest"]
    return {"version": said.version, "phase": said.phase, "same": same, "faults": said.faults}


def _release(row: Row) -> dict[str, Any]:
    said = None if not row["info"] else read(Info, row["info"].encode())
    runs, wished = (0, 0) if said is None else (said.sw_seq or 0, said.release or 0)
    if said is None or runs > wished:  # installed by hand
        return {"version": runs, "phase": Phase.CONFIRMED} if runs else {}
    return {
        "version": wished,
        "phase": said.release_phase,
        "faults": (said.release_fault,) if said.release_fault else (),
    }


def _columns(rows: Iterable[Iterable[Any]]) -> list[list[Any]]:
    return [list(column) for column in zip(*rows, strict=True)]
