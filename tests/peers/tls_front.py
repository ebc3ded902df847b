"""TLS in front of a peer that has none of its own: Debian's Orthanc 1.10 dies of its first HTTPS connection.

It ends the encryption, asks for the client's certificate if its context says so, and passes bytes on both ways.
"""

from __future__ import annotations

import selectors
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from tests.peers.processes import HOST

_PIECE = 65536


@contextmanager
def tls_front(port: int, context: ssl.SSLContext) -> Iterator[int]:
    """The port that speaks TLS for the peer at `port`."""
    with socket.create_server((HOST, 0)) as listener:
        threading.Thread(target=_serve, args=(listener, port, context), daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)


def _serve(listener: socket.socket, port: int, context: ssl.SSLContext) -> None:
    with suppress(OSError):
        while True:
            plain, _ = listener.accept()
            threading.Thread(target=_pass, args=(plain, port, context), daemon=True).start()


def _pass(plain: socket.socket, port: int, context: ssl.SSLContext) -> None:
    """One thread alone: OpenSSL's state of a connection is no more to be read and written at once than any other."""
    with (
        suppress(OSError),
        plain,
        context.wrap_socket(plain, server_side=True) as outside,
        socket.create_connection((HOST, port)) as inside,
        selectors.DefaultSelector() as ready,
    ):
        ways = {outside.fileno(): (outside, inside), inside.fileno(): (inside, outside)}
        for end in ways:
            ready.register(end, selectors.EVENT_READ)
        while True:
            for key, _ in ready.select():
                one, other = ways[key.fd]
                while piece := one.recv(_PIECE):
                    other.sendall(piece)
                    if one is inside or not outside.pending():
                        break
                else:
                    return
