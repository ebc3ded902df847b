"""What health wrote down is what is read, and nothing is left of whom the configuration names no more."""

from __future__ import annotations

from functools import partial

import pytest

from gateway.domain.health import PROBED, Hop, Reading
from gateway.domain.issue import Severity
from gateway.spool import Spool, audit, health
from tests.spool.objects import START, Clock


def probed(spool: Spool, clock: Clock, *, peer: str = "pacs", ms: float | None = 12.5, code: str = "") -> None:
    spool.db.write(partial(health.probed, hop=Hop.ECHO, peer=peer, at=clock(), latency_ms=ms, code=code)).result()


def test_a_bad_probe_keeps_when_it_was_good_last(spool: Spool, clock: Clock) -> None:
    probed(spool, clock)
    clock.pass_(minutes=1)
    probed(spool, clock, ms=None, code="peer-silent")
    (found,) = health.probes(spool.db.read())
    assert (found.hop, found.peer, found.at, found.last_good) == (Hop.ECHO, "pacs", clock(), START)
    assert (found.latency_ms, found.code) == (None, "peer-silent")


def test_a_peer_is_named_by_its_configured_name(spool: Spool, clock: Clock) -> None:
    with pytest.raises(ValueError, match="no name of ours"):
        probed(spool, clock, peer="DOE^JANE")


def test_readings_are_those_of_the_last_time(spool: Spool) -> None:
    for found in ({Reading.CPU: 0.5, Reading.TEMPERATURE: 51.0}, {Reading.CPU: 0.25}):
        spool.db.write(partial(health.read, found=found, at=START)).result()
    assert health.readings(spool.db.read()) == {Reading.CPU: 0.25}


def test_issues_are_the_alarms(spool: Spool, clock: Clock) -> None:
    change = partial(health.change, subject="pacs", was="", now_is="peer-silent", at=clock())
    spool.db.write(change).result()
    spool.db.write(partial(audit.raise_alarm, code="destination-unreachable", subject="pacs", now=clock())).result()
    (issue,) = health.issues(spool.db.read(), parts=(), now=clock())
    assert (issue.code, issue.instance, issue.severity) == ("peer-silent", "pacs", Severity.ERROR)
    change = partial(health.change, subject="pacs", was="peer-silent", now_is="", at=clock())
    spool.db.write(change).result()
    assert [one.code for one in health.issues(spool.db.read(), parts=(), now=clock())] == ["destination-unreachable"]


def test_who_left_the_configuration_leaves_nothing(spool: Spool, clock: Clock) -> None:
    for peer in ("pacs", "old"):
        probed(spool, clock, peer=peer)
    spool.db.write(partial(health.forget_others, peers={"pacs"})).result()
    assert [one.peer for one in health.probes(spool.db.read())] == ["pacs"]


def test_what_stands_of_some_codes(spool: Spool, clock: Clock) -> None:
    for subject, code in (("pacs", "peer-silent"), ("clock", "clock-off")):
        spool.db.write(partial(health.change, subject=subject, was="", now_is=code, at=clock())).result()
    assert health.standing(spool.db.read(), codes=PROBED) == {"pacs": "peer-silent"}


def test_what_a_later_version_knew_ends_nothing(spool: Spool, clock: Clock) -> None:
    """After `gateway update rollback` its rows are still there."""
    probed(spool, clock)
    for statement in (
        "INSERT INTO health_probe SELECT 'teleport', peer, at, last_good, latency_ms, code FROM health_probe",
        "INSERT INTO health_reading (name, value, at) VALUES ('mood', 1.0, '')",
    ):
        spool.db.write(lambda c, text=statement: c.execute(text)).result()
    assert [one.hop for one in health.probes(spool.db.read())] == [Hop.ECHO]
    assert health.readings(spool.db.read()) == {}
