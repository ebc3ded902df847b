"""Orders in their tables: whose stamp counts, who is whom, what a scanner had, and what never becomes a row."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.config.mappings import order_mapping
from gateway.dicom import elements
from gateway.domain.hl7 import Hl7Error, Message
from gateway.domain.hl7_ack import Code
from gateway.domain.merge import Kind
from gateway.domain.model import AETitle
from gateway.domain.order_model import Flag, PatientKey
from gateway.domain.worklist import validate_row
from gateway.spool import Spool, audit, order_books, orders, patients
from gateway.spool.erasing import erase_patient
from gateway.spool.served import Shown, record_served
from gateway.spool.worklist import WorklistRow
from tests.hl7_messages import message, messages
from tests.spool.order_table import NOW, kept, receive, sender

STUDY = "1.3.6.1.4.1.32473.7.9.77"
OLDER = ("20260304081455|", "20260304070000|"), ("20260304081500||", "20260304070000||")
NEWER = ("20260304081455|", "20260304093001|"), ("20260304081500||", "20260304093001||")


def values(row: WorklistRow) -> dict[int, str]:
    """The row's texts by tag, those of its step included."""
    whole = elements.parse(row.dataset, elements.EXPLICIT_LITTLE)
    step = whole[0x00400100].value
    assert isinstance(step, list)
    found = {**whole, **step[0]}
    return {
        tag: each.value.decode("utf-8").rstrip(" \0") for tag, each in found.items() if isinstance(each.value, bytes)
    }


def only(spool: Spool) -> WorklistRow:
    (row,) = kept(spool)
    return row


def alarms(spool: Spool) -> list[str]:
    return [alarm.code for alarm in audit.active_alarms(spool.db.read())]


def test_a_row_is_a_messages_row(spool: Spool) -> None:
    receive(spool, message("01"), sender())
    row = only(spool)
    assert (row.kind, row.minted, row.IssuerOfPatientID) == (Kind.HL7, False, "NORD_MRN")
    assert row.stamp == datetime(2026, 3, 4, 7, 14, 55, tzinfo=UTC)
    found = values(row)
    assert found[0x00102000] == "Claustrophobia\\Latex"
    assert found[0x00102110] == "Iodinated contrast (Urticaria 2019)\\Latex"
    assert (found[0x00101030], found[0x00101020]) == ("71.5", "1.68")
    assert (found[0x00400006], found[0x00321032]) == ("Nakagawa^Rin", "Castellanos^Pia^R^Dr")
    assert (found[0x00380010], found[0x00401003]) == ("V2603040077", "ROUTINE")
    assert 0x00101040 not in found  # the address stays with the RIS
    assert not validate_row(elements.parse(row.dataset, elements.EXPLICIT_LITTLE))


def test_an_older_change_changes_nothing(spool: Spool) -> None:
    receive(spool, message("06"), sender())
    before = kept(spool)
    assert receive(spool, message("01", *OLDER), sender()).effect == "older, or ended already"
    assert kept(spool) == before


def test_a_cancel_before_its_order_keeps_it_cancelled_unless_it_is_newer(spool: Spool) -> None:
    receive(spool, message("04"), sender())
    receive(spool, message("01", *OLDER), sender())
    assert only(spool).status == "CANCELED"
    receive(spool, message("01", *NEWER), sender())
    assert only(spool).status == "SCHEDULED"


def test_a_tombstone_ends(spool: Spool) -> None:
    receive(spool, message("04"), sender())
    later = NOW + timedelta(hours=73)
    spool.db.write(lambda c: orders.forget(c, orders_before=later - timedelta(days=30), now=later)).result()
    receive(spool, message("01"), sender())
    assert only(spool).status == "SCHEDULED"


def test_the_steps_are_replaced_as_a_set(spool: Spool) -> None:
    receive(spool, message("10"), sender())
    second = message("10").split(b"\rIPC|")[2]
    changed = message("10", ("ORC|NW", "ORC|XO"), ("RADIS000010", "RADIS000099")).replace(b"\rIPC|" + second, b"\r")
    assert receive(spool, changed, sender()).effect == "changed"
    assert [row.ScheduledProcedureStepID for row in kept(spool)] == ["SPS90200-1"]


def test_two_orders_of_one_accession_are_two(spool: Spool) -> None:
    receive(spool, message("03", ("A2603040080", "A2603040079")), sender())
    assert [row.RequestedProcedureID for row in kept(spool)] == ["RP88103", "RP88104"]


def test_one_bad_order_of_a_message_leaves_the_other(spool: Spool) -> None:
    first, second = message("03").split(b"ORC|NW|P88104")
    outcome = receive(spool, first + b"ORC|DE|P88104" + second, sender())
    assert [(fault.code, fault.segment, fault.sequence, fault.field) for fault in outcome.faults] == [
        ("103", "ORC", 2, 1)
    ]
    assert only(spool).RequestedProcedureID == "RP88103"
    assert outcome.code is Code.AA
    assert receive(spool, first + b"ORC|DE|P88104" + second, sender(refuse=True)).code is Code.AE


@pytest.mark.parametrize(
    ("change", "code", "place"),
    [
        (("Okafor-Lindqvist^Marta^Irene", ""), "101", "PID-5"),
        (("Okafor-Lindqvist^Marta^Irene", '""'), "101", "PID-5"),
        (("70012345^^^NORD_MRN&1.3.6.1.4.1.32473.7.1&ISO^MR", ""), "101", "PID-3"),
        (("70012345^", "7" * 65 + "^"), "102", "PID-3"),
        (("||||CT|", "||||RAD|"), "", ""),
        (("ORC|NW", "ORC|"), "101", "ORC-1"),
        (("ORC|NW", "ZRC|NW"), "100", "ORC-0"),
        (("ORM^O01^", "ORM^O99^"), "201", "MSH-9"),
        (("ORM^O01^", "QBP^Q11^"), "200", "MSH-9"),
    ],
)
def test_what_can_not_be_a_row_is_told(spool: Spool, change: tuple[str, str], code: str, place: str) -> None:
    outcome = receive(spool, message("01", change), sender())
    assert [(fault.code, f"{fault.segment}-{fault.field}") for fault in outcome.faults] == (
        [(code, place)] if code else []
    )
    assert len(kept(spool)) == (0 if code else 1)


def test_an_order_whose_modality_nobody_tells_is_not_listed(spool: Spool) -> None:
    unknown = message("01", ("||||CT|", "|||||"), ("CTABDC^", "ZZZ^"), ("CTABD3PH", "ZZZ3"))
    assert [fault.field for fault in receive(spool, unknown, sender()).faults] == [24]
    assert kept(spool) == []


def test_generated_identifiers_are_the_same_on_every_box(spool: Spool, tmp_path: Path) -> None:
    receive(spool, message("02"), sender())
    first = only(spool)
    receive(spool, message("02", ("RADIS000002", "RADIS000222")), sender())
    assert only(spool) == first
    assert first.minted
    (order,) = order_books.latest(spool.db.read(), limit=9)
    generated = {Flag.STUDY_GENERATED, Flag.ACCESSION_GENERATED, Flag.PROCEDURE_GENERATED, Flag.STEP_GENERATED}
    assert generated <= order.procedure.flags


def test_an_accession_number_of_ours_is_given_once(spool: Spool) -> None:
    long = ("F55202", "FILLER-NUMBER-OF-THIRTY-SIGNS1")
    receive(spool, message("02", long), sender())
    receive(spool, message("02", ("F55202", "FILLER-NUMBER-OF-THIRTY-SIGNS2")), sender())
    assert {row.AccessionNumber for row in kept(spool)} == {"G000001", "G000002"}
    receive(spool, message("02", long), sender())
    assert sorted(row.AccessionNumber for row in kept(spool)) == ["G000001", "G000002"]
    assert all(len(row.RequestedProcedureID) <= 16 for row in kept(spool))


def test_a_filler_number_that_is_an_accession_number_already_is_not_taken_for_one(spool: Spool) -> None:
    receive(spool, message("01", ("A2603040077", "F55202")), sender())
    receive(spool, message("02", ("550077", "70012345^^^NORD_MRN")), sender())
    assert sorted(row.AccessionNumber for row in kept(spool)) == ["F55202", "G000001"]


def test_an_accession_number_that_is_too_long_is_found_by_what_the_sender_calls_it(spool: Spool) -> None:
    receive(spool, message("34"), sender())
    assert len(only(spool).AccessionNumber) == 16
    cancel = message("34", ("ORC|NW||F63005^^^", "ORC|CA||"), ("OBR|1||F63005|", "OBR|1|||"))
    assert receive(spool, cancel, sender()).effect == "canceled"


def test_the_real_study_replaces_ours_until_a_scanner_had_it(spool: Spool) -> None:
    without = message("01").partition(b"ZDS|")[0]
    receive(spool, without, sender())
    assert only(spool).minted
    receive(spool, message("01"), sender())
    row = only(spool)
    assert (row.StudyInstanceUID, row.minted) == (STUDY, False)


def test_a_study_that_a_scanner_had_stays(spool: Spool) -> None:
    without = message("01").partition(b"ZDS|")[0]
    receive(spool, without, sender())
    minted = only(spool).StudyInstanceUID
    row = only(spool)
    shown = [Shown(row.source, row.key, row.dataset, row.dataset, elements.EXPLICIT_LITTLE)]
    spool.db.write(lambda c: record_served(c, AETitle("CT1"), shown=shown, now=NOW)).result()
    receive(spool, message("01"), sender())
    assert (only(spool).StudyInstanceUID, only(spool).minted) == (minted, True)
    assert alarms(spool) == ["order-identifier-changed"]
    assert receive(spool, message("04"), sender()).effect == "canceled"  # by the alias


def test_cancelled_after_images_is_alarmed(spool: Spool) -> None:
    receive(spool, message("01"), sender())
    c = spool.db
    c.write(lambda c: c.execute(INSTANCE, {"study": STUDY})).result()
    assert receive(spool, message("04"), sender()).effect == "canceled"
    assert alarms(spool) == ["cancelled-but-performed"]


INSTANCE = """INSERT INTO instance (id, SOPClassUID, SOPInstanceUID, TransferSyntaxUID, StudyInstanceUID,
    SeriesInstanceUID, content_hash, size, calling_ae, called_ae, address, association, received_at, priority, state)
    VALUES ('a', '1', '2', '3', :study, '5', 'h', 1, 'CT1', 'GATEWAY', '', '', '2026', 0, 'received')"""


@pytest.mark.parametrize(
    ("number", "changes", "by"),
    [
        ("41", [], "accession"),
        ("41", [("A2603040077", "A1"), ("32473.7.9.3009", "32473.7.9.77")], "study"),
        ("41", [("A2603040077", "A1"), ("F63009", "F55201^RADIS")], "filler"),
        ("04", [("70012345", "70055555")], "study"),
    ],
)
def test_what_is_known_is_never_bound_to_another_patient(
    spool: Spool, number: str, changes: list[tuple[str, str]], by: str
) -> None:
    receive(spool, message("01"), sender())
    before = kept(spool)
    raw = message(number, *changes)
    outcome = receive(spool, raw, sender())
    assert [fault.code for fault in outcome.faults] == ["205"]
    assert kept(spool) == before
    (conflict,) = order_books.conflicts(spool.db.read(), limit=9)
    assert (conflict.kind, conflict.patient.PatientID) == (by, "70055555")
    receive(spool, raw, sender())
    assert len(order_books.conflicts(spool.db.read(), limit=9)) == 1
    settled = spool.db.write(lambda c: order_books.settle(c, conflict.id, by="person", now=NOW)).result()
    assert settled
    assert alarms(spool) == []
    assert order_books.conflicts(spool.db.read(), limit=9) == []


def test_a_cancellation_may_name_the_order_alone(spool: Spool) -> None:
    receive(spool, message("01"), sender())
    without = b"\r".join(line for line in message("04").split(b"\r") if not line.startswith((b"PID", b"ZDS", b"PV1")))
    assert receive(spool, without, sender()).effect == "canceled"


def test_an_issuer_that_is_not_named_is_no_other_issuer(spool: Spool) -> None:
    receive(spool, message("01", ("70012345^^^NORD_MRN&1.3.6.1.4.1.32473.7.1&ISO^MR", "70012345")), sender())
    assert receive(spool, message("06"), sender()).effect == "changed"


def test_a_merge_reaches_open_rows_and_what_comes_later(spool: Spool) -> None:
    receive(spool, message("35"), sender())
    receive(spool, message("24"), sender(name="adt"))
    assert only(spool).PatientID == "70012345"
    receive(
        spool,
        message(
            "35",
            ("F63006", "F63999"),
            ("P93006", "P93999"),
            ("A2603043006", "A2603043999"),
            ("32473.7.9.3006", "32473.7.9.3999"),
        ),
        sender(),
    )
    assert {row.PatientID for row in kept(spool)} == {"70012345"}
    assert {row.PatientName for row in kept(spool)} == {"Okafor-Lindqvist^Marta^Irene"}


def test_merges_of_merges_lead_to_the_last_survivor(spool: Spool) -> None:
    receive(spool, message("35"), sender())
    receive(spool, message("24"), sender())
    receive(spool, message("28"), sender())
    who = patients.resolve(spool.db.read(), PatientKey("NORD_MRN", "79990001"))
    assert who.key.PatientID == "80012345"
    assert only(spool).PatientID == "80012345"


def test_an_older_merge_does_not_undo_a_newer_one(spool: Spool) -> None:
    receive(spool, message("24"), sender())
    back = message(
        "24",
        ("PID|1||70012345^^^NORD_MRN&1.3.6.1.4.1.32473.7.1&ISO^MR", "PID|1||79990001^^^NORD_MRN"),
        ("MRG|79990001", "MRG|70012345"),
        ("EVN|A40|20260304090000", "EVN|A40|20260304080000"),
    )
    assert receive(spool, back, sender()).effect == "older merge"
    newer = back.replace(b"EVN|A40|20260304080000", b"EVN|A40|20260304093000")
    assert receive(spool, newer, sender()).effect == "merged"
    who = patients.resolve(spool.db.read(), PatientKey("NORD_MRN", "70012345"))
    assert who.key.PatientID == "79990001"


def test_a_patient_is_not_merged_into_itself(spool: Spool) -> None:
    outcome = receive(spool, message("24", ("MRG|79990001", "MRG|70012345")), sender())
    assert [(fault.code, fault.segment) for fault in outcome.faults] == [("204", "MRG")]


def test_an_older_update_leaves_the_newer_name(spool: Spool) -> None:
    receive(spool, message("01"), sender())
    receive(spool, message("22"), sender(name="adt"))
    receive(spool, message("01", ("CTABDC^CT abdomen with contrast", "CTABDC^CT abdomen")), sender())
    row = only(spool)
    assert row.PatientName == "Lindqvist^Marta^Irene"
    assert values(row)[0x00100030] == "19670912"
    assert values(row)[0x00321060] == "CT abdomen"


def test_a_null_deletes_and_silence_keeps(spool: Spool) -> None:
    receive(spool, message("01"), sender())
    weight = values(only(spool))[0x00101030]
    receive(spool, message("22", ("|19670912|F", '|""|F')), sender())
    found = values(only(spool))
    assert (found[0x00100030], found[0x00101030]) == ("", weight)


def test_an_admission_reaches_the_rows(spool: Spool) -> None:
    receive(spool, message("01"), sender())
    receive(spool, message("19", ("PV1|1|I|CT2^^^NORD", "PV1|1|I|WARD3^12^B^NORD")), sender())
    row = only(spool)
    assert values(row)[0x00380300] == "WARD3 12 B"
    assert 0x001021C0 in values(row)
    whole = elements.parse(row.dataset, elements.EXPLICIT_LITTLE)
    assert whole[0x001021C0].value == b"\x03\x00"


def test_another_admission_is_not_this_orders(spool: Spool) -> None:
    receive(spool, message("01"), sender())
    receive(spool, message("19", ("PV1|1|I|CT2^^^NORD", "PV1|1|I|WARD3^12^B^NORD"), ("V2603040077", "V9")), sender())
    assert values(only(spool))[0x00380300] == "CT2"


def test_an_arrival_is_shown(spool: Spool) -> None:
    receive(spool, message("01"), sender())
    receive(spool, message("20", ("ADT^A04", "ADT^A10"), ("EVN|A04", "EVN|A10"), ("70050505", "70012345")), sender())
    assert only(spool).status == "ARRIVED"


ORDER_OF_15 = (
    ("70012345^^^NORD_MRN&1.3.6.1.4.1.32473.7.1&ISO^MR", "70044010^^^NORD_MRN"),
    ("P88101^HIS", "P92400^HIS"),
    ("F55201^RADIS", "F62400^RADIS"),
    ("||||CT|", "||||MR|"),
)


@pytest.mark.parametrize("appointment_first", [True, False])
def test_an_appointment_moves_its_order(spool: Spool, appointment_first: bool) -> None:
    both = [message("16", ("20260304081500||SIU", "20260304083000||SIU")), message("01", *ORDER_OF_15)]
    for raw in both if appointment_first else reversed(both):
        receive(spool, raw, sender())
    row = only(spool)
    assert (row.start_date, row.start_time, row.ScheduledStationAETitle) == ("20260309", "101500", "MR_NORD_2")
    assert receive(spool, message("18", ("20260304081500||", "20260304090000||")), sender()).effect == "unbooked"
    assert only(spool).status == "HELD"
    receive(spool, message("15", ("20260304081500||", "20260304091500||")), sender())
    assert (only(spool).status, only(spool).start_date) == ("SCHEDULED", "20260306")


def test_an_appointment_becomes_a_row_where_the_site_wants_it(spool: Spool, tmp_path: Path) -> None:
    (tmp_path / "siu.toml").write_text('extends = "generic"\n[options]\nsiu_creates_mwl = true\n')
    by = replace(sender(), mapping=order_mapping("siu", tmp_path))
    receive(spool, message("15"), by)
    row = only(spool)
    assert (row.PatientID, row.start_date, row.Modality, row.minted) == ("70044010", "20260306", "MR", True)


@pytest.mark.parametrize(
    ("told", "start", "defaulted"),
    [
        ("20260304101500", "20260304 101500", False),
        ("20260304101500+0300", "20260304 081500", False),
        ("20260304", "20260304 080000", True),
        ("20260329023000", "20260329 033000", False),
        ("20261025023000", "20261025 023000", False),
        ("202603", "20260304 104000", True),
        ("", "20260304 104000", True),
        ("soon", "20260304 104000", True),
    ],
)
def test_times_are_the_sites(spool: Spool, told: str, start: str, defaulted: bool) -> None:
    receive(spool, message("01", ("1^once^^202603041030^^R", f"1^once^^{told}^^R")), sender())
    row = only(spool)
    assert f"{row.start_date} {row.start_time}" == start
    (order,) = order_books.latest(spool.db.read(), limit=9)
    assert (Flag.TIME_DEFAULTED in order.procedure.flags) == defaulted


def test_a_clock_far_ahead_does_not_lock_an_order(spool: Spool) -> None:
    receive(spool, message("01", ("20260304081455|", "29990304081455|")), sender())
    assert receive(spool, message("06", ("20260304081455|", "20260304114000|")), sender()).effect == "changed"


def test_the_side_is_shown_where_every_scanner_shows_it(spool: Spool) -> None:
    receive(spool, message("10"), sender())
    found = values(kept(spool)[0])
    assert found[0x00321060] == "MR knee RIGHT"
    assert found[0x00400007] == "MR knee standard RIGHT"


def test_orders_are_erased_with_their_rows(spool: Spool) -> None:
    receive(spool, message("01"), sender())
    receive(spool, message("41"), sender())
    later = NOW + timedelta(days=31)
    gone = spool.db.write(lambda c: orders.forget(c, orders_before=later - timedelta(days=30), now=later)).result()
    assert gone > 0
    assert kept(spool) == []
    for table in ("requested_procedure", "patient", "order_conflict", "order_alias"):
        (count,) = spool.db.read().execute(f"SELECT count(*) FROM {table}").fetchone()
        assert count == 0


def test_an_order_for_a_day_far_ahead_is_there_on_that_day(spool: Spool) -> None:
    def forgotten(day: datetime) -> bool:
        spool.db.write(lambda c: orders.forget(c, orders_before=day - timedelta(days=30), now=day)).result()
        return not order_books.latest(spool.db.read(), limit=9)

    ahead = "^^202603041030^^", "^^202605041030^^"
    receive(spool, message("01", ahead), sender())
    assert not forgotten(datetime(2026, 5, 4, 6, tzinfo=UTC))
    assert only(spool).start_date == "20260504"
    assert not forgotten(datetime(2026, 6, 2, tzinfo=UTC))
    assert forgotten(datetime(2026, 6, 4, tzinfo=UTC))
    assert kept(spool) == []
    receive(spool, message("01", ahead), sender())
    receive(spool, message("04", *NEWER), sender())
    assert forgotten(NOW + timedelta(days=31))  # it ended


def test_a_patient_is_erased_from_the_orders_and_no_other(spool: Spool) -> None:
    for number in ("01", "10", "24", "15", "41"):
        receive(spool, message(number), sender())
    for one in ("70012345", "70044010", "70055555"):
        erased = spool.db.write(lambda c, one=one: erase_patient(c, one, now=NOW, by="person")).result()
        assert erased.orders
    left = {row.PatientID for row in kept(spool)}
    assert left == {"70099001"}
    told = "".join(
        "|".join(map(str, line)) for table in TABLES for line in spool.db.read().execute(f"SELECT * FROM {table}")
    )
    assert "70099001" in told
    assert not any(
        number in told for number in ("70012345", "79990001", "70044010", "70055555", "Okafor", "Vandermeer")
    )


TABLES = (
    "requested_procedure",
    "patient",
    "patient_alias",
    "appointment",
    "order_conflict",
    "order_alias",
    "order_change",
)


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    number=st.sampled_from(sorted(name[:2] for name in messages())),
    cuts=st.lists(st.tuples(st.integers(0, 1500), st.integers(0, 12), st.binary(max_size=6)), min_size=1, max_size=4),
)
def test_no_mutation_raises_or_makes_a_row_without_identity(
    spool: Spool, number: str, cuts: list[tuple[int, int, bytes]]
) -> None:
    raw = message(number)
    for at, length, instead in cuts:
        begin = at % (len(raw) + 1)
        raw = raw[:begin] + instead + raw[begin + length :]
    try:
        Message.parse(raw)
    except Hl7Error:
        return
    receive(spool, raw, sender())
    for row in kept(spool):
        found = values(row)
        assert row.PatientID
        assert row.PatientName
        for tag in (0x00400001, 0x00400002, 0x00400003, 0x00080060, 0x00400009, 0x00401001, 0x0020000D, 0x00321060):
            assert found[tag], f"{tag:08X} is empty"
        assert all(len(found.get(tag, "")) <= 16 for tag in (0x00080050, 0x00401001, 0x00400009, 0x00080060))
