"""The writer thread: group commit, isolation of jobs, and what happens when SQLite says no."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from pysqlite3 import dbapi2 as sqlite

from gateway.domain.model import PermanentFailure, TemporaryFailure
from gateway.spool import db as db_module
from gateway.spool import migrations
from gateway.spool.db import Connection, Database, open_reader, split_statements
from gateway.spool.queries import statements
from tests.spool.objects import Clock

BEFORE_THE_FIRST_RELEASE = "0016_relay.sql"
"""Up to here a migration may take away: no box of the field goes back beyond."""


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    opened = Database(tmp_path / "gateway.db", now=Clock())
    opened.write(lambda c: c.execute("CREATE TABLE note (text TEXT NOT NULL)")).result()
    yield opened
    opened.close()


def put(c: Connection, text: str) -> str:
    c.execute("INSERT INTO note VALUES (?)", (text,))
    return text


def notes(db: Database) -> list[str]:
    return [row["text"] for row in db.read().execute("SELECT text FROM note ORDER BY rowid")]


def hold(db: Database, gate: threading.Event) -> Future[bool]:
    """Keeps the writer busy so that what comes next waits and makes one group."""
    started = threading.Event()

    def job(_: Connection) -> bool:
        started.set()
        return gate.wait(30)

    future = db.write(job)
    assert started.wait(30)
    return future


def test_a_job_returns_its_value_after_the_commit(db: Database) -> None:
    assert db.write(lambda c: put(c, "one")).result() == "one"
    assert notes(db) == ["one"]


def test_waiting_jobs_share_a_transaction_and_keep_their_order(db: Database) -> None:
    gate = threading.Event()
    first = hold(db, gate)
    futures = [db.write(partial(put, text=str(n))) for n in range(10)]
    seen_by_readers = db.write(lambda _: _count_elsewhere(db))
    gate.set()
    for future in futures:
        future.result()
    assert first.result()
    assert notes(db) == [str(n) for n in range(10)]
    assert seen_by_readers.result() == 0  # none of the ten was committed before the eleventh ran


def _count_elsewhere(db: Database) -> int:
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(lambda: len(notes(db))).result()


def test_a_group_is_at_most_64_jobs(db: Database) -> None:
    gate = threading.Event()
    hold(db, gate)
    futures = [db.write(partial(put, text=str(n))) for n in range(64)]
    seen = db.write(lambda _: _count_elsewhere(db))
    gate.set()
    for future in futures:
        future.result()
    assert seen.result() == 64
    with pytest.raises(ValueError, match="at most 64"):
        db.write_together([lambda c: put(c, "x")] * 65)


def test_a_failing_job_fails_alone(db: Database) -> None:
    def bad(c: Connection) -> str:
        put(c, "half done")
        raise KeyError("mine")

    good, failing, after = db.write_together([lambda c: put(c, "a"), bad, lambda c: put(c, "b")])
    assert good.result() == "a"
    assert after.result() == "b"
    with pytest.raises(KeyError, match="mine"):
        failing.result()
    assert notes(db) == ["a", "b"]


def test_a_job_cancelled_in_the_queue_is_not_run(db: Database) -> None:
    gate = threading.Event()
    hold(db, gate)
    cancelled = db.write(lambda c: put(c, "never"))
    assert cancelled.cancel()
    last = db.write(lambda c: put(c, "last"))
    gate.set()
    last.result()
    assert notes(db) == ["last"]


@pytest.mark.parametrize(
    ("kinds", "expected"), [([True, True], 1), ([True, False], 2), ([False], 2)], ids=["normal", "mixed", "full"]
)
def test_one_row_that_cannot_be_made_again_makes_the_group_full(db: Database, kinds: list[bool], expected: int) -> None:
    gate = threading.Event()
    hold(db, gate)
    futures = [db.write(_synchronous, rebuildable=kind) for kind in kinds]
    gate.set()
    assert {future.result() for future in futures} == {expected}


def _synchronous(c: Connection) -> int:
    return int(c.execute("PRAGMA synchronous").fetchone()[0])


def test_a_held_database_is_waited_for(db: Database, tmp_path: Path) -> None:
    other = sqlite.connect(tmp_path / "gateway.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    future = db.write(lambda c: put(c, "patient"))
    other.execute("ROLLBACK")
    other.close()
    assert future.result(60) == "patient"


def test_a_database_that_stays_held_is_a_temporary_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(db_module, "BUSY_TIMEOUT_MS", 1)
    monkeypatch.setattr(db_module, "BUSY_ATTEMPTS", 2)
    db = Database(tmp_path / "gateway.db", now=Clock())
    other = sqlite.connect(tmp_path / "gateway.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(TemporaryFailure) as caught:
        db.write(lambda c: c.execute("SELECT 1")).result()
    assert caught.value.code == "busy"
    other.execute("ROLLBACK")
    other.close()
    assert db.write(lambda c: 7).result() == 7
    db.close()


def test_a_full_database_fails_the_group_and_recovers(db: Database) -> None:
    def fill(c: Connection) -> str:
        pages = c.execute("PRAGMA page_count").fetchone()[0]
        c.execute(f"PRAGMA max_page_count = {pages}")
        return put(c, "x" * 1_000_000)

    small, big = db.write_together([lambda c: put(c, "small"), fill])
    for future in (small, big):
        with pytest.raises(TemporaryFailure) as caught:
            future.result()
        assert caught.value.code == "A700"
    assert not db.broken
    db.write(lambda c: c.execute("PRAGMA max_page_count = 100000").fetchone()[0]).result()
    assert db.write(lambda c: put(c, "later")).result() == "later"
    assert notes(db) == ["later"]


_WRITE_PAST_THE_LIMIT = """
import resource, sys
from pathlib import Path
from gateway.spool.db import Database
from gateway.domain.model import TemporaryFailure
from tests.spool.objects import Clock
db = Database(Path(sys.argv[1]), now=Clock())
db.write(lambda c: c.execute("CREATE TABLE note (text TEXT)")).result()
db.write(lambda c: c.execute("INSERT INTO note VALUES ('kept')")).result()
resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, resource.RLIM_INFINITY))
codes = []
for size in (4_000_000, 1):
    try:
        db.write(lambda c: c.execute("INSERT INTO note VALUES (?)", ("x" * size,))).result()
    except TemporaryFailure as error:
        codes.append(error.code)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
print(codes, bool(db.broken))
"""


def test_after_an_input_output_error_the_writer_stops_until_a_restart(tmp_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", _WRITE_PAST_THE_LIMIT, str(tmp_path / "gateway.db")],
        capture_output=True,
        text=True,
        check=True,
        timeout=180,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p) + os.pathsep + str(Path.cwd())},
    )
    assert ran.stdout.strip() == "['A700', 'A700'] True"
    db = Database(tmp_path / "gateway.db", now=Clock())
    assert notes(db) == ["kept"]
    assert db.write(lambda c: put(c, "again")).result() == "again"
    db.close()


def test_readers_cannot_write(db: Database) -> None:
    with pytest.raises(sqlite.OperationalError):
        db.read().execute("INSERT INTO note VALUES ('no')")


def test_close_commits_what_was_handed_in_and_refuses_the_rest(tmp_path: Path) -> None:
    db = Database(tmp_path / "gateway.db", now=Clock())
    db.write(lambda c: c.execute("CREATE TABLE note (text TEXT)")).result()
    futures = [db.write(partial(put, text=str(n))) for n in range(200)]
    db.close()
    assert all(future.done() for future in futures)
    with pytest.raises(TemporaryFailure):
        db.write(lambda c: put(c, "late")).result()
    again = Database(tmp_path / "gateway.db", now=Clock())
    assert len(notes(again)) == 200
    again.close()


def test_many_may_open_a_new_database_at_once(tmp_path: Path) -> None:
    with ThreadPoolExecutor(6) as pool:
        opened = list(pool.map(lambda _: Database(tmp_path / "gateway.db", now=Clock()), range(6)))
    applied = [row["name"] for row in opened[0].read().execute("SELECT name FROM migration")]
    assert sorted(applied) == sorted(path.name for path in (Path(db_module.__file__).parent / "schema").iterdir())
    for each in opened:
        each.close()


def _later(path: Path, *, least: int) -> None:
    """As a gateway of a later release would leave it."""
    db = Database(path, now=Clock())
    db.write(lambda c: c.execute("INSERT INTO migration VALUES ('9999_later.sql', '')")).result()
    db.write(lambda c: c.execute("ALTER TABLE alarm ADD COLUMN later TEXT")).result()
    db.close()
    c = db_module._connect(path)
    c.execute(f"PRAGMA user_version = {least}")
    c.close()


def test_a_database_that_a_newer_gateway_made_too_much_of_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "gateway.db"
    _later(path, least=9999)
    with pytest.raises(PermanentFailure, match=r"9999_later\.sql"):
        Database(path, now=Clock())
    with pytest.raises(PermanentFailure, match=r"9999_later\.sql"):
        open_reader(path)


def test_a_rollback_finds_the_database_of_the_newer_gateway_and_works_on(tmp_path: Path) -> None:
    path = tmp_path / "gateway.db"
    _later(path, least=len(migrations.scripts()))
    db = Database(path, now=Clock())
    db.write(lambda c: c.execute("DELETE FROM alarm")).result()
    db.close()
    open_reader(path).close()


def test_every_statement_fits_a_schema_to_which_a_newer_gateway_added(tmp_path: Path) -> None:
    """A column more in every table: what names no columns would not fit any more."""
    db = Database(tmp_path / "gateway.db", now=Clock())
    db.close()
    c = db_module._connect(tmp_path / "gateway.db")
    tables = [
        name for (name,) in c.execute("SELECT name FROM sqlite_schema WHERE type = 'table' AND name <> 'migration'")
    ]
    for table in tables:
        if not table.startswith("sqlite_"):
            c.execute(f"ALTER TABLE {table} ADD COLUMN later TEXT")
    whole = {
        name: text for name, text in statements().items() if not name.startswith(("worklist_where_", "worklist_order"))
    }
    for name, text in whole.items():
        named = dict.fromkeys(re.findall(r":(\w+)", text))
        try:
            c.execute(f"EXPLAIN {text}", named)
        except db_module.DatabaseError as error:
            raise AssertionError(f"{name}: {error}") from error
    c.close()


def test_a_migration_that_takes_away_says_who_can_live_with_it() -> None:
    """Else a box that is rolled back meets a database that it can't work on."""
    takes_away = re.compile(
        r"\bDROP (TABLE|COLUMN|INDEX)\b|\bRENAME\b|ADD COLUMN[^;]*NOT NULL(?![^;]*DEFAULT)", re.IGNORECASE
    )
    guilty = [
        name
        for name, text in migrations.scripts().items()
        if name > BEFORE_THE_FIRST_RELEASE
        and takes_away.search(text)
        and f"user_version = {int(name[:4])};" not in text
    ]
    assert guilty == []


def test_statements_are_split_at_their_ends_only() -> None:
    script = "-- a; b\nCREATE TABLE t (x);\nCREATE TRIGGER g AFTER INSERT ON t BEGIN\n DELETE FROM t;\nEND;\n"
    assert [text.split()[-1] for text in split_statements(script)] == ["(x);", "END;"]


def test_a_connection_keeps_every_statement_prepared() -> None:
    """A cache that is full of migrations would prepare each of ours anew, a third of the time of an order."""
    schema = Path(db_module.__file__).parent / "schema"
    migrations = [each for path in schema.iterdir() for each in split_statements(path.read_text(encoding="utf-8"))]
    assert 1.5 * (len(migrations) + len(statements())) < db_module.STATEMENTS


@given(raw=st.binary(max_size=40))
def test_any_bytes_of_the_wire_come_back_as_they_were(raw: bytes) -> None:
    text = raw.decode("utf-8", "surrogateescape")
    assume(not set(text) & set(map(chr, range(0xF780, 0xF800))))
    c = db_module._connect(Path(":memory:"))
    c.execute("CREATE TABLE t (x TEXT NOT NULL) STRICT")
    c.execute("INSERT INTO t VALUES (:x)", {"x": text})
    c.executemany("INSERT INTO t VALUES (?)", [(text,)])
    assert [row["x"] for row in c.execute("SELECT x FROM t WHERE x = ?", (text,))] == [text, text]
    c.close()
