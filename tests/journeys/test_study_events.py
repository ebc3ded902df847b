"""What happens to a whole study is written down once, in its order, and again for images that come late."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from gateway.domain.model import UID, Confirm
from gateway.simulate.acceptor import hosted
from gateway.simulate.pacs import PacsBehaviour, PacsSimulator
from gateway.spool import study_events
from tests.journeys.forwarding import PATIENCE, Forwarding, forwarding, target, to
from tests.peers import objects

pytestmark = pytest.mark.slow

AFTER = PATIENCE.quiet + timedelta(minutes=1)


def events(box: Forwarding, study: str) -> list[tuple[str, int]]:
    return [(one.event.value, one.images) for one in study_events.of_study(box.spool.db.read(), UID(study))]


def test_a_study_is_complete_then_delivered_then_confirmed_and_again_for_late_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pacs = PacsSimulator()
    place = target(lambda: to(pacs.port), confirm=Confirm.COMMITMENT, commitment_wait=timedelta(seconds=1))
    images = [objects.ct(seed, study="s") for seed in range(4)]
    uid = str(images[0].StudyInstanceUID)
    with hosted(pacs) as host, forwarding(tmp_path, [place], monkeypatch=monkeypatch) as box:
        host.call(pacs.behave(PacsBehaviour.DOWN))
        for one in images[:3]:
            box.put(objects.write(tmp_path, one))
        box.pass_time(timedelta(minutes=5), seconds=1)
        assert events(box, uid) == []
        box.clock.advance(AFTER)
        box.until(lambda: events(box, uid), what="it is complete")
        box.pass_time(timedelta(hours=1), seconds=1)
        assert events(box, uid) == [("complete", 3)]
        pacs.silent = True
        host.call(pacs.behave(PacsBehaviour.UP))
        box.clock.run_at(60)
        box.until(lambda: len(events(box, uid)) > 1, what="it is delivered")
        assert events(box, uid) == [("complete", 3), ("delivered", 3)]
        pacs.silent = False
        box.clock.run_at(3600)
        whole = [("complete", 3), ("delivered", 3), ("confirmed", 3)]
        box.until(lambda: events(box, uid) == whole, what="it is confirmed")
        box.clock.run_at(60)
        box.put(objects.write(tmp_path, images[3]))
        box.clock.advance(AFTER)
        again = [("complete", 4), ("delivered", 4), ("confirmed", 4)]
        box.until(lambda: events(box, uid) == whole + again, what="the late image begins anew")
        box.clock.advance(timedelta(days=1))
        box.pass_time(timedelta(hours=1), seconds=1)
        assert events(box, uid) == whole + again
