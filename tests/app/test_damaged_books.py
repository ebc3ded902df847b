"""A database that a disk has damaged: what a person is told, and the books of the synthetic patient stop nobody."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.app.peers import now
from gateway.app.synthetic import books_of, open_synthetic
from gateway.config import Config
from gateway.config.loading import parse
from gateway.domain.model import PermanentFailure
from gateway.roles.storage import read_origin
from gateway.spool import Spool
from tests.journeys.gateway_process import To, toml
from tests.peers.processes import free_port
from tests.spool.objects import receive

PAGE = 4096


def no_header(raw: bytes) -> bytes:
    return b"\xff" * 100 + raw[100:]


def no_first_pages(raw: bytes) -> bytes:
    return raw[:PAGE] + b"\xa5" * (6 * PAGE) + raw[7 * PAGE :]


def no_later_page(raw: bytes) -> bytes:
    """One that is not read at a start."""
    last = len(raw) // PAGE - 1
    return raw[: last * PAGE] + b"\xa5" * PAGE


Damage = Callable[[bytes], bytes]
AT_THE_START = [no_header, no_first_pages]


def damaged(path: Path, damage: Damage) -> None:
    path.write_bytes(damage(path.read_bytes()))


@pytest.fixture
def config(tmp_path: Path) -> Config:
    text = toml(port=free_port(), to=[To(port=free_port())], scanners=["CT1"], runtime=tmp_path / "run")
    return parse(text, base=tmp_path)


@pytest.mark.parametrize("damage", [*AT_THE_START, no_later_page])
def test_damaged_books_of_nobody_are_made_anew(config: Config, damage: Damage) -> None:
    config.box.state.mkdir(parents=True, exist_ok=True)
    open_synthetic(config).close()
    damaged(books_of(config) / "gateway.db", damage)
    books = open_synthetic(config)
    books.sweep(read_origin)
    assert [row[0] for row in books.db.read().execute("PRAGMA integrity_check")] == ["ok"]
    again = open_synthetic(config)  # edge and forward have them open at once
    again.db.write(lambda c: c.execute("PRAGMA user_version")).result()
    again.close()
    books.close()


@pytest.mark.parametrize("damage", AT_THE_START)
def test_a_damaged_index_is_told_with_its_remedy_which_holds(tmp_path: Path, damage: Damage) -> None:
    spool = Spool.open(tmp_path / "state", now=now)
    spool.accepting().submit(receive(spool.files, "1.2.3", b"body")).result()
    spool.close()
    damaged(tmp_path / "state/gateway.db", damage)
    with pytest.raises(PermanentFailure, match=r"damaged.*move gateway\.db.*away") as told:
        Spool.open(tmp_path / "state", now=now)
    assert told.value.code == "damaged"
    for path in (tmp_path / "state").glob("gateway.db*"):
        path.rename(tmp_path / path.name)
    spool = Spool.open(tmp_path / "state", now=now)
    assert spool.sweep(read_origin).adopted == 1
    spool.close()
