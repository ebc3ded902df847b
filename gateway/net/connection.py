"""What every TCP connection of ours has, made or taken; and how one is made: blocking, for one thread.

What is promised: what is sent leaves at once (TCP_NODELAY), a peer that is gone is noticed at last (keep-alive), and
nothing stays open of an attempt that failed.
"""

from __future__ import annotations

import socket

from gateway.net.tls import Context


def connected(host: str, port: int, *, within: float, tls: Context | None) -> socket.socket:
    """A connection, made in `within` seconds for each address of the host, and as many for TLS. Raises OSError, of
    which what TLS finds wrong with the peer is one; before anybody is called, TemporaryFailure "files" of `tls`."""
    context = tls() if tls else None
    sock = socket.create_connection((host, port), within)
    try:
        prepare(sock)
        return context.wrap_socket(sock, server_hostname=host) if context else sock
    except BaseException:
        sock.close()
        raise


def prepare(sock: socket.socket) -> None:
    """Send at once, and look now and then whether the peer is there. Raises OSError if it has left."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
