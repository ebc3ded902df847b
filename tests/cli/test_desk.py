"""`gateway desk`: an entry made, found, linked, taken back, as a person types it."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest

from gateway.spool import worklist
from gateway.spool.worklist import WorklistRow
from tests.cli.site import Site
from tests.spool.desk import MAIN, real

NOBODY = ("desk", "add", "--station", "CT1", "--modality", "CT")
ADA = (*NOBODY, "--name", "Test^Ada", "--patient-id", "P1", "--birth-date", "1980-01-01", "--sex", "F")


def add(site: Site, *words: str) -> Any:
    assert site.spool.db.broken == ""
    return site.json(*(words or NOBODY))


def arrive(site: Site, *rows: WorklistRow) -> None:
    site.write(partial(worklist.merge_answer, source=MAIN, rows=rows, now=site.clock()))


def test_somebody_nobody_knows_is_entered_with_one_line(site: Site) -> None:
    assert site.spool.db.broken == ""
    done = site.run(*NOBODY, "--emergency")
    assert done.exit_code == 0, done.stderr
    (entry,) = site.json("desk", "list")["entries"]
    assert entry["AccessionNumber"] in done.stdout
    assert done.stdout.startswith(f"Entry {entry['number']} is open.\n")
    assert (entry["PatientName"], entry["emergency"]) == (f"UNKNOWN^{entry['AccessionNumber']}", True)
    assert entry["PatientID"].startswith("DTP")
    assert entry["added_by"].startswith("command")
    local = datetime.fromisoformat(entry["added_at"]).astimezone(UTC).replace(tzinfo=None)
    assert (datetime.fromisoformat(entry["start"]) - local).total_seconds() // 3600 in {8, 9}  # Asia/Tokyo
    (row,) = site.json("worklist", "--rows")["rows"]
    assert (row["source"], row["ScheduledStationAETitle"]) == ("desk", "CT1")


def test_every_fault_is_a_line_and_nothing_is_entered(site: Site) -> None:
    assert site.spool.db.broken == ""
    done = site.run("desk", "add", "--station", "CT9", "--modality", "CT", "--name", "Secret, Ada", "--sex", "w")
    assert done.exit_code == 2
    assert [line.split(":")[1].strip() for line in done.stderr.splitlines()] == ["station", "PatientName", "PatientSex"]
    assert "Secret" not in done.stderr
    assert site.json("desk", "list")["entries"] == []


def test_a_scanner_added_by_a_command_is_a_station(site: Site) -> None:
    assert site.spool.db.broken == ""
    assert site.run("peers", "add", "MR7").exit_code == 0
    assert add(site, "desk", "add", "--station", "mr7", "--modality", "MR")["stations"] == ["MR7"]


def test_suggested_linked_and_taken_back(site: Site) -> None:
    number = str(add(site, *ADA)["number"])
    day = f"{site.clock():%Y%m%d}"
    arrive(site, real(start_date=day), real(start_date=day, AccessionNumber="A2", PatientID="P2"))
    told = site.json("desk", "suggest", number)["suggestions"]
    assert [(one["AccessionNumber"], one["differs"]) for one in told] == [("A1", []), ("A2", ["PatientID"])]
    assert f"gateway desk reconcile {number} --to ACCESSION" in site.run("desk", "suggest", number).stdout
    doubtful = site.run("desk", "reconcile", number, "--to", "A2")
    assert doubtful.exit_code == 1
    assert "differs in PatientID" in doubtful.stderr
    linked = site.run("desk", "reconcile", number, "--to", "A1")
    assert (linked.exit_code, linked.stdout.splitlines()[-1].split()) == (0, ["Order", "A1", "of", "main"])
    assert site.json("desk", "list")["entries"] == []
    assert [one["link"]["AccessionNumber"] for one in site.json("desk", "list", "--all")["entries"]] == ["A1"]
    assert site.run("desk", "cancel", number).exit_code == 1
    assert site.json("desk", "unlink", number)["state"] == "open"
    assert site.run("desk", "unlink", number).exit_code == 1
    assert site.json("desk", "cancel", number)["state"] == "cancelled"
    assert [one["source"] for one in site.json("worklist", "--rows")["rows"]] == ["main", "main"]


def test_an_entry_is_named_by_any_of_its_numbers(site: Site) -> None:
    entry = add(site)
    for key in ("number", "AccessionNumber", "StudyInstanceUID"):
        assert site.json("desk", "suggest", str(entry[key]))["entry"] == entry["number"]
    assert "No order is like it." in site.run("desk", "suggest", entry["AccessionNumber"].lower()).stdout


@pytest.mark.parametrize("words", [("cancel", "7"), ("unlink", "7"), ("suggest", "7"), ("reconcile", "7", "--to", "A")])
def test_an_unknown_entry(site: Site, words: tuple[str, ...]) -> None:
    assert site.spool.db.broken == ""
    done = site.run("desk", *words)
    assert done.exit_code == 3
    assert "no such entry" in done.stderr


def test_the_list_says_who_waits(site: Site) -> None:
    assert site.spool.db.broken == ""
    assert site.run("desk", "list").stdout == "No entry waits for its order.\n"
    entry = add(site, *ADA)
    shown = site.run("desk", "list").stdout
    assert all(word in shown for word in ("Test^Ada", "P1", "CT1", entry["AccessionNumber"]))
