"""What any collector does for all of them: note that somebody listens, look for silence and incidents, and let go of
events that are old.

Each looks; whoever has the database's lock at that moment does it, so one that dies is missed by nobody.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Final

import structlog

from gateway.domain.model import TemporaryFailure
from gateway.domain.telemetry import State
from gateway.fleet import boxes, events, incidents
from gateway.fleet.database import Books
from gateway.fleet.figures import Figures

LOOK_SECONDS: Final = 5.0

log = structlog.get_logger()


class Watchman:
    """Looks again and again while `listening` says that messages can come."""

    def __init__(
        self,
        books: Books,
        *,
        figures: Figures,
        now: Callable[[], datetime],
        listening: Callable[[], bool],
        kept: timedelta,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """`kept`: how long events are."""
        self._books = books
        self._figures = figures
        self._now = now
        self._listening = listening
        self._kept = kept
        self._sleep = sleep

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            try:
                await self.look()
            except TemporaryFailure as error:
                log.warning("waiting", for_what=type(error).__name__)
            await self._sleep(LOOK_SECONDS)

    async def look(self) -> None:
        """Once. Raises BooksAway."""
        listening = self._listening()
        self._figures.listening.set(listening)
        if listening:
            await boxes.listen(self._books, now=self._now())
        fleet = await boxes.fleet(self._books, now=self._now())
        await incidents.look(self._books, fleet, now=fleet.now)
        await events.trim(self._books, before=self._now() - self._kept)
        await self._show(fleet)

    async def _show(self, fleet: boxes.Fleet) -> None:
        states = Counter(fleet.standing(view) for view in fleet.boxes)
        for state in State:
            self._figures.boxes.labels(state.value).set(states[state])
        found = Counter(one.code for one in await incidents.shown(self._books, now=self._now()))
        self._figures.incidents.clear()
        for code, number in found.items():
            self._figures.incidents.labels(code).set(number)
