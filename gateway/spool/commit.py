"""From received to acknowledged: the one place where a C-STORE earns its success (invariant 1).

One thread takes what is waiting (up to GROUP objects) through these steps, and `trace` is told the
name of each when it is done; a fault test cuts the process there.

    hash-written        the content hash is in its field of the file meta        (each object)
    file-synced         fdatasync of the file
    file-named          rename to objects/<aa>/<id>.dcm
    directory-synced    fsync of the folder                                      (each folder, once)
    rows-committed      the index rows, one transaction, rebuildable             (the group)
    duplicate-settled   the second file of the same bytes is gone                (each duplicate)
    answered            the futures have their results

Promises
- A future has a result only when file, name and row are as durable as they are promised to be. The
  row alone may be lost in a power cut: `recovery.sweep` makes it again from the file.
- An object that fails takes no other with it: its future gets TemporaryFailure A700, its file is
  removed, and no fsync is tried twice on the same file. The group's row transaction is shared.
- A cancelled future (the association is gone) means nobody waits: the object is abandoned.
"""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Final

from gateway.domain.model import UID, GatewayError, Instance, InstanceId, Origin, TemporaryFailure
from gateway.spool import instances
from gateway.spool.db import GROUP, Connection, Database
from gateway.spool.files import HASH_DIGITS, Incoming, SpoolFiles, as_out_of_resources, sync_directory

CRASH_POINTS: Final = (
    "hash-written",
    "file-synced",
    "file-named",
    "directory-synced",
    "rows-committed",
    "duplicate-settled",
    "answered",
)


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


@dataclass(slots=True)
class _Pending:
    received: Received
    future: Future[Committed]
    id: InstanceId
    path: Path
    """Where the file lies now."""


class GroupCommitter:
    """The committing thread of a process that receives objects. Close it before the database."""

    def __init__(
        self,
        *,
        files: SpoolFiles,
        db: Database,
        now: Callable[[], datetime],
        trace: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._files = files
        self._db = db
        self._now = now
        self._trace = trace
        self._lock = threading.Lock()
        self._closed = False
        self._waiting: queue.SimpleQueue[_Pending | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="spool-committer", daemon=True)
        self._thread.start()

    def submit(self, received: Received) -> Future[Committed]:
        """Makes the object durable. Failures: TemporaryFailure, code A700 for want of resources."""
        future: Future[Committed] = Future()
        pending = _Pending(received, future, self._files.new_id(), received.incoming.path)
        with self._lock:
            if not self._closed:
                self._waiting.put(pending)
                return future
        received.incoming.abandon()
        future.set_exception(TemporaryFailure("the spool is closing: send again after the restart", code="A700"))
        return future

    def close(self) -> None:
        """Commits what was handed in, then ends the thread."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._waiting.put(None)
        self._thread.join()

    def _run(self) -> None:
        closing = False
        while not closing:
            group, closing = self._next_group()
            started = [pending for pending in group if self._still_wanted(pending)]
            try:
                self._commit(started)
            except Exception as error:  # noqa: BLE001 - a fault of ours may fail this group, not stop the thread
                for pending in started:
                    if not pending.future.done():  # what lies on the disk is left to the sweep
                        pending.future.set_exception(_unknown(error))

    def _next_group(self) -> tuple[list[_Pending], bool]:
        pending = self._waiting.get()
        group: list[_Pending] = []
        while pending is not None:
            group.append(pending)
            if len(group) == GROUP:
                return group, False
            try:
                pending = self._waiting.get_nowait()
            except queue.Empty:
                return group, False
        return group, True

    def _still_wanted(self, pending: _Pending) -> bool:
        wanted = pending.future.set_running_or_notify_cancel()
        if not wanted:
            pending.received.incoming.abandon()
        return wanted

    def _commit(self, group: Sequence[_Pending]) -> None:
        synced = [pending for pending in group if self._attempt(self._sync_and_name, pending)]
        durable = self._sync_folders(synced)
        for pending, accepted in self._enter_rows(durable):
            if accepted.duplicate:
                self._attempt(partial(self._settle_duplicate, accepted), pending)
            if not pending.future.done():
                pending.future.set_result(accepted)
        self._trace("answered")

    def _attempt(self, step: Callable[[_Pending], None], pending: _Pending) -> bool:
        """Whether the step went well; if not, this object alone is given up."""
        try:
            step(pending)
            return True
        except (GatewayError, OSError, ValueError) as error:
            self._files.doubt()
            self._give_up(pending, error)
            return False

    def _sync_and_name(self, pending: _Pending) -> None:
        incoming = pending.received.incoming
        digits = incoming.content_hash.encode("ascii")
        with as_out_of_resources("make an object durable"):
            if os.pwrite(incoming.fd, digits, pending.received.hash_offset) != HASH_DIGITS:
                raise TemporaryFailure("the content hash was written in part; check the free space", code="A700")
            self._trace("hash-written")
            os.fdatasync(incoming.fd)
            self._trace("file-synced")
            incoming.close()
            target = self._files.path_of(pending.id)
            incoming.path.rename(target)
            pending.path = target
            self._trace("file-named")

    def _sync_folders(self, synced: Sequence[_Pending]) -> list[_Pending]:
        """One fsync for each folder; if it fails, every object in that folder is given up."""
        durable: list[_Pending] = []
        for folder in sorted({pending.path.parent for pending in synced}):
            members = [pending for pending in synced if pending.path.parent == folder]
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

    def _enter_rows(self, durable: Sequence[_Pending]) -> list[tuple[_Pending, Committed]]:
        """The rows of a group, one transaction; an object whose row is refused is given up alone."""
        if not durable:
            return []
        now = self._now()
        jobs = [partial(_accept, instance=_instance(pending), now=now) for pending in durable]
        entered: list[tuple[_Pending, Committed]] = []
        for pending, row in zip(durable, self._db.write_together(jobs, rebuildable=True), strict=True):
            error = row.exception()
            if error is None:
                entered.append((pending, row.result()))
            else:
                self._give_up(pending, error)
        self._trace("rows-committed")
        return entered

    def _settle_duplicate(self, accepted: Committed, pending: _Pending) -> None:
        with as_out_of_resources("remove the second file of a duplicate"):
            self._files.keep_one(kept=accepted.instance.id, extra=pending.path)
        self._trace("duplicate-settled")

    def _give_up(self, pending: _Pending, error: BaseException) -> None:
        """Nothing of the object stays, and its sender hears that it may try again."""
        pending.received.incoming.abandon()
        if pending.future.done():
            return
        with suppress(OSError):  # a file without a row is left to the sweep
            pending.path.unlink(missing_ok=True)
        failure = error if isinstance(error, TemporaryFailure) else _unknown(error)
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
        id=pending.id,
        SOPClassUID=received.SOPClassUID,
        SOPInstanceUID=received.SOPInstanceUID,
        TransferSyntaxUID=received.TransferSyntaxUID,
        StudyInstanceUID=received.StudyInstanceUID,
        SeriesInstanceUID=received.SeriesInstanceUID,
        content_hash=received.incoming.content_hash,
        size=received.incoming.size,
        origin=received.origin,
    )
