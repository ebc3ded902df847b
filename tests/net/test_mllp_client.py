"""The blocking MLLP connection: its deadlines, its failures by phase, and TLS with a checked certificate."""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable, Iterator

import hl7
import pytest

from gateway.domain.model import TemporaryFailure
from gateway.net import mllp_client
from gateway.net.mllp_client import MllpClient, Place
from tests.net.wire import Certificate
from tests.peers.mllp_receiver import Ris, ack, mllp_receiver
from tests.peers.processes import HOST, free_port

LONG = 30.0
"""Seconds: far more than a test takes; a deadline that is not kept shows as this."""
MESSAGE = b"MSH|^~\\&|A|B|C|D|20260304||ORM^O01|M1|P|2.3.1\rORC|SC\r"


@pytest.fixture
def ris() -> Iterator[Ris]:
    with mllp_receiver() as receiver:
        yield receiver


def place(port: int, *, timeout: float = LONG, tls: ssl.SSLContext | None = None) -> Place:
    return Place(host=HOST, port=port, connect_timeout=LONG, timeout=timeout, tls=(lambda: tls) if tls else None)


def taken(frame: bytes) -> bytes | None:
    return frame if b"|M1" in frame else None


def code_of(ask: Callable[[], object]) -> str:
    with pytest.raises(TemporaryFailure) as failure:
        ask()
    return failure.value.code


def test_messages_of_one_connection(ris: Ris) -> None:
    with MllpClient(place(ris.port)) as client:
        for _ in range(3):
            assert client.is_idle
            assert b"MSA|AA|M1" in client.ask(MESSAGE, taken)
    assert len(ris.told) == 3


def test_answers_to_other_messages_are_read_over(ris: Ris) -> None:
    ris.answer = lambda one: ack(one, control_id="OLD") * 3 + ack(one, "AE")
    with MllpClient(place(ris.port)) as client:
        assert b"MSA|AE|M1" in client.ask(MESSAGE, taken)


def test_a_peer_that_answers_others_without_end_is_given_up(ris: Ris) -> None:
    ris.answer = lambda one: ack(one, control_id="OLD") * (mllp_client.FOREIGN_MAX + 1)
    with MllpClient(place(ris.port)) as client:
        assert code_of(lambda: client.ask(MESSAGE, taken)) == "silence"


def test_an_answer_without_end_is_given_up(ris: Ris) -> None:
    ris.answer = lambda _: b"\x0bMSH" + b"x" * (mllp_client.ANSWER_MAX + 1)
    with MllpClient(place(ris.port)) as client:
        assert code_of(lambda: client.ask(MESSAGE, taken)) == "receive"


@pytest.mark.parametrize("said", [b"", b"\x0bMSH|", b"\x0bMSH|^~\\&|A\x1c\r"])
def test_silence_ends_at_the_deadline(ris: Ris, said: bytes) -> None:
    ris.answer = lambda _: said
    began = time.monotonic()
    with MllpClient(place(ris.port, timeout=0.1)) as client:
        assert code_of(lambda: client.ask(MESSAGE, taken)) == "silence"
    assert time.monotonic() - began < LONG / 2


def test_a_peer_that_leaves(ris: Ris) -> None:
    ris.answer = lambda _: None
    with MllpClient(place(ris.port)) as client:
        assert code_of(lambda: client.ask(MESSAGE, taken)) == "receive"
        assert not client.is_idle


def test_nobody_listens() -> None:
    assert code_of(lambda: MllpClient(place(free_port()))) == "connect"


def test_tls_with_our_certificate(certificate: Certificate) -> None:
    demanding = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    demanding.load_cert_chain(certificate.path, certificate.key)
    demanding.load_verify_locations(certificate.path)
    demanding.verify_mode = ssl.CERT_REQUIRED
    ours = ssl.create_default_context(cafile=str(certificate.path))
    ours.load_cert_chain(certificate.path, certificate.key)
    with mllp_receiver(tls=demanding) as ris, MllpClient(place(ris.port, tls=ours)) as client:
        assert b"MSA|AA|M1" in client.ask(MESSAGE, taken)
        assert client.is_idle
        assert b"MSA|AA|M1" in client.ask(MESSAGE, taken)


def test_a_stranger_s_certificate_is_refused(certificate: Certificate) -> None:
    with mllp_receiver(tls=certificate.server) as ris:
        assert code_of(lambda: MllpClient(place(ris.port, tls=ssl.create_default_context()))) == "connect"
        assert ris.told == []


def test_the_bytes_are_a_frame(ris: Ris) -> None:
    seen: list[hl7.Message] = []

    def note(one: hl7.Message) -> bytes:
        seen.append(one)
        return ack(one)

    ris.answer = note
    with MllpClient(place(ris.port)) as client:
        client.ask(MESSAGE, taken)
    assert ris.told == [MESSAGE]
    assert str(seen[0].segment("ORC")[1]) == "SC"
