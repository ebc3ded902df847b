"""The desk's books: an acknowledged entry is served, nothing is minted twice, and links are made on proof."""

from __future__ import annotations

import signal
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from pysqlite3 import dbapi2 as sqlite

from gateway.domain.desk import Entry, EntryRefused, EntryState, read_code
from gateway.domain.explain import Removal
from gateway.domain.model import SourceName
from gateway.spool import Spool, audit, desk, desk_links, removals, worklist
from gateway.spool.audit import Subject
from gateway.spool.erasing import erase_patient
from tests.domain.desk import POLICY
from tests.spool.desk import add, arrive, real, served
from tests.spool.objects import Clock, open_spool


def settle(spool: Spool, clock: Clock) -> int:
    assert desk_links.due(spool.db.read(), now=clock())
    return spool.db.write(lambda c: desk_links.settle(c, now=clock())).result()


def expire(spool: Spool, clock: Clock) -> int:
    return spool.db.write(lambda c: desk.expire(c, now=clock())).result()


def reconcile(spool: Spool, clock: Clock, entry: Entry, to: str, **more: object) -> Entry:
    return spool.db.write(
        lambda c: desk_links.reconcile(c, entry, AccessionNumber=to, now=clock(), by="ada", **more)  # type: ignore[arg-type]
    ).result()


def unlink(spool: Spool, clock: Clock, entry: Entry) -> Entry:
    return spool.db.write(lambda c: desk_links.unlink(c, entry, now=clock(), by="ada")).result()


def now_is(spool: Spool, entry: Entry) -> Entry:
    found = desk.find(spool.db.read(), str(entry.number))
    assert found is not None
    return found


def alarms(spool: Spool) -> dict[str, str]:
    return {alarm.subject: alarm.code for alarm in audit.active_alarms(spool.db.read())}


def journal(spool: Spool, entry: Entry) -> list[tuple[str, str, str, str]]:
    rows = audit.journal_of(spool.db.read(), kind=Subject.DESK, subject=str(entry.number))
    return [(row.who, row.from_state, row.to_state, row.why) for row in rows]


def test_an_entry_is_served_and_comes_back_as_it_was_made(spool: Spool, clock: Clock) -> None:
    entry = add(spool, clock(), PatientName="Čapek^Karel", PatientBirthDate="18900109", stations=("CT1", "CT2"))
    assert served(spool) == [entry.AccessionNumber]
    assert now_is(spool, entry) == entry
    for key in (entry.AccessionNumber.lower(), entry.StudyInstanceUID, f" {entry.number} "):
        assert desk.find(spool.db.read(), key) == entry
    for key in ("", "0", "99", "²", "9" * 30, "nothing"):
        assert desk.find(spool.db.read(), key) is None
    assert read_code(entry.AccessionNumber, "DT")
    assert not desk_links.due(spool.db.read(), now=clock())
    assert journal(spool, entry) == [("test", "", "open", "walk-in")]


def test_nothing_is_minted_twice(spool: Spool, clock: Clock, tmp_path: Path) -> None:
    minted = [add(spool, clock()) for _ in range(5)]  # in one second
    clock.pass_(days=-30)
    minted += [add(spool, clock()) for _ in range(5)]
    assert len({one.AccessionNumber for one in minted} | {one.PatientID for one in minted}) == 20


def test_nothing_is_minted_twice_after_a_restored_backup(spool: Spool, clock: Clock, tmp_path: Path) -> None:
    add(spool, clock())
    (tmp_path / "backup").mkdir()
    with closing(sqlite.connect(tmp_path / "backup" / "gateway.db")) as backup:
        spool.db.read().backup(backup)
    clock.pass_(seconds=5)
    lost = add(spool, clock())
    restored = open_spool(tmp_path / "backup", clock)
    try:
        # Not even with the clock set back, if the order of the lost one is in the copy by now
        arrive(restored, real(AccessionNumber=lost.AccessionNumber), now=clock())
        assert add(restored, clock()).AccessionNumber != lost.AccessionNumber
        assert add(restored, clock(), salt=lambda: 8).AccessionNumber[:-1] != lost.AccessionNumber[:-1]
        clock.pass_(seconds=60)
        assert add(restored, clock()).AccessionNumber != lost.AccessionNumber
    finally:
        restored.close()


def test_a_full_desk_says_so(spool: Spool, clock: Clock) -> None:
    policy = replace(POLICY, most_open=1)
    first = add(spool, clock(), policy=policy)
    with pytest.raises(EntryRefused, match="1 entries stand open"):
        add(spool, clock(), policy=policy)
    spool.db.write(lambda c: desk.cancel(c, first, now=clock(), by="ada")).result()
    add(spool, clock(), policy=policy)


@pytest.mark.parametrize("carries", ["AccessionNumber", "StudyInstanceUID"])
def test_the_order_that_carries_what_we_minted_is_linked(spool: Spool, clock: Clock, carries: str) -> None:
    entry = add(spool, clock())
    arrive(spool, real(**{carries: getattr(entry, carries)}), now=clock())
    assert settle(spool, clock) == 1
    linked = now_is(spool, entry)
    assert (linked.state, served(spool)) == (EntryState.LINKED, [])
    (gone,) = removals.of_order(spool.db.read(), {"AccessionNumber": entry.AccessionNumber})
    assert (gone.source, gone.reason) == ("desk", Removal.WITHDRAWN)
    assert linked.link is not None
    assert (linked.link.PatientID, linked.link.IssuerOfPatientID, linked.link.source) == ("P1", "HOSP", "main")
    assert getattr(linked.link, carries) == getattr(entry, carries)
    how = "accession" if carries == "AccessionNumber" else "study"
    assert journal(spool, entry)[1:] == [("desk", "open", "linked", how)]
    assert not desk_links.due(spool.db.read(), now=clock())


def test_an_order_of_another_source_is_as_good(spool: Spool, clock: Clock) -> None:
    entry = add(spool, clock())
    arrive(spool, real(SourceName("engine"), AccessionNumber=entry.AccessionNumber), now=clock())
    assert settle(spool, clock) == 1


@pytest.mark.parametrize("status", ["CANCELED", "DISCONTINUED"])
def test_an_order_that_was_cancelled_proves_nothing(spool: Spool, clock: Clock, status: str) -> None:
    entry = add(spool, clock())
    arrive(spool, real(AccessionNumber=entry.AccessionNumber, status=status), now=clock())
    assert settle(spool, clock) == 0
    assert served(spool) == [entry.AccessionNumber]
    assert desk_links.suggest(spool.db.read(), entry, accession_prefix="DT") == ()
    with pytest.raises(EntryRefused, match="no such order"):
        reconcile(spool, clock, entry, entry.AccessionNumber)


def test_likeness_links_nothing_and_is_suggested(spool: Spool, clock: Clock) -> None:
    entry = add(spool, clock(), PatientName="Test^Ada", PatientBirthDate="19800101", PatientID="P1")
    arrive(
        spool,
        real(AccessionNumber="A1"),
        real(AccessionNumber="A2", PatientID="P2", PatientName="TÉST^ADA"),
        real(AccessionNumber="A3", PatientID="P3", birth_date="19990101"),
        real(AccessionNumber="A4", PatientID="P4", PatientName="TEST^EVE"),
        now=clock(),
    )
    assert not desk_links.due(spool.db.read(), now=clock())
    found = desk_links.suggest(spool.db.read(), entry, accession_prefix="DT")
    assert [one.order.AccessionNumber for one in found] == ["A1", "A2"]
    assert now_is(spool, entry).state is EntryState.OPEN
    assert served(spool) == [entry.AccessionNumber]
    assert alarms(spool) == {}


def test_the_same_name_is_found_among_many_like_it(spool: Spool, clock: Clock) -> None:
    entry = add(spool, clock(), PatientName="Test^Ada", PatientBirthDate="19800101")
    like = [real(AccessionNumber=f"B{n}", PatientID=f"Q{n}", PatientName=f"TEST{n}^ADA") for n in range(300)]
    arrive(spool, *like, real(AccessionNumber="A1", PatientName="TEST^ADA"), now=clock())
    (found,) = desk_links.suggest(spool.db.read(), entry, accession_prefix="DT")
    assert found.order.AccessionNumber == "A1"


def test_an_accession_number_with_a_slip_is_suggested(spool: Spool, clock: Clock) -> None:
    entry = add(spool, clock())
    arrive(spool, real(AccessionNumber=entry.AccessionNumber.replace("0", "O")), now=clock())
    (found,) = desk_links.suggest(spool.db.read(), entry, accession_prefix="DT")
    assert found.reasons == ("slip in the accession",)


def test_proof_against_the_patient_is_doubt_and_alarms_once(spool: Spool, clock: Clock) -> None:
    entry = add(spool, clock(), PatientID="P9")
    arrive(spool, real(AccessionNumber=entry.AccessionNumber), now=clock())
    for _ in range(3):
        assert settle(spool, clock) == 0
    assert served(spool) == [entry.AccessionNumber]
    (alarm,) = audit.active_alarms(spool.db.read())
    assert (alarm.code, alarm.subject, alarm.count) == (desk.ALARM_DOUBT, str(entry.number), 1)
    with pytest.raises(EntryRefused, match="differs in PatientID"):
        reconcile(spool, clock, entry, entry.AccessionNumber)
    reconcile(spool, clock, entry, entry.AccessionNumber, although_different=True)
    assert alarms(spool) == {}


def test_a_person_links_and_takes_it_back(spool: Spool, clock: Clock) -> None:
    entry = add(spool, clock())
    arrive(spool, real(AccessionNumber=entry.AccessionNumber), real(AccessionNumber="A2"), now=clock())
    with pytest.raises(EntryRefused, match="no such order"):
        reconcile(spool, clock, entry, "A3")
    linked = reconcile(spool, clock, entry, "a2")
    assert now_is(spool, entry) == linked
    assert linked.link is not None
    assert (linked.link.AccessionNumber, linked.link.how, linked.link.by) == ("A2", "person", "ada")
    with pytest.raises(EntryRefused, match="is linked and can't become linked"):
        reconcile(spool, clock, linked, "A2")
    back = unlink(spool, clock, linked)
    assert now_is(spool, entry) == back == replace(entry, automatic=False)
    assert served(spool) == [entry.AccessionNumber]
    assert not desk_links.due(spool.db.read(), now=clock())  # its proof is there, and a person has decided
    with pytest.raises(EntryRefused, match="is not linked"):
        unlink(spool, clock, back)
    assert [row[2] for row in journal(spool, entry)] == ["open", "linked", "open"]


def test_one_accession_number_of_several_orders_needs_the_study(spool: Spool, clock: Clock) -> None:
    entry = add(spool, clock())
    arrive(spool, real(), real(StudyInstanceUID="1.2.4", PatientID="P2"), now=clock())
    with pytest.raises(EntryRefused, match="2 orders of several"):
        reconcile(spool, clock, entry, "A1")
    linked = reconcile(spool, clock, entry, "A1", StudyInstanceUID="1.2.4")
    assert linked.link is not None
    assert linked.link.PatientID == "P2"


def test_an_entry_expires_alarms_and_is_linked_late(spool: Spool, clock: Clock) -> None:
    entry = add(spool, clock())
    clock.pass_(hours=23, minutes=59)
    assert expire(spool, clock) == 0
    clock.pass_(minutes=1)
    assert desk_links.due(spool.db.read(), now=clock())
    assert expire(spool, clock) == 1
    assert (now_is(spool, entry).state, served(spool)) == (EntryState.EXPIRED, [])
    assert alarms(spool) == {str(entry.number): desk.ALARM_UNRECONCILED}
    arrive(spool, real(AccessionNumber=entry.AccessionNumber), now=clock())
    assert settle(spool, clock) == 1
    assert alarms(spool) == {}
    back = unlink(spool, clock, now_is(spool, entry))
    assert (back.state, served(spool)) == (EntryState.EXPIRED, [])
    assert alarms(spool) == {str(entry.number): desk.ALARM_UNRECONCILED}
    spool.db.write(lambda c: desk.cancel(c, back, now=clock(), by="ada")).result()
    assert alarms(spool) == {}


def test_the_copys_upkeep_leaves_entries_alone(spool: Spool, clock: Clock) -> None:
    entry = add(spool, clock(), policy=replace(POLICY, expires=timedelta(days=9)))
    clock.pass_(days=5)
    spool.db.write(
        lambda c: worklist.expire(
            c,
            started_before="20260304",
            confirmed_before=clock(),
            now=clock(),
            settled_before=clock(),
            statuses=["COMPLETED"],
        )
    ).result()
    assert served(spool) == [entry.AccessionNumber]


def test_patients_are_forgotten_and_codes_are_not(spool: Spool, clock: Clock) -> None:
    def erase() -> int:
        return spool.db.write(lambda c: desk.erase(c, before=clock() - timedelta(days=30), now=clock())).result()

    first, second = add(spool, clock(), PatientName="Secret^Io"), add(spool, clock(), PatientName="Secret^Eve")
    arrive(spool, real(AccessionNumber=first.AccessionNumber), now=clock())
    clock.pass_(days=2)
    assert expire(spool, clock) == 2
    assert settle(spool, clock) == 0  # the name differs: doubt
    reconcile(spool, clock, now_is(spool, first), first.AccessionNumber, although_different=True)
    clock.pass_(days=29.5)
    assert erase() == 1
    assert desk.find(spool.db.read(), str(second.number)) is None
    assert [one.number for one in desk.entries(spool.db.read(), every=True)] == [first.number]
    assert alarms(spool) == {}
    clock.pass_(days=2)
    assert erase() == 1
    kept = [str(tuple(row)) for table in ("desk_entry", "desk_link") for row in rows_of(spool, table)]
    assert len(kept) == 2
    assert "Secret" not in "".join(kept)
    clock.pass_(days=-33.5)
    assert add(spool, clock()).AccessionNumber not in {first.AccessionNumber, second.AccessionNumber}


@pytest.mark.parametrize("linked", [False, True])
def test_a_patient_is_erased_from_the_desk(spool: Spool, clock: Clock, linked: bool) -> None:
    entry = add(spool, clock(), PatientName="Secret^Ada", **({} if linked else {"PatientID": "P1"}))
    other = add(spool, clock(), PatientName="Test^Otto", PatientID="P10")
    arrive(spool, real(), now=clock())
    if linked:
        reconcile(spool, clock, entry, "A1")
    erased = spool.db.write(lambda c: erase_patient(c, "P1", now=clock(), by="ada")).result()
    assert (erased.entries, erased.rows) == (1, 1)
    assert desk.find(spool.db.read(), str(entry.number)) is None
    assert served(spool) == [other.AccessionNumber]
    tables = ("desk_entry", "desk_link", "worklist_row", "worklist_removal")
    left = "".join(str(tuple(row)) for table in tables for row in rows_of(spool, table))
    assert not [word for word in ("Secret", "'P1'", f"'{entry.PatientID}'") if word in left]
    assert journal(spool, entry)[-1][2] == ("linked" if linked else "cancelled")


def rows_of(spool: Spool, table: str) -> list[object]:
    return spool.db.read().execute(f"SELECT * FROM {table}").fetchall()


def adding(state: Path, fatal: str = "") -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.spool.desk", str(state), fatal]
    return subprocess.Popen(command, cwd=Path(__file__).parents[2], stdout=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_no_acknowledged_entry_is_lost_to_a_kill(tmp_path: Path, clock: Clock) -> None:
    state = tmp_path / "state"
    acknowledged: list[str] = []
    for many in (1, 5):
        with adding(state) as busy:
            assert busy.stdout is not None
            acknowledged += [busy.stdout.readline().strip() for _ in range(many)]
            busy.kill()
            acknowledged += [line.strip() for line in busy.stdout if line.endswith("\n")]
    spool = open_spool(state, clock)
    try:
        entries = {one.AccessionNumber for one in desk.entries(spool.db.read(), limit=100_000)}
        assert len(acknowledged) == len(set(acknowledged)) >= 6
        assert set(acknowledged) <= entries == set(served_all(spool))
    finally:
        spool.close()


@pytest.mark.slow
@pytest.mark.parametrize("fatal", ["INSERT INTO worklist_row", "INSERT INTO journal", "COMMIT"])
def test_an_entry_and_its_row_are_written_together_or_not_at_all(tmp_path: Path, clock: Clock, fatal: str) -> None:
    state = tmp_path / "state"
    open_spool(state, clock).close()
    with adding(state, fatal) as killed:
        assert killed.communicate() == ("", None)
    assert killed.returncode == -signal.SIGKILL
    spool = open_spool(state, clock)
    try:
        assert desk.entries(spool.db.read(), every=True) == ()
        assert served_all(spool) == []
        assert add(spool, clock()).number == 1
    finally:
        spool.close()


def served_all(spool: Spool) -> list[str]:
    found = spool.db.read().execute("SELECT AccessionNumber FROM worklist_row WHERE source = 'desk'")
    return [row["AccessionNumber"] for row in found]
