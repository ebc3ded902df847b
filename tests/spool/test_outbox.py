"""What central is told stays until it has committed it, within a bound; no other acknowledgement takes anything."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from gateway.domain.issue import Severity
from gateway.domain.telemetry import Standing
from gateway.spool import Connection, Spool, outbox
from gateway.spool.outbox import ToldAlarm
from tests.spool.objects import START, Clock, open_spool


def enter(c: Connection, *severities: Severity) -> None:
    for number, sev in enumerate(severities):
        outbox.append(c, sev=sev, at=START + timedelta(seconds=number), write=lambda seq: b"%d" % seq)


def kept(spool: Spool) -> list[int]:
    return [one.seq for one in outbox.after(spool.db.read(), 0, upto=10**9, limit=10**9)]


def test_numbers_follow_each_other_and_a_fault_uses_none(spool: Spool) -> None:
    spool.db.write(lambda c: enter(c, *[Severity.INFO] * 3)).result()

    def broken(_seq: int) -> bytes:
        raise ValueError("not listed")

    with pytest.raises(ValueError, match="not listed"):
        spool.db.write(lambda c: outbox.append(c, sev=Severity.INFO, at=START, write=broken)).result()
    spool.db.write(lambda c: enter(c, Severity.ERROR)).result()
    assert [(one.seq, one.body) for one in outbox.after(spool.db.read(), 1, upto=3, limit=9)] == [(2, b"2"), (3, b"3")]
    assert kept(spool) == [1, 2, 3, 4]


def test_only_central_takes_out_and_only_of_this_log(spool: Spool) -> None:
    spool.db.write(lambda c: enter(c, *[Severity.INFO] * 5)).result()
    log = outbox.state(spool.db.read()).log
    other = "g00000000" if log != "g00000000" else "g11111111"
    for foreign in ((other, 3), (log, 6), (log, -1)):
        assert not spool.db.write(lambda c, one=foreign: outbox.acknowledge(c, log=one[0], upto=one[1])).result()
    assert outbox.state(spool.db.read()).acked == 0
    assert spool.db.write(lambda c: outbox.acknowledge(c, log=log, upto=3)).result()
    assert outbox.oldest(spool.db.read()) == START + timedelta(seconds=3)
    assert spool.db.write(lambda c: outbox.acknowledge(c, log=log, upto=2)).result(), "an old one, once more"
    assert outbox.state(spool.db.read()).waiting == 2
    assert spool.db.write(lambda c: outbox.forget(c, limit=2)).result() == 2
    assert spool.db.write(outbox.forget).result() == 1
    assert kept(spool) == [4, 5]


def test_the_least_severe_go_first_and_the_numbers_stay(spool: Spool) -> None:
    levels = [Severity.ERROR, Severity.INFO, Severity.WARNING, Severity.INFO, Severity.CRITICAL, Severity.INFO] * 50
    spool.db.write(lambda c: enter(c, *levels)).result()
    assert spool.db.write(lambda c: outbox.give_up(c, most=300)).result() is None
    gone = spool.db.write(lambda c: outbox.give_up(c, most=200)).result()
    assert gone is not None
    assert gone.count == 102, "what is over, and a hundredth more"
    assert len(kept(spool)) == 198
    assert {seq for seq in range(1, 301) if levels[seq - 1] is not Severity.INFO} <= set(kept(spool))
    more = spool.db.write(lambda c: outbox.give_up(c, most=100)).result()
    assert more is not None
    assert {levels[seq - 1] for seq in kept(spool)} == {Severity.ERROR, Severity.CRITICAL}
    spool.db.write(lambda c: enter(c, Severity.INFO)).result()
    assert kept(spool)[-1] == 301


def test_a_restart_keeps_log_key_and_what_waits(tmp_path: Path) -> None:
    first = open_spool(tmp_path / "state", Clock())
    before = first.db.write(outbox.begin).result()
    first.db.write(lambda c: enter(c, *[Severity.INFO] * 3)).result()
    first.close()
    second = open_spool(tmp_path / "state", Clock())
    after = second.db.write(outbox.begin).result()
    assert (after.log, after.key, after.starts, after.last_seq) == (before.log, before.key, 2, 3)
    assert kept(second) == [1, 2, 3]
    second.close()
    other = open_spool(tmp_path / "other", Clock())
    assert outbox.state(other.db.read()).log != before.log
    assert outbox.state(other.db.read()).key != before.key
    other.close()


def test_alarms_as_told(spool: Spool) -> None:
    told = ToldAlarm(
        code="disk-full",
        inst="box",
        state=Standing.RAISED,
        sev=Severity.ERROR,
        since=START,
        changed_at=START,
        count=1,
        seq=1,
        eid="01M80R9GTJ60RK4CSM6MV3EE1S",
    )
    spool.db.write(lambda c: outbox.keep_alarm(c, told, seq=1)).result()
    assert outbox.alarms(spool.db.read()) == (told,)
    spool.db.write(lambda c: outbox.forget_alarms(c, [("disk-full", "box")])).result()
    assert outbox.alarms(spool.db.read()) == ()
