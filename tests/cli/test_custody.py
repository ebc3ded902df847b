"""The chain of custody: the whole life of each image in one record, kept after the purge, in a documented form."""

from __future__ import annotations

import json
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

import gateway
from gateway.domain.custody import StudyCustody
from gateway.spool import deliveries
from gateway.spool.trimming import trim
from tests.cli.site import STUDY, Site

SCHEMA = Path(gateway.__file__).parents[1] / "docs" / "custody.schema.json"


def export(site: Site, name: str = "record.json") -> dict[str, Any]:
    path = site.config.parent / name
    site.run("study", STUDY, "--export", str(path))
    TypeAdapter(StudyCustody).validate_json(path.read_bytes())
    told: dict[str, Any] = json.loads(path.read_text())
    return told


def test_every_step_of_an_image_is_in_the_record(site: Site) -> None:
    (image,) = site.receive(b"one")
    site.route(image)
    (claimed,) = site.claim()
    later = site.clock() + timedelta(seconds=1)
    site.write(partial(deliveries.defer, claimed=claimed, not_before=later, status="A700", now=site.clock(), by="pacs"))
    site.clock.pass_(seconds=2)
    site.send_all(confirm=True)
    told = export(site)
    assert (told["form"], told["site"], told["box"], told["safe"]) == ("gateway-custody/1", "north", "box", True)
    (one,) = told["instances"]
    assert (one["content_hash"], one["calling_ae"], one["size"]) == (image.content_hash, "CT1", 3)
    assert [(move["before"], move["after"]) for move in one["moves"]] == [
        ("", "received"),
        ("received", "prepared"),
        ("prepared", "delivered"),
    ]
    (handing,) = one["handings"]
    assert [(each["stored"], each["status"]) for each in handing["attempts"]] == [(False, "A700"), (True, "0000")]
    assert (handing["because"], handing["queued_by"]) == ("route pacs", "forward")
    assert (handing["proof"], handing["state"]) == ("commitment 2.25.7", "confirmed")
    assert (handing["sent_as"], one["purged_at"]) == ("1.2.840.10008.1.2.1", None)


def test_the_record_outlives_the_image_for_as_long_as_the_books_are_kept(site: Site) -> None:
    site.route(*site.receive(b"one"))
    site.send_all(confirm=True)
    site.clock.pass_(days=8)
    assert site.spool.purge(retention=timedelta(days=7), limit=10) == 1
    (one,) = export(site)["instances"]
    assert one["purged_at"] is not None
    assert one["moves"][-1]["why"] == "retention over"
    site.clock.pass_(days=91)
    site.write(lambda c: trim(c, before=site.clock() - timedelta(days=90), limit=10))
    assert site.run("study", STUDY, "--export", str(site.config.parent / "none.json")).exit_code == 3


def test_a_file_is_never_written_over(site: Site) -> None:
    site.receive(b"one")
    path = site.config.parent / "record.json"
    path.write_text("mine")
    done = site.run("study", STUDY, "--export", str(path))
    assert (done.exit_code, path.read_text()) == (2, "mine")
    assert "exists; name a new one" in done.stderr


def test_the_kept_schema_is_current() -> None:
    schema = TypeAdapter(StudyCustody).json_schema(mode="serialization")
    assert json.loads(SCHEMA.read_text()) == json.loads(json.dumps(schema))


def test_what_each_destination_took_is_counted_in_slots(site: Site) -> None:
    site.route(*site.receive(b"one", b"three"))
    site.send_all(confirm=False)
    rows = site.spool.db.read().execute("SELECT destination, images, size FROM throughput").fetchall()
    assert [tuple(row) for row in rows] == [("pacs", 2, 8)] or sum(row["size"] for row in rows) == 8
