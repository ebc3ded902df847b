"""`gateway worklist profiles | capture | replay`, and that a profile that is not there is told early."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from gateway.dicom import elements
from gateway.dicom.readable import Table, data_set
from gateway.domain.model import SourceName
from gateway.roles.worklist.capture import read
from gateway.roles.worklist.rows import validated
from gateway.spool import query_log
from gateway.spool import worklist as copy
from gateway.spool.query_log import LoggedQuery, QueryOutcome
from tests.cli.site import Site

MAIN = SourceName("main")


def row(number: int) -> Table:
    return {
        "SpecificCharacterSet": "ISO_IR 192",
        "AccessionNumber": f"ACC{number}",
        "PatientName": f"Łucja^Secret{number}",
        "PatientID": f"PID{number}",
        "ScheduledProcedureStepSequence": [{"Modality": "CT", "ScheduledStationAETitle": "CT1"}],
    }


def asked(site: Site, **keys: str) -> None:
    """Two rows in the copy, and a question of CT1 in the log."""
    question = {"PatientName": "", "PatientID": "", "AccessionNumber": "", **keys}
    rows = [found for number in (1, 2) for found in validated(MAIN, data_set(row(number)))[0].values()]
    query = LoggedQuery(
        calling_ae="CT1",
        first_asked=site.clock(),
        last_asked=site.clock(),
        count=1,
        identifier=elements.encode(data_set(question), elements.EXPLICIT_LITTLE),
        meant=b"",
        status=0,
        looked_at=2,
        dropped={},
        quirks={},
        answered=2,
        sources={},
        age=None,
        slowest=timedelta(),
    )
    site.spool.db.write(lambda c: copy.replace_source(c, MAIN, rows=rows, now=site.clock())).result()
    site.spool.db.write(lambda c: query_log.record(c, [query], tally={QueryOutcome.ANSWERED: 1})).result()


def with_profile(site: Site, text: str) -> None:
    folder = site.config.parent / "profiles"
    folder.mkdir()
    (folder / "site-ct.toml").write_text(text)
    site.config.write_text(site.config.read_text().replace('ae = "CT1"', 'ae = "CT1"\nprofile = "site-ct"'))


LATIN = 'extends = "latin-1"\nsource = ["a capture"]\n'


def test_a_capture_holds_the_last_query_its_rows_and_the_answer(site: Site, tmp_path: Path) -> None:
    with_profile(site, LATIN)
    asked(site, AccessionNumber="ACC1")
    out = tmp_path / "ct1.toml"
    result = site.run("worklist", "capture", "--aet", "ct1", "--out", str(out))
    assert result.exit_code == 0, result.output
    assert out.stat().st_mode & 0o777 == 0o600
    found = read(out.read_text("utf-8"))
    assert (found.profile, found.calling, len(found.rows)) == ("site-ct", "CT1", 1)
    assert [answer["PatientName"] for answer in found.answer] == ["Lucja^Secret1"]
    again = site.run("worklist", "capture", "--aet", "CT1", "--out", str(out))
    assert (again.exit_code, "can't be written" in again.output) == (2, True)


def test_a_question_by_a_romanised_name_keeps_its_row_and_is_explained(site: Site, tmp_path: Path) -> None:
    with_profile(site, 'extends = "latin-1"\nromanise = ["cyrillic"]\nsource = ["a capture"]\n')
    asked(site, PatientName="SOKOLOVA*")
    moved = validated(MAIN, data_set({**row(3), "PatientName": "Соколова^Вера"}))[0].values()  # noqa: RUF001
    site.spool.db.write(lambda c: copy.replace_source(c, MAIN, rows=list(moved), now=site.clock())).result()
    out = tmp_path / "ct1.toml"
    assert site.run("worklist", "capture", "--aet", "CT1", "--out", str(out)).exit_code == 0
    assert [answer["PatientName"] for answer in read(out.read_text("utf-8")).answer] == ["Sokolova^Vera"]
    told = site.run("worklist", "explain", "--aet", "CT1", "--accession", "ACC3")
    assert "PatientName" not in told.output, told.output


def test_an_anonymous_capture_names_nobody_and_still_finds_its_row(site: Site, tmp_path: Path) -> None:
    asked(site, AccessionNumber="ACC1")
    out = tmp_path / "ct1.toml"
    result = site.run("worklist", "capture", "--aet", "CT1", "--out", str(out), "--anonymous")
    assert result.exit_code == 0, result.output
    text = out.read_text("utf-8")
    assert "Secret" not in text
    assert "PID1" not in text
    assert len(read(text).answer) == 1


def test_a_replay_tells_what_another_profile_would_change(site: Site, tmp_path: Path) -> None:
    with_profile(site, LATIN)
    asked(site)
    out = tmp_path / "ct1.toml"
    site.run("worklist", "capture", "--aet", "CT1", "--out", str(out))
    same = site.run("worklist", "replay", str(out))
    assert (same.exit_code, "no differences" in same.output) == (0, True)
    other = site.run("worklist", "replay", str(out), "--profile", "unicode")
    assert other.exit_code == 1
    assert "row 1: PatientName: 'Lucja^Secret1' in the file, 'Łucja^Secret1' now" in other.output
    assert site.run("worklist", "replay", str(out), "--profile", "unicode", "--update").exit_code == 0
    assert read(out.read_text("utf-8")).profile == "unicode"
    assert site.run("worklist", "replay", str(out)).exit_code == 0
    out.write_text("profile = 3\n")
    assert "profile: missing, or not a str" in site.run("worklist", "replay", str(out)).output


def test_without_a_query_there_is_nothing_to_capture(site: Site, tmp_path: Path) -> None:
    assert site.spool
    result = site.run("worklist", "capture", "--aet", "CT1", "--out", str(tmp_path / "ct1.toml"))
    assert (result.exit_code, "no query of this AE title" in result.output) == (1, True)


def test_profiles_are_listed_with_their_scanners(site: Site) -> None:
    with_profile(site, LATIN)
    listed = site.json("worklist", "profiles")["profiles"]
    assert {"name": "site-ct", "scanners": ["CT1"]} in listed
    assert {"name": "generic", "scanners": []} in listed
    assert "site-ct" in site.run("worklist", "profiles").output


def test_a_profile_that_is_not_there_is_told_early(site: Site) -> None:
    assert site.spool
    result = site.run("peers", "add", "MR7", "--profile", "latin1")
    assert (result.exit_code, 'did you mean "latin-1"?' in result.output) == (2, True)
    assert site.run("peers", "add", "MR7", "--profile", "latin-1").exit_code == 0
