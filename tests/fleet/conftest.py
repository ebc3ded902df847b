"""One PostgreSQL for the tests of a worker, and a central of its own for each test: broker, database, collectors."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

import pytest

from gateway.fleet.arrivals import Broker, Source
from gateway.fleet.collector import Collector
from gateway.fleet.database import Books
from gateway.fleet.figures import Figures
from gateway.fleet.mqtt_source import MqttSource
from gateway.fleet.watchman import Watchman
from gateway.simulate.fleet import Fleet, Outcome, Plan
from tests.peers.mosquitto import Mosquitto, mosquitto
from tests.peers.postgres import Postgres, postgres
from tests.peers.processes import HOST, Program, free_port, program

T = TypeVar("T")

KEPT = timedelta(days=400)
LIMIT_SECONDS = 100.0
"""How long a test waits for what must come."""


def now() -> datetime:
    return datetime.now(UTC)


@pytest.fixture(scope="session")
def server() -> Iterator[Postgres]:
    with postgres() as running:
        yield running


@pytest.fixture
def central(server: Postgres, tmp_path: Path) -> Central:
    return Central(server=server, database=server.database(), broker=mosquitto(tmp_path / "mosquitto"), folder=tmp_path)


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A collector in this process."""

    collector: Collector
    watchman: Watchman
    figures: Figures
    books: Books

    def count(self, name: str, **labels: str) -> float:
        """A series of its own."""
        return self.figures.registry.get_sample_value(name, labels) or 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Central:
    """A broker and a database, for as many collectors as wanted."""

    server: Postgres
    database: str
    broker: Mosquitto
    folder: Path

    def sql(self, statement: str) -> str:
        return self.server.sql(statement, database=self.database)

    def plan(self, **how: object) -> Plan:
        """A small fleet in a hurry, which plays until it is told to end."""
        usual = {
            "brokers": ((HOST, self.broker.port),),
            "boxes": 20,
            "sites": 4,
            "health_every": 0.5,
            "events_every": 0.5,
            "lasts": 10 * LIMIT_SECONDS,
            "connect_within": 0.5,
            "reconnect_within": 0.5,
            "say_again": 2.0,
            "drain": LIMIT_SECONDS,
            "seed": 1,
        }
        return Plan(**{**usual, **how})  # type: ignore[arg-type]

    @asynccontextmanager
    async def collector(self, name: str = "c1", *, source: Source | None = None) -> AsyncIterator[Running]:
        """A collector here, subscribed and at work; at our mosquitto if no other source is named."""
        books = await Books.open(self.server.dsn(self.database))
        if source is None:
            at_ours = MqttSource(Broker(hosts=(HOST,), port=self.broker.port, client_id=name), now=now)
            await at_ours.start()
            source = at_ours
        figures = Figures()
        collector = Collector(source, books, figures=figures, metrics=None, batch=500, now=now)
        watched = await Books.open(self.server.dsn(self.database))
        watchman = Watchman(watched, figures=figures, now=now, listening=lambda: source.listening, kept=KEPT)
        working = asyncio.create_task(collector.run())
        test = asyncio.current_task()
        assert test is not None

        def stop(_: object) -> None:
            """One that ended by a fault lets nobody wait for it."""
            test.cancel()

        working.add_done_callback(stop)
        try:
            await until(lambda: source.listening)
            yield Running(collector=collector, watchman=watchman, figures=figures, books=watched)
        finally:
            working.remove_done_callback(stop)
            working.cancel()
            with suppress(asyncio.CancelledError):
                await working
            await source.close()
            await books.close()
            await watched.close()

    def configuration(self, name: str, *, port: int = 0, more: str = "") -> Path:
        """A fleet.toml."""
        path = self.folder / f"{name}.toml"
        path.write_text(
            f'[broker]\nhost = ["{HOST}"]\nport = {self.broker.port}\ntls = false\nclient = "{name}"\n'
            f'[database]\nhost = "{HOST}"\nport = {self.server.port}\nname = "{self.database}"\nuser = "gateway"\n'
            f"tls = false\n[collector]\nport = {port}\n{more}",
            "utf-8",
        )
        return path

    @contextmanager
    def process(self, name: str, *, more: str = "") -> Iterator[Program]:
        """`gateway fleet collect` as a site runs it; entered when it shows its metrics."""
        port = free_port()
        configuration = self.configuration(name, port=port, more=more)
        command = [sys.executable, "-m", "gateway", "fleet", "collect", "--config", configuration]
        with program(command, port=port, folder=self.folder / name) as started:
            yield started

    def told(self) -> tuple[int, int]:
        """How many events are here, and how many numbers of boxes they have."""
        events, numbers = self.sql("SELECT count(*), count(DISTINCT (site, box, log, seq)) FROM fleet.event").split("|")
        return int(events), int(numbers)


class Playing:
    """A fleet in this process; one that plays for so long would be over on a slow machine before it has shown much."""

    def __init__(self, plan: Plan) -> None:
        self.fleet = Fleet(plan)
        self.task = asyncio.create_task(self.fleet.run())

    async def end(self) -> Outcome:
        """What came of it, when central has acknowledged everything."""
        self.fleet.end()
        return await self.task


@asynccontextmanager
async def playing(plan: Plan) -> AsyncIterator[Playing]:
    """A fleet that is gone when this is left."""
    play = Playing(plan)
    try:
        yield play
    finally:
        play.task.cancel()
        await asyncio.gather(play.task, return_exceptions=True)


async def beside(work: Callable[[], T], again: Callable[[], Awaitable[None]]) -> T:
    """The result of what runs on a thread, while something else is done again and again."""
    working = asyncio.create_task(asyncio.to_thread(work))
    while not working.done():
        await again()
        await asyncio.wait({working}, timeout=1.0)
    return working.result()


async def until(holds: Callable[[], bool]) -> None:
    """Wait for what another program does."""
    async with asyncio.timeout(LIMIT_SECONDS):
        while not await asyncio.to_thread(holds):  # noqa: ASYNC110  another program tells nobody
            await asyncio.sleep(0.05)


def as_json(text: str) -> dict[str, object]:
    found = json.loads(text)
    assert isinstance(found, dict)
    return found
