"""The queue of what is told of orders, and how far studies are: order, once each, and nothing lost in between."""

from __future__ import annotations

import random
from datetime import timedelta
from functools import partial
from importlib.resources import files
from pathlib import Path

import pytest
from pysqlite3 import dbapi2 as sqlite

from gateway.domain.completeness import Because, Progress, Standing
from gateway.domain.model import PermanentFailure
from gateway.domain.mpps import RelayState
from gateway.domain.order_notice import Event
from gateway.spool import Spool, audit, order_books, orders_out, progress, relays
from gateway.spool.audit import Subject
from gateway.spool.orders_out import OrderMessage
from gateway.spool.queries import sql
from tests.hl7_messages import message
from tests.spool.objects import START, Clock, open_spool, origin
from tests.spool.order_table import receive, sender

RECEIVER = "ris"
STUDY = "1.3.6.1.4.1.32473.7.9.77"
STEPS = list(Event)
ENDED = Standing(progress=Progress.COMPLETE, because=Because.QUIET)


def orders(spool: Spool, count: int) -> list[int]:
    """Our numbers of as many orders."""
    for number in range(count):
        changes = (("F55201", f"F{number}"), ("P88101", f"P{number}"), ("A2603040077", f"A{number}"))
        receive(spool, message("01", *changes, ("7.9.77", f"7.9.{number}")), sender())
    return [order.id for order in order_books.latest(spool.db.read(), limit=99)]


def queue(spool: Spool, order: int, event: Event, *, at: int = 0, valid: bool = True) -> bool:
    job = partial(orders_out.queue, receiver=RECEIVER, order=order, event=event, valid=valid, body=b"MSH")
    return spool.db.write(partial(job, control_id=f"{order} {event}", now=START + timedelta(minutes=at))).result()


def head(spool: Spool, *, minutes: float = 0) -> OrderMessage | None:
    return orders_out.head(spool.db.read(), receiver=RECEIVER, now=START + timedelta(minutes=minutes))


def begin(spool: Spool, found: OrderMessage) -> OrderMessage:
    return spool.db.write(partial(relays.begin, message=found, now=START)).result()


def settle(spool: Spool, found: OrderMessage, state: RelayState, *, again: timedelta | None = None) -> None:
    not_before = None if again is None else START + again
    job = partial(relays.settle, message=found, state=state, status="AE", now=START, not_before=not_before)
    spool.db.write(job).result()


@pytest.mark.parametrize("seed", range(12))
def test_whatever_happens_an_order_is_told_in_order_and_once(spool: Spool, seed: int) -> None:
    chance = random.Random(seed)
    waiting = {order: list(STEPS) for order in orders(spool, 3)}
    sent: list[OrderMessage] = []
    for _ in range(80):
        order = chance.choice(list(waiting))
        match chance.choice(["queue", "send", "send", "refuse", "retry", "crash"]):
            case "queue" if waiting[order]:
                assert queue(spool, order, waiting[order][0])
                assert not queue(spool, order, waiting[order].pop(0))
            case "send" | "refuse" as what if found := head(spool):
                begun = begin(spool, found)
                settle(spool, begun, RelayState.SENT if what == "send" else RelayState.REFUSED)
                sent += [begun] if what == "send" else []
            case "retry":
                for one in orders_out.latest(spool.db.read(), state=RelayState.REFUSED, limit=99):
                    job = partial(
                        relays.decide,
                        kind=Subject.ORDER_MESSAGE,
                        number=one.id,
                        state=RelayState.QUEUED,
                        now=START,
                        by="command",
                    )
                    assert spool.db.write(job).result()
            case "crash" if found := head(spool):
                begin(spool, found)
                assert head(spool) is None or head(spool) != found
                assert (
                    spool.db.write(
                        partial(relays.release, kind=Subject.ORDER_MESSAGE, target=RECEIVER, now=START)
                    ).result()
                    == 1
                )
                again = head(spool)
                assert again is not None
                assert (again.id, again.body, again.control_id) == (found.id, found.body, found.control_id)
    assert len(sent) == len({one.id for one in sent})
    for order in waiting:
        told = [one.event for one in sent if one.order == order]
        assert told == STEPS[: len(told)]
    refused = bool(orders_out.latest(spool.db.read(), state=RelayState.REFUSED, limit=1))
    assert bool(audit.active_alarms(spool.db.read(), code=relays.REFUSED[Subject.ORDER_MESSAGE])) == refused


def test_what_waits_holds_up_all_behind_it_and_a_wrong_clock_does_not(spool: Spool) -> None:
    first, second = orders(spool, 2)
    queue(spool, first, Event.START)
    queue(spool, second, Event.START)
    found = head(spool)
    assert found is not None
    settle(spool, begin(spool, found), RelayState.QUEUED, again=timedelta(minutes=5))
    assert head(spool, minutes=4) is None
    assert getattr(head(spool, minutes=5), "id", None) == found.id
    assert getattr(head(spool, minutes=-600), "id", None) == found.id  # the clock was set back by hours


def test_an_invalid_message_waits_for_a_person(spool: Spool) -> None:
    (order,) = orders(spool, 1)
    queue(spool, order, Event.START, valid=False)
    assert head(spool) is None
    assert [
        alarm.subject for alarm in audit.active_alarms(spool.db.read(), code=relays.REFUSED[Subject.ORDER_MESSAGE])
    ] == [RECEIVER]


def test_a_message_that_a_person_dismissed_meanwhile_is_not_sent(spool: Spool) -> None:
    (order,) = orders(spool, 1)
    queue(spool, order, Event.START)
    found = head(spool)
    assert found is not None
    job = partial(
        relays.decide, kind=Subject.ORDER_MESSAGE, number=found.id, state=RelayState.DISMISSED, now=START, by="command"
    )
    assert spool.db.write(job).result()
    with pytest.raises(PermanentFailure, match="a person decided"):
        begin(spool, found)
    assert not spool.db.write(job).result()


def test_a_message_outlives_its_order_and_is_told_again_of_none(spool: Spool) -> None:
    (order,) = orders(spool, 1)
    queue(spool, order, Event.START)
    spool.db.write(lambda c: c.execute("DELETE FROM requested_procedure") and None).result()
    (left,) = orders_out.latest(spool.db.read(), limit=9)
    assert (left.order, left.state) == (None, RelayState.QUEUED)
    assert orders(spool, 1) == [order]  # the number is used again
    assert queue(spool, order, Event.REPORT)


def test_only_what_is_over_is_erased(spool: Spool) -> None:
    (order,) = orders(spool, 1)
    for event in (Event.START, Event.COMPLETE):
        queue(spool, order, event)
    found = head(spool)
    assert found is not None
    settle(spool, begin(spool, found), RelayState.SENT)
    erase = partial(orders_out.trim, before=START + timedelta(days=99), limit=9)
    assert spool.db.write(erase).result() == 1
    assert [one.event for one in orders_out.latest(spool.db.read(), limit=9)] == [Event.COMPLETE]


# -- how far studies are --


def instance(number: int, *, minutes: float = 0) -> dict[str, object]:
    return {
        "id": f"{number:032x}", "SOPClassUID": "1.2", "SOPInstanceUID": f"1.2.{number}", "TransferSyntaxUID": "1.2",
        "StudyInstanceUID": STUDY, "SeriesInstanceUID": "1.3", "content_hash": f"{number}", "size": 1,
        "calling_ae": "CT1", "called_ae": "GATEWAY", "address": origin().address, "association": "a1",
        "received_at": (START + timedelta(minutes=minutes)).isoformat(timespec="microseconds"), "priority": 0,
        "state": "delivered", "quarantine": "",
    }  # fmt: skip


def image(spool: Spool, number: int, *, minutes: float = 0) -> None:
    values = instance(number, minutes=minutes)
    spool.db.write(lambda c: c.execute(sql("instance_insert"), values) and None).result()


def looked(spool: Spool) -> progress.StudyProgress:
    """How far the study is, after a look at what came."""
    while progress.behind(spool.db.read()):
        spool.db.write(partial(progress.advance, now=START)).result()
    found = progress.of_study(spool.db.read(), STUDY)
    assert found is not None
    return found


def stand(spool: Spool, study: progress.StudyProgress) -> bool:
    job = partial(progress.stand, study=study, found=ENDED, now=START, look_at=START)
    return spool.db.write(job).result()


def test_what_comes_late_opens_nothing_and_is_counted(spool: Spool) -> None:
    image(spool, 1)
    assert stand(spool, looked(spool))
    image(spool, 2, minutes=60)
    image(spool, 3, minutes=61)
    found = looked(spool)
    assert (found.progress, found.late, found.last_late_at) == (Progress.COMPLETE, 2, START + timedelta(minutes=61))
    assert found.ended_at == START


def test_an_end_found_while_something_came_is_none(spool: Spool) -> None:
    image(spool, 1)
    before = looked(spool)
    image(spool, 2, minutes=1)
    looked(spool)
    assert not stand(spool, before)
    assert looked(spool).progress is Progress.IN_PROGRESS


def test_an_index_that_begins_anew_is_looked_at_again(spool: Spool) -> None:
    for number in range(1, 4):
        image(spool, number)
    looked(spool)
    spool.db.write(lambda c: c.execute("DELETE FROM instance") and None).result()
    looked(spool)
    image(spool, 9, minutes=5)
    assert looked(spool).last_at == START + timedelta(minutes=5)


def test_who_is_connected(spool: Spool) -> None:
    image(spool, 1)
    study = looked(spool)
    for callers, connected in ((["ct1", "mr1"], True), (["mr1"], False), ([], False)):
        spool.db.write(partial(progress.connected, calling_aes=callers)).result()
        assert progress.evidence(spool.db.read(), study, []).connected is connected


def test_a_box_that_is_updated_does_not_tell_of_all_it_ever_had(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    earlier = sqlite.connect(tmp_path / "state" / "gateway.db", isolation_level=None)
    earlier.execute("CREATE TABLE migration (name TEXT PRIMARY KEY, applied_at TEXT NOT NULL) STRICT")
    for script in sorted(files("gateway.spool").joinpath("schema").iterdir(), key=lambda entry: entry.name):
        if script.name < "0010":
            earlier.executescript(script.read_text(encoding="utf-8"))
            earlier.execute("INSERT INTO migration VALUES (?, '')", (script.name,))
    earlier.execute(sql("instance_insert"), instance(1))
    earlier.close()
    updated = open_spool(tmp_path / "state", Clock())
    try:
        assert not progress.behind(updated.db.read())
        image(updated, 2, minutes=5)
        assert looked(updated).first_at == START + timedelta(minutes=5)
    finally:
        updated.close()
