"""A real browser loads the pages without a word of complaint, and an old screen does not look like a good one."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from gateway.roles.console.guard import CONTENT_SECURITY_POLICY
from tests.cli.site import Site
from tests.console.box import STUDY, Served, bad_night

FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--enable-logging=stderr", "--log-level=0"),
)
pytestmark = pytest.mark.slow


def browse(url: str, folder: Path, *flags: str) -> tuple[str, list[str]]:
    """The page as the browser holds it, and what its console said."""
    browser = shutil.which("chromium")
    assert browser is not None, "install chromium: make setup"
    command = [browser, *FLAGS, f"--user-data-dir={folder}", "--dump-dom", *flags, url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=180, check=True)
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


class Between:
    """Stands between browser and console; after `answers` loads of a page it answers no more."""

    def __init__(self, behind: Served, *, answers: int) -> None:
        self.behind = behind
        self.answers = answers
        self.asked = 0


@contextmanager
def answering(handler: type[BaseHTTPRequestHandler]) -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def handler_of(between: Between) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            between.asked += self.path == "/"
            if self.path == "/" and between.asked > between.answers:
                self.close_connection = True
                return
            status, headers, body = between.behind.ask(self.path)
            self.send_response(status)
            for name in ("content-type", "content-security-policy"):
                self.send_header(name, headers[name])
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Tests are quiet."""

    return Handler


@pytest.mark.parametrize("path", ["/", f"/study/{STUDY}", "/study/1.2.3"])
def test_pages_load_without_complaint(site: Site, console: Served, tmp_path: Path, path: str) -> None:
    bad_night(site)
    page, said = browse(f"http://127.0.0.1:{console.port}{path}", tmp_path / "browser")
    assert "As of " in page
    # A browser tells every page that was not found; nothing else may be said
    assert [line for line in said if "404" not in line] == []


def test_a_complaint_would_be_heard(tmp_path: Path) -> None:
    """The control of the test above: the same policy, and a page that breaks it."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("content-type", "text/html")
            self.send_header("content-security-policy", CONTENT_SECURITY_POLICY)
            self.end_headers()
            self.wfile.write(b"<!doctype html><style>p{color:red}</style><p>As of now")

        def log_message(self, *_: object) -> None:
            """Tests are quiet."""

    with answering(Handler) as port:
        _, said = browse(f"http://127.0.0.1:{port}/", tmp_path / "browser")
    assert [line for line in said if "Content Security Policy" in line]


@pytest.mark.parametrize(("answers", "lost"), [(1000, False), (1, True)], ids=["answers", "gone"])
def test_an_old_screen_says_so(site: Site, console: Served, tmp_path: Path, answers: int, lost: bool) -> None:
    bad_night(site)
    between = Between(console, answers=answers)
    with answering(handler_of(between)) as port:
        page, _ = browse(f"http://127.0.0.1:{port}/", tmp_path / "browser", "--virtual-time-budget=25000")
    assert between.asked >= 2
    assert ('role="alert" hidden' not in page) is lost
    assert ('class="lost"' in page) is lost
    assert page.count("<main") == 1
