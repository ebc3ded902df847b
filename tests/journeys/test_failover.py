"""A second archive takes over, and gives back: each image is somewhere, and no order of failures is a trap."""

from __future__ import annotations

from contextlib import ExitStack
from datetime import timedelta
from itertools import count
from pathlib import Path

import pytest

from gateway.domain.model import DestinationName
from gateway.simulate.acceptor import Host, hosted
from gateway.simulate.pacs import PacsBehaviour, PacsSimulator
from tests.journeys.forwarding import forwarding, target, to
from tests.peers import objects

pytestmark = pytest.mark.slow

FIRST, SECOND = DestinationName("first"), DestinationName("second")
SOON = timedelta(minutes=2)


def test_the_second_takes_over_and_the_first_is_asked_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = PacsSimulator(), PacsSimulator()
    places = [
        target(lambda: to(first.port), name=FIRST, failover=(SECOND,), failover_after=SOON),
        target(lambda: to(second.port), name=SECOND),
    ]
    with ExitStack() as stack:
        host: Host = stack.enter_context(hosted(first, second))
        box = stack.enter_context(forwarding(tmp_path, places, monkeypatch=monkeypatch, default=[FIRST]))
        before = [box.put(objects.write(tmp_path, objects.ct(seed))) for seed in range(2)]
        box.until_all(before)
        host.call(first.behave(PacsBehaviour.DOWN))
        during = [box.put(objects.write(tmp_path, objects.ct(seed))) for seed in range(10, 13)]
        box.clock.run_at(30)
        box.until_all(during)
        assert (set(first.held), set(second.held)) == (set(before), set(during))
        host.call(first.behave(PacsBehaviour.UP))
        after = [box.put(objects.write(tmp_path, objects.ct(seed))) for seed in range(20, 22)]
        box.until_all(after)
        assert set(after) <= set(first.held) | set(second.held)
        seeds = count(30)

        def given_back() -> bool:
            one = box.put(objects.write(tmp_path, objects.ct(next(seeds))))
            box.until_all([one])
            return one in first.held

        box.until(given_back, what="the first is found to be back")
        last = box.put(objects.write(tmp_path, objects.ct(next(seeds))))
        box.until_all([last])
        assert last in first.held


def test_what_was_moved_comes_back_when_the_second_fails_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = PacsSimulator(), PacsSimulator()
    places = [
        target(lambda: to(first.port), name=FIRST, failover=(SECOND,), failover_after=SOON),
        target(lambda: to(second.port), name=SECOND),
    ]
    with ExitStack() as stack:
        host: Host = stack.enter_context(hosted(first, second))
        box = stack.enter_context(forwarding(tmp_path, places, monkeypatch=monkeypatch, default=[FIRST]))
        host.call(first.behave(PacsBehaviour.DOWN))
        host.call(second.behave(PacsBehaviour.DOWN))
        uid = box.put(objects.write(tmp_path, objects.ct(1)))
        box.clock.run_at(60)
        box.until(lambda: box.destinations_of(uid) == [SECOND], what="it is moved, as nobody knows of the second yet")
        host.call(first.behave(PacsBehaviour.UP))
        # The first is known to be back only by what it takes
        canary = box.put(objects.write(tmp_path, objects.ct(2)))
        box.until_all([canary, uid])
        assert uid in first.held


def test_an_image_that_both_are_to_have_is_not_moved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = PacsSimulator(), PacsSimulator()
    places = [
        target(lambda: to(first.port), name=FIRST, failover=(SECOND,), failover_after=SOON),
        target(lambda: to(second.port), name=SECOND),
    ]
    with ExitStack() as stack:
        host: Host = stack.enter_context(hosted(first, second))
        box = stack.enter_context(forwarding(tmp_path, places, monkeypatch=monkeypatch))
        host.call(first.behave(PacsBehaviour.DOWN))
        uid = box.put(objects.write(tmp_path, objects.ct(1)))
        box.until(lambda: uid in second.held, what="the second has its copy")
        box.pass_time(timedelta(minutes=20), seconds=2)
        assert sorted(box.destinations_of(uid)) == [FIRST, SECOND]
        host.call(first.behave(PacsBehaviour.UP))
        box.clock.run_at(60)
        box.until(lambda: uid in first.held, what="the first gets its own")
