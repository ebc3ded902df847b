"""The web server on its own thread: nobody holds a connection by being slow, and it ends when it is told to."""

from __future__ import annotations

import asyncio
import http.client
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from gateway.net import http_server
from gateway.net.http_server import HttpServer
from tests.journeys.reporting import until
from tests.peers.processes import HOST, free_port

LARGE = b"x" * (64 << 20)
"""More than the buffers of a connection hold."""
REQUEST = b"GET / HTTP/1.1\r\nHost: here\r\n\r\n"


async def hello(_: Request) -> Response:
    return PlainTextResponse("hello")


@contextmanager
def serving(*routes: Route, port: int = 0, told: Callable[[bool], object] = lambda had: None) -> Iterator[HttpServer]:
    """On a thread, as in `serve`."""
    app = Starlette(routes=[Route("/", hello), *routes])
    server = HttpServer(app, address=HOST, port=port, name="test", told=told)
    stop, loop = asyncio.Event(), asyncio.new_event_loop()
    thread = threading.Thread(target=lambda: loop.run_until_complete(server.run(stop)))
    thread.start()
    try:
        yield server
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(60)
        assert not thread.is_alive()
        loop.close()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_server, "STALL_SECONDS", 0.3)


def ends(peer: socket.socket) -> bool:
    """Whether the other side ends it, in whichever way."""
    peer.settimeout(60)
    try:
        while peer.recv(1 << 16):
            pass
    except ConnectionError:
        pass
    return True


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("said", [b"", REQUEST[:10], REQUEST], ids=["nothing", "half a request", "one, and no more"])
def test_who_is_slow_is_cut(said: bytes) -> None:
    with serving() as server, socket.create_connection((HOST, server.port)) as peer:
        peer.sendall(said)
        assert ends(peer)


@pytest.mark.usefixtures("impatient")
def test_who_does_not_read_is_cut() -> None:
    asked = threading.Event()

    async def large(_: Request) -> Response:
        asked.set()
        return Response(LARGE)

    with serving(Route("/large", large)) as server, socket.create_connection((HOST, server.port)) as peer:
        peer.sendall(REQUEST.replace(b"/ ", b"/large "))
        assert asked.wait(60)
        until(lambda: not server._server.server_state.connections, what="it is cut")


def test_one_connection_for_many_questions() -> None:
    with serving() as server:
        asking = http.client.HTTPConnection(HOST, server.port, timeout=60)
        for _ in range(3):
            asking.request("GET", "/")
            assert asking.getresponse().read() == b"hello"
        asking.close()


@pytest.mark.parametrize("freed", [True, False], ids=["freed", "never freed"])
def test_a_port_that_is_taken_is_asked_for_again(monkeypatch: pytest.MonkeyPatch, freed: bool) -> None:
    monkeypatch.setattr(http_server, "RETRY_SECONDS", 0.05)
    told: list[bool] = []
    port = free_port()
    with socket.create_server((HOST, port)) as other, serving(port=port, told=told.append) as server:
        assert (server.listens, server.port, told) == (False, port, [False])
        if freed:
            other.close()
            until(lambda: told == [False, True], what="it has its port")
            asking = http.client.HTTPConnection(HOST, port, timeout=60)
            asking.request("GET", "/")
            assert asking.getresponse().read() == b"hello"
            asking.close()


def test_no_more_than_so_many_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_server, "CONNECTIONS", 3)
    with serving() as server:
        held = [socket.create_connection((HOST, server.port)) for _ in range(3)]
        asking = http.client.HTTPConnection(HOST, server.port, timeout=60)
        asking.request("GET", "/")
        assert asking.getresponse().status == 503
        asking.close()
        for one in held:
            one.close()
