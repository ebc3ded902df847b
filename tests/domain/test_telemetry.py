"""What leaves the box by MQTT is listed: no text, name, UID or number of a patient has a way in."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain import telemetry, topics
from gateway.domain.command import Outcome, Phase
from gateway.domain.issue import Severity
from gateway.domain.issues import KINDS
from gateway.domain.telemetry import (
    BACKFILL_BYTES,
    BACKFILL_ITEMS,
    HEALTH_BYTES,
    MESSAGES,
    Ack,
    Alarm,
    Backfill,
    Clock,
    Event,
    Health,
    Info,
    Reported,
    Result,
    Standing,
    State,
    Status,
    Writer,
    adapter_of,
    read,
)
from gateway.domain.telemetry_fields import OTHER, aliases, eid, ref, sid, sid_order

NOW = datetime(2026, 11, 22, 4, 30, 0, 123456, tzinfo=UTC)
ENVELOPE: dict[str, Any] = {
    "box": "ct1-room",
    "log": "g0123abcd",
    "sid": "g0123abcd.1-2",
    "seq": 3,
    "eid": eid(NOW, b"0123456789"),
    "ts": NOW,
    "mono_ms": 5,
    "clk": Clock(sync=True, off_ms=-1.23456),
}
EVENT = Event(
    **ENVELOPE,
    kind="study-confirmed",
    sev=Severity.INFO,
    code="disk-full",
    inst="pacs",
    study="0123456789ab",
    images=3,
    count=1,
    upto=2,
)
HEALTH = Health(**ENVELOPE, spool_n=3, cpu=0.25, dest_up={"pacs": True}, samples=10)
EXAMPLES: tuple[Any, ...] = (
    Status(**ENVELOPE, state=State.READY),
    Info(
        **ENVELOPE,
        model="x86_64",
        sw="0.1.0",
        sbom="0123456789abcdef",
        config="fedcba9876543210",
        sw_seq=6,
        release=7,
        release_phase=Phase.REJECTED,
        release_fault="tampered",
        cert_not_after=NOW,
        peers={"pacs": "dicom"},
        schemas=("status/1.0",),
    ),
    HEALTH,
    Alarm(**ENVELOPE, state=Standing.RAISED, code="disk-full", inst=OTHER, sev=Severity.ERROR, since=NOW, count=2),
    EVENT,
    Backfill(**ENVELOPE, acked=0, after=0, upto=3, items=(EVENT, HEALTH)),
    Ack(log="g0123abcd", event_upto=7),
    Result(box="ct1-room", ts=NOW, nonce="0123456789abcdef", cmd="ping", outcome=Outcome.DONE, code="ok", count=1),
    Reported(
        box="ct1-room", ts=NOW, version=3, ring="lab", config="0" * 16, phase=Phase.REJECTED, faults=("mqtt.port",)
    ),
)
WRITER = Writer(box="ct1-room", names=["pacs", "main"], codes=KINDS)
CANARIES = [
    "MUELLER^ANNA",
    "Anna Mueller",
    "1.2.840.113619.2.55.3.604688119.969.1268071029.320",
    "ACC0012345",
    "19700131",
    "Traceback (most recent call last)",
    "connection refused by 10.1.1.20",
    "ris.example",
]


def names_of_examples() -> list[str]:
    return [type(one).__name__ for one in EXAMPLES]


@pytest.mark.parametrize("message", EXAMPLES, ids=names_of_examples())
def test_each_is_read_as_it_was_written(message: Any) -> None:
    payload = WRITER.encode(message)
    again = read(type(message), payload)
    assert WRITER.encode(again) == payload
    assert json.loads(payload)["schema"] == f"{type(message).__name__.lower()}/1.0"
    if not isinstance(message, Ack):
        assert again.ts == NOW.replace(microsecond=123000)


def test_every_kind_of_message_has_an_example() -> None:
    assert {type(one) for one in EXAMPLES} == set(MESSAGES)


def leaves(schema: Any, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every part of a schema that is a text, with where it stands."""
    if isinstance(schema, list):
        for one in schema:
            yield from leaves(one, path)
    if not isinstance(schema, dict):
        return
    if schema.get("type") == "string":
        yield path, schema
    for name, part in schema.items():
        if name not in {"default", "description", "title", "enum", "examples"}:
            yield from leaves(part, f"{path}/{name}")


def test_no_field_takes_a_text() -> None:
    """Each text is of a closed list or of a bounded form without spaces; a field for words would show here."""
    found = dict(leaf for kind in MESSAGES for leaf in leaves(adapter_of(kind).json_schema(mode="serialization")))
    assert len(found) > 20
    for path, schema in found.items():
        assert "enum" in schema or re.fullmatch(r"\^[^ *+.]*.*\$", schema.get("pattern", "")), path
        if "pattern" in schema:
            form = re.compile(schema["pattern"])
            assert not form.search("MUELLER^ANNA"), path
            assert not form.search("Anna Mueller"), path
            assert not form.search("a" * 65), path


FIELDS = [
    (message, name)
    for message in EXAMPLES
    for name, value in {one: getattr(message, one) for one in message.__dataclass_fields__}.items()
    if isinstance(value, str)
]


@pytest.mark.parametrize("canary", CANARIES)
def test_nothing_of_a_patient_enters_by_any_field(canary: str) -> None:
    for message, name in FIELDS:
        with pytest.raises(ValueError, match=name) as caught:
            WRITER.encode(replace(message, **{name: canary}))
        assert canary not in str(caught.value)


@pytest.mark.parametrize("canary", CANARIES)
def test_nor_inside_of_what_a_field_holds(canary: str) -> None:
    worn = (
        replace(EXAMPLES[1], peers={canary: "dicom"}),
        replace(EXAMPLES[1], peers={"pacs": canary}),
        replace(EXAMPLES[1], schemas=(canary,)),
        replace(HEALTH, dest_up={canary: True}),
        replace(EXAMPLES[5], items=(replace(EVENT, inst=canary),)),
        replace(EXAMPLES[5], items=(replace(HEALTH, dest_up={canary: True}),)),
    )
    for message in worn:
        with pytest.raises(ValueError, match="only listed values may leave") as caught:
            WRITER.encode(message)
        assert canary not in str(caught.value)


def test_a_name_that_has_the_form_and_is_not_configured_is_refused() -> None:
    for wrong in (replace(EVENT, inst="MUELLER"), replace(EVENT, code="mueller"), replace(EVENT, kind="anna")):
        with pytest.raises(ValueError, match="value_error"):
            WRITER.encode(wrong)
    assert read(Event, Writer(box="ct1-room", names=["MUELLER"], codes=KINDS).encode(replace(EVENT, inst="MUELLER")))


@given(st.text(), st.sampled_from(FIELDS))
def test_no_text_at_all_passes_but_the_listed(text: str, field: tuple[Any, str]) -> None:
    message, name = field
    try:
        payload = WRITER.encode(replace(message, **{name: text}))
    except ValueError:
        return
    assert text in {"pacs", "main", OTHER, "ct1-room", *KINDS, *telemetry.Kind, *State, *Severity, *Standing} or (
        name in {"schema", "log", "sid", "eid", "study", "sbom", "config", "sw", "model"} and text in payload.decode()
    )


@pytest.mark.parametrize("number", [-1, 2**60, 1.5, "3", True, None, float("nan")])
def test_a_number_is_one(number: object) -> None:
    with pytest.raises(ValueError, match="seq"):
        WRITER.encode(replace(EVENT, seq=number))  # type: ignore[arg-type]


def test_what_is_no_message_is_none() -> None:
    for foreign in ({"anything": 1}, "text", 3):
        with pytest.raises(ValueError, match="is no message"):
            WRITER.encode(foreign)


def test_a_reader_takes_a_later_minor_version() -> None:
    later = json.loads(WRITER.encode(EVENT)) | {"schema": "event/1.7", "more": {"of": ["it"]}, "kind": "not-known-yet"}
    assert read(Event, json.dumps(later).encode()).kind == "not-known-yet"
    with pytest.raises(ValueError, match="schema"):
        read(Event, json.dumps(later | {"schema": "event/2.0"}).encode())


def test_a_reader_quotes_nothing() -> None:
    with pytest.raises(ValueError, match="bytes") as caught:
        read(Event, b'{"box": "MUELLER^ANNA"}')
    assert "MUELLER" not in str(caught.value)


def test_sizes() -> None:
    full = Health(
        **ENVELOPE | {"seq": 2**53 - 1, "mono_ms": 2**53 - 1, "clk": Clock(sync=False, off_ms=-123456.789)},
        **{
            name: 123456789.123 if name.endswith(("_s", "_h", "_ms", "_c", "_days")) else 123456789
            for name in Health.__dataclass_fields__
            if name.endswith(("_n", "_bytes", "_s", "_total", "_h", "_c", "_days", "_off_ms", "_active"))
        },
        disk_free_ratio=0.1234,
        cpu=0.1234,
        mem=0.1234,
        samples=999,
    )
    assert len(WRITER.encode(full)) < HEALTH_BYTES - 100
    largest = max(len(WRITER.encode(one)) for one in (EVENT, full))
    assert largest * BACKFILL_ITEMS > BACKFILL_BYTES, "a batch is bounded by bytes, too"


def test_identifiers() -> None:
    first, later = eid(NOW, bytes(10)), eid(NOW + timedelta(milliseconds=1), bytes(10))
    assert first < later
    assert len(first) == 26
    assert eid(NOW, b"\xff" * 10) > first
    assert ref(b"key", "1.2.3") != ref(b"other", "1.2.3")
    assert re.fullmatch("[0-9a-f]{12}", ref(b"key", "1.2.\udce4"))
    assert sid_order(sid("g0123abcd", 2, 10)) > sid_order(sid("g0123abcd", 2, 9))
    with pytest.raises(ValueError, match="characters"):
        sid_order("1-2")


def test_aliases_fit_into_a_topic() -> None:
    assert aliases(["pacs", "CT 1", "A/B#+", ""]) == {"pacs": "pacs", "CT 1": "CT_1", "A/B#+": "A_B__"}


@pytest.mark.parametrize("leaf", list(topics.Leaf))
def test_topics(leaf: topics.Leaf) -> None:
    alarm = {"code": "disk-full", "inst": "pacs"} if leaf is topics.Leaf.ALARM else {}
    topic = topics.Topic(site="north", box="ct1-room", leaf=leaf, **alarm)
    assert topics.parse(str(topic)) == topic
    assert str(topic).startswith(f"dgw/1/north/ct1-room/{leaf}")
    assert topics.every(leaf).count("+") == (4 if alarm else 2)


@pytest.mark.parametrize(
    "foreign", ["", "dgw/1/n/b", "dgw/1/n/b/x", "dgw/2/n/b/status", "dgw/1/n/b/alarm", "dgw/1/n/b/status/a/b", "x/y"]
)
def test_other_topics_are_none(foreign: str) -> None:
    assert topics.parse(foreign) is None


@pytest.mark.parametrize("level", ["", "a/b", "+", "#", "a b", "x" * 65])
def test_no_level_of_a_topic_is_anything_else(level: str) -> None:
    with pytest.raises(ValueError, match="no name for a topic"):
        str(topics.Topic(site=level, box="b", leaf=topics.Leaf.STATUS))
