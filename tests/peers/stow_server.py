"""A DICOMweb server that answers as it is told: a scripted peer for what a real one says too seldom."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from tests.peers.processes import HOST


@dataclass(frozen=True, slots=True)
class Said:
    """An answer to STOW-RS."""

    status: int
    body: object = None
    raw: bytes | None = None
    hang_up: bool = False


@dataclass(slots=True)
class StowServer:
    """What it answers by SOP Instance UID, and what it got."""

    port: int
    answer: Callable[[str], Said]
    held: set[str] = field(default_factory=set)
    lists: bool = True
    """It knows lists of UIDs in queries."""
    page: bytes = b""
    """What is answered instead to each query: there is something before it."""
    received: list[bytes] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    queries: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}/dicom-web"


def uid_in(body: bytes) -> str:
    """The SOP Instance UID of the file meta in a request."""
    at = body.index(b"\x02\x00\x03\x00UI")
    length = int.from_bytes(body[at + 6 : at + 8], "little")
    return body[at + 8 : at + 8 + length].rstrip(b"\0").decode()


@contextmanager
def stow_server(answer: Callable[[str], Said]) -> Iterator[StowServer]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            server.received.append(body)
            server.headers.append(dict(self.headers))
            said = server.answer(uid_in(body))
            if said.hang_up:
                self.close_connection = True
                return
            raw = said.raw if said.raw is not None else b"" if said.body is None else json.dumps(said.body).encode()
            self._say(said.status, raw)

        def do_GET(self) -> None:
            asked = parse_qs(urlsplit(self.path).query)["SOPInstanceUID"][0]
            server.queries.append(asked)
            if server.page:
                self._say(200, server.page)
                return
            wanted = asked.split(",") if server.lists else [asked]
            rows = [{"00080018": {"vr": "UI", "Value": [uid]}} for uid in wanted if uid in server.held]
            self._say(200 if rows else 204, json.dumps(rows).encode() if rows else b"")

        def _say(self, status: int, raw: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", "application/dicom+json")
            if status != 204:
                self.send_header("Content-Length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

        def log_message(self, *_: object) -> None:
            pass

    http = ThreadingHTTPServer((HOST, 0), Handler)
    server = StowServer(port=http.server_address[1], answer=answer)
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        http.shutdown()
        http.server_close()
        thread.join()
