"""`gateway peers` and `gateway worklist`: who may call, and the copy scanners are answered from."""

from __future__ import annotations

from functools import partial

import pytest

from gateway.domain.model import AETitle, SourceName
from gateway.spool import peers, worklist
from gateway.spool.worklist import WorklistRow
from tests.cli.site import Site

MAIN = SourceName("main")


def row(key: str) -> WorklistRow:
    return WorklistRow(
        source=MAIN,
        key=key,
        PatientID="PID-4711",
        PatientName="TEST^ADA",
        AccessionNumber="A1",
        StudyInstanceUID="2.25.1",
        RequestedProcedureID="R1",
        ScheduledProcedureStepID="S1",
        start_date="20260301",
        start_time="080000",
        Modality="CT",
        ScheduledStationAETitle="CT1",
        status="SCHEDULED",
        dataset=b"",
    )


def stranger(site: Site, ae: str) -> None:
    site.write(
        partial(
            peers.record_caller,
            calling_ae=AETitle(ae),
            called_ae=AETitle("GATEWAY"),
            address="10.9.9.9",
            reason="calling-ae-unknown",
            now=site.clock(),
        )
    )


def test_a_stranger_is_admitted_with_one_command(site: Site) -> None:
    stranger(site, "MR7")
    done = site.run("peers", "add", "MR7", "--address", "10.9.9.9", "--address", "10.8.0.0/16")
    assert (done.exit_code, done.stdout) == (0, "MR7 may call from 10.9.9.9/32, 10.8.0.0/16.\n")
    told = site.json("peers")
    assert told["strangers"] == []
    assert [one["ae"] for one in told["configured"]] == ["CT1"]
    assert told["added"][0]["addresses"] == ["10.9.9.9/32", "10.8.0.0/16"]
    assert site.run("peers", "remove", "MR7").exit_code == 0
    assert site.run("peers", "remove", "MR7").exit_code == 1
    assert site.json("peers")["added"] == []


@pytest.mark.parametrize(
    ("words", "wrong"),
    [
        (["THIS_AE_IS_TOO_LONG"], "AE: is text of 19 characters, not an AE title"),
        (["MR7", "--address", "10.9.9.9/8"], "--address: is an address inside a network"),
        (["MR7", "--profile", "no such"], "--profile: is text of 7 characters, not a name"),
    ],
)
def test_a_faulty_peer_is_refused_with_the_remedy(site: Site, words: list[str], wrong: str) -> None:
    assert site.spool.db.broken == ""
    done = site.run("peers", "add", *words)
    assert done.exit_code == 2
    assert done.stderr.startswith(f"gateway: {wrong}")
    assert done.stderr.count("\n") == 1
    assert site.json("peers")["added"] == []


def test_a_configured_scanner_is_not_removed_by_a_command(site: Site) -> None:
    stranger(site, "MR7")
    done = site.run("peers", "remove", "CT1")
    assert done.exit_code == 1
    assert "remove its [[scanner]] section" in done.stderr
    assert "MR7" in site.run("peers").stdout


def test_the_worklist_shows_patients_only_when_asked(site: Site) -> None:
    site.write(partial(worklist.replace_source, source=MAIN, rows=[row("a"), row("b")], now=site.clock()))
    plain, whole = site.run("worklist").stdout, site.run("worklist", "--rows").stdout
    assert "PID-4711" not in plain + site.run("worklist", "--json").stdout
    assert whole.count("PID-4711") == 2
    assert "TEST" not in whole
    assert site.json("worklist")["sources"][0]["rows"] == 2
    assert [one["AccessionNumber"] for one in site.json("worklist", "--rows")["rows"]] == ["A1", "A1"]


def test_a_ris_that_never_answered(site: Site) -> None:
    site.write(partial(worklist.record_failure, source=MAIN, error="connect", now=site.clock()))
    shown = site.run("worklist").stdout
    assert "never answered" in shown
    assert "connect" in shown
