"""The spool under any order of events: objects come, are sent, processes die, disks forget, people ask again.

After every step
- what was acknowledged is there, byte for byte, until it was purged by right (invariant 1);
- no two rows that are not purged have the same UID and the same bytes (11);
- what is purged was confirmed by every destination, long enough ago (3);
- the files and the rows that the disk holds agree after every recovery.
At the end nothing is stuck: senders that work and a person who asks again bring every object out (4).
"""

from __future__ import annotations

import shutil
import tempfile
from concurrent.futures import Future
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from gateway.domain.model import Delivery, DeliveryState, DestinationName, Instance, InstanceId, InstanceState, Lane
from gateway.domain.routing import Route
from gateway.spool import Committed, Connection, GroupCommitter, Spool, deliveries, instances
from gateway.spool.commit import CRASH_POINTS
from tests.spool.objects import Clock, open_spool, read_origin, receive, stored_body

PACS, ARCHIVE = DestinationName("pacs"), DestinationName("archive")
BOTH = st.sampled_from([PACS, ARCHIVE])
LEASE, RETENTION = timedelta(minutes=5), timedelta(days=1)
OBJECT = st.tuples(st.sampled_from(["2.25.1", "2.25.2", "2.25.3"]), st.sampled_from([b"a", b"b"]))


@pytest.fixture(autouse=True)
def beside_the_other_tests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its folders are where those of the others are, which may be in memory: it syncs thousands of times."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


class Death:
    """A trace at which the committing thread ends, as if the process had been killed there."""

    def __init__(self) -> None:
        self.point = ""

    def __call__(self, step: str) -> None:
        if step == self.point:
            raise SystemExit  # a thread ends on it without a word; nothing of the committer catches it


class SpoolMachine(RuleBasedStateMachine):
    """One edge and one forwarder around one spool."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="spool-machine-"))
        self.clock = Clock()
        self.acknowledged: dict[InstanceId, bytes] = {}
        self.claimed: list[Delivery] = []
        self.start()

    def start(self) -> None:
        self.death = Death()
        self.spool: Spool = open_spool(self.folder / "state", self.clock)
        swept = self.spool.sweep(read_origin)
        assert (swept.missing, swept.put_aside, swept.unreadable) == (0, 0, 0)
        self.check_files_and_rows()
        self.committer: GroupCommitter = self.spool.accepting(trace=self.death)

    def teardown(self) -> None:
        self.nothing_is_stuck()
        self.spool.close()
        shutil.rmtree(self.folder)

    # what happens

    @rule(objects=st.lists(OBJECT, min_size=1, max_size=5))
    def accept(self, objects: list[tuple[str, bytes]]) -> None:
        for (_, body), future in self.submit(objects):
            self.acknowledged[future.result(30).instance.id] = body

    @rule(objects=st.lists(OBJECT, min_size=1, max_size=5), point=st.sampled_from(CRASH_POINTS))
    def crash_while_accepting(self, objects: list[tuple[str, bytes]], point: str) -> None:
        self.death.point = point
        submitted = self.submit(objects)
        self.committer.close()  # joins the thread, dead or done
        for (_, body), future in submitted:
            if future.done() and future.exception() is None:
                self.acknowledged[future.result().instance.id] = body
        self.restart()

    @rule(rows=st.integers(0, 3))
    def power_cut(self, rows: int) -> None:
        """The last rows that were committed NORMAL, and that nothing FULL came after, are forgotten."""
        forget = (
            "DELETE FROM instance WHERE seq IN (SELECT seq FROM instance WHERE state = 'received'"
            " AND id NOT IN (SELECT instance FROM delivery) ORDER BY seq DESC LIMIT ?)"
        )
        self.spool.db.write(lambda c: c.execute(forget, (rows,)).rowcount).result()
        self.restart()

    @rule(back=st.booleans())
    def pass_time(self, back: bool) -> None:
        self.clock.pass_(minutes=-20 if back else 7)

    @rule(to=st.lists(BOTH, unique=True, min_size=1))
    def prepare(self, to: list[DestinationName]) -> None:
        def job(c: Connection) -> None:
            for instance in instances.waiting(c, limit=2):
                routes = [Route(destination=destination, lane=Lane.ROUTINE) for destination in to]
                deliveries.prepare(c, instance.id, routes=routes, now=self.clock(), by="forward", why="passed")

        self.spool.db.write(job).result()

    @rule(wanted=st.integers(1, 5000))
    def make_room(self, wanted: int) -> None:
        self.spool.make_room(wanted, keep=timedelta(minutes=1), limit=3)

    @precondition(lambda self: self.acknowledged)
    @rule(to=BOTH, which=st.integers(0, 99))
    def send_by_hand(self, to: DestinationName, which: int) -> None:
        instance = sorted(self.acknowledged)[which % len(self.acknowledged)]
        route = Route(destination=to, lane=Lane.ROUTINE)
        self.spool.db.write(
            lambda c: deliveries.send_by_hand(c, instance, route=route, now=self.clock(), by="command")
        ).result()

    @rule(to=BOTH, limit=st.integers(1, 3))
    def claim(self, to: DestinationName, limit: int) -> None:
        self.claimed += self.spool.db.write(
            lambda c: deliveries.claim(c, destination=to, lane=Lane.ROUTINE, now=self.clock(), lease=LEASE, limit=limit)
        ).result()

    @precondition(lambda self: self.claimed)
    @rule(outcome=st.sampled_from(["sent", "deferred", "refused"]), which=st.integers(0, 99))
    def settle(self, outcome: str, which: int) -> None:
        claimed = self.claimed.pop(which % len(self.claimed))

        def job(c: Connection) -> None:
            if outcome == "sent":
                deliveries.settle_sent(
                    c, [deliveries.Arrived(delivery=claimed, status="0000", at=self.clock())], by="forward"
                )
            elif outcome == "refused":
                deliveries.refuse(c, claimed, status="C000", now=self.clock(), by="forward")
            else:
                due = self.clock() + timedelta(minutes=9)
                deliveries.defer(c, claimed, not_before=due, status="A700", now=self.clock(), by="forward")

        error = self.spool.db.write(job).exception()
        assert error is None or isinstance(error, deliveries.LeaseLost)

    @rule(to=BOTH, kept=st.booleans())
    def commitment(self, to: DestinationName, kept: bool) -> None:
        def job(c: Connection) -> None:
            for sent in deliveries.in_state(c, destination=to, state=DeliveryState.SENT, limit=2):
                if kept:
                    deliveries.settle_confirmed(c, [sent.id], now=self.clock(), by="forward", why="commitment")
                else:
                    deliveries.requeue(c, sent.id, now=self.clock(), by="forward", why="commitment failed")

        self.spool.db.write(job).result()

    @rule(state=st.sampled_from([InstanceState.PREPARED, InstanceState.DELIVERED]))
    def undo(self, state: InstanceState) -> None:
        for instance in self.rows():
            if instance.state is state:
                self.back_to_the_check(instance)
                return

    @rule()
    def leases_run_out(self) -> None:
        self.spool.db.write(lambda c: deliveries.release_expired_leases(c, now=self.clock())).result()

    @rule(crash=st.booleans())
    def purge(self, crash: bool) -> None:
        self.clock.pass_(days=2)
        if not crash:
            self.spool.purge(retention=RETENTION, limit=2)
            return
        now = self.clock()
        self.spool.db.write(lambda c: instances.purge_due(c, now=now, retention=RETENTION, limit=2)).result()
        self.restart()

    # what holds

    @invariant()
    def nothing_acknowledged_is_lost(self) -> None:
        """By the index and by the file, under the id the acknowledgement stood for or one with its bytes."""
        for instance_id, body in self.acknowledged.items():
            row = instances.get(self.spool.db.read(), instance_id)
            assert row is not None
            if row.state is not InstanceState.PURGED:
                assert stored_body(self.spool, instance_id) == body

    @invariant()
    def no_two_rows_are_the_same_object(self) -> None:
        held = [(row.SOPInstanceUID, row.content_hash) for row in self.rows() if row.state is not InstanceState.PURGED]
        assert len(held) == len(set(held))

    @invariant()
    def purged_means_confirmed_everywhere(self) -> None:
        for row in self.rows():
            if row.state is InstanceState.PURGED:
                found = deliveries.of_instance(self.spool.db.read(), row.id)
                assert found
                assert {each.state for each in found} == {DeliveryState.CONFIRMED}

    def nothing_is_stuck(self) -> None:
        """People decide what waits for them, senders work: every object comes out."""
        for _ in range(4):
            self.clock.pass_(days=2)
            self.spool.db.write(self.everybody_does_their_work).result()
        states = {row.state for row in self.rows()}
        assert states <= {InstanceState.DELIVERED, InstanceState.PURGED}, states
        self.clock.pass_(days=2)
        self.spool.purge(retention=RETENTION, limit=999)
        assert list(self.spool.files.objects.glob("*/*.dcm")) == []

    def everybody_does_their_work(self, c: Connection) -> None:
        now = self.clock()
        deliveries.release_expired_leases(c, now=now)
        for instance in instances.quarantined(c, limit=999):
            instances.release(c, instance.id, now=now, by="person", why="looked at")
        for instance in instances.waiting(c, limit=999):
            routes = [Route(destination=PACS, lane=Lane.ROUTINE)]
            deliveries.prepare(c, instance.id, routes=routes, now=now, by="forward", why="passed")
        for to in (PACS, ARCHIVE):
            for refused in deliveries.in_state(c, destination=to, state=DeliveryState.REFUSED, limit=999):
                deliveries.requeue(c, refused.id, now=now, by="person", why="asked again")
            for each in deliveries.claim(c, destination=to, lane=Lane.ROUTINE, now=now, lease=LEASE, limit=999):
                deliveries.settle_sent(c, [deliveries.Arrived(delivery=each, status="0000", at=now)], by="forward")
            for sent in deliveries.in_state(c, destination=to, state=DeliveryState.SENT, limit=999):
                deliveries.settle_confirmed(c, [sent.id], now=now, by="forward", why="commitment")

    # how it is done

    def submit(self, objects: list[tuple[str, bytes]]) -> list[tuple[tuple[str, bytes], Future[Committed]]]:
        return [
            ((uid, body), self.committer.submit(receive(self.spool.files, uid, body, at=self.clock())))
            for uid, body in objects
        ]

    def restart(self) -> None:
        """All that lived in memory is gone; the claims of the forwarder stay out there."""
        self.spool.close()
        self.start()

    def rows(self) -> list[Instance]:
        found = self.spool.db.read().execute("SELECT id FROM instance ORDER BY seq").fetchall()
        rows = [instances.get(self.spool.db.read(), InstanceId(row["id"])) for row in found]
        return [row for row in rows if row is not None]

    def back_to_the_check(self, instance: Instance) -> None:
        self.spool.db.write(
            lambda c: instances.move(
                c, instance.id, after=InstanceState.RECEIVED, now=self.clock(), by="person", why="undo"
            )
        ).result()

    def check_files_and_rows(self) -> None:
        files = {path.stem for path in self.spool.files.objects.glob("*/*.dcm")}
        assert files == {row.id for row in self.rows() if row.state is not InstanceState.PURGED}


SpoolMachine.TestCase.settings = settings(max_examples=20, stateful_step_count=20, deadline=None)
# A death is a thread that ends in SystemExit; any other end would leave a future without a result
TestSpool = pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")(SpoolMachine.TestCase)
