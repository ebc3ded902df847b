"""The fleet's books: PostgreSQL, by asyncpg.

What is promised: the schema is brought up to date once, whoever of many comes first; a statement has a time limit; an
answer that can't be had is BooksAway, and nothing of it was kept. With TimescaleDB on the server the events are cut by
time (`hypertable`), with nothing else changed.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from importlib.resources import files
from typing import Any, Final, Self

import asyncpg

from gateway.domain.model import PermanentFailure, TemporaryFailure
from gateway.spool.queries import statements

SCHEMA: Final = "fleet"
_MIGRATING: Final = 0x646777
"""The advisory lock of whoever changes the schema."""
WATCHING: Final = 0x646778
"""That of the one collector that looks for silence and incidents."""
_TEMPORARY: Final = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # a question put after the server's farewell and before the end of the connection
    asyncpg.TransactionRollbackError,
    asyncpg.OperatorInterventionError,  # it ends, begins, or one of its processes crashed
    asyncpg.ObjectNotInPrerequisiteStateError,  # somebody works on it, and it lets nobody in
    asyncpg.ReadOnlySQLTransactionError,  # a standby
    asyncpg.InsufficientResourcesError,
    asyncpg.PostgresSystemError,
)

Row = Any
"""asyncpg.Record: asyncpg has no types."""


class BooksAway(TemporaryFailure):
    """PostgreSQL can't be reached, or can't answer now."""


def sql(name: str) -> str:
    """The statement of that name."""
    return statements("gateway.fleet")[name]


class Books:
    """One connection to the fleet's database, made anew after a failure; its users wait for each other."""

    def __init__(self, dsn: str, *, seconds: float, where: Mapping[str, Any]) -> None:
        self._dsn = dsn
        self._where = where
        self._seconds = seconds
        self._turn = asyncio.Lock()
        self._connection: Any = None

    @classmethod
    async def open(cls, dsn: str = "", *, seconds: float = 20.0, **where: Any) -> Self:
        """Connect, by a URL or by asyncpg's words (`host`, `database`, `ssl` and so on), and bring the schema up to
        date. `seconds` is the longest that anything here may take. Raises BooksAway or PermanentFailure."""
        books = cls(dsn, seconds=seconds, where=where)
        try:
            async with books.transaction() as c:
                await _migrate(c)
        except (asyncpg.InvalidAuthorizationSpecificationError, asyncpg.InvalidCatalogNameError) as error:
            raise PermanentFailure(
                f"the fleet's database lets us not in ({type(error).__name__}); check [database] of fleet.toml"
            ) from error
        return books

    async def close(self) -> None:
        """Let the connection go; what is under way in it is not kept."""
        self._drop()

    @asynccontextmanager
    async def transaction(self, *, durable: bool = True) -> AsyncIterator[Any]:
        """One transaction; committed and, if `durable`, on the disk when left. Raises BooksAway, with nothing kept."""
        async with self._turn:
            try:
                async with asyncio.timeout(self._seconds):
                    c = await self._connected()
                    async with c.transaction():
                        if not durable:
                            await c.execute("SET LOCAL synchronous_commit = off")
                        yield c
            except _TEMPORARY as error:
                self._drop()
                name = type(error).__name__
                remedy = "see that it runs, and look at [database] of fleet.toml"
                raise BooksAway(f"the fleet's database does not answer ({name}); {remedy}") from error

    async def fetch(self, name: str, *values: object) -> Sequence[Row]:
        """The rows of a named statement, in a transaction of its own. Raises BooksAway."""
        async with self.transaction() as c:
            found: Sequence[Row] = await c.fetch(sql(name), *values)
            return found

    async def _connected(self) -> Any:
        if self._connection is None or self._connection.is_closed():
            settings = {"search_path": f"{SCHEMA},public", "application_name": "gateway-fleet", "timezone": "UTC"}
            self._connection = await asyncpg.connect(self._dsn or None, server_settings=settings, **self._where)
        return self._connection

    def _drop(self) -> None:
        """Whatever state the connection is in, it is of no use."""
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None


async def take_watch(c: Any) -> bool:
    """Whether nobody else has the watch now; if so it is ours until this transaction ends."""
    return bool(await c.fetchval("SELECT pg_try_advisory_xact_lock($1)", WATCHING))


async def _migrate(c: Any) -> None:
    steps = sorted(files("gateway.fleet").joinpath("schema").iterdir(), key=lambda one: one.name)
    await c.execute("SELECT pg_advisory_xact_lock($1)", _MIGRATING)
    await c.execute(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}")
    await c.execute("CREATE TABLE IF NOT EXISTS schema_step (name TEXT PRIMARY KEY, at TIMESTAMPTZ NOT NULL)")
    done = {row["name"] for row in await c.fetch("SELECT name FROM schema_step")}
    if done - {step.name for step in steps}:
        raise PermanentFailure("the fleet's database is of a later version; use that version's gateway")
    for step in steps:
        if step.name not in done:
            await c.execute(step.read_text(encoding="utf-8"))
            await c.execute("INSERT INTO schema_step VALUES ($1, now())", step.name)
