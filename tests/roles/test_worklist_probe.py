"""A RIS that nobody asks is probed: no more than is needed, beside all else, and judged by the refresh alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from gateway.domain.model import SourceName
from gateway.net.dicom_client import Peer
from gateway.roles.worklist.sources import Sources, Upstream
from gateway.simulate.ris import RisBehaviour, RisSimulator, sample_row
from gateway.spool import worklist as copy
from tests.cli.site import Site
from tests.roles.test_recall import asked

PROBE = 10.0
"""Seconds of the site's clock, which stands until it is moved."""
MAIN = SourceName("main")


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path)
    yield made
    made.close()


async def until(fact: Callable[[], object]) -> None:
    async with asyncio.timeout(60):
        while not fact():  # noqa: ASYNC110 -- a peer and a database tell nobody
            await asyncio.sleep(0.01)


async def probing_until(site: Site, fact: Callable[[], object]) -> None:
    """Probes are due all the time until then."""

    def look() -> object:
        site.clock.pass_(seconds=PROBE)
        return fact()

    await until(look)


class Books:
    """What the copy says of the RIS."""

    def __init__(self, site: Site) -> None:
        self._site = site

    @property
    def error(self) -> str | None:
        """None: never asked."""
        return next((one.last_error for one in copy.sources(self._site.spool.db.read())), None)

    @property
    def rows(self) -> int:
        return copy.copied(self._site.spool.db.read()).get(MAIN, 0)


@asynccontextmanager
async def probed(site: Site, ris: RisSimulator) -> AsyncIterator[tuple[Sources, Books]]:
    """The sources of a site, refreshed once, and never again by the clock."""
    peer = Peer(
        host="127.0.0.1", port=ris.port, called_ae="RIS", calling_ae="GATEWAY", connect_timeout=5.0, timeout=20.0
    )
    one = Upstream(
        name=MAIN,
        peer=lambda _: peer,
        refresh=timedelta(hours=1),
        past=timedelta(days=1),
        ahead=timedelta(days=7),
        most_rows=1000,
        probe=timedelta(seconds=PROBE),
    )
    sources = Sources(site.spool, [one], today=lambda: site.clock().date(), now=site.clock, random=lambda: 0.5)
    stop, books = asyncio.Event(), Books(site)
    running = asyncio.create_task(sources.run(stop))
    await until(lambda: books.error == "")
    yield sources, books
    stop.set()
    await running


def rows(site: Site, count: int = 2) -> list[object]:
    return [sample_row(site.clock().date(), "CT", "CT1", number) for number in range(count)]


def test_it_is_probed_once_it_has_answered_nothing_for_so_long(site: Site) -> None:
    async def main() -> None:
        async with RisSimulator(rows=rows(site)) as ris, probed(site, ris) as (sources, books):
            assert (ris.queries, books.rows) == (1, 2)
            site.clock.pass_(seconds=PROBE)
            await until(lambda: sources._sources[MAIN].answered_at == site.clock())  # the probe, to its end
            assert ris.queries == 2
            site.clock.pass_(seconds=PROBE - 1)
            await sources.ask_all(asked())  # which proves that it answers
            site.clock.pass_(seconds=2)
            ris.behaviour = RisBehaviour.FAIL
            site.clock.pass_(seconds=PROBE - 2)
            await until(lambda: books.error == "C001")
            # the refresh, a probe, a scanner, a probe, and the refresh that it asked for
            assert ris.queries == 5

    asyncio.run(main())


def test_a_probe_that_hangs_holds_up_nobody_and_is_the_only_one(site: Site) -> None:
    async def main() -> None:
        async with RisSimulator(rows=rows(site)) as ris, probed(site, ris) as (sources, books):
            ris.behaviour = RisBehaviour.HANG
            site.clock.pass_(seconds=PROBE)
            await until(lambda: books.error == "silence")
            site.clock.pass_(seconds=PROBE)
            ris.behaviour = RisBehaviour.ANSWER
            question = asked()
            await sources.ask_all(question)
            assert question.trail.sources == {MAIN: "answered"}
            assert ris.queries == 3

    asyncio.run(main())


def test_a_ris_without_its_patient_is_asked_for_everything_before_it_is_judged(site: Site) -> None:
    async def main() -> None:
        async with RisSimulator(rows=rows(site, 3)) as ris, probed(site, ris) as (_, books):
            ris.rows = [sample_row(site.clock().date(), "MR", "MR1", 7)]
            await probing_until(site, lambda: books.rows == 4)  # a probe without a row, and a refresh with another
            await probing_until(site, lambda: ris.queries >= 6)  # for the patient that it still has
            assert books.error == ""
            ris.behaviour = RisBehaviour.EMPTY
            await probing_until(site, lambda: books.error == "empty")

    asyncio.run(main())


def test_a_ris_that_is_back_is_refreshed_from_at_once(site: Site) -> None:
    async def main() -> None:
        async with RisSimulator(rows=rows(site)) as ris, probed(site, ris) as (_, books):
            await ris.stop()
            await probing_until(site, lambda: books.error == "connect")
            ris.rows = rows(site, 3)
            await ris.start()
            await probing_until(site, lambda: books.rows == 3)
            assert books.error == ""

    asyncio.run(main())
