"""kill -9 of the gateway between an N-CREATE or N-SET and its relay: what was answered 0000 reaches the RIS, in order.

The scanner performs steps one after the other and repeats what was not answered, as a console does; the RIS is a
real one (pynetdicom) that keeps to PS3.4 F.7.2: it refuses a step that it has (0111), one that it does not know
(0112), and a change of a final one (0110, A710). So a message that is lost, doubled as new, or out of order shows.
"""

from __future__ import annotations

import random
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from pydicom import Dataset

from tests.journeys.gateway_process import From, Gateway, gateway
from tests.peers.processes import free_port
from tests.peers.pynetdicom_mpps import MppsSCP, Scanner, begun, ended, mpps_scp
from tests.safety.site import KILLS

pytestmark = [pytest.mark.safety, pytest.mark.timeout(600 + 20 * KILLS)]


@dataclass(slots=True)
class Console:
    """A scanner that performs steps until it is stopped; what was answered 0000."""

    port: int
    began: list[str] = field(default_factory=list)
    over: list[str] = field(default_factory=list)
    refused: list[int] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)

    def work(self) -> None:
        scanner = Scanner(self.port)
        number = 0
        while not self.stop.is_set():
            number += 1
            uid = f"2.25.{number}"
            if self._until_answered(lambda uid=uid: scanner.create(begun(), uid)):
                self.began.append(uid)
            if self._until_answered(lambda uid=uid: scanner.set(ended(), uid)):
                self.over.append(uid)

    def _until_answered(self, ask: object) -> bool:
        assert callable(ask)
        while not self.stop.is_set():
            answer: Dataset = ask()
            if "Status" in answer:
                if answer.Status != 0:
                    self.refused.append(int(answer.Status))
                return bool(answer.Status == 0)
        return False


def drained(box: Gateway) -> bool:
    return not box.rows("SELECT 1 FROM relay WHERE kind = 'mpps' AND state <> 'sent' LIMIT 1")


def orderly(ris: MppsSCP, uid: str) -> bool:
    """Whether the RIS heard of the beginning first, and of nothing after the end but what it had heard."""
    heard = ris.requests(uid)
    return heard == sorted(heard) and set(heard) == {"N-CREATE", "N-SET"}


def test_what_was_answered_reaches_the_ris_whenever_the_gateway_is_killed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chance = random.Random(61)
    with mpps_scp() as ris, gateway(tmp_path / "gw", ris=[From(port=ris.port)]) as box:
        console = Console(box.port)
        working = threading.Thread(target=console.work)
        working.start()
        try:
            for _ in range(KILLS):
                before = len(console.over)
                box.until(lambda before=before: len(console.over) > before, what="a step is performed")
                time.sleep(chance.uniform(0.1, 0.6))  # the random moment: not a synchronisation
                box.kill()
                box.start()
        finally:
            console.stop.set()
            working.join()
        box.until(lambda: drained(box), what="everything is relayed")
        alarms = box.alarms()
    twice = sum(len(ris.requests(uid)) > 2 for uid in console.over)
    with capsys.disabled():
        print(f"\nkill -9: kills {KILLS}, steps {len(console.over)}, told twice {twice}")
    assert len(console.over) >= KILLS
    assert console.refused == []
    assert [uid for uid in console.began if uid not in ris.steps] == []
    assert [uid for uid in console.over if ris.steps[uid] != "COMPLETED" or not orderly(ris, uid)] == []
    assert not alarms & {"mpps-refused", "mpps-late"}


def test_a_kill_between_the_answer_and_the_relay_loses_nothing(tmp_path: Path) -> None:
    port, uid = free_port(), "2.25.1"
    with gateway(tmp_path / "gw", ris=[From(port=port)]) as box:  # nobody is the RIS yet
        scanner = Scanner(box.port)
        assert scanner.create(begun(), uid).Status == 0
        assert scanner.set(ended(), uid).Status == 0
        box.kill()
        with mpps_scp(port) as ris:
            box.start()
            box.until(lambda: ris.steps.get(uid) == "COMPLETED", what="the step is at the RIS")
        assert ris.requests(uid) == ["N-CREATE", "N-SET"]


def test_a_kill_while_the_ris_answers_asks_it_again(tmp_path: Path) -> None:
    """It took the message, and nobody was left to hear so: our second try is answered 0111, and that is success."""
    uid, let_go = "2.25.1", threading.Event()

    def take_and_wait(_request: str, _uid: str) -> int:
        ris.steps[uid] = "IN PROGRESS"
        let_go.wait(20)
        return 0

    with mpps_scp() as ris, gateway(tmp_path / "gw", ris=[From(port=ris.port, timeout="15s")]) as box:
        ris.answers = take_and_wait
        assert Scanner(box.port).create(begun(), uid).Status == 0
        box.until(lambda: ris.requests(uid), what="it is being sent")
        box.kill()
        ris.answers = lambda _request, _uid: -1
        let_go.set()
        box.start()
        assert Scanner(box.port).set(ended(), uid).Status == 0
        box.until(lambda: drained(box), what="everything is relayed")
        assert ris.requests(uid) == ["N-CREATE", "N-CREATE", "N-SET"]
        assert "mpps-refused" not in box.alarms()
