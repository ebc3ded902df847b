"""The framing: any parting of the bytes gives the same messages."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.mllp import FrameReader, FrameTooLong, frame

LIMIT = 400


def until_too_long(reader: FrameReader, chunks: list[bytes]) -> list[bytes]:
    found = []
    for chunk in chunks:
        reader.receive(chunk)
        try:
            while (message := reader.next_message()) is not None:
                found.append(message)
        except FrameTooLong:
            return [*found, b"too long"]
    return found


def read_all(reader: FrameReader, data: bytes) -> list[bytes]:
    reader.receive(data)
    found = []
    while (message := reader.next_message()) is not None:
        found.append(message)
    return found


@pytest.mark.parametrize(
    ("stream", "messages"),
    [
        (frame(b"MSH|1\rPID\r"), [b"MSH|1\rPID\r"]),
        (frame(b"MSH|1") + frame(b"MSH|2"), [b"MSH|1", b"MSH|2"]),
        (b"\x0bMSH|1\x1c\x0bMSH|2\x1c\r", [b"MSH|1", b"MSH|2"]),
        (b"\x0bMSH|1\x1c\r\n\r\n \0" + frame(b"MSH|2") + b"\r\n", [b"MSH|1", b"MSH|2"]),
        (b"MSH|1\x1c\rMSH|2\x1c\r", [b"MSH|1", b"MSH|2"]),
        (b"\x0b\x0b  MSH|1\x1c\r", [b"MSH|1"]),
        (b"junk\x0bMSH|1\x1c\r", [b"MSH|1"]),
        (b"\x0bMSH|given up\rPI\x0bMSH|1\x1c\r", [b"MSH|1"]),
        (b"\x0bMSH|soft\x0bbreak\x1c\r", [b"MSH|soft\x0bbreak"]),
        (b"\x0bBHS|\rMSH|1\rMSH|2\rBTS|2\r\x1c\r", [b"BHS|\rMSH|1\rMSH|2\rBTS|2\r"]),
        (b"GET / HTTP/1.1\r\n\x1c\r", [b"GET / HTTP/1.1\r\n"]),
        (b"\x0b\x1c\r\x1c\r\n\x0b\r\x1c", []),
    ],
)
def test_streams(stream: bytes, messages: list[bytes]) -> None:
    assert read_all(FrameReader(message_max=LIMIT), stream) == messages


PIECES = st.one_of(
    st.binary(max_size=20).map(lambda inside: frame(b"MSH|" + inside)),
    st.sampled_from([b"\x0b", b"\x1c", b"\r", b"\n", b"MSH|x", b"\x0bBHS|", b" ", b"\0"]),
    st.binary(max_size=6),
)


@given(st.lists(PIECES, max_size=12).map(b"".join), st.data())
def test_any_chunking_gives_the_same_messages(stream: bytes, data: st.DataObject) -> None:
    cuts = [0, *sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=20))), len(stream)]
    chunks = [stream[at:end] for at, end in pairwise(cuts)]
    limit = data.draw(st.sampled_from([10, LIMIT]))
    expected = until_too_long(FrameReader(message_max=limit), [stream])
    assert until_too_long(FrameReader(message_max=limit), chunks) == expected


def test_a_message_has_a_limit() -> None:
    reader = FrameReader(message_max=LIMIT)
    assert read_all(reader, frame(b"M" * LIMIT)) == [b"M" * LIMIT]
    with pytest.raises(FrameTooLong):
        read_all(reader, frame(b"M" * (LIMIT + 1)))


def test_a_message_without_end_has_a_limit() -> None:
    reader = FrameReader(message_max=LIMIT)
    for _ in range(LIMIT // 4):
        assert read_all(reader, b"\x0bMSH") == []
    with pytest.raises(FrameTooLong):
        read_all(reader, b"\x0bMSH")


def test_noise_between_messages_takes_no_memory() -> None:
    reader = FrameReader(message_max=LIMIT)
    for _ in range(10 * LIMIT):
        assert read_all(reader, b"\r\n\0 ") == []
    assert not reader.begun


def test_a_message_that_has_begun_is_known() -> None:
    reader = FrameReader(message_max=LIMIT)
    assert not reader.begun
    for data, begun in [(b"\r\n\x0b", False), (b"MSH", True), (b"|\x1c", False), (b"\r", False)]:
        read_all(reader, data)
        assert reader.begun is begun
