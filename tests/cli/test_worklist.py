"""`gateway worklist`: how fresh it is, why a row is missing, and a patient erased."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from functools import partial

from gateway.domain.model import SourceName
from gateway.spool import audit, query_log, worklist
from tests.cli.site import TOML, Site
from tests.console.box import PATIENT, scheduled, unanswered
from tests.spool.test_query_log import QUERY


def test_how_fresh_each_copy_is(site: Site) -> None:
    site.clock.pass_(hours=-2)
    scheduled(site)
    site.clock.pass_(hours=2)
    unanswered(site)
    shown = site.run("worklist").stdout
    assert "main" in shown
    assert "2 h" in shown
    assert "connect" in shown
    assert PATIENT not in shown
    assert PATIENT in site.run("worklist", "--rows").stdout


def test_what_each_scanner_is_served_from_and_was_answered(site: Site) -> None:
    assert site.spool.db.broken == ""
    assert "No RIS" not in site.run("worklist").stdout
    assert "not yet" in site.run("worklist").stdout
    scheduled(site)
    site.clock.pass_(seconds=1)
    asked = replace(QUERY, calling_ae="ct1", first_asked=site.clock(), last_asked=site.clock())
    site.write(partial(query_log.record, queries=[asked, replace(asked, calling_ae="MR9", answered=0)], tally={}))
    site.write(partial(worklist.record_rest, source=SourceName("main"), until=site.clock() + timedelta(minutes=1)))
    shown = " ".join(site.run("worklist").stdout.split())
    assert "CT1 main fresh" in shown
    assert "station 5, status 1 answered" in shown
    assert "left alone" in shown
    assert "MR9" in shown
    told = site.json("worklist")
    assert told["copied"] == {"main": 1}
    assert [(one["ae"], one["last"]["outcome"]) for one in told["scanners"]] == [("CT1", "answered"), ("MR9", "empty")]


def test_files_of_orders_are_erased(site: Site) -> None:
    assert site.spool.db.broken == ""
    folder = site.state.parent / "orders"
    for place in ("done", "failed"):
        (folder / place).mkdir(parents=True)
        for name, number in (("one.hl7", PATIENT), ("two.hl7", f"{PATIENT}0")):
            (folder / place / name).write_text(f"MSH|^~\\&|R|N\rPID|1||{number}^^^N\r")
    site.config.write_text(TOML + '[orders]\nfolder = "orders"\n')
    done = site.run("worklist", "erase", "--patient", PATIENT)
    assert (done.exit_code, "2 files of orders" in done.stdout) == (0, True)
    assert sorted(path.name for path in folder.glob("*/*")) == ["two.hl7", "two.hl7"]
    (folder / "failed" / "three.hl7").symlink_to("/dev/null")
    done = site.run("worklist", "erase", "--patient", PATIENT)
    assert (done.exit_code, "1 files in done and failed" in done.output) == (1, True)


def test_a_patient_is_erased(site: Site) -> None:
    scheduled(site)
    done = site.run("worklist", "erase", "--patient", PATIENT)
    assert (done.exit_code, done.stdout) == (
        0,
        "Erased: 1 in the copy, 0 as shown, 0 of questions, 0 of the desk, 0 of orders, 0 performed steps,"
        " 0 studies checked, 0 messages received and 0 told, 0 files of orders.\n",
    )
    assert worklist.rows(site.spool.db.read(), worklist.WorklistKeys(), limit=9) == ()
    (entry,) = audit.journal_of(site.spool.db.read(), kind=audit.Subject.WORKLIST, subject="patient")
    assert entry.who.startswith("command")
    assert site.run("worklist", "erase", "--patient", " ").exit_code == 2
