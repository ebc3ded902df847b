"""Reading is bounded in time and number, and can't write."""

from __future__ import annotations

import asyncio
import threading

import pytest

from gateway.domain.model import TemporaryFailure
from gateway.roles.console.books import Books
from gateway.spool.reader import FRESH_SECONDS
from tests.cli.site import Site
from tests.console.box import CONFIGURED, images


class Seconds:
    """A monotonic clock that stands until it is moved."""

    def __init__(self) -> None:
        self.at = 0.0

    def __call__(self) -> float:
        return self.at


def books(site: Site, *, monotonic: Seconds | None = None, deadline: float = 20.0) -> Books:
    return Books(
        site.spool,
        configured=CONFIGURED,
        now=site.clock,
        monotonic=monotonic or Seconds(),
        deadline=deadline,
    )


def test_what_stands_is_read_once_for_all_who_ask(site: Site) -> None:
    clock = Seconds()
    asked = books(site, monotonic=clock)

    async def ask() -> None:
        images(site, b"a")
        first = await asked.standing()
        images(site, b"b")
        assert set(map(id, await asyncio.gather(*(asked.standing() for _ in range(20))))) == {id(first)}
        clock.at += FRESH_SECONDS
        assert (await asked.standing()).studies[0].images == 2

    asyncio.run(ask())
    asked.close()


def test_a_spool_that_hangs_is_given_up_and_tried_again(site: Site) -> None:
    asked = books(site, deadline=0.05)
    let_go = threading.Event()

    async def ask() -> None:
        with pytest.raises(TemporaryFailure, match="does not answer in time"):
            await asked.read(lambda _: let_go.wait(20))
        with pytest.raises(TemporaryFailure, match="does not answer in time"):
            await asked.standing()  # waits behind it, no longer than its own deadline
        let_go.set()

    asyncio.run(ask())
    asked.close()

    again = books(site)
    assert asyncio.run(again.standing()).studies == ()
    again.close()


def test_nothing_can_be_written(site: Site) -> None:
    images(site, b"a")
    asked = books(site)
    with pytest.raises(TemporaryFailure, match="can't be read"):
        asyncio.run(asked.read(lambda c: c.execute("DELETE FROM journal")))
    assert asyncio.run(asked.standing()).studies[0].images == 1
    asked.close()
