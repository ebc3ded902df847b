"""One process is one part of a spool, and everybody can see whether there is one."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest

from gateway.domain.model import TemporaryFailure
from gateway.domain.parts import Life, Part
from gateway.spool import Spool, heartbeats
from gateway.spool.claims import lives, unclaimed


def test_a_part_is_one_process_at_a_time(spool: Spool) -> None:
    with (
        spool.claim(Part.EDGE),
        spool.claim(Part.FORWARD),
        pytest.raises(TemporaryFailure, match="another process is the edge"),
        spool.claim(Part.EDGE),
    ):
        pass
    with spool.claim(Part.EDGE):
        pass


def test_who_looks_sees_what_nobody_is_and_claims_nothing(spool: Spool) -> None:
    state = spool.files.objects.parent.parent
    assert unclaimed(state) == (Part.EDGE, Part.FORWARD)
    assert lives(state, [Part.EDGE]) == (Life(part=Part.EDGE, running=False, seen=None),)
    with spool.claim(Part.FORWARD):
        assert unclaimed(state) == (Part.EDGE,)
        with spool.claim(Part.EDGE):
            assert unclaimed(state) == ()


def test_a_sign_of_life_is_a_beginning_a_proof_or_an_end(spool: Spool) -> None:
    def look() -> Life:
        (found,) = heartbeats.lives(spool.db.read(), [Part.FORWARD])
        return found

    began = datetime.now(UTC)
    with spool.claim(Part.FORWARD):
        first = look()
        assert first.running
        assert first.seen is not None
        assert first.seen >= began - timedelta(seconds=1)  # the kernel's clock of files is coarse
        proven = first.seen + timedelta(minutes=5)
        spool.db.write(partial(heartbeats.beat, part=Part.FORWARD, now=proven)).result()
        assert look() == Life(part=Part.FORWARD, running=True, seen=proven)
    assert look() == Life(part=Part.FORWARD, running=False, seen=proven)


def test_who_ended_by_a_fault_gave_no_sign_at_its_end(spool: Spool) -> None:
    state = spool.files.objects.parent.parent

    def fail() -> None:
        with spool.claim(Part.EDGE):
            os.utime(state / "edge.lock", (0, 0))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    with spool.claim(Part.FORWARD):
        os.utime(state / "forward.lock", (0, 0))
    seen = {one.part: one.seen for one in lives(state, [Part.EDGE, Part.FORWARD])}
    assert seen[Part.EDGE] == datetime.fromtimestamp(0, UTC)
    assert seen[Part.FORWARD] != datetime.fromtimestamp(0, UTC)
