"""What is no message of a box is refused by a word, and a box speaks for itself alone."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from gateway.domain.telemetry import Clock, Health, State, Status, Writer
from gateway.domain.telemetry_fields import eid
from gateway.fleet.arrivals import Arrived
from gateway.fleet.reading import Refused, told

T0 = datetime(2026, 1, 1, tzinfo=UTC)


def envelope(box: str) -> dict[str, Any]:
    log = "g00000001"
    own = {"box": box, "log": log, "sid": f"{log}.1-1", "seq": 3, "eid": eid(T0, bytes(10)), "ts": T0}
    return {**own, "mono_ms": 5, "clk": Clock(sync=True)}


def arrived(topic: str, payload: bytes, *, retained: bool = False) -> Arrived:
    return Arrived(topic=topic, payload=payload, at=T0, retained=retained, receipt=None)


def written(message: object, box: str = "b1") -> bytes:
    return Writer(box=box, names=(), codes=()).encode(message)


def test_a_message_is_read() -> None:
    payload = written(Health(**envelope("b1"), spool_n=4))
    found = told(arrived("dgw/1/north/b1/health", payload))
    assert found is not None
    assert (found.site, found.box, found.live) == ("north", "b1", True)
    assert isinstance(found.message, Health)


def test_a_later_minor_version_is_taken_without_what_we_do_not_know() -> None:
    payload = written(Status(**envelope("b1"), state=State.READY))
    later = payload.replace(b"status/1.0", b"status/1.7").replace(b'"seq"', b'"mood":"fine","seq"')
    found = told(arrived("dgw/1/north/b1/status", later, retained=True))
    assert found is not None
    assert (found.message.schema, found.live) == ("status/1.7", False)
    assert not hasattr(found.message, "mood")


def test_what_takes_back_a_retained_message_is_nothing() -> None:
    assert told(arrived("dgw/1/north/b1/status", b"")) is None


@pytest.mark.parametrize(
    ("topic", "box", "reason"),
    [
        ("dgw/1/north/b2/health", "b1", "box"),
        ("dgw/1/north/b1/mood", "b1", "topic"),
        ("dgw/2/north/b1/health", "b1", "topic"),
        ("dgw/1/north/b1/status", "b1", "schema"),
    ],
)
def test_what_is_none_is_refused(topic: str, box: str, reason: str) -> None:
    payload = written(Health(**envelope(box)), box)
    with pytest.raises(Refused) as refused:
        told(arrived(topic, payload))
    assert refused.value.reason == reason


@pytest.mark.parametrize(
    "ts",
    [
        "0001-01-01T00:00:00+14:00",
        "9999-12-31T23:59:59-14:00",
        "0999-01-01T00:00:00Z",
        "1970-01-01T00:00:00+05:00",  # before any time that remote write has a number for
        "2999-12-31T23:59:59-14:00",
    ],
)
def test_a_time_that_nobody_can_keep_is_refused(ts: str) -> None:
    """One message must not end each collector that reads it, again and again."""
    payload = written(Health(**envelope("b1"), spool_n=4)).replace(b"2026-01-01T00:00:00.000Z", ts.encode())
    with pytest.raises(Refused) as refused:
        told(arrived("dgw/1/north/b1/health", payload))
    assert refused.value.reason == "schema"


@pytest.mark.parametrize("payload", [b"{", b"[]", b"\xff", b'{"schema":"health/1.0"}'])
def test_what_can_not_be_read_is_not_repeated(payload: bytes) -> None:
    with pytest.raises(Refused) as refused:
        told(arrived("dgw/1/north/b1/health", payload))
    assert str(refused.value) == "schema"
