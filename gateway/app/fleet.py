"""The page of wiring of a collector: fleet.toml -> broker, books, store of metrics -> collector and watchman.

A collector that is stopped leaves what it has not settled to the broker and to its boxes.
"""

from __future__ import annotations

import asyncio
import signal
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final

import httpx
import structlog
import uvloop
from prometheus_client import start_http_server

from gateway.app.peers import now, tls_of
from gateway.config.fleet import FleetBroker, FleetConfig, FleetDatabase
from gateway.domain.model import PermanentFailure
from gateway.fleet.arrivals import Broker, Source
from gateway.fleet.collector import Collector
from gateway.fleet.database import Books
from gateway.fleet.figures import Figures
from gateway.fleet.mqtt_source import MqttSource
from gateway.fleet.remote_write import RemoteWriter
from gateway.fleet.watchman import Watchman
from gateway.net.host import notify
from gateway.net.tls import client_context

FLUSH_SECONDS: Final = 2.0
STORE_SECONDS: Final = 10.0
"""The longest that a store of metrics may take for an answer."""

log = structlog.get_logger()


def collect(config: FleetConfig) -> int:
    """Collect until SIGTERM or SIGINT; the process's exit status. Raises GatewayError if it can't start."""
    return uvloop.run(_collect(config))


async def open_books(database: FleetDatabase) -> Books:
    """The books, their schema up to date. Raises BooksAway or PermanentFailure."""
    return await Books.open(
        host=database.host,
        port=database.port,
        database=database.name,
        user=database.user,
        password=_secret(database.password, "[database] password"),
        ssl=client_context(ca=None, certificate=None, key=None) if database.tls else False,
    )


async def _collect(config: FleetConfig) -> int:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    figures = Figures()
    async with AsyncExitStack() as stack:
        books, watched = await open_books(config.database), await open_books(config.database)
        stack.push_async_callback(books.close)
        stack.push_async_callback(watched.close)
        source = await open_source(config.broker)
        stack.push_async_callback(source.close)
        metrics = None
        if config.metrics.remote_write:
            client = await stack.enter_async_context(httpx.AsyncClient(timeout=STORE_SECONDS))
            metrics = RemoteWriter(config.metrics.remote_write, kept=config.metrics.kept, client=client)
        if config.collector.port:
            server, thread = start_http_server(config.collector.port, config.collector.address, figures.registry)
            stack.callback(thread.join)
            stack.callback(server.shutdown)
        collector = Collector(source, books, figures=figures, metrics=metrics, batch=config.collector.batch, now=now)
        watchman = Watchman(
            watched, figures=figures, now=now, listening=lambda: source.listening, kept=config.database.kept
        )
        tasks = [asyncio.create_task(collector.run()), asyncio.create_task(watchman.run())]
        if metrics is not None:
            tasks.append(asyncio.create_task(_flush(metrics, figures)))
        notify("READY=1")
        log.info("ready", broker=config.broker.kind)
        stopped = asyncio.create_task(stop.wait())
        await asyncio.wait({stopped, *tasks}, return_when=asyncio.FIRST_COMPLETED)
        return await _ended(tasks)


def broker_of(broker: FleetBroker) -> Broker:
    """Where the broker is, as the configuration names it, and who we are to it. Raises TemporaryFailure or
    PermanentFailure if a file of ours can't be used."""
    context = tls_of(broker)
    return Broker(
        hosts=broker.host,
        port=broker.port,
        client_id=broker.client,
        username=broker.username,
        password=_secret(broker.password, "[broker] password"),
        tls=None if context is None else context(),
        share=broker.share,
    )


def _secret(path: Path | None, key: str) -> str | None:
    try:
        return None if path is None else path.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise PermanentFailure(
            f"{key} of fleet.toml can't be read ({type(error).__name__}): look at the file, its owner and mode"
        ) from error


async def open_source(broker: FleetBroker) -> Source:
    """What a collector hears through. Raises BrokerAway where NATS can't be reached."""
    address = broker_of(broker)
    if broker.kind == "nats":
        from gateway.fleet.nats_source import NatsSource  # noqa: PLC0415  only where it is NATS

        return await NatsSource.open(address, replicas=broker.replicas)
    source = MqttSource(address, now=now)
    await source.start()
    return source


async def _flush(metrics: RemoteWriter, figures: Figures) -> None:
    while True:
        await metrics.flush()
        figures.unsent.set(len(metrics))
        figures.dropped.set(metrics.dropped)
        await asyncio.sleep(FLUSH_SECONDS)


async def _ended(tasks: list[asyncio.Task[Any]]) -> int:
    """Stop what runs; 1 if something had ended by a fault."""
    notify("STOPPING=1")
    log.info("stopping")
    failed = [task for task in tasks if task.done() and not task.cancelled() and task.exception() is not None]
    for task in failed:
        log.error("the collector ended by a fault", error=type(task.exception()).__name__)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return 1 if failed else 0
