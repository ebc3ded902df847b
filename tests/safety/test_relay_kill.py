"""kill -9 at the one moment when the peer knows and the books don't: it has answered, our transaction has not run.

After each restart the same message is told again, before any later one: at least once, in order, none lost. A peer
tells the repeat by its control id, or refuses it as one that it has (0111, 0110 A710), and that is success for us.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from gateway.domain import mpps as rules
from gateway.domain.model import UID, AETitle
from gateway.domain.mpps import Performed, Request, ScheduledReference, StepStatus
from gateway.domain.order_notice import Event
from gateway.roles.forward.relaying import RelayThread, RelayWay
from gateway.spool import Spool, audit, mpps, order_books, orders_out
from gateway.spool.audit import Subject
from tests.hl7_messages import message
from tests.peers.mllp_receiver import mllp_receiver
from tests.peers.pynetdicom_mpps import begun, encoded, ended, mpps_scp
from tests.safety.relay_ways import RIS, mpps_way, orders_way
from tests.safety.site import until
from tests.spool.objects import EXPLICIT, START, open_spool
from tests.spool.order_table import receive, sender

pytestmark = [pytest.mark.safety, pytest.mark.slow]

ROOT = Path(__file__).parents[2]
BODY = b"MSH|^~\\&|GATEWAY|north|RADIS|NORD|20260301080000||ORM^O01|%s|P|2.3.1\rORC|SC|%s\r"
UIDS = ("2.25.1", "2.25.2")


def crashed(state: Path, kind: Subject, port: int, number: int) -> None:
    """A process relays until it dies over the n-th answer."""
    command = [sys.executable, "-m", "tests.safety.crashing_relay", str(state), kind, str(port), str(number)]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    ran = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=100, check=False)
    assert ran.returncode == -signal.SIGKILL, ran.stderr


@contextmanager
def relaying(spool: Spool, way: RelayWay[Any]) -> Iterator[None]:
    """The thread that comes after, which lives."""
    stop = threading.Event()
    relay = RelayThread(spool, way, now=lambda: datetime.now(UTC))
    thread = threading.Thread(target=relay.run, args=(stop,))
    thread.start()
    try:
        yield
    finally:
        stop.set()
        relay.wake.set()
        thread.join()


def states(state: Path) -> list[str]:
    """Of all messages, in the order in which they were queued."""
    spool = open_spool(state)
    try:
        return [row["state"] for row in spool.db.read().execute("SELECT state FROM relay ORDER BY id")]
    finally:
        spool.close()


def seen_through(state: Path, way: Any) -> None:
    """The last restart: everything is over, and nothing stands of it."""
    spool = open_spool(state)
    count = "SELECT count(*) AS n FROM relay WHERE state <> 'sent'"
    try:
        with relaying(spool, way(spool)):
            until(lambda: spool.db.read().execute(count).fetchone()["n"] == 0)
        assert not audit.active_alarms(spool.db.read())
    finally:
        spool.close()


def tell_orders(state: Path) -> list[str]:
    """Two orders, of each its beginning and its end; their control ids in the order of the queue."""
    spool = open_spool(state)
    for number in range(2):
        changes = (("F55201", f"F{number}"), ("P88101", f"P{number}"), ("A2603040077", f"A{number}"))
        receive(spool, message("01", *changes, ("7.9.77", f"7.9.{number}")), sender())
    ids = []
    for order in order_books.latest(spool.db.read(), limit=9):
        for event in (Event.START, Event.COMPLETE):
            ids.append(f"{order.id}{event}")
            body = BODY % (ids[-1].encode(), str(order.id).encode())
            job = partial(orders_out.queue, receiver=RIS, order=order.id, event=event, control_id=ids[-1], body=body)
            assert spool.db.write(partial(job, valid=True, now=START)).result()
    spool.close()
    return ids


def perform(state: Path) -> None:
    """A scanner began two steps and ended them."""
    spool = open_spool(state)
    for request, status in ((Request.CREATE, StepStatus.IN_PROGRESS), (Request.SET, StepStatus.COMPLETED)):
        for uid in UIDS:
            body = encoded(begun(sps=uid) if request is Request.CREATE else ended())
            told = mpps.Message(
                request=request,
                SOPInstanceUID=UID(uid),
                TransferSyntaxUID=EXPLICIT,
                dataset=body,
                digest=rules.digest(EXPLICIT, body),
                calling_ae=AETitle("CT1"),
                address="10.1.1.20",
                received_at=START,
            )
            named = ScheduledReference(
                StudyInstanceUID=UID("2.25.9"),
                AccessionNumber="",
                RequestedProcedureID="",
                ScheduledProcedureStepID=uid,
            )
            said = Performed(status=status, references=(named,) if request is Request.CREATE else ())
            spool.db.write(partial(mpps.accept, message=told, said=said, targets=(RIS,))).result()
    spool.close()


def test_what_is_told_of_orders(tmp_path: Path) -> None:
    state = tmp_path / "state"
    ids = tell_orders(state)
    with mllp_receiver() as ris:
        for number, control_id in enumerate(ids):
            # From the second on: first what the one before it left as being sent, then the next
            crashed(state, Subject.ORDER_MESSAGE, ris.port, 1 if number == 0 else 2)
            assert states(state) == ["sent"] * number + ["sending"] + ["queued"] * (len(ids) - number - 1)
            assert ris.ids()[-1] == control_id
        seen_through(state, lambda _spool: orders_way(ris.port))
        assert ris.ids() == [one for one in ids for _ in range(2)]
        assert all(len({text for text in ris.told if one.encode() in text}) == 1 for one in ids), "the same bytes"


def test_performed_steps(tmp_path: Path) -> None:
    state = tmp_path / "state"
    perform(state)
    with mpps_scp() as ris:
        for number in range(2 * len(UIDS)):
            crashed(state, Subject.MPPS, ris.port, 1 if number == 0 else 2)
            assert sorted(states(state)).count("sending") == 1
            assert states(state).count("sent") == number
        seen_through(state, lambda spool: mpps_way(spool, ris.port))
        for uid in UIDS:
            assert ris.requests(uid) == ["N-CREATE", "N-CREATE", "N-SET", "N-SET"]
            assert ris.steps[uid] == "COMPLETED"
