"""The committer: what it makes durable, what a repeated UID means, and who fails when the disk does."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from datetime import timedelta
from pathlib import Path

import pytest

from gateway.domain.model import DeliveryState, DestinationName, InstanceId, InstanceState, Lane, TemporaryFailure
from gateway.domain.routing import Route
from gateway.spool import Committed, Connection, GroupCommitter, Spool, audit, commit, deliveries, instances
from tests.spool.objects import START, open_spool, read_origin, receive, stored_body

LEASE = timedelta(minutes=5)


class Gate:
    """A trace that holds the committer after its first group until it is opened, and keeps the steps."""

    def __init__(self) -> None:
        self.steps: list[str] = []
        self.reached = threading.Event()
        self.opened = threading.Event()

    def __call__(self, step: str) -> None:
        self.steps.append(step)
        if step == "answered" and not self.reached.is_set():
            self.reached.set()
            assert self.opened.wait(30)


@pytest.fixture
def gate() -> Gate:
    return Gate()


@pytest.fixture
def held(spool: Spool, gate: Gate, monkeypatch: pytest.MonkeyPatch) -> Iterator[GroupCommitter]:
    """A committer that takes what is submitted as one group once the gate is opened, however long that is after its
    first object."""
    monkeypatch.setattr(commit, "ROWS_AT_MOST", 60.0)
    committer = spool.accepting(trace=gate)
    committer.submit(receive(spool.files, "2.25.0", b"opens the gate"))
    assert gate.reached.wait(30)
    gate.steps.clear()
    yield committer
    gate.opened.set()


def all_results(gate: Gate, futures: list[Future[Committed]]) -> list[Committed]:
    gate.opened.set()
    return [future.result(30) for future in futures]


def test_what_is_acknowledged_is_whole_and_says_where_it_came_from(spool: Spool) -> None:
    committed = spool.accepting().submit(receive(spool.files, "2.25.9", b"pixels")).result()
    assert not committed.duplicate
    path = spool.files.path_of(committed.instance.id)
    assert read_origin(path) == committed.instance
    assert instances.get(spool.db.read(), committed.instance.id) == committed.instance
    journal = audit.journal_of(spool.db.read(), kind=audit.Subject.INSTANCE, subject=committed.instance.id)
    assert [(row.from_state, row.to_state) for row in journal] == [("", "received")]


def test_a_group_pays_for_one_folder_sync_and_one_transaction(
    spool: Spool, held: GroupCommitter, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    real = os.fsync

    def recording(fd: int) -> None:
        real(fd)
        synced.append(str(Path(f"/proc/self/fd/{fd}").readlink()))
        gate.steps.append(f"fsync {Path(synced[-1]).name}")

    monkeypatch.setattr(os, "fsync", recording)
    monkeypatch.setattr(spool.files, "sync_names", True)
    futures = [held.submit(receive(spool.files, f"2.25.{n}", b"body")) for n in range(1, 6)]
    results = all_results(gate, futures)
    folder = spool.files.path_of(results[0].instance.id).parent
    assert synced == [str(folder)]
    each = ["hash-written", "file-synced"]
    steps = [*each * 5, f"fsync {folder.name}", "directory-synced", "answered", "rows-committed"]
    assert gate.steps[: len(steps)] == steps


def test_the_same_bytes_again_are_one_row_and_one_file(spool: Spool) -> None:
    committer = spool.accepting()
    first = committer.submit(receive(spool.files, "2.25.9", b"pixels")).result()
    again = committer.submit(receive(spool.files, "2.25.9", b"pixels")).result()
    assert again.duplicate
    assert again.instance == first.instance
    assert [path.stem for path in spool.files.objects.glob("*/*.dcm")] == [first.instance.id]
    assert audit.active_alarms(spool.db.read()) == ()


def test_twins_in_one_group_are_one_object(spool: Spool, held: GroupCommitter, gate: Gate) -> None:
    futures = [held.submit(receive(spool.files, "2.25.9", b"pixels")) for _ in range(3)]
    results = all_results(gate, futures)
    assert [result.duplicate for result in results] == [False, True, True]
    assert len({result.instance.id for result in results}) == 1
    assert len(instances.by_uid(spool.db.read(), results[0].instance.SOPInstanceUID)) == 1


def test_a_row_does_not_wait_for_the_end_of_a_stream(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commit, "ROWS_WITHIN", 60.0)
    moment = 0.0
    committer = GroupCommitter(files=spool.files, db=spool.db, now=lambda: START, monotonic=lambda: moment)
    try:
        rows: list[Future[Committed]] = []
        for number in range(3):
            safe = threading.Event()
            received = receive(spool.files, f"2.25.{number}", b"pixels")
            rows.append(committer.submit(received, durable=lambda _, safe=safe: safe.set()))
            assert safe.wait(30)
            assert not any(row.done() for row in rows[:-1])
            moment += commit.ROWS_AT_MOST / 3
        moment += commit.ROWS_AT_MOST
        rows.append(committer.submit(receive(spool.files, "2.25.9", b"pixels")))
        assert all(not row.result(30).duplicate for row in rows)
    finally:
        committer.close()


def test_other_bytes_under_the_same_uid_wait_for_a_person(spool: Spool, held: GroupCommitter, gate: Gate) -> None:
    futures = [held.submit(receive(spool.files, "2.25.9", body)) for body in (b"one", b"two", b"one", b"two")]
    first, second, third, fourth = all_results(gate, futures)
    assert (first.instance.quarantine, second.instance.quarantine) == ("", "duplicate-differs")
    assert (third.instance, third.duplicate) == (first.instance, True)
    assert (fourth.instance, fourth.duplicate) == (second.instance, True)
    assert stored_body(spool, first.instance.id) == b"one"
    assert stored_body(spool, second.instance.id) == b"two"
    alarms = audit.active_alarms(spool.db.read())
    assert [(alarm.code, alarm.subject) for alarm in alarms] == [("duplicate-differs", second.instance.id)]
    assert second.instance not in instances.waiting(spool.db.read(), limit=10)
    assert first.instance in instances.waiting(spool.db.read(), limit=10)


def test_a_duplicate_takes_the_place_of_a_file_that_was_lost(spool: Spool) -> None:
    committer = spool.accepting()
    first = committer.submit(receive(spool.files, "2.25.9", b"pixels")).result()
    spool.files.path_of(first.instance.id).unlink()
    again = committer.submit(receive(spool.files, "2.25.9", b"pixels")).result()
    assert again.duplicate
    assert stored_body(spool, first.instance.id) == b"pixels"


def test_a_duplicate_takes_the_place_of_a_file_that_was_damaged_and_its_delivery_goes_on(spool: Spool) -> None:
    committer = spool.accepting()
    first = committer.submit(receive(spool.files, "2.25.9", b"pixels")).result().instance
    path = spool.files.path_of(first.id)
    path.write_bytes(path.read_bytes()[:-1] + b"X")

    def refuse(c: Connection) -> None:
        routes = [Route(destination=DestinationName("pacs"), lane=Lane.ROUTINE)]
        deliveries.prepare(c, first.id, routes=routes, now=START, by="test", why="test")
        (claimed,) = deliveries.claim(
            c, destination=routes[0].destination, lane=Lane.ROUTINE, now=START, lease=LEASE, limit=1
        )
        deliveries.refuse(c, claimed, status="content-hash", now=START, by="test")
        audit.raise_alarm(c, code=audit.AlarmCode.SPOOL_DAMAGED, subject=first.id, now=START)

    spool.db.write(refuse).result()
    assert committer.submit(receive(spool.files, "2.25.9", b"pixels")).result().duplicate
    spool.db.write(lambda c: None).result()  # behind the healing
    assert stored_body(spool, first.id) == b"pixels"
    (delivery,) = deliveries.of_instance(spool.db.read(), first.id)
    assert delivery.state is DeliveryState.QUEUED
    assert audit.active_alarms(spool.db.read()) == ()


@pytest.mark.parametrize("device", ["/dev/full", "/dev/null"], ids=["no space", "fdatasync fails"])
def test_an_object_the_disk_refuses_fails_alone(spool: Spool, held: GroupCommitter, gate: Gate, device: str) -> None:
    before = held.submit(receive(spool.files, "2.25.1", b"a"))
    doomed = receive(spool.files, "2.25.2", b"b")
    fd = os.open(device, os.O_WRONLY)
    os.dup2(fd, doomed.incoming.fd)
    os.close(fd)
    failing = held.submit(doomed)
    after = held.submit(receive(spool.files, "2.25.3", b"c"))
    gate.opened.set()
    with pytest.raises(TemporaryFailure) as caught:
        failing.result(30)
    assert caught.value.code == "A700"
    kept = [before.result(30).instance.id, after.result(30).instance.id]
    assert all(spool.files.path_of(instance_id).exists() for instance_id in kept)
    assert not doomed.incoming.path.exists()
    assert instances.by_uid(spool.db.read(), doomed.SOPInstanceUID) == ()


def test_a_folder_that_cannot_be_synced_acknowledges_nothing(
    spool: Spool, held: GroupCommitter, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.fsync
    tried: list[str] = []

    def failing(fd: int) -> None:
        name = str(Path(f"/proc/self/fd/{fd}").readlink())
        if Path(name).parent == spool.files.objects:
            tried.append(name)
            raise OSError(5, "Input/output error")
        real(fd)

    futures = [held.submit(receive(spool.files, f"2.25.{n}", b"x")) for n in range(1, 4)]
    monkeypatch.setattr(os, "fsync", failing)
    monkeypatch.setattr(spool.files, "sync_names", True)
    gate.opened.set()
    for future in futures:
        with pytest.raises(TemporaryFailure):
            future.result(30)
    assert len(tried) == 1
    held.flush().result(30)
    assert instances.count_by_state(spool.db.read())[InstanceState.RECEIVED] == 1
    assert len(list(spool.files.objects.glob("*/*.dcm"))) == 1
    monkeypatch.setattr(os, "fsync", real)
    assert not held.submit(receive(spool.files, "2.25.1", b"x")).result(30).duplicate


def test_a_row_that_cannot_be_written_is_tried_again_and_its_file_stays(
    spool: Spool, held: GroupCommitter, gate: Gate
) -> None:
    """The object is acknowledged by then: its file is the promise."""

    def forbid(c: Connection) -> None:
        c.execute("CREATE TRIGGER no BEFORE INSERT ON instance WHEN NEW.size = 3 BEGIN SELECT RAISE(ABORT, 'no'); END")

    spool.db.write(forbid).result()
    told: list[BaseException | None] = []
    received = receive(spool.files, "2.25.1", b"xxx")
    waiting = held.submit(received, durable=told.append)
    taken = held.submit(receive(spool.files, "2.25.2", b"yy"))
    gate.opened.set()
    assert taken.result(30).instance.size == 2
    assert told == [None]
    assert received.incoming.path.exists()
    assert not waiting.done()
    spool.db.write(lambda c: c.execute("DROP TRIGGER no").rowcount).result()
    assert waiting.result(30).instance.size == 3
    held.flush().result(30)


def test_a_flush_waits_for_the_rows_of_what_was_acknowledged(spool: Spool) -> None:
    committer = spool.accepting()
    futures = [committer.submit(receive(spool.files, f"2.25.{n}", b"x")) for n in range(100)]
    committer.flush().result(30)
    assert all(future.done() for future in futures)


def test_a_cancelled_flush_leaves_the_others_waiting_for_theirs(spool: Spool, held: GroupCommitter, gate: Gate) -> None:
    given_up, flushed = held.flush(), held.flush()
    assert given_up.cancel()
    gate.opened.set()
    flushed.result(30)
    assert not held.submit(receive(spool.files, "2.25.9", b"pixels")).result(30).duplicate
    held.flush().result(30)


def test_nobody_waits_for_a_cancelled_object(spool: Spool, held: GroupCommitter, gate: Gate) -> None:
    received = receive(spool.files, "2.25.7", b"gone")
    future = held.submit(received)
    assert future.cancel()
    all_results(gate, [held.submit(receive(spool.files, "2.25.8", b"stays"))])
    assert instances.by_uid(spool.db.read(), received.SOPInstanceUID) == ()
    assert not received.incoming.path.exists()


def test_close_commits_what_was_handed_in_and_refuses_the_rest(tmp_path: Path) -> None:
    spool = open_spool(tmp_path / "state")
    committer = spool.accepting()
    futures = [committer.submit(receive(spool.files, f"2.25.{n}", b"x")) for n in range(100)]
    late = receive(spool.files, "2.25.999", b"x")
    spool.close()
    assert all(not future.result(0).duplicate for future in futures)
    with pytest.raises(TemporaryFailure):
        committer.submit(late).result(0)
    assert not late.incoming.path.exists()


def test_an_identifier_that_is_no_text_is_no_reason_to_refuse_an_image(spool: Spool) -> None:
    uid = b"1.2.\xff\x00\xfe".decode("utf-8", "surrogateescape")
    committed = spool.accepting().submit(receive(spool.files, uid, b"pixels")).result()
    assert instances.get(spool.db.read(), committed.instance.id) == committed.instance
    assert committed.instance.SOPInstanceUID == uid


_FILL_THE_DISK = """
import sys
from concurrent.futures import Future
from pathlib import Path
from gateway.domain.model import TemporaryFailure
from tests.spool.objects import START, open_spool, read_origin, receive
spool = open_spool(Path(sys.argv[1]))
committer = spool.accepting()
rows, refused = [], 0
def store(n):
    global refused
    answer = Future()
    def durable(error):
        answer.set_result(None) if error is None else answer.set_exception(error)
    try:
        received = receive(spool.files, f"2.25.{n}", bytes([n % 256]) * 60_000)
        row = committer.submit(received, durable=durable)
        answer.result()
    except TemporaryFailure as error:
        assert error.code == "A700", error
        refused += 1
    else:
        rows.append(row)  # which may wait until there is space: the object is safe without it
for n in range(120):
    store(n)
filled = len(rows)
assert 5 < filled < 120, filled
for path in spool.files.derived.iterdir():
    path.unlink()
for n in range(200, 205):
    store(n)
assert len(rows) == filled + 5, (filled, len(rows))
acked = [row.result(60).instance.id for row in rows]
assert all(read_origin(spool.files.path_of(i)) is not None for i in acked)
spool.close()
spool = open_spool(Path(sys.argv[1]))
swept = spool.sweep(read_origin)
assert swept.missing == swept.put_aside == 0, swept
assert all(read_origin(spool.files.path_of(i)) is not None for i in acked)
spool.close()
print("kept", len(acked), "refused", refused)
"""


@pytest.mark.slow
def test_a_disk_that_fills_up_refuses_loses_nothing_and_resumes(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    script = (
        'mount -t tmpfs -o size=6m tmpfs "$1" && mkdir -p "$1/state/spool/derived"'
        ' && head -c 1500000 /dev/zero > "$1/state/spool/derived/again"'
        ' && exec "$2" -c "$3" "$1/state"'
    )
    command = ["unshare", "-m", "sh", "-c", script, "sh", str(tmp_path / "disk"), sys.executable, _FILL_THE_DISK]
    if subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount a tmpfs (run as root)")
    ran = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
        env={**os.environ, "PYTHONPATH": str(Path.cwd())},
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.startswith("kept")


def test_ids_are_not_made_of_what_was_sent(spool: Spool) -> None:
    committed = spool.accepting().submit(receive(spool.files, "1.2.3/../../x", b"pixels")).result()
    assert spool.files.path_of(InstanceId(committed.instance.id)).is_relative_to(spool.files.objects)
