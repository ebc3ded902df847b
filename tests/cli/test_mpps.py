"""`gateway mpps`: what waits for a RIS, what it refused, and what a person decides."""

from __future__ import annotations

from functools import partial

from gateway.domain import mpps as rules
from gateway.domain.model import UID, AETitle
from gateway.domain.mpps import Performed, RelayState, Request, ScheduledReference, StepStatus
from gateway.spool import audit, mpps, relays
from tests.cli.site import STUDY, Site

PATIENT = "PID-774411"


def tell(site: Site, uid: str, *, to: str = "main") -> None:
    message = mpps.Message(
        request=Request.CREATE,
        SOPInstanceUID=UID(uid),
        TransferSyntaxUID=UID("1.2.840.10008.1.2.1"),
        dataset=PATIENT.encode(),
        digest=rules.digest("", PATIENT.encode()),
        calling_ae=AETitle("CT1"),
        address="10.1.1.20",
        received_at=site.clock(),
    )
    of = ScheduledReference(
        StudyInstanceUID=UID(STUDY), AccessionNumber="A1", RequestedProcedureID="P1", ScheduledProcedureStepID="S1"
    )
    said = Performed(status=StepStatus.IN_PROGRESS, PatientID=PATIENT, Modality="CT", references=(of,))
    site.write(partial(mpps.accept, message=message, said=said, targets=[to]))


def refuse(site: Site, *, to: str = "main") -> None:
    """The RIS refuses what waits for it, as forward books it."""
    for relay in mpps.due(site.spool.db.read(), target=to, now=site.clock(), limit=9):
        begun = site.write(partial(relays.begin, message=relay, now=site.clock()))
        site.write(partial(relays.settle, message=begun, state=RelayState.REFUSED, status="0120", now=site.clock()))
    site.alarm("mpps-refused", to)


def states(site: Site) -> list[RelayState]:
    return [relay.state for step in mpps.steps(site.spool.db.read(), limit=9) for relay in step.relays]


def test_what_waits_and_what_was_told_last(site: Site) -> None:
    tell(site, "2.25.1")
    site.clock.pass_(minutes=-5)
    tell(site, "2.25.2", to="gone")
    told = site.json("mpps")
    assert {one["name"]: (one["waiting"], one["configured"]) for one in told["peers"]} == {
        "main": (1, True),
        "gone": (1, False),
    }
    assert [(step["status"], step["relays"][0]["state"]) for step in told["steps"]] == [("IN PROGRESS", "queued")] * 2
    shown = site.run("mpps")
    assert shown.exit_code == 0
    assert "gone (not configured)" in shown.stdout
    assert "main queued" in shown.stdout
    assert PATIENT not in shown.stdout + site.run("mpps", "--json").stdout


def test_a_quiet_box_says_so(site: Site) -> None:
    site.receive()  # the gateway ran
    assert site.json("mpps")["steps"] == []
    assert "Nothing was refused." in site.run("mpps", "--refused").stdout


def test_refused_messages_are_sent_again_and_the_alarm_ends(site: Site) -> None:
    for uid in ("2.25.1", "2.25.2"):
        tell(site, uid)
    refuse(site)
    shown = site.run("mpps", "--refused").stdout
    assert "it misses an attribute" in shown
    first, second = (one["id"] for one in site.json("mpps", "--refused")["refused"])
    assert site.run("mpps", "retry", str(first)).stdout == "queued again: 1 of 1\n"
    assert len(audit.active_alarms(site.spool.db.read())) == 1
    assert site.run("mpps", "retry", "--to", "main").exit_code == 0
    assert audit.active_alarms(site.spool.db.read()) == ()
    assert states(site) == [RelayState.QUEUED] * 2
    again = site.run("mpps", "retry", str(second))
    assert again.exit_code == 1
    assert "unknown or over" in again.stderr


def test_what_a_ris_is_not_to_have_is_dismissed(site: Site) -> None:
    tell(site, "2.25.1")
    refuse(site)
    tell(site, "2.25.2")
    assert site.run("mpps", "dismiss", "--to", "main").stdout == "dismissed: 2 of 2\n"
    assert states(site) == [RelayState.DISMISSED] * 2
    assert audit.active_alarms(site.spool.db.read()) == ()


def test_a_decision_names_what_it_is_about(site: Site) -> None:
    tell(site, "2.25.1")
    assert site.run("mpps", "retry").exit_code == 2
    done = site.run("mpps", "retry", "--to", "rsi")
    assert (done.exit_code, done.stderr) == (
        2,
        "gateway: mpps retry: nothing goes to that name; name one of: main\n",
    )


def test_a_study_shows_its_steps(site: Site) -> None:
    site.route(*site.receive(b"one"))
    tell(site, "2.25.1")
    (step,) = site.json("study", STUDY)["steps"]
    assert (step["status"], step["relays"][0]["target"]) == ("IN PROGRESS", "main")
    assert "main queued" in site.run("study", STUDY).stdout
