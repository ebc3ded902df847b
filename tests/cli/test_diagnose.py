"""`gateway diagnose` and `gateway commands` over real books."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from gateway.domain.command import Command, CommandName, Standing, judge, signed
from gateway.domain.signature import ring
from gateway.spool import commands
from tests.cli.site import Site
from tests.domain.test_command import ANN

QUIET = Standing(association_open=False, exam_due=False)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    opened = Site(tmp_path)
    yield opened
    opened.close()


def contents(packed: bytes) -> dict[str, Any]:
    with tarfile.open(fileobj=io.BytesIO(packed)) as tar:
        return {one.name: json.loads(tar.extractfile(one).read()) for one in tar}  # type: ignore[union-attr]


def test_the_bundle_counts_and_lists_and_copies_nothing(site: Site, tmp_path: Path) -> None:
    site.receive(b"a", b"b")
    log, to = tmp_path / "log", tmp_path / "bundle.tar.gz"
    log.write_text('timestamp=2026-11-22T08:00:00Z level=info event=attempt dest=pacs status=A700\n"1.2.3"\n')
    told = site.run("diagnose", "--to", str(to), "--log", str(log))
    assert "Left out:" in told.stdout
    found = contents(to.read_bytes())
    counts = found["diagnosis/counts.json"]
    assert (counts["rows"]["instance"], counts["images"]["received"]) == (2, 2)
    assert found["diagnosis/versions.json"]["schema"]
    assert found["diagnosis/log.json"][0]["values"] == {"dest": "name-4", "status": "A700"}
    assert "diagnosis/log.json" not in found["diagnosis/contents.json"]["left_out"]
    for private in ("ris.example", "pacs.example", "10.1.1.20", "CT1", "2.25.1", "north"):
        assert private not in str(found)


def test_commands_are_listed_with_who_signed_them(site: Site) -> None:
    now = site.clock.at.replace(microsecond=0)
    command = Command(
        name=CommandName.PING,
        arguments={},
        site="north",
        box="box",
        nonce="0123456789abcdef",
        not_before=now,
        expires=now + timedelta(minutes=5),
    )
    judged = judge(signed(command, [ANN]), trusted=ring([ANN.public_key()]), site="north", box="box", now=now)
    site.spool.db.write(partial(commands.take, judged=judged, standing=QUIET, now=now)).result()
    told = json.loads(site.run("commands", "--json").stdout)
    assert [(one["name"], one["state"]) for one in told["commands"]] == [("ping", "accepted")]
    assert told["keys"] == []
    assert "none, so nothing is carried out" in site.run("commands").stdout
