"""The MLLP port: order, bounds, and what it does with senders that misbehave."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from gateway.domain.mllp import frame
from gateway.net.mllp_server import AHEAD
from tests.net.mllp_wire import PATIENCE, Caller, Desk, Post
from tests.net.wire import Certificate

Opener = Callable[..., Post]


@pytest.fixture
def open_post() -> Iterator[Opener]:
    with contextlib.ExitStack() as stack:

        def open_one(receiver: Any = None, **changed: Any) -> Post:
            post = Post(receiver or Desk(), **changed)
            stack.callback(post.close)
            return post

        yield open_one


def test_messages_of_one_connection_are_answered_in_their_order(open_post: Opener) -> None:
    desk = Desk()
    post = open_post(desk)
    with Caller(post.port) as caller:
        assert caller.ask(b"MSH|one") == b"answer to MSH|one"
        sent = [b"MSH|%d" % number for number in range(200)]
        caller.send(*sent)
        assert [caller.answer() for _ in sent] == [b"answer to " + message for message in sent]
    assert desk.messages[1:] == sent


def test_a_sender_that_is_gone_without_a_word_is_looked_for(open_post: Opener) -> None:
    post = open_post()
    with Caller(post.port) as caller:
        assert caller.ask(b"MSH|one") is not None
        (connection,) = post.server._connections
        sock = connection._writer.get_extra_info("socket")
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)


def test_answers_keep_the_order_of_their_messages(open_post: Opener) -> None:
    desk = Desk(hold=True)
    post = open_post(desk)
    with Caller(post.port) as caller:
        caller.send(b"MSH|1", b"MSH|2")
        post.wait_until(lambda: len(desk.held) == 2)
        post.loop.call_soon_threadsafe(desk.held[1].set_result, frame(b"2"))
        post.loop.call_soon_threadsafe(desk.held[0].set_result, frame(b"1"))
        assert [caller.answer(), caller.answer()] == [b"1", b"2"]


def test_a_sender_that_does_not_wait_is_read_up_to_a_bound(open_post: Opener) -> None:
    desk = Desk(hold=True)
    post = open_post(desk)
    with Caller(post.port) as caller:
        caller.send(*[b"MSH|%d" % number for number in range(10 * AHEAD)])
        post.wait_until(lambda: len(desk.held) == AHEAD + 2)
        post.loop.call_soon_threadsafe(desk.held[0].set_result, frame(b"0"))
        assert caller.answer() == b"0"
        post.wait_until(lambda: len(desk.held) == AHEAD + 3)
        assert len(desk.messages) == AHEAD + 3
        desk.release(post)


def test_a_large_message_is_alone(open_post: Opener) -> None:
    desk = Desk(hold=True)
    post = open_post(desk)
    with Caller(post.port) as caller:
        caller.send(b"MSH|" + b"x" * 100_000, b"MSH|behind")
        post.wait_until(lambda: len(desk.held) == 1)
        post.loop.call_soon_threadsafe(desk.held[0].set_result, frame(b"1"))
        assert caller.answer() == b"1"
        post.wait_until(lambda: len(desk.held) == 2)
        desk.release(post)


def test_what_was_sent_before_the_sender_hung_up_is_answered(open_post: Opener) -> None:
    desk = Desk(hold=True)
    post = open_post(desk)
    with Caller(post.port) as caller:
        caller.send(b"MSH|last")
        caller.socket.shutdown(1)
        post.wait_until(lambda: len(desk.held) == 1)
        post.loop.call_soon_threadsafe(desk.held[0].set_result, frame(b"ok"))
        assert caller.answer() == b"ok"
        assert caller.answer() is None


def test_a_sender_that_vanishes_ends_only_its_own_connection(open_post: Opener) -> None:
    desk = Desk(hold=True)
    post = open_post(desk)
    gone = Caller(post.port)
    gone.send(b"MSH|gone")
    post.wait_until(lambda: len(desk.held) == 1)
    gone.socket.close()
    with Caller(post.port) as caller:
        caller.send(b"MSH|here")
        post.wait_until(lambda: len(desk.held) == 2)
        for held in desk.held:
            post.loop.call_soon_threadsafe(held.set_result, frame(b"ok"))
        assert caller.answer() == b"ok"


def test_a_message_that_is_too_long_is_answered_and_ends_the_connection(open_post: Opener) -> None:
    desk = Desk()
    post = open_post(desk, message_max=10_000)
    with Caller(post.port) as caller:
        assert caller.ask(b"MSH|" + b"x" * 9_000) is not None
        with contextlib.suppress(ConnectionError):
            caller.socket.sendall(b"\x0bMSH|" + b"x" * 1_000_000)
        assert caller.answer() == b"too long"
        caller.socket.shutdown(1)
        assert caller.answer() is None
    assert len(desk.messages) == 1


def test_a_message_that_can_not_be_taken_ends_the_connection_unanswered(open_post: Opener) -> None:
    post = open_post(Desk(wrong={b"MSH|bad"}))
    with Caller(post.port) as caller:
        assert caller.ask(b"MSH|good") == b"answer to MSH|good"
        assert caller.ask(b"MSH|bad") is None
    with Caller(post.port) as caller:
        assert caller.ask(b"MSH|good") == b"answer to MSH|good"


@pytest.mark.parametrize("sent", [b"", b"\x0bMSH|half"])
def test_silence_and_standstill_end_a_connection(open_post: Opener, sent: bytes) -> None:
    limit = {"stall": 0.05} if sent else {"idle": 0.05}
    post = open_post(**limit)
    with Caller(post.port) as caller:
        caller.socket.sendall(sent)
        assert caller.answer() is None


def test_who_reads_no_answers_is_read_no_further(open_post: Opener) -> None:
    desk = Desk()
    post = open_post(desk, stall=0.5)
    with Caller(post.port) as caller:
        caller.socket.settimeout(10)
        with contextlib.suppress(ConnectionError):
            for _ in range(2000):
                caller.send(b"MSH|" + b"x" * 60_000)
        post.wait_until(lambda: not post.server._connections)
    assert len(desk.messages) < 2000


def test_connections_are_bounded(open_post: Opener) -> None:
    post = open_post(connections=3, connections_per_address=2)
    with Caller(post.port) as one, Caller(post.port) as two:
        assert one.ask(b"MSH|1")
        assert two.ask(b"MSH|2")
        assert Caller(post.port).turned_away()
        with Caller(post.port, source="127.0.0.2") as other:
            assert other.ask(b"MSH|3")
            assert Caller(post.port, source="127.0.0.3").turned_away()
    post.wait_until(lambda: not post.server._addresses)
    with Caller(post.port) as again:
        assert again.ask(b"MSH|4")


def test_an_address_of_no_sender_is_not_heard(open_post: Opener) -> None:
    desk = Desk(known=lambda address: address == "127.0.0.2")
    post = open_post(desk)
    assert Caller(post.port).turned_away()
    with Caller(post.port, source="127.0.0.2") as caller:
        assert caller.ask(b"MSH|1")
    assert len(desk.messages) == 1


def test_draining_answers_what_was_taken(open_post: Opener) -> None:
    desk = Desk(hold=True)
    post = open_post(desk)
    with Caller(post.port) as caller, Caller(post.port) as idle:
        caller.send(b"MSH|1")
        post.wait_until(lambda: len(desk.held) == 1 and len(post.server._connections) == 2)
        draining = asyncio.run_coroutine_threadsafe(post.server.drain(PATIENCE), post.loop)
        assert idle.answer() is None
        post.loop.call_soon_threadsafe(desk.held[0].set_result, frame(b"ok"))
        assert caller.answer() == b"ok"
        assert caller.answer() is None
        draining.result(PATIENCE)
    with pytest.raises(ConnectionError):
        Caller(post.port)


def test_many_senders_at_once(open_post: Opener) -> None:
    post = open_post()
    wrong: list[bytes | None] = []

    def talk(number: int) -> None:
        with Caller(post.port) as caller:
            for turn in range(50):
                message = b"MSH|%d %d" % (number, turn)
                answer = caller.ask(message)
                if answer != b"answer to " + message:
                    wrong.append(answer)

    threads = [threading.Thread(target=talk, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert wrong == []


def mutual(certificate: Certificate) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A server that wants a certificate, and a client that shows one: the same, it signed itself."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certificate.path, certificate.key)
    server.load_verify_locations(certificate.path)
    server.verify_mode = ssl.CERT_REQUIRED
    client = ssl.create_default_context(cafile=str(certificate.path))
    client.load_cert_chain(certificate.path, certificate.key)
    return server, client


def heard(port: int, client: ssl.SSLContext) -> bool:
    """Whether a message of a client is answered: TLS 1.3 tells it of its missing certificate only later."""
    try:
        with Caller(port, tls=client) as caller:
            return caller.ask(b"MSH|3") is not None
    except (ssl.SSLError, ConnectionError):
        return False


def test_tls_with_client_certificates(open_post: Opener, certificate: Certificate) -> None:
    server, client = mutual(certificate)
    desk = Desk()
    post = open_post(desk, tls=server)
    with Caller(post.port, tls=client) as caller:
        assert caller.ask(b"MSH|1") == b"answer to MSH|1"
        large = b"MSH|" + b"x" * 500_000
        assert caller.ask(large) == b"answer to " + large
    with Caller(post.port) as plain:
        assert plain.ask(b"MSH|2") is None
    assert not heard(post.port, certificate.client)
    assert len(desk.messages) == 2


def test_a_handshake_that_never_ends_takes_a_place(open_post: Opener, certificate: Certificate) -> None:
    post = open_post(tls=certificate.server, connections_per_address=1)
    with Caller(post.port):
        post.wait_until(lambda: post.server._addresses.total() == 1)
        assert Caller(post.port).turned_away()
    post.wait_until(lambda: not post.server._addresses)
