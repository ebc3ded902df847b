"""Targets in HL7: the framing in any pieces, and a message from its bytes to the orders in it and its answer."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from zoneinfo import ZoneInfo

from gateway.config.mappings import order_mapping
from gateway.domain import orders
from gateway.domain.hl7 import Hl7Error, Message, header_of, split_batch
from gateway.domain.hl7_ack import Code, Fault, acknowledgement, answers
from gateway.domain.mllp import FrameReader, FrameTooLong, frame
from gateway.domain.model import SourceName
from tests.fuzz.wire import shape
from tests.hl7_messages import messages

_LIMIT = 4096
_NOW = datetime(2026, 3, 4, 12, tzinfo=UTC)
_FAULT = Fault(code="101", text="a value is missing", segment="PID", field=3)
_PATHS = ("1", "2", "3.1", "3.4.2", "5", "7.4", "18", "300.20.20")


def frames(data: bytes) -> str:
    """The same messages however the stream is cut; the first byte says how."""
    step, stream = (data[0] if data else 0) + 1, data[1:]
    whole = _read(stream, len(stream) or 1)
    assert _read(stream, step) == whole
    return f"{len(whole)} {sum(message is None for message in whole)}"


def _read(stream: bytes, step: int) -> list[bytes | None]:
    reader = FrameReader(message_max=_LIMIT)
    found: list[bytes | None] = []
    for at in range(0, len(stream), step):
        reader.receive(stream[at : at + step])
        try:
            while (message := reader.next_message()) is not None:
                assert 0 < len(message) <= _LIMIT
                found.append(message)
        except FrameTooLong:
            return [*found, None]
    return found


def frame_seeds() -> list[bytes]:
    """A byte for the pieces, and streams with and without the marks they should have."""
    one, two = list(messages().values())[:2]
    streams = (frame(one) + frame(two), b"\r\n" + one + b"\x1c" + two + b"\x1c\r", b"\x0bMSH|x" + frame(two), one * 8)
    return [bytes([step]) + stream for stream in streams for step in (0, 6, 255)]


def hl7(data: bytes) -> str:
    """Any bytes as a frame: what is read, what it asks for, and how it is answered. `Hl7Error` is the only error."""
    told = []
    for raw in split_batch(data):
        try:
            header = header_of(raw)
        except Hl7Error as error:
            acknowledgement(None, Code.AR, [_FAULT], now=_NOW, control_id="GW1")
            told.append(shape(error))
            continue
        for answer in answers(header, Code.AE, [_FAULT], now=_NOW, control_id=lambda: "GW1"):
            assert b"MSA" in answer
            header_of(answer)
        try:
            told.append(_asked(Message.parse(raw)))
        except Hl7Error as error:
            told.append(shape(error))
    return " ".join(told[:3])


def _asked(message: Message) -> str:
    for segment in message.segments:
        for path in _PATHS:
            segment.get(path)
            segment.field(path)
            segment.is_null(path)
            segment.count(path)
    asked = orders.read(message, _sender(), _NOW)
    return f"{len(asked.changes)} {[fault.code for fault in asked.faults][:3]}"


@cache
def _sender() -> orders.Sender:
    return orders.Sender(
        name=SourceName("ris"), mapping=order_mapping("generic", Path("none")), zone=ZoneInfo("Europe/Berlin")
    )


def hl7_seeds() -> list[bytes]:
    """The messages of the tests, and a batch of two."""
    every = list(messages().values())
    return [*every, b"FHS|^~\\&|A\rBHS|^~\\&|A\r" + every[0] + b"\r" + every[1] + b"\rBTS|2\rFTS|1\r"]
