"""One table for what is on its way to peers: a box that is updated takes both of its earlier ones along."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from importlib.resources import files
from pathlib import Path

from pysqlite3 import dbapi2 as sqlite

from gateway.domain.mpps import RelayState
from gateway.spool import Spool, audit, mpps, orders_out, relays
from gateway.spool.audit import Subject
from tests.spool.objects import START, Clock, open_spool

EARLIER = """
INSERT INTO mpps_step VALUES (7, '2.25.7', 'CT1', 'IN PROGRESS', 'd', '', '{at}', '{at}', NULL, 'P1', 'CT', '1', 'CT1',
    '', NULL, NULL);
INSERT INTO mpps_message VALUES (70, 7, 'N-CREATE', 'CT1', '10.1.1.20', '{at}', '1.2.840.10008.1.2.1', x'00');
INSERT INTO mpps_message VALUES (71, 7, 'N-SET', 'CT1', '10.1.1.20', '{at}', '1.2.840.10008.1.2.1', x'01');
INSERT INTO mpps_relay VALUES (3, 70, 7, 'N-CREATE', 'ris', 'sent', 2, NULL, '0000', '{at}', '{at}');
INSERT INTO mpps_relay VALUES (4, 71, 7, 'N-SET', 'ris', 'refused', 1, NULL, '0120', '{at}', NULL);
INSERT INTO order_message VALUES (3, 'ris', NULL, 'start', 'c3', x'4d5348', 'sending', 1, NULL, '', '{at}', NULL);
INSERT INTO order_message VALUES (9, 'ris', NULL, 'complete', 'c9', x'4d53', 'queued', 0, NULL, '', '{at}', NULL);
DELETE FROM order_message WHERE id = 9;
"""


def updated(folder: Path) -> Spool:
    folder.mkdir()
    earlier = sqlite.connect(folder / "gateway.db", isolation_level=None)
    earlier.execute("CREATE TABLE migration (name TEXT PRIMARY KEY, applied_at TEXT NOT NULL) STRICT")
    for script in sorted(files("gateway.spool").joinpath("schema").iterdir(), key=lambda entry: entry.name):
        if script.name < "0016":
            earlier.executescript(script.read_text(encoding="utf-8"))
            earlier.execute("INSERT INTO migration VALUES (?, '')", (script.name,))
    earlier.executescript(EARLIER.format(at="2026-03-01T08:00:00.000000Z"))
    earlier.close()
    return open_spool(folder, Clock())


def test_what_was_on_its_way_still_is(tmp_path: Path) -> None:
    spool = updated(tmp_path / "state")
    try:
        c = spool.db.read()
        (step,) = mpps.steps(c, limit=9)
        assert [(one.request, one.state, one.attempts, one.last_status) for one in step.relays] == [
            ("N-CREATE", "sent", 2, "0000"),
            ("N-SET", "refused", 1, "0120"),
        ]
        (message,) = orders_out.latest(c, limit=9)
        assert (message.id, message.event, message.state, message.body) == (3, "start", "sending", b"MSH")
        assert min(one.id for one in step.relays) > 9  # a number that the journal names is nobody else's
        release = partial(relays.release, kind=Subject.ORDER_MESSAGE, target="ris", now=START)
        assert spool.db.write(release).result() == 1
        again = partial(relays.decide, number=step.relays[1].id, state=RelayState.QUEUED, now=START, by="command:test")
        assert not spool.db.write(partial(again, kind=Subject.ORDER_MESSAGE)).result()
        assert spool.db.write(partial(again, kind=Subject.MPPS)).result()
        assert [one.request for one in mpps.due(c, target="ris", now=START, limit=9)] == ["N-SET"]
    finally:
        spool.close()


def test_each_kind_has_alarms_of_its_own(tmp_path: Path) -> None:
    spool = updated(tmp_path / "state")

    def watched() -> set[tuple[str, str]]:
        spool.db.write(partial(relays.watch, now=START + timedelta(days=1))).result()
        return {(one.code, one.subject) for one in audit.active_alarms(spool.db.read())}

    try:
        for kind in (Subject.MPPS, Subject.ORDER_MESSAGE):
            raised = partial(audit.raise_alarm, code=relays.REFUSED[kind], subject="ris", now=START)
            spool.db.write(raised).result()
        # the step's message is refused, and does not wait; the order's waits, and is not refused
        assert watched() == {("mpps-refused", "ris"), ("orders-out-late", "ris")}
    finally:
        spool.close()
