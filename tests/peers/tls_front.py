"""TLS in front of a peer that has none of its own: Debian's Orthanc 1.10 dies of its first HTTPS connection.

It ends the encryption, asks for the client's certificate if its context says so, and passes bytes on both ways.
"""

from __future__ import annotations

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
    with suppress(OSError), plain, context.wrap_socket(plain, server_side=True) as outside:
        outside.settimeout(0.05)
        with socket.create_connection((HOST, port)) as inside:
            back = threading.Thread(target=_back, args=(inside, outside), daemon=True)
            back.start()
            while True:
                try:
                    piece = outside.recv(_PIECE)
                except TimeoutError:
                    continue
                if not piece:
                    return
                inside.sendall(piece)


def _back(inside: socket.socket, outside: ssl.SSLSocket) -> None:
    with suppress(OSError):
        while piece := inside.recv(_PIECE):
            outside.sendall(piece)
