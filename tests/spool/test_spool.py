"""The spool as a whole: who may be which part of it, and looking at it from outside."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import xxhash
from pysqlite3 import dbapi2 as sqlite

from gateway.domain.model import PermanentFailure, TemporaryFailure
from gateway.spool import Spool
from gateway.spool.db import open_reader
from gateway.spool.files import content_hash
from tests.spool.objects import open_spool


def test_one_process_at_a_time_is_a_part(spool: Spool, tmp_path: Path) -> None:
    other = open_spool(tmp_path / "state")
    with spool.claim("edge"):
        with other.claim("forward"):
            pass
        with pytest.raises(TemporaryFailure) as caught, other.claim("edge"):
            pass
        assert caught.value.code == "claimed"
    with other.claim("edge"):
        pass
    other.close()


def test_a_process_accepts_once(spool: Spool) -> None:
    spool.accepting()
    with pytest.raises(ValueError, match="accepts already"):
        spool.accepting()


def test_a_reader_sees_a_running_spool_and_changes_nothing(spool: Spool, tmp_path: Path) -> None:
    spool.db.write(
        lambda c: c.execute(
            "INSERT INTO worklist_source (name, last_attempt, last_error, rows) VALUES ('main', '', '', 0)"
        )
    ).result()
    reader = open_reader(tmp_path / "state" / "gateway.db")
    assert [row["name"] for row in reader.execute("SELECT name FROM worklist_source")] == ["main"]
    with pytest.raises(sqlite.OperationalError, match="readonly"):
        reader.execute("DELETE FROM worklist_source")
    reader.close()


def test_a_reader_makes_no_database_and_refuses_another_schema(tmp_path: Path) -> None:
    path = tmp_path / "state" / "gateway.db"
    with pytest.raises(PermanentFailure) as missing:
        open_reader(path)
    assert missing.value.code == "missing"
    assert not path.exists()
    spool = open_spool(tmp_path / "state")
    spool.db.write(lambda c: c.execute("INSERT INTO migration VALUES ('9999_later.sql', '')")).result()
    spool.db.write(lambda c: c.execute("PRAGMA user_version = 9999")).result()
    with pytest.raises(PermanentFailure) as other:
        open_reader(path)
    assert other.value.code == "schema"
    spool.close()


@pytest.mark.parametrize("size", [0, 1, (1 << 20) - 1, 1 << 20, (2 << 20) + 1])
def test_a_stored_hash_is_counted_in_pieces(tmp_path: Path, size: int) -> None:
    body = bytes(n % 251 for n in range(1000)) * (size // 1000 + 1)
    path = tmp_path / "object"
    path.write_bytes(b"header" + body[:size])
    fd = os.open(path, os.O_RDONLY)
    try:
        assert content_hash(fd, seed=b"1.2", start=6) == (xxhash.xxh3_128_hexdigest(b"1.2" + body[:size]), size)
    finally:
        os.close(fd)
