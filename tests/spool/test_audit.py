"""Alarms and the journal, and what may stand in them."""

from __future__ import annotations

import pytest

from gateway.spool import Connection, Spool, audit
from gateway.spool.times import to_text
from tests.spool.objects import START, Clock


def test_an_alarm_counts_until_it_is_cleared_and_begins_anew(spool: Spool, clock: Clock) -> None:
    def raise_(c: Connection) -> None:
        audit.raise_alarm(c, code="disk-high", subject="", now=clock())

    def clear(c: Connection) -> bool:
        return audit.clear_alarm(c, code="disk-high", subject="", now=clock())

    spool.db.write(raise_).result()
    clock.pass_(minutes=1)
    spool.db.write(raise_).result()
    (alarm,) = audit.active_alarms(spool.db.read())
    assert (alarm.count, alarm.since, alarm.last, alarm.cleared_at) == (2, START, clock(), None)
    assert [spool.db.write(clear).result() for _ in range(2)] == [True, False]
    assert audit.active_alarms(spool.db.read()) == ()
    spool.db.write(raise_).result()
    (again,) = audit.active_alarms(spool.db.read(), code="disk-high")
    assert (again.count, again.since) == (1, clock())
    assert audit.active_alarms(spool.db.read(), code="other") == ()


@pytest.mark.parametrize("subject", ["DOE^JANE", "M\u00fcller", "a\nb", "x" * 129])
def test_what_may_be_a_patient_is_no_subject(spool: Spool, subject: str) -> None:
    refused = [
        spool.db.write(lambda c: audit.raise_alarm(c, code="disk-high", subject=subject, now=START)),
        spool.db.write(
            lambda c: audit.journal(c, audit.Subject.INSTANCE, 1, before="", after="", now=START, by="x", why=subject)
        ),
    ]
    for future in refused:
        with pytest.raises(ValueError, match="no name of ours") as caught:
            future.result()
        assert subject not in str(caught.value)


def test_a_code_is_of_the_closed_vocabulary(spool: Spool) -> None:
    with pytest.raises(ValueError, match="it is not in"):
        spool.db.write(lambda c: audit.raise_alarm(c, code="disk-low", subject="", now=START)).result()


def test_a_time_without_a_zone_does_not_get_in() -> None:
    with pytest.raises(ValueError, match="zone"):
        to_text(START.replace(tzinfo=None))
