"""The check from received to prepared: what is corrected, what waits, and what a person's word does."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from gateway.domain.edits import from_json
from gateway.domain.identity_model import Header
from gateway.domain.model import UID, AETitle, InstanceState, Lane
from gateway.domain.order_model import Identifier, PatientKey
from gateway.domain.task import Choice, Mode, Patience, Resend
from gateway.spool import candidates, checks, corrections, deliveries, read_backs, study_events, tasks
from gateway.spool.candidates import Asked
from gateway.spool.checks import StudyKey
from gateway.spool.trimming import trim
from tests.peers import objects
from tests.roles.reading_room import ADA, BEN, ORDER, PACS, ZONE, Room, reading_room, rules

RECEIVED, PREPARED, DELIVERED = InstanceState.RECEIVED, InstanceState.PREPARED, InstanceState.DELIVERED
WRONG_NAME = {**ADA, "PatientName": "Okafor-Lindqist^Ada"}


def edited(room: Room, instance: object) -> dict[str, str | None]:
    stored = room.edits(instance)  # type: ignore[arg-type]
    return {edit.name: edit.value for edit in from_json(stored).edits} if stored else {}


def test_an_image_that_agrees_goes_on_as_it_came(tmp_path: Path) -> None:
    with reading_room(tmp_path) as room:
        room.order(ADA, "ACC1")
        image = room.image(AccessionNumber="ACC1", **ADA)
        room.rounds()
        assert room.state(image) == (PREPARED, "")
        assert room.check().verdict.decision in {"pass", "enrich"}
        assert room.kinds() == []


def test_a_proven_slip_is_corrected_for_the_whole_study(tmp_path: Path) -> None:
    with reading_room(tmp_path) as room:
        room.order(ADA, "ACC1")
        images = [room.image(AccessionNumber="ACC1", **WRONG_NAME) for _ in range(3)]
        room.rounds()
        late = room.image(AccessionNumber="ACC1", **WRONG_NAME)
        room.rounds()
        for image in (*images, late):
            assert room.state(image) == (PREPARED, "")
            assert edited(room, image)["PatientName"] == "Okafor-Lindqvist^Ada"
        assert room.check().verdict.decision == "correct"
        assert room.check().decided_by == checks.CHECK
        assert room.kinds() == []
        (headers,) = room.spool.db.read().execute("SELECT count(*) FROM header").fetchone()
        assert headers == 1  # decided once


def test_doubt_leaves_at_once_with_a_task(tmp_path: Path) -> None:
    with reading_room(tmp_path) as room:
        image = room.image(AccessionNumber="ACC1", **ADA)
        room.rounds()
        assert room.state(image) == (PREPARED, "")
        assert room.edits(image) == ""
        (task,) = room.open_tasks()
        assert (task.kind, task.blocks, task.study) == ("identity", False, ORDER)


def test_a_site_without_orders_asks_nobody(tmp_path: Path) -> None:
    with reading_room(tmp_path, rules(expects_orders=False)) as room:
        image = room.image(AccessionNumber="ACC1", **ADA)
        room.rounds()
        assert room.state(image) == (PREPARED, "")
        assert room.kinds() == []


def test_two_keys_of_two_patients_are_held_whatever_time_passes(tmp_path: Path) -> None:
    patience = Patience(default=timedelta(minutes=10), escalate=timedelta(minutes=30))
    with reading_room(tmp_path, rules(patience=patience)) as room:
        room.order(ADA, "ACC1")
        room.order(BEN, "ACC2", study=objects.uid("another"))
        image = room.image(AccessionNumber="ACC1", **BEN)
        room.rounds()
        assert room.state(image) == (RECEIVED, "held")
        assert room.queues(image) == []
        assert room.check().held_until is None
        late = room.image(AccessionNumber="ACC1", **BEN)
        room.rounds()
        assert room.state(late) == (RECEIVED, "held")
        assert room.alarms() == []
        for _ in range(3):
            room.clock.pass_(hours=20)
            room.rounds()
            assert room.state(image) == (RECEIVED, "held")
        assert room.alarms() == [tasks.ALARM_WAITS]
        room.decide(Choice.RELEASE)
        for one in (image, late):
            assert room.state(one) == (PREPARED, "")
            assert room.edits(one) == ""
        assert (room.kinds(), room.alarms()) == ([], [])


def test_a_timed_hold_ends_unchanged_at_the_route_of_the_unverified(tmp_path: Path) -> None:
    with reading_room(tmp_path, rules(patience=Patience(default=timedelta(minutes=10)))) as room:
        image = room.image(AccessionNumber="ACC1", **ADA)
        room.rounds()
        assert room.state(image) == (RECEIVED, "held")
        room.clock.pass_(minutes=6)
        room.rounds()
        assert room.alarms() == [tasks.ALARM_WAITS]  # half of it is over
        room.clock.pass_(minutes=6)
        room.rounds()
        assert room.state(image) == (PREPARED, "")
        assert room.queues(image) == [("aside", "queued")]
        assert room.edits(image) == ""
        assert room.kinds() == ["identity"]  # still asked
        room.order(ADA, "ACC1")
        room.rounds()
        assert room.kinds() == []


def test_holds_are_by_scanner_and_emergency(tmp_path: Path) -> None:
    patience = Patience(
        default=timedelta(minutes=10), emergency=timedelta(0), scanners=((AETitle("ct2"), timedelta(0)),)
    )
    with reading_room(tmp_path, rules(patience=patience)) as room:
        held = room.image(study=objects.uid("one"), AccessionNumber="ACC1", **ADA)
        free = room.image(study=objects.uid("two"), calling="CT2", AccessionNumber="ACC2", **BEN)
        room.rounds()
        assert room.state(held) == (RECEIVED, "held")
        assert room.state(free) == (PREPARED, "")


def test_an_urgent_order_ends_the_hold_of_its_own_images_alone(tmp_path: Path) -> None:
    patience = Patience(default=timedelta(minutes=10), emergency=timedelta(0))
    with reading_room(tmp_path, rules(patience=patience)) as room:
        room.order(BEN, "ACC2", study=objects.uid("two"), priority="S", station="CT1")
        waiting = room.image(study=objects.uid("one"), AccessionNumber="ACC1", **ADA)
        urgent = room.image(study=objects.uid("two"), AccessionNumber="ACC2", **{**BEN, "PatientName": "Orlov^Ada"})
        room.rounds()
        assert room.check(objects.uid("two")).verdict.decision == "hold"
        assert room.state(urgent) == (PREPARED, "")
        assert room.state(waiting) == (RECEIVED, "held")


def test_a_late_order_releases_and_corrects(tmp_path: Path) -> None:
    with reading_room(tmp_path, rules(patience=Patience(default=timedelta(hours=1)))) as room:
        image = room.image(AccessionNumber="ACC1", **WRONG_NAME)
        room.rounds()
        assert room.state(image) == (RECEIVED, "held")
        room.order(ADA, "ACC1")
        room.rounds()
        assert room.state(image) == (PREPARED, "")
        assert edited(room, image)["PatientName"] == "Okafor-Lindqvist^Ada"
        assert (room.kinds(), room.queues(image)) == ([], [("pacs", "queued")])


def test_a_merge_reopens_what_is_not_gone_yet(tmp_path: Path) -> None:
    old = {**ADA, "PatientID": "79990001"}
    with reading_room(tmp_path) as room:
        room.order(old, "ACC1")
        image = room.image(AccessionNumber="ACC1", **old)
        room.rounds()
        assert "PatientID" not in edited(room, image)
        room.merge(old, ADA)
        room.rounds()
        assert edited(room, image)["PatientID"] == ADA["PatientID"]
        assert room.state(image) == (PREPARED, "")
        late = room.image(AccessionNumber="ACC1", **old)
        room.rounds()
        assert edited(room, late)["PatientID"] == ADA["PatientID"]


def test_a_number_merged_at_one_issuer_says_nothing_of_the_same_number_at_another(tmp_path: Path) -> None:
    former = {**ADA, "PatientID": "79990001"}
    elsewhere = {**BEN, "PatientID": ADA["PatientID"], "issuer": "CLINIC"}
    with reading_room(tmp_path) as room:
        room.order(ADA, "ACC1")
        room.merge(former, ADA)
        room.order(elsewhere, "ACC2", study=objects.uid("another study"))
        room.image(AccessionNumber="ACC2", **former)
        c, found = room.spool.db.read(), {}
        for accession in ("ACC1", "ACC2"):
            header = Header(accession=Identifier(value=accession), PatientID=Identifier(value=former["PatientID"]))
            asked = Asked(
                study=StudyKey(ORDER),
                headers=[header],
                scanners=frozenset({AETitle("CT1")}),
                first_received=room.clock(),
                zone=ZONE,
            )
            found |= {one.key: one.aliases for one in candidates.find(c, asked, now=room.clock()).candidates}
        assert found[PatientKey("HOSP", ADA["PatientID"])] == {PatientKey("HOSP", former["PatientID"])}
        assert found[PatientKey("CLINIC", ADA["PatientID"])] == frozenset()


def test_what_is_being_sent_as_a_merge_comes_is_sent_again_corrected(tmp_path: Path) -> None:
    old = {**ADA, "PatientID": "79990001"}
    with reading_room(tmp_path) as room:
        room.order(old, "ACC1")
        image = room.image(AccessionNumber="ACC1", **old)
        room.rounds()
        room.spool.db.write(
            lambda c: deliveries.claim(
                c, destination=PACS, lane=Lane.ROUTINE, now=room.clock(), lease=timedelta(minutes=5), limit=9
            )
        ).result()
        room.merge(old, ADA)
        room.rounds()
        assert room.queues(image) == [("pacs", "sending"), ("pacs", "queued")]


def test_what_a_destination_has_is_not_sent_again_by_itself(tmp_path: Path) -> None:
    with reading_room(tmp_path) as room:
        image = room.image(AccessionNumber="ACC1", **WRONG_NAME)
        room.rounds()
        assert room.deliver() == 1
        room.order(ADA, "ACC1")
        room.rounds()
        assert room.state(image) == (DELIVERED, "")
        assert room.kinds() == ["after-delivery"]
        late = room.image(AccessionNumber="ACC1", **WRONG_NAME)
        room.rounds()
        assert edited(room, late)["PatientName"] == "Okafor-Lindqvist^Ada"


def test_an_order_that_changes_nothing_for_a_study_moves_none_of_its_images(tmp_path: Path) -> None:
    with reading_room(tmp_path, rules(resend=Resend.ALWAYS)) as room:
        room.order(ADA, "ACC1")
        image = room.image(AccessionNumber="ACC1", **WRONG_NAME)
        room.rounds()
        room.deliver()
        before = room.edits(image)
        room.clock.pass_(minutes=5)
        room.order(ADA, "ACC2", study=objects.uid("another"))
        room.rounds()
        assert room.state(image) == (DELIVERED, "")
        assert room.edits(image) == before
        assert room.kinds() == []


def test_what_a_destination_has_is_sent_again_where_the_site_says_so(tmp_path: Path) -> None:
    with reading_room(tmp_path, rules(resend=Resend.ALWAYS)) as room:
        image = room.image(AccessionNumber="ACC1", **WRONG_NAME)
        room.rounds()
        room.deliver()
        room.order(ADA, "ACC1")
        room.rounds()
        assert room.state(image) == (PREPARED, "")
        assert room.queues(image) == [("pacs", "confirmed"), ("pacs", "queued")]
        (expected,) = read_backs.of_study(room.spool.db.read(), StudyKey(ORDER))
        assert expected.expected["PatientName"] == "Okafor-Lindqvist^Ada"


def test_undo_after_delivery_sends_the_image_as_it_came(tmp_path: Path) -> None:
    with reading_room(tmp_path) as room:
        room.order(ADA, "ACC1")
        image = room.image(AccessionNumber="ACC1", **WRONG_NAME)
        room.rounds()
        assert room.deliver() == 1
        room.decide(Choice.UNDO)
        assert room.edits(image) == ""
        assert room.state(image) == (PREPARED, "")
        assert room.deliver() == 1
        assert room.state(image) == (DELIVERED, "")
        (expected,) = read_backs.of_study(room.spool.db.read(), StudyKey(ORDER))
        assert expected.expected == {"PatientName": "Okafor-Lindqist^Ada"}
        late = room.image(AccessionNumber="ACC1", **WRONG_NAME)
        room.rounds()
        assert room.edits(late) == ""  # the person's word stands


def test_a_person_gives_a_study_to_an_order(tmp_path: Path) -> None:
    with reading_room(tmp_path) as room:
        room.order(ADA, "ACC1")
        image = room.image(study=objects.uid("typed"), AccessionNumber="ACC9", **BEN)
        room.rounds()
        (order,) = room.spool.db.read().execute("SELECT id FROM requested_procedure").fetchone()
        room.decide(Choice.ASSIGN, objects.uid("typed"), order=f"order {order}", AccessionNumber="ACC1")
        assert {name: edited(room, image).get(name) for name in ("PatientID", "AccessionNumber", "PatientName")} == {
            "PatientID": ADA["PatientID"],
            "AccessionNumber": "ACC1",
            "PatientName": ADA["PatientName"],
        }
        assert room.state(image) == (PREPARED, "")
        assert room.kinds() == []
        room.decide(Choice.UNDO, objects.uid("typed"))
        assert room.edits(image) == ""


def test_an_order_that_is_not_known_is_no_decision(tmp_path: Path) -> None:
    with reading_room(tmp_path) as room:
        room.image(AccessionNumber="ACC1", **ADA)
        room.rounds()
        room.decide(Choice.ASSIGN, order="order 77")
        (decision,) = tasks.decisions_of(room.spool.db.read(), StudyKey(ORDER))
        assert decision.outcome.startswith("not possible")
        assert room.kinds() == ["identity"]


def test_a_person_holds_rejects_and_takes_it_back(tmp_path: Path) -> None:
    with reading_room(tmp_path) as room:
        room.order(ADA, "ACC1")
        image = room.image(AccessionNumber="ACC1", **ADA)
        room.rounds()
        room.decide(Choice.HOLD)
        assert room.state(image) == (RECEIVED, "held")
        assert (room.queues(image), room.kinds()) == ([], ["held"])
        room.decide(Choice.REJECT)
        assert room.state(image) == (RECEIVED, "rejected")
        assert room.kinds() == []
        late = room.image(AccessionNumber="ACC1", **ADA)
        room.rounds()
        assert room.state(late) == (RECEIVED, "rejected")
        room.decide(Choice.UNDO)
        assert room.state(image) == room.state(late) == (PREPARED, "")
        assert room.check().decision is None


def test_rejected_images_are_purged_after_their_retention_and_not_before(tmp_path: Path) -> None:
    with reading_room(tmp_path) as room:
        image = room.image(AccessionNumber="ACC1", **ADA)
        room.rounds()
        room.decide(Choice.REJECT)
        room.clock.pass_(days=6)
        assert room.spool.purge(retention=timedelta(days=7), limit=10) == 0
        room.clock.pass_(days=2)
        assert room.spool.purge(retention=timedelta(days=7), limit=10) == 1
        assert room.state(image)[0] is InstanceState.PURGED
        assert not room.spool.files.path_of(image.id).exists()


def test_a_rejected_study_is_never_told_to_have_been_delivered(tmp_path: Path) -> None:
    def due() -> list[str]:
        c = room.spool.db.read()
        return [event.value for _, event in study_events.due(c, quiet=timedelta(minutes=10), now=room.clock())]

    with reading_room(tmp_path) as room:
        room.image(AccessionNumber="ACC1", **ADA)
        room.rounds()
        room.spool.db.write(lambda c: study_events.complete(c, UID(ORDER), now=room.clock())).result()
        room.decide(Choice.REJECT)
        room.clock.pass_(days=8)
        assert room.spool.purge(retention=timedelta(days=7), limit=10) == 1
        assert due() == []
        room.spool.db.write(lambda c: trim(c, before=room.clock() + timedelta(days=1), limit=10)).result()
        assert due() == []
        room.spool.db.write(lambda c: study_events.trim(c, before=room.clock(), limit=10)).result()
        (left,) = room.spool.db.read().execute("SELECT count(*) FROM study_settling").fetchone()
        assert left == 0


def test_a_remembered_decision_holds_for_the_same_evidence_until_it_is_revoked(tmp_path: Path) -> None:
    def studied(name: str) -> str:
        return objects.uid("evidence", name)

    with reading_room(tmp_path) as room:
        room.image(study=studied("one"), AccessionNumber="ACC1", **ADA)
        room.rounds()
        room.decide(Choice.RELEASE, studied("one"), remember=True)
        room.image(study=studied("two"), AccessionNumber="ACC1", **ADA)
        room.image(study=studied("three"), AccessionNumber="ACC1", **BEN)
        room.rounds()
        assert [one.study for one in room.open_tasks()] == [studied("three")]
        (rule,) = tasks.rules(room.spool.db.read(), every=False)
        assert rule.used == 1
        assert room.spool.db.write(lambda c: tasks.revoke(c, rule.rule, by="ada", now=room.clock())).result()
        room.image(study=studied("four"), AccessionNumber="ACC1", **ADA)
        room.rounds()
        assert {one.study for one in room.open_tasks()} == {studied("three"), studied("four")}


def test_another_patient_in_a_released_study_is_held_again(tmp_path: Path) -> None:
    with reading_room(tmp_path) as room:
        room.image(AccessionNumber="ACC1", **ADA)
        room.rounds()
        room.decide(Choice.RELEASE)
        other = room.image(AccessionNumber="ACC1", **BEN)
        room.rounds()
        assert room.state(other) == (RECEIVED, "held")
        assert [one.blocks for one in room.open_tasks()] == [True]


def test_shadow_mode_decides_and_changes_nothing(tmp_path: Path) -> None:
    patience = Patience(default=timedelta(minutes=10))
    with reading_room(tmp_path, rules(mode=Mode.SHADOW, patience=patience)) as room:
        room.order(ADA, "ACC1")
        room.order(BEN, "ACC2", study=objects.uid("another"))
        corrected = room.image(AccessionNumber="ACC1", **WRONG_NAME)
        blocked = room.image(study=objects.uid("mixed"), AccessionNumber="ACC1", **BEN)
        room.rounds()
        for image in (corrected, blocked):
            assert room.state(image) == (PREPARED, "")
            assert room.edits(image) == ""
        assert room.check().verdict.decision == "correct"
        assert room.check(objects.uid("mixed")).verdict.blocks
        assert room.kinds() == []


def test_off_means_nothing_is_read(tmp_path: Path) -> None:
    with reading_room(tmp_path, rules(mode=Mode.OFF)) as room:
        image = room.image(AccessionNumber="ACC1", **ADA)
        room.rounds()
        assert room.state(image) == (PREPARED, "")
        assert checks.of_study(room.spool.db.read(), StudyKey(ORDER)) is None


def test_a_fault_in_the_check_lets_the_study_go_and_asks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    with reading_room(tmp_path) as room:
        held = room.image(study=objects.uid("before"), AccessionNumber="ACC1", **ADA)
        room.rounds()
        room.decide(Choice.HOLD, objects.uid("before"))
        monkeypatch.setattr("gateway.roles.forward.judging.decide", broken)
        image = room.image(AccessionNumber="ACC1", **ADA)
        of_held = room.image(study=objects.uid("before"), AccessionNumber="ACC3", **BEN)
        room.rounds()
        assert room.state(image) == (PREPARED, "")
        assert room.state(held) == (RECEIVED, "held")
        assert room.state(of_held) == (RECEIVED, "held")
        assert room.kinds().count("check-failed") == 2


def test_an_image_whose_header_can_not_be_read_goes_on(tmp_path: Path) -> None:
    with reading_room(tmp_path) as room:
        image = room.image(AccessionNumber="ACC1", **ADA)
        room.spool.files.path_of(image.id).unlink()
        room.rounds()
        assert room.state(image) == (PREPARED, "")


def test_images_without_a_study_uid_are_studies_of_their_own(tmp_path: Path) -> None:
    with reading_room(tmp_path) as room:
        images = [room.image(StudyInstanceUID=None, AccessionNumber="ACC1", **ADA) for _ in range(2)]
        room.rounds()
        assert {one.study for one in room.open_tasks()} == {one.id for one in images}
        room.decide(Choice.HOLD, images[0].id)
        assert room.state(images[0]) == (RECEIVED, "held")
        assert room.state(images[1]) == (PREPARED, "")


def test_the_map_outlives_the_images_and_is_forgotten(tmp_path: Path) -> None:
    with reading_room(tmp_path) as room:
        room.order(ADA, "ACC1")
        room.image(AccessionNumber="ACC1", **WRONG_NAME)
        room.rounds()
        room.deliver()
        job = lambda c: checks.forget(c, before=room.clock(), limit=10)  # noqa: E731
        room.clock.pass_(days=100)
        assert room.spool.db.write(job).result() == 0  # its image is here
        room.spool.purge(retention=timedelta(days=7), limit=10)
        room.spool.db.write(lambda c: c.execute("DELETE FROM instance_header")).result()  # as trimming does
        assert room.spool.db.write(job).result() == 1


def test_corrections_stop_by_themselves_and_a_person_resumes(tmp_path: Path) -> None:
    with reading_room(tmp_path) as room:
        for number in range(6):
            study = objects.uid("slip", number)
            room.order(ADA, f"ACC{number}", study=study)
            room.image(study=study, AccessionNumber=f"ACC{number}", **WRONG_NAME)
            room.rounds()
            assert room.check(study).verdict.decision == "correct"
        room.clock.pass_(minutes=2)
        room.rounds()
        assert set(room.alarms()) == {"correction-rate", "corrections-to-one-patient"}
        stopped = objects.uid("after the stop")
        room.order(ADA, "ACC9", study=stopped)
        image = room.image(study=stopped, AccessionNumber="ACC9", **WRONG_NAME)
        room.rounds()
        assert (room.check(stopped).verdict.decision, room.edits(image)) == ("hold", "")
        assert room.state(image) == (PREPARED, "")
        assert room.check(objects.uid("slip", 0)).verdict.decision == "correct"  # what was corrected stays so
        room.clock.pass_(seconds=1)
        assert room.spool.db.write(lambda c: corrections.resume(c, by="ada", now=room.clock())).result() == 2
        room.clock.pass_(minutes=2)
        room.rounds()
        assert room.alarms() == []
        assert "Lindqvist" in room.edits(image)  # looked at again


def test_a_person_decides_where_the_check_is_off(tmp_path: Path) -> None:
    with reading_room(tmp_path, rules(mode=Mode.OFF)) as room:
        image = room.image(**ADA)
        room.rounds()
        assert room.state(image) == (PREPARED, "")
        room.decide(Choice.HOLD)
        assert room.state(image)[1] != ""
        room.decide(Choice.RELEASE)
        assert room.state(image) == (PREPARED, "")


def test_what_was_purged_of_a_rejected_study_does_not_come_back_with_it(tmp_path: Path) -> None:
    with reading_room(tmp_path) as room:
        gone = room.image(AccessionNumber="ACC1", **ADA)
        room.rounds()
        room.decide(Choice.REJECT)
        room.clock.pass_(days=8)
        assert room.spool.purge(retention=timedelta(days=7), limit=10) == 1
        late = room.image(AccessionNumber="ACC1", **ADA)
        room.rounds()
        assert room.state(late) == (RECEIVED, "rejected")
        room.decide(Choice.RELEASE)
        assert room.state(late) == (PREPARED, "")
        assert room.state(gone)[0] is InstanceState.PURGED
        assert room.queues(gone) == []


def test_what_one_image_lacks_is_not_written_over_what_another_says(tmp_path: Path) -> None:
    with reading_room(tmp_path) as room:
        room.order(ADA, "ACC1")
        told = room.image(AccessionNumber="ACC1", StudyDescription="CT skull base, native", **ADA)
        silent = room.image(AccessionNumber="ACC1", **ADA)
        room.rounds()
        assert edited(room, silent)["StudyDescription"] == "CT head"
        assert "StudyDescription" not in edited(room, told)


def test_letters_of_no_standard_in_an_order_keep_no_image_back(tmp_path: Path) -> None:
    """U+F780 to U+F7FF stand for bytes that were no text in the books (spool/db.py)."""
    with reading_room(tmp_path) as room:
        name = "Ch\uf7e6n^Ada"
        room.order({**ADA, "PatientName": name}, "ACC1", charset="UNICODE UTF-8")
        image = room.image(AccessionNumber="ACC1", SpecificCharacterSet="ISO_IR 192", **{**ADA, "PatientName": name})
        room.rounds()
        assert room.state(image) == (PREPARED, "")
        assert room.kinds() == []
        room.order({**ADA, "PatientName": name}, "ACC1", charset="UNICODE UTF-8")
        room.rounds()
        assert room.check().verdict.relations["PatientName"] == "equal"


def test_one_study_that_can_not_be_written_down_holds_up_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with reading_room(tmp_path) as room:
        image = room.image(AccessionNumber="ACC1", **ADA)
        room.rounds()
        room.order(ADA, "ACC1")
        other = room.image(study=objects.uid("another"), AccessionNumber="ACC2", **BEN)
        record = checks.record

        def broken(c: Any, check: checks.StudyCheck, **rest: Any) -> None:
            if check.study == ORDER:
                raise ValueError("a fault of ours")
            record(c, check, **rest)

        with monkeypatch.context() as patched:
            patched.setattr(checks, "record", broken)
            room.rounds()
            assert room.state(other) == (PREPARED, "")
            room.decide(Choice.HOLD)
            assert room.state(image) == (PREPARED, "")
        (decision,) = tasks.decisions_of(room.spool.db.read(), StudyKey(ORDER))
        assert decision.outcome == "failed: ValueError"


def test_an_order_that_can_not_be_read_holds_up_no_image(tmp_path: Path) -> None:
    with reading_room(tmp_path) as room:
        room.order(ADA, "ACC1")
        strange = "UPDATE requested_procedure SET content = json_set(content, '$.steps', 1)"
        room.spool.db.write(lambda c: c.execute(strange)).result()
        image = room.image(AccessionNumber="ACC1", **ADA)
        other = room.image(study=objects.uid("another"), AccessionNumber="ACC2", **BEN)
        room.rounds()
        assert room.state(image) == room.state(other) == (PREPARED, "")
        assert set(room.kinds()) == {"check-failed", "identity"}


def test_a_verdict_that_can_not_be_read_keeps_back_its_own_study_alone(tmp_path: Path) -> None:
    with reading_room(tmp_path) as room:
        room.order(ADA, "ACC1")
        room.image(AccessionNumber="ACC1", **ADA)
        room.rounds()
        room.spool.db.write(lambda c: c.execute("UPDATE study_check SET basis = '{}'")).result()
        late = room.image(AccessionNumber="ACC1", **WRONG_NAME)
        other = room.image(study=objects.uid("another"), AccessionNumber="ACC2", **BEN)
        room.rounds()
        assert room.state(other) == (PREPARED, "")
        assert room.state(late) == (RECEIVED, "")  # it may be held: nobody knows
        (task,) = [one for one in room.open_tasks() if one.kind == "check-failed"]
        assert (task.study, task.blocks) == (ORDER, True)
        room.clock.pass_(hours=1)
        room.rounds()
        assert room.alarms() == [tasks.ALARM_WAITS]
        room.decide(Choice.RELEASE)
        assert room.state(late) == (PREPARED, "")
        assert (room.check().decided_by, room.alarms()) == ("ada", [])
