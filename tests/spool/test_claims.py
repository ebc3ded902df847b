"""One process is one part of a spool, and everybody can see whether there is one."""

from __future__ import annotations

import pytest

from gateway.domain.model import TemporaryFailure
from gateway.spool import Spool
from gateway.spool.claims import Part, unclaimed


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
    with spool.claim(Part.FORWARD):
        assert unclaimed(state) == (Part.EDGE,)
        with spool.claim(Part.EDGE):
            assert unclaimed(state) == ()
