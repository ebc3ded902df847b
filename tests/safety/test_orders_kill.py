"""kill -9 in a feed of orders: every message answered AA has its effect exactly once, and nothing else has one."""

from __future__ import annotations

import random
import threading
from pathlib import Path

import pytest

from tests.journeys.gateway_process import Gateway, gateway
from tests.peers.processes import free_port
from tests.safety.order_feed import PER_KILL, SENDERS, Feed, messages
from tests.safety.site import KILLS

pytestmark = [pytest.mark.safety, pytest.mark.timeout(600 + 20 * KILLS)]


def fed(box: Gateway, port: int, *, kills: int) -> Feed:
    """The whole feed into one gateway, which dies that often."""
    chance = random.Random(kills)
    feed = Feed(port)
    threads = [threading.Thread(target=feed.send, args=(sender,), daemon=True) for sender in range(SENDERS)]
    for thread in threads:
        thread.start()
    for number in range(kills):
        feed.until(number * PER_KILL + chance.randrange(20, PER_KILL // 2))
        box.kill()
        box.start()
    whole = sum(len(messages(sender)) for sender in range(SENDERS))
    for answered in (*range(0, whole, PER_KILL), whole):  # progress is asked for, not speed
        feed.until(answered)
    for thread in threads:
        thread.join(60)
    return feed


def books(box: Gateway) -> tuple[list[tuple[object, ...]], list[tuple[object, ...]]]:
    rows = box.rows("SELECT key, dataset, source FROM worklist_row ORDER BY key")
    orders = box.rows(
        "SELECT StudyInstanceUID, RequestedProcedureID, AccessionNumber, status FROM requested_procedure ORDER BY 1, 2"
    )
    return [tuple(row.values()) for row in rows], [tuple(order.values()) for order in orders]


def test_each_message_has_its_effect_exactly_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ports = free_port(), free_port()
    with gateway(tmp_path / "calm", mllp=ports[0], roles=("worklist",)) as box:
        calm = fed(box, ports[0], kills=0)
        expected = books(box)
    with gateway(tmp_path / "killed", mllp=ports[1], roles=("worklist",)) as box:
        feed = fed(box, ports[1], kills=KILLS)
        found = books(box)
        kept = box.rows(
            "SELECT control_id, count(*) AS n, min(code) AS code, max(faults) AS faults FROM message GROUP BY 1"
        )
        alarms = box.alarms()
    with capsys.disabled():
        print(f"\nkill -9 in a feed of orders: kills {KILLS}, {feed.answered} messages, {feed.repeated} attempts lost")
    assert calm.wrong == feed.wrong == []
    assert len(kept) == feed.answered
    assert {(row["n"], row["code"], row["faults"]) for row in kept} == {(1, "AA", "[]")}
    assert alarms == set()
    assert len(expected[0]) > PER_KILL * KILLS // 10
    assert found == expected
