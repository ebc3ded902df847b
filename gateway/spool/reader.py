"""The spool as a loop reads it: one thread, one reading connection, one view per question.

What is promised: it can change nothing. A question that is not answered in time, or that the database refuses, is a
TemporaryFailure; the event loop never waits for a disk. However many screens and scrapers ask, what is `Fresh` is read
at most once in FRESH_SECONDS.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Final, Generic, TypeVar

from gateway.domain.model import TemporaryFailure
from gateway.spool.db import Connection, DatabaseError
from gateway.spool.spool import Spool

T = TypeVar("T")

FRESH_SECONDS: Final = 1.0
DEADLINE_SECONDS: Final = 5.0


class Reader:
    """Asks the spool. Use it on one event loop; `close` it when no question is open."""

    def __init__(self, spool: Spool, *, deadline: float = DEADLINE_SECONDS) -> None:
        """`deadline` in seconds."""
        self._spool = spool
        self._deadline = deadline
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="reader")

    async def read(self, question: Callable[[Connection], T]) -> T:
        """Put a question to the spool, in a transaction of its own. Raises TemporaryFailure."""
        async with self.in_time():
            return await asyncio.get_running_loop().run_in_executor(self._thread, self._ask, question)

    @asynccontextmanager
    async def in_time(self) -> AsyncIterator[None]:
        """What is within is over by the deadline. Raises TemporaryFailure."""
        try:
            async with asyncio.timeout(self._deadline):
                yield
        except TimeoutError:
            raise TemporaryFailure("the spool does not answer in time; check the disk", code="timeout") from None
        except (DatabaseError, OSError) as error:
            raise TemporaryFailure("the spool can't be read; check the disk", code=type(error).__name__) from None

    def close(self) -> None:
        """Wait for the question that is being answered, drop the others."""
        self._thread.shutdown(wait=True, cancel_futures=True)

    def _ask(self, question: Callable[[Connection], T]) -> T:
        c = self._spool.db.read()
        c.execute("BEGIN")  # one view for all statements of the question, while the gateway writes on
        try:
            return question(c)
        finally:
            if c.in_transaction:  # some errors end it
                c.execute("ROLLBACK")


class Fresh(Generic[T]):
    """The answer to one question: called, at most FRESH_SECONDS old."""

    def __init__(
        self, reader: Reader, question: Callable[[Connection], T], *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._reader = reader
        self._question = question
        self._monotonic = monotonic
        self._one_at_a_time = asyncio.Lock()
        self._answer: tuple[float, T] | None = None

    async def __call__(self) -> T:
        """Raises TemporaryFailure."""
        return await self._answered(FRESH_SECONDS)

    async def anew(self) -> T:
        """As it is now. Raises TemporaryFailure."""
        return await self._answered(0.0)

    async def _answered(self, within: float) -> T:
        async with self._reader.in_time(), self._one_at_a_time:
            if self._answer is None or self._monotonic() - self._answer[0] >= within:
                found = await self._reader.read(self._question)
                self._answer = self._monotonic(), found
            return self._answer[1]
