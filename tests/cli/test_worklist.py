"""`gateway worklist`: how fresh it is, why a row is missing, and a patient erased."""

from __future__ import annotations

from gateway.spool import audit, worklist
from tests.cli.site import Site
from tests.console.box import PATIENT, scheduled, unanswered


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


def test_a_patient_is_erased(site: Site) -> None:
    scheduled(site)
    done = site.run("worklist", "erase", "--patient", PATIENT)
    assert (done.exit_code, done.stdout) == (0, "Erased: 1 in the copy, 0 as shown, 0 of questions, 0 of the desk.\n")
    assert worklist.rows(site.spool.db.read(), worklist.WorklistKeys(), limit=9) == ()
    (entry,) = audit.journal_of(site.spool.db.read(), kind=audit.Subject.WORKLIST, subject="patient")
    assert entry.who.startswith("command")
    assert site.run("worklist", "erase", "--patient", " ").exit_code == 2
