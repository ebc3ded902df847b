"""What a lane may do, and what was learned of a destination: small parts of the forward role by themselves."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from gateway.roles.forward.learned import Learned
from gateway.roles.forward.target import Ramp

CT, SR = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.88.11"
NATIVE, JPEG_LS = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.4.80"


def test_lines_are_added_one_for_each_success_and_one_remains_after_a_failure() -> None:
    ramp = Ramp(3)
    allowed = []
    for step in (ramp.succeeded, ramp.succeeded, ramp.succeeded, ramp.failed, ramp.succeeded):
        step()
        allowed.append([ramp.admits(number) for number in range(4)].count(True))
    assert allowed == [2, 3, 3, 1, 2]


def test_what_was_refused_is_known_for_a_while_and_by_class() -> None:
    now = [datetime(2026, 7, 6, tzinfo=UTC)]
    learned = Learned(keep=timedelta(hours=12), now=lambda: now[0])
    assert learned.refused(CT) == frozenset()
    learned.record({CT: {NATIVE, JPEG_LS}, SR: {NATIVE}}, [(CT, NATIVE)])
    assert (learned.refused(CT), learned.refused(SR)) == ({JPEG_LS}, {NATIVE})
    now[0] += timedelta(hours=11)
    learned.record({SR: {NATIVE}}, [(SR, NATIVE)])
    assert (learned.refused(CT), learned.refused(SR)) == ({JPEG_LS}, frozenset())
    now[0] += timedelta(hours=2)
    assert learned.refused(CT) == frozenset()
