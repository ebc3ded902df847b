"""The wiring of a rollout: the file of the plan and the fleet's books -> a draft; keys and broker -> who carries it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gateway.app.fleet import broker_of
from gateway.app.peers import now
from gateway.config.fleet import FleetConfig
from gateway.config.problems import ConfigError, Problem
from gateway.config.rollout import RolloutFile, load_rollout, manifest_of, text_for
from gateway.domain.command import FORMS, CommandName
from gateway.domain.fleet import BoxView, Key
from gateway.domain.model import PermanentFailure
from gateway.domain.rings import Candidate, Drawn, draw
from gateway.domain.rollout_model import Kind, Rollout
from gateway.domain.signature import key_id
from gateway.domain.telemetry import Info, Reported, State, read
from gateway.fleet import boxes, rollouts
from gateway.fleet.asking import say
from gateway.fleet.carrying import Carrier
from gateway.fleet.database import Books
from gateway.fleet.rollouts import Entry
from gateway.roles.reporting.configuration import digest

SAY_SECONDS: Final = 10.0
"""The longest that the broker may take for one step."""
_NAMED: Final = 20
"""Faults of files that are told at once."""
_GONE: Final = frozenset({State.LOST, State.DISCONNECTED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A rollout that was not begun."""

    rollout: Rollout
    asked: Mapping[str, str | int]
    entries: Sequence[Entry]
    drawn: Drawn
    away: frozenset[Key]
    """Boxes that are not there now."""

    def of_ring(self, number: int) -> list[Key]:
        """The boxes of a ring."""
        return [one.key for one in self.entries if one.ring == number]


async def drafted(path: Path, books: Books) -> Draft:
    """What the plan in a file means for the fleet as it is now. Raises ConfigError, PermanentFailure or BooksAway."""
    plan, moment = load_rollout(path), now()
    kind = Kind.CONFIGURATION if plan.configuration is not None else Kind.RELEASE
    asked = _asked(plan, path.parent)
    version = int(asked["version"] if kind is Kind.CONFIGURATION else asked["sequence"])
    fleet = await boxes.fleet(books, now=moment)
    known: dict[Key, BoxView] = {(view.site, view.box): view for view in fleet.boxes}
    candidates = {key: _candidate(view, kind) for key, view in known.items()}
    drawn = draw(plan.rules(), candidates, version=version)
    if not drawn.rings:
        raise PermanentFailure(f"no box of {len(known)} is in a ring: name some in [[ring]] boxes, or a share")
    used = sorted({*drawn.rings.values()})
    texts = _texts(plan, path.parent, drawn)
    entries = [
        Entry(key=key, ring=used.index(ring), toml=texts.get(key, ""), digest=digest(texts.get(key, "")))
        for key, ring in drawn.rings.items()
    ]
    rollout = Rollout(
        kind=kind,
        version=version,
        rings=tuple(plan.ring[number].name for number in used),
        limits=plan.bounds(),
        begun_at=moment,
    )
    away = frozenset(key for key in drawn.rings if fleet.standing(known[key]) in _GONE)
    return Draft(rollout=rollout, asked=asked, entries=entries, drawn=drawn, away=away)


async def enter(books: Books, draft: Draft, keys: Sequence[Ed25519PrivateKey]) -> int:
    """Begin it; its number. Raises PermanentFailure if another rollout has one of the boxes, or BooksAway."""
    signers = " ".join(key_id(key.public_key()) for key in keys)
    return await rollouts.enter(books, draft.rollout, draft.entries, asked=draft.asked, signers=signers)


def carrier(config: FleetConfig, books: Books, number: int, keys: Sequence[Ed25519PrivateKey] = ()) -> Carrier:
    """Who carries a rollout."""
    speak = partial(say, broker_of(config.broker), wait=SAY_SECONDS)
    return Carrier(books, number, keys=keys, say=speak, now=now)


def _asked(plan: RolloutFile, base: Path) -> dict[str, str | int]:
    if plan.configuration is not None:
        return {"version": plan.configuration.version}
    assert plan.release is not None
    asked = manifest_of(base / plan.release.manifest)
    shapes = FORMS[CommandName.UPDATE].arguments
    if not all(shapes[name].holds(value) for name, value in asked.items()):
        raise PermanentFailure("release.manifest: its version or sequence is none; fetch it from the mirror again")
    return asked


def _candidate(view: BoxView, kind: Kind) -> Candidate:
    reported = None if view.reported is None else read(Reported, view.reported.encode())
    ring = None if reported is None else reported.ring
    if kind is Kind.CONFIGURATION:
        return Candidate(ring=ring, version=0 if reported is None else reported.version)
    info = None if view.info is None else read(Info, view.info.encode())
    if info is None or info.sw_seq is None:
        return Candidate(ring=ring, version=0, able=False)
    return Candidate(ring=ring, version=max(info.sw_seq, info.release or 0))


def _texts(plan: RolloutFile, base: Path, drawn: Drawn) -> dict[Key, str]:
    """The configuration of each box. Raises ConfigError with the faults of the first boxes that have any."""
    if plan.configuration is None:
        return {}
    texts, problems = dict[Key, str](), list[Problem]()
    shape = FORMS[CommandName.APPLY_CONFIG].arguments["toml"]
    for key in drawn.rings:
        try:
            texts[key] = text_for(plan.configuration.file, base, key)
        except ConfigError as error:
            problems += error.problems
            continue
        if not shape.holds(texts[key]):
            problems.append(Problem(key="/".join(key), wrong="is too long", remedy="write at most 65536 characters"))
    if problems:
        raise ConfigError(problems[:_NAMED])
    return texts
