"""The index: one SQLite file in WAL mode, one writer thread per process, any number of readers.

Promises
- A future of `write` resolves only after COMMIT. With `rebuildable=False` (the default) the commit
  is `synchronous=FULL`: on the disk before anyone hears of it. A group made of rebuildable jobs
  alone is NORMAL: a power cut may take it, and the recovery sweep makes it again from the files.
- Jobs are run in the order they were handed in, up to 64 in one short BEGIN IMMEDIATE, each in a
  savepoint: a job that raises fails its own future and leaves no trace of itself.
- A database that another process holds is waited for (about 30 s), then the group fails with
  TemporaryFailure "busy". A full disk is TemporaryFailure "A700".
- After an input/output error the writer takes no further jobs ("broken"): the kernel may have
  dropped pages that a second fsync would call written, so only a restart, which reads the log
  again from its checksums, may go on.

SQLite comes from pysqlite3 (3.53): the system's 3.40 corrupts a WAL that two processes reset.
"""

from __future__ import annotations

import contextlib
import os
import queue
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from gateway.domain.model import PermanentFailure, TemporaryFailure
from gateway.spool import migrations
from gateway.spool.texts import bindable, from_column
from gateway.spool.times import to_text

if TYPE_CHECKING:
    import sqlite3 as sqlite  # the same interface, with types
else:
    from pysqlite3 import dbapi2 as sqlite

T = TypeVar("T")

Row = sqlite.Row
Cursor = sqlite.Cursor
DatabaseError = sqlite.DatabaseError
IntegrityError = sqlite.IntegrityError

GROUP: Final = 64
"""Most jobs in one transaction: bounds how long the others wait."""
BUSY_TIMEOUT_MS: Final = 1000
STATEMENTS: Final = 1024
"""Prepared statements a connection keeps: more than there are, those of the migrations included. The driver's cache
drops the newest when it is full, so one that is too small prepares the same few statements over and over."""
BUSY_ATTEMPTS: Final = 30

_TEMPORARY: Final = {
    sqlite.SQLITE_BUSY: "busy",
    sqlite.SQLITE_LOCKED: "busy",
    sqlite.SQLITE_IOERR: "A700",
    sqlite.SQLITE_FULL: "A700",
    sqlite.SQLITE_CANTOPEN: "A700",
}
_DAMAGED: Final = {sqlite.SQLITE_CORRUPT, sqlite.SQLITE_NOTADB}
_BREAKING: Final = {sqlite.SQLITE_IOERR, *_DAMAGED}
DAMAGED: Final = "damaged"
_DAMAGED_TEXT: Final = (
    "the database is damaged: stop the gateway, move gateway.db, gateway.db-wal and gateway.db-shm away from [box] "
    "state, start it, and read docs/operations/disk.md; images are found again by their files"
)


class Connection(sqlite.Connection):
    """A connection that takes any text the wire gave us: see `texts`."""

    def execute(self, sql: str, parameters: Any = (), /) -> sqlite.Cursor:
        """As sqlite3, with such text among the parameters."""
        try:
            return super().execute(sql, parameters)
        except UnicodeEncodeError:  # rare enough that looking at every value first would cost more
            return super().execute(sql, bindable(parameters))

    def executemany(self, sql: str, parameters: Iterable[Any], /) -> sqlite.Cursor:
        """As sqlite3, with such text among the parameters."""
        return super().executemany(sql, map(bindable, parameters))


@dataclass(slots=True)
class _Job:
    work: Callable[[Connection], Any]
    rebuildable: bool
    future: Future[Any]
    answer: Any = None


class Database:
    """The gateway's database. Safe to use from any thread; close it once."""

    def __init__(self, path: Path, *, now: Callable[[], datetime]) -> None:
        """Opens the file, making it if needed, and brings its schema up to date. Raises PermanentFailure "damaged"."""
        self._path = path
        self._jobs: queue.SimpleQueue[list[_Job] | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._closed = False
        self._broken = ""
        self._local = threading.local()
        self._readers: weakref.WeakSet[Connection] = weakref.WeakSet()
        self._writer = _connect(path)
        self._synchronous = "FULL"
        try:
            _enter_wal(self._writer)
            migrate(self._writer, now=now)
        except BaseException as error:
            self._writer.close()
            if error_code(error) in _DAMAGED:
                raise PermanentFailure(_DAMAGED_TEXT, code=DAMAGED) from error
            raise
        _sync_directory(path.parent)
        self._thread = threading.Thread(target=self._run, name="spool-writer", daemon=True)
        self._thread.start()

    @property
    def broken(self) -> str:
        """Why the writer takes no more jobs until a restart; empty while it works."""
        return self._broken

    def write(self, job: Callable[[Connection], T], *, rebuildable: bool = False) -> Future[T]:
        """Runs `job` on the writer's connection; the future resolves after COMMIT.

        The job must only read and write through its connection: it may be rolled back, never run
        twice. A future cancelled before its job starts is skipped.
        """
        return self.write_together([job], rebuildable=rebuildable)[0]

    def write_together(
        self, jobs: Sequence[Callable[[Connection], T]], *, rebuildable: bool = False
    ) -> list[Future[T]]:
        """Runs the jobs in one transaction (at most GROUP of them), each failing alone."""
        if len(jobs) > GROUP:
            raise ValueError(f"{len(jobs)} jobs in one transaction; hand in at most {GROUP}")
        futures: list[Future[T]] = [Future() for _ in jobs]
        batch = [_Job(job, rebuildable, future) for job, future in zip(jobs, futures, strict=True)]
        with self._lock:
            if not self._closed:
                self._jobs.put(batch)
                return futures
        for future in futures:
            future.set_exception(TemporaryFailure("the spool is closing: try again after the restart", code="closing"))
        return futures

    def read(self) -> Connection:
        """This thread's reading connection; it refuses to write. Don't hand it to another thread."""
        connection: Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = _connect(self._path)
            connection.execute("PRAGMA query_only = ON")
            self._local.connection = connection
            self._readers.add(connection)
        return connection

    def check(self) -> None:
        """Reads every page, for a small database. Raises PermanentFailure "damaged"."""
        try:
            sound = self.read().execute("PRAGMA quick_check(1)").fetchone()[0] == "ok"
        except sqlite.DatabaseError as error:
            if error_code(error) not in _DAMAGED:
                raise
            sound = False
        if not sound:
            raise PermanentFailure(_DAMAGED_TEXT, code=DAMAGED)

    def close(self) -> None:
        """Commits what was handed in, then closes every connection. Readers must be done."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._jobs.put(None)
        self._thread.join()
        for connection in list(self._readers):
            connection.close()
        self._writer.close()

    def _run(self) -> None:
        closing = False
        while not closing:
            group, closing = self._next_group()
            started = [job for job in group if job.future.set_running_or_notify_cancel()]
            if started:
                self._commit(started)

    def _next_group(self) -> tuple[list[_Job], bool]:
        """Waits for one batch, then takes what else is waiting while the whole fits in a group."""
        batch = self._jobs.get()
        group: list[_Job] = []
        while batch is not None:
            group += batch
            if len(group) >= GROUP:
                return group, False
            try:
                batch = self._jobs.get_nowait()
            except queue.Empty:
                return group, False
        return group, True

    def _commit(self, group: list[_Job]) -> None:
        if self._broken:
            return _fail(group, TemporaryFailure(self._broken, code="A700"))
        try:
            self._sync("NORMAL" if all(job.rebuildable for job in group) else "FULL")
            _begin(self._writer)
            done = [job for job in group if _run_in_savepoint(self._writer, job)]
            self._writer.execute("COMMIT")
        except sqlite.DatabaseError as error:
            if error_code(error) in _BREAKING:
                self._broken = f"the database met {_name(error)}: check the disk, then restart the gateway"
            self._roll_back()
            return _fail(group, _as_failure(error))
        except TemporaryFailure as error:
            self._roll_back()
            return _fail(group, error)
        for job in done:
            job.future.set_result(job.answer)
        return None

    def _sync(self, much: str) -> None:
        """Each statement gives up the interpreter and has to get it back: say it only where it changes."""
        if much != self._synchronous:
            self._writer.execute(f"PRAGMA synchronous = {much}")
            self._synchronous = much

    def _roll_back(self) -> None:
        with contextlib.suppress(sqlite.DatabaseError):
            if self._writer.in_transaction:
                self._writer.execute("ROLLBACK")


@contextlib.contextmanager
def own_text(c: Connection) -> Iterator[None]:
    """Read columns that hold none but our own text, many of them: nothing in them is put back as it came."""
    c.text_factory = str
    try:
        yield
    finally:
        c.text_factory = from_column


def error_code(error: BaseException) -> int:
    """The primary SQLite result code of an error; 0 if it has none."""
    return int(getattr(error, "sqlite_errorcode", 0) or 0) & 0xFF


def migrate(c: Connection, *, now: Callable[[], datetime]) -> None:
    """Applies the numbered files of `schema/` that were not applied yet, one transaction each.

    Raises PermanentFailure if a newer gateway wrote the database and made more of it than this one can live with.
    """
    scripts = migrations.scripts()
    c.execute("CREATE TABLE IF NOT EXISTS migration (name TEXT PRIMARY KEY, applied_at TEXT NOT NULL) STRICT")
    _applied(c)
    for name in scripts:
        _begin(c)
        try:
            if c.execute("SELECT 1 FROM migration WHERE name = ?", (name,)).fetchone() is None:
                for statement in split_statements(scripts[name]):
                    c.execute(statement)
                c.execute("INSERT INTO migration (name, applied_at) VALUES (?, ?)", (name, to_text(now())))
            c.execute("COMMIT")
        except BaseException:
            c.execute("ROLLBACK")
            raise


def open_reader(path: Path) -> Connection:
    """A reading connection to a database as it stands: no file of its own is made, nothing is migrated.

    Raises PermanentFailure if there is none ("missing") or its schema is another than this gateway's
    ("schema"), and DatabaseError if it can't be opened or read.
    """
    if not path.exists():
        raise PermanentFailure("there is no database: start the gateway once, it makes it", code="missing")
    c = _connect(path, read_only=True)
    try:
        if migrations.scripts().keys() <= _applied(c):
            return c
        raise PermanentFailure("the database has another schema: restart the gateway with this version", code="schema")
    except BaseException:
        c.close()
        raise


def _applied(c: Connection) -> set[str]:
    """The migrations that the database has; those of a newer gateway too, if it said that we can live with them."""
    applied = {name for (name,) in c.execute("SELECT name FROM migration")}
    unknown = applied - migrations.scripts().keys()
    if unknown and c.execute("PRAGMA user_version").fetchone()[0] > len(migrations.scripts()):
        raise PermanentFailure(
            f"the database has schema {max(unknown)}, newer than this gateway: install that version", code="schema"
        )
    return applied


def split_statements(script: str) -> list[str]:
    """The complete statements of a script (`executescript` would commit before the first)."""
    found: list[str] = []
    pending = ""
    for line in script.splitlines(keepends=True):
        pending += line
        if sqlite.complete_statement(pending):
            found.append(pending.strip())
            pending = ""
    return found


def _connect(path: Path, *, read_only: bool = False) -> Connection:
    # check_same_thread: each connection is used by one thread; only `close` comes from another.
    c = sqlite.connect(
        f"{path.absolute().as_uri()}?mode=ro" if read_only else os.fspath(path),
        uri=read_only,
        timeout=BUSY_TIMEOUT_MS / 1000,
        isolation_level=None,
        cached_statements=STATEMENTS,
        factory=Connection,
        check_same_thread=False,
    )
    c.row_factory = sqlite.Row
    c.text_factory = from_column
    c.execute("PRAGMA foreign_keys = ON")
    return c


def _enter_wal(c: Connection) -> None:
    """The change of mode takes an exclusive lock: another process that starts now may hold it."""
    for attempt in range(BUSY_ATTEMPTS):
        try:
            c.execute("PRAGMA journal_mode = WAL")
            c.execute("PRAGMA synchronous = FULL")
            return
        except sqlite.OperationalError as error:
            if error_code(error) != sqlite.SQLITE_BUSY or attempt == BUSY_ATTEMPTS - 1:
                raise _as_failure(error) from error


def _begin(c: Connection) -> None:
    for _ in range(BUSY_ATTEMPTS):
        try:
            c.execute("BEGIN IMMEDIATE")  # waits BUSY_TIMEOUT_MS inside
            return
        except sqlite.OperationalError as error:
            if error_code(error) != sqlite.SQLITE_BUSY:
                raise
    raise TemporaryFailure("another process holds the database: look for a long-running transaction", code="busy")


def _run_in_savepoint(c: Connection, job: _Job) -> bool:
    """Whether the job is in the transaction. Raises when SQLite gave up the whole of it."""
    c.execute("SAVEPOINT job")
    try:
        job.answer = job.work(c)
        c.execute("RELEASE job")
        return True
    except Exception as error:  # whatever a job raises belongs to its future, not to the others
        if not c.in_transaction or error_code(error) in {*_BREAKING, sqlite.SQLITE_FULL}:
            if isinstance(error, sqlite.DatabaseError):
                raise
            text = f"a job ended its transaction ({type(error).__name__})"
            raise TemporaryFailure(text, code="rolled-back") from error
        c.execute("ROLLBACK TO job")
        c.execute("RELEASE job")
        job.future.set_exception(_as_failure(error))
        return False


def _fail(group: Sequence[_Job], error: Exception) -> None:
    for job in group:
        if not job.future.done():
            job.future.set_exception(error)


def _as_failure(error: Exception) -> Exception:
    code = _TEMPORARY.get(error_code(error))
    if code is None:
        return error
    return TemporaryFailure(f"the database met {_name(error)}: check the disk and its free space", code=code)


def _name(error: BaseException) -> str:
    return str(getattr(error, "sqlite_errorname", type(error).__name__))


def _sync_directory(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
