"""Carry a rollout through the fleet: look, decide, sign, ask, write down; again and again until it ends or halts.

What is promised: one step is one transaction, in which the rollout is locked and the boxes are asked. So two who carry
one rollout do nothing twice, and whoever halts it waits for a step that is under way and can be sure that none follows.
Nothing is kept here: who is killed is followed by anybody who has the keys. What the broker did not take is asked
again; a box takes a version once.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

import structlog
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gateway.domain.command import MINUTES, WEEKS, Command, CommandName, signed
from gateway.domain.fleet import Key
from gateway.domain.model import TemporaryFailure
from gateway.domain.rollout import Step, decide, resumed, stopped
from gateway.domain.rollout_model import Kind, Mark, Rollout, Sight, Stage
from gateway.domain.topics import Leaf, Topic
from gateway.fleet import boxes, rollouts
from gateway.fleet.asking import Saying
from gateway.fleet.boxes import LISTENING_GAP, Fleet
from gateway.fleet.database import Books
from gateway.fleet.rollouts import Kept

LOOK_SECONDS: Final = 5.0
CARRIED_WITHIN: Final = timedelta(minutes=1)
"""Nobody carries a rollout that nobody looked at for so long."""
BACKDATED: Final = timedelta(seconds=30)
"""A box whose clock is behind ours takes it all the same."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """A rollout after a look at it."""

    kept: Kept
    rollout: Rollout
    marks: Mapping[Key, Mark]
    listening: bool
    """Somebody listens to the boxes."""
    carried: bool
    """Somebody carries it."""
    moved: bool
    """Something was done, so there may be more to do."""

    @property
    def ended(self) -> bool:
        """There is nothing more to do, unless a person resumes it."""
        return self.rollout.stage is not Stage.RUNNING and not self.moved

    def sight(self, key: Key) -> Sight:
        return self.kept.sights[key]


class Carrier:
    """Of one rollout."""

    def __init__(
        self,
        books: Books,
        number: int,
        *,
        keys: Sequence[Ed25519PrivateKey],
        say: Callable[[Sequence[Saying]], None],
        now: Callable[[], datetime],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """`keys`: of two who sign; none for who only halts or aborts. `say` publishes, on a thread; it bounds its time
        and raises BrokerAway."""
        self._books = books
        self._number = number
        self._keys = keys
        self._say = say
        self._now = now
        self._sleep = sleep

    async def run(self, told: Callable[[Look], None]) -> Look:
        """Until it ends or halts; `told` after each look."""
        while True:
            try:
                found = await self.look()
            except TemporaryFailure as error:
                log.warning("waiting", for_what=type(error).__name__)
                await self._sleep(LOOK_SECONDS)
                continue
            told(found)
            if found.ended:
                return found
            if not found.moved:
                await self._sleep(LOOK_SECONDS)

    async def look(self) -> Look:
        """One step. Raises BooksAway or BrokerAway, with nothing kept of it, and PermanentFailure."""
        now = self._now()
        fleet = await boxes.listening(self._books, now=now)
        async with self._books.transaction() as c:
            kept = await rollouts.load(c, self._number, fleet, lock=True)
            step = decided(kept, fleet, now)
            sayings, nonces = self._sayings(kept, step, await rollouts.texts(c, self._number, step.asks), now)
            await rollouts.write(c, kept, step, nonces=nonces, now=now)
            if sayings:
                await asyncio.to_thread(self._say, sayings)
        moved = bool(sayings or step.notes or step.rollout != kept.rollout)
        return _look(kept, step, fleet, now, carried=True, moved=moved)

    async def stop(self, stage: Stage) -> Look:
        """Halt or abort it, in the name of a person, and take back what no box took yet. It has stopped when this
        raises BrokerAway; then take back is still to be done, by the same again."""
        now = self._now()
        fleet = await boxes.listening(self._books, now=now)
        async with self._books.transaction() as c:
            kept = await rollouts.load(c, self._number, fleet, lock=True)
            await rollouts.move(c, self._number, stopped(kept.rollout, stage))
        return await self.look()

    async def resume(self) -> frozenset[Key]:
        """Let it run again after a halt, in spite of the boxes that are returned."""
        now = self._now()
        fleet = await boxes.listening(self._books, now=now)
        async with self._books.transaction() as c:
            kept = await rollouts.load(c, self._number, fleet, lock=True)
            if kept.rollout.stage is not Stage.HALTED:
                return frozenset()
            marks = decided(kept, fleet, now).marks
            after, excused = resumed(kept.rollout, kept.members, marks, now=now)
            await rollouts.move(c, self._number, after)
            await rollouts.excuse(c, self._number, excused)
        return excused

    def _sayings(
        self, kept: Kept, step: Step, texts: Mapping[Key, str], now: datetime
    ) -> tuple[list[Saying], dict[Key, str]]:
        """What is to be published, and the nonces of what is asked."""
        sayings, nonces = list[Saying](), dict[Key, str]()
        of_configuration = kept.rollout.kind is Kind.CONFIGURATION
        for key in step.asks:
            nonces[key] = secrets.token_urlsafe(18)
            command = _command(kept, key, texts[key], nonces[key], now)
            leaf = Leaf.DESIRED if of_configuration else Leaf.REQUEST
            topic = Topic(site=key[0], box=key[1], leaf=leaf)
            sayings.append(Saying(topic=topic, payload=signed(command, self._keys), retained=of_configuration))
        for key in step.withdraws:
            topic = Topic(site=key[0], box=key[1], leaf=Leaf.DESIRED)
            sayings.append(Saying(topic=topic, payload=b"", retained=True))
        return sayings, nonces


async def seen(books: Books, number: int, *, now: datetime) -> Look:
    """How a rollout stands; nothing is done. Raises BooksAway or PermanentFailure."""
    fleet = await boxes.listening(books, now=now)
    async with books.transaction() as c:
        kept = await rollouts.load(c, number, fleet)
    step = decided(kept, fleet, now)
    carried = kept.looked_at is not None and now - kept.looked_at < CARRIED_WITHIN
    return _look(kept, replace(step, rollout=kept.rollout), fleet, now, carried=carried, moved=False)


def decided(kept: Kept, fleet: Fleet, now: datetime) -> Step:
    """What is to be done with it."""
    heard_for = now - fleet.listening_since if _is_listening(fleet, now) else timedelta(0)
    return decide(kept.rollout, kept.members, kept.sights, heard_for=heard_for, now=now)


def _is_listening(fleet: Fleet, now: datetime) -> bool:
    return fleet.listened_at is not None and now - fleet.listened_at < LISTENING_GAP


def _look(kept: Kept, step: Step, fleet: Fleet, now: datetime, *, carried: bool, moved: bool) -> Look:
    listening = _is_listening(fleet, now)
    return Look(
        kept=kept, rollout=step.rollout, marks=step.marks, listening=listening, carried=carried, moved=moved
    )  # fmt: skip


def _command(kept: Kept, key: Key, toml: str, nonce: str, now: datetime) -> Command:
    rollout = kept.rollout
    begin = now.replace(microsecond=0) - BACKDATED
    ring = rollout.rings[kept.members[key].ring]
    of_configuration = rollout.kind is Kind.CONFIGURATION
    text: dict[str, str | int] = {"toml": toml} if of_configuration else {}
    return Command(
        name=CommandName.APPLY_CONFIG if of_configuration else CommandName.UPDATE,
        arguments={**kept.asked, **text, "ring": ring},
        site=key[0],
        box=key[1],
        nonce=nonce,
        not_before=begin,
        expires=begin + (WEEKS if of_configuration else MINUTES),
    )
