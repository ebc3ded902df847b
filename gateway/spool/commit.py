"""From received to acknowledged: the one place where a C-STORE earns its success (invariant 1).

One thread takes what is waiting (up to GROUP objects) through these steps, and `trace` is told the
name of each when it is done; a fault test cuts the process there.

    hash-written        the content hash is in its field of the file meta: the object is whole    (each object)
    file-synced         fdatasync of the file, which on ext4, XFS and Btrfs keeps its name too
    directory-synced    fsync of the folder, on other file systems                                 (each folder, once)
    answered            `durable` was told of every object of the group
    rows-committed      the index rows, one transaction, rebuildable
    duplicate-settled   the second file of the same bytes is gone                                  (each duplicate)

Promises
- `durable` is told of success only when the file and its name are on the disk. The row follows with the
  next GROUP objects, after ROWS_WITHIN seconds of quiet or ROWS_AT_MOST without: the files are the promise,
  and the sweep makes a row again that a crash or a power cut took.
- An object that fails takes no other with it: it gets TemporaryFailure A700, its file is removed, and no
  fsync is tried twice on the same file. A row that fails is tried again for ever: its object is acknowledged.
- A cancelled future (the association is gone) means nobody waits: the object is abandoned.
"""

from __future__ import annotations

import os
import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Final

from gateway.domain.model import UID, GatewayError, Instance, Origin, TemporaryFailure
from gateway.spool import deliveries, instances
from gateway.spool.db import GROUP, Connection, Database
from gateway.spool.files import HASH_DIGITS, Incoming, SpoolFiles, as_out_of_resources, sync_directory

CRASH_POINTS: Final = (
    "hash-written",
    "file-synced",
    "answered",
    "rows-committed",
    "duplicate-settled",
)
"""In the order of their coming; "directory-synced" besides, where names must be synced."""
ROWS_WITHIN: Final = 0.01
"""Seconds without a new object after which those acknowledged enter the index."""
ROWS_AT_MOST: Final = 0.1
"""Seconds after which they do though new ones keep coming: who sends them on waits for the first row."""
RETRY_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """A whole object in incoming/, to be made durable. The committer owns `incoming` from now on."""

    incoming: Incoming
    hash_offset: int
    """Where the file meta has room for the content hash: 32 bytes, hexadecimal text."""
    SOPClassUID: UID
    SOPInstanceUID: UID
    TransferSyntaxUID: UID
    StudyInstanceUID: UID
    """Empty where the data set has none."""
    SeriesInstanceUID: UID
    origin: Origin


Committed = instances.Accepted
"""What a future of `submit` holds: the row that stands for the bytes, and whether they were here already."""

Durable = Callable[[BaseException | None], None]
"""Told once, on the committing thread: None when the object is safe, else why it is not."""


@dataclass(slots=True, eq=False)
class _Pending:
    received: Received
    future: Future[Committed]
    durable: Durable
    acknowledged: bool = False
    """Its file is a promise now: nothing may remove it."""
    since: float = 0.0
    """When it became one."""


@dataclass(slots=True, eq=False)
class _Batch:
    """Rows on their way into the index."""

    pending: list[_Pending]
    rows: list[Future[Committed]]


@dataclass(slots=True, eq=False)
class _Proof:
    """Asked of the thread itself: to write and sync a file."""

    future: Future[None]


class GroupCommitter:
    """The committing thread of a process that receives objects. Close it before the database."""

    def __init__(
        self,
        *,
        files: SpoolFiles,
        db: Database,
        now: Callable[[], datetime],
        monotonic: Callable[[], float] = time.monotonic,
        trace: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.entered: Callable[[Sequence[Instance]], None] = lambda _: None
        """Told of the instances that a transaction entered, on the committing thread; duplicates are none."""
        self._files = files
        self._db = db
        self._now = now
        self._monotonic = monotonic
        self._trace = trace
        self._lock = threading.Lock()
        self._closed = False
        self._waiting: queue.SimpleQueue[_Pending | _Batch | _Proof | Future[None] | None] = queue.SimpleQueue()
        self._rowless: list[_Pending] = []
        self._retrying = False
        self._entering: _Batch | None = None
        self._flushes: list[Future[None]] = []
        self._proofs: list[Future[None]] = []
        self._thread = threading.Thread(target=self._run, name="spool-committer", daemon=True)
        self._thread.start()

    def submit(self, received: Received, *, durable: Durable = lambda _: None) -> Future[Committed]:
        """Makes the object durable, tells `durable`, then enters it into the index.

        The future ends with the row. Failures: TemporaryFailure, code A700 for want of resources.
        """
        future: Future[Committed] = Future()
        pending = _Pending(received, future, durable)
        with self._lock:
            if not self._closed:
                self._waiting.put(pending)
                return future
        self._give_up(pending, TemporaryFailure("the spool is closing: send again after the restart", code="A700"))
        return future

    def flush(self) -> Future[None]:
        """Resolves when every object that was acknowledged before has its row."""
        flushed: Future[None] = Future()
        with self._lock:
            if not self._closed:
                self._waiting.put(flushed)
                return flushed
        flushed.set_result(None)
        return flushed

    def prove(self) -> Future[None]:
        """Resolves once the thread that acknowledges objects has written and synced a file of its own; fails with
        TemporaryFailure A700 if the disk won't."""
        proof: Future[None] = Future()
        with self._lock:
            if not self._closed:
                self._waiting.put(_Proof(proof))
                return proof
        proof.set_exception(TemporaryFailure("the spool is closing", code="closing"))
        return proof

    def close(self) -> None:
        """Commits what was handed in, then ends the thread."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._waiting.put(None)
        self._thread.join()

    def _run(self) -> None:
        closing = False
        while not closing or self._entering is not None or (self._rowless and not self._retrying):
            group, last, quiet = self._next_group()
            closing = closing or last
            started = [pending for pending in group if self._still_wanted(pending)]
            try:
                self._rowless += self._make_durable(started)
                asked = (bool(self._flushes) or self._is_overdue) and not self._retrying
                self._enter_due_rows(now=closing or quiet or asked)
            except Exception as error:  # noqa: BLE001 - a fault of ours may fail this group, not stop the thread
                for pending in started:
                    self._give_up(pending, error)
            self._prove()

    def _prove(self) -> None:
        proofs, self._proofs = self._proofs, []
        for proof in [one for one in proofs if one.set_running_or_notify_cancel()]:
            try:
                self._files.prove()
                proof.set_result(None)
            except Exception as error:  # noqa: BLE001 - it belongs to who asked
                proof.set_exception(error)

    def _next_group(self) -> tuple[list[_Pending], bool, bool]:
        """What is waiting; whether it is the last; whether nothing came for as long as rows may wait."""
        group: list[_Pending] = []
        try:
            item = self._waiting.get(timeout=self._patience)
        except queue.Empty:
            return group, False, True
        with suppress(queue.Empty):
            while item is not None:
                if isinstance(item, _Pending):
                    group.append(item)
                elif isinstance(item, _Batch):
                    self._entered(item)
                elif isinstance(item, _Proof):
                    self._proofs.append(item.future)
                else:
                    self._flushes.append(item)
                if len(group) == GROUP:
                    break
                item = self._waiting.get_nowait()
        return group, item is None, False

    @property
    def _is_overdue(self) -> bool:
        return bool(self._rowless) and self._monotonic() - self._rowless[0].since >= ROWS_AT_MOST

    @property
    def _patience(self) -> float | None:
        if not self._rowless or self._entering is not None:
            return None
        return RETRY_SECONDS if self._retrying else ROWS_WITHIN

    def _still_wanted(self, pending: _Pending) -> bool:
        wanted = pending.future.set_running_or_notify_cancel()
        if not wanted:
            pending.received.incoming.abandon()
        return wanted

    def _make_durable(self, group: Sequence[_Pending]) -> list[_Pending]:
        synced = [pending for pending in group if self._sync(pending)]
        durable = self._sync_folders(synced) if self._files.sync_names else synced
        for pending in durable:
            pending.acknowledged, pending.since = True, self._monotonic()
            pending.durable(None)
        if group:
            self._trace("answered")
        return durable

    def _sync(self, pending: _Pending) -> bool:
        """Whether the object is whole and on the disk; if not, it alone is given up."""
        incoming = pending.received.incoming
        try:
            with as_out_of_resources("make an object durable"):
                digits = incoming.content_hash.encode("ascii")
                if os.pwrite(incoming.fd, digits, pending.received.hash_offset) != HASH_DIGITS:
                    raise TemporaryFailure("the content hash was written in part; check the free space", code="A700")
                self._trace("hash-written")
                os.fdatasync(incoming.fd)
                self._trace("file-synced")
                incoming.close()
        except (GatewayError, OSError, ValueError) as error:
            self._files.doubt()
            self._give_up(pending, error)
            return False
        return True

    def _sync_folders(self, synced: Sequence[_Pending]) -> list[_Pending]:
        """One fsync for each folder; if it fails, every object in that folder is given up."""
        durable: list[_Pending] = []
        for folder in sorted({pending.received.incoming.path.parent for pending in synced}):
            members = [pending for pending in synced if pending.received.incoming.path.parent == folder]
            try:
                with as_out_of_resources("make a folder of objects durable"):
                    sync_directory(folder)
            except TemporaryFailure as error:
                self._files.doubt()
                for pending in members:
                    self._give_up(pending, error)
                continue
            self._trace("directory-synced")
            durable += members
        return durable

    def _enter_due_rows(self, *, now: bool) -> None:
        """Begin a transaction of rows if it is full, or due `now`; one at a time, and nobody waits for it here."""
        if self._entering is None and self._rowless and (now or len(self._rowless) >= GROUP):
            entering, self._rowless = self._rowless[:GROUP], self._rowless[GROUP:]
            at = self._now()
            jobs = [partial(_accept, instance=_instance(pending), now=at) for pending in entering]
            batch = self._entering = _Batch(entering, self._db.write_together(jobs, rebuildable=True))
            batch.rows[-1].add_done_callback(lambda _: self._waiting.put(batch))
        if self._entering is None and not self._rowless:
            for flushed in self._flushes:
                if flushed.set_running_or_notify_cancel():
                    flushed.set_result(None)
            self._flushes.clear()

    def _entered(self, batch: _Batch) -> None:
        """The transaction is over; what failed waits for the next."""
        self._entering = None
        failed: list[_Pending] = []
        fresh: list[Instance] = []
        self._trace("rows-committed")
        for pending, row in zip(batch.pending, batch.rows, strict=True):
            if row.exception() is not None:
                failed.append(pending)
                continue
            accepted = row.result()
            if accepted.duplicate:
                self._settle_duplicate(pending, accepted)
            else:
                fresh.append(accepted.instance)
            pending.future.set_result(accepted)
        if fresh:
            self.entered(fresh)
        self._rowless = failed + self._rowless
        self._retrying = bool(failed)

    def _settle_duplicate(self, pending: _Pending, accepted: Committed) -> None:
        try:
            if self._files.keep_one(accepted.instance, extra=pending.received.incoming.path):
                self._db.write(partial(deliveries.heal, instance_id=accepted.instance.id, now=self._now()))
        except OSError:
            self._files.doubt()  # both files stay; the next sweep finds them and keeps one
        self._trace("duplicate-settled")

    def _give_up(self, pending: _Pending, error: BaseException) -> None:
        """Nothing of an object stays that is not acknowledged, and its sender hears that it may try again."""
        if pending.acknowledged:
            return  # its file stays; the next sweep enters it
        pending.received.incoming.abandon()
        failure = error if isinstance(error, TemporaryFailure) else _unknown(error)
        pending.durable(failure)
        if not pending.future.done():
            pending.future.set_exception(failure)


def _unknown(error: BaseException) -> TemporaryFailure:
    """Unknown means temporary. The type alone is told: a message could quote a value."""
    failure = TemporaryFailure(f"the object could not be stored ({type(error).__name__})", code="A700")
    failure.__cause__ = error
    return failure


def _accept(c: Connection, *, instance: Instance, now: datetime) -> Committed:
    return instances.accept(c, instance, now=now, why="committed")


def _instance(pending: _Pending) -> Instance:
    received = pending.received
    return Instance(
        id=received.incoming.id,
        SOPClassUID=received.SOPClassUID,
        SOPInstanceUID=received.SOPInstanceUID,
        TransferSyntaxUID=received.TransferSyntaxUID,
        StudyInstanceUID=received.StudyInstanceUID,
        SeriesInstanceUID=received.SeriesInstanceUID,
        content_hash=received.incoming.content_hash,
        size=received.incoming.size,
        origin=received.origin,
    )
