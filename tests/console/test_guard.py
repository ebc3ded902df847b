"""Who may ask: loopback names only, reading only; and what every answer forbids."""

from __future__ import annotations

import pytest

from gateway.roles.console.guard import CONTENT_SECURITY_POLICY, is_loopback
from tests.console.box import Served

PATHS = ("/", "/api/v1/status", "/metrics", "/healthz", "/static/console.css", "/nothing", "/study/1.2")


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:9", "127.0.0.1:8080", "127.9.9.9", "[::1]:8080", "[::1]"])
def test_a_loopback_name_is_answered(console: Served, host: str) -> None:
    assert console.ask("/healthz", host=host)[0] == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "127.0.0.1.evil.example",
        "localhost.evil.example:8080",
        "10.1.1.20",
        "0.0.0.0",
        "[::ffff:10.0.0.1]",
        "",
        "[",
    ],
)
@pytest.mark.parametrize("path", ["/", "/api/v1/status", "/static/console.js"])
def test_another_name_gets_nothing(console: Served, host: str, path: str) -> None:
    status, headers, body = console.ask(path, host=host)
    assert status in {400, 421}  # h11 refuses a malformed one itself
    assert b"image" not in body
    if status == 421:
        assert headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
@pytest.mark.parametrize("path", ["/", "/api/v1/status", "/nothing"])
def test_nothing_but_reading(console: Served, method: str, path: str) -> None:
    status, headers, _ = console.ask(path, method=method)
    assert (status, headers["allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize("path", PATHS)
def test_head_is_get_without_the_body(console: Served, path: str) -> None:
    got, headed = console.ask(path), console.ask(path, method="HEAD")
    assert headed[0] == got[0]
    assert headed[1]["content-type"] == got[1]["content-type"]
    assert headed[2] == b""


@pytest.mark.parametrize("path", PATHS)
def test_every_answer_forbids_what_is_not_ours(console: Served, path: str) -> None:
    for _, headers, _ in (console.ask(path), console.ask(path, method="POST"), console.ask(path, host="evil.example")):
        assert headers["content-security-policy"] == CONTENT_SECURITY_POLICY
        assert (headers["x-content-type-options"], headers["cache-control"]) == ("nosniff", "no-store")
        assert "server" not in headers
        assert "access-control-allow-origin" not in headers
    assert "unsafe" not in CONTENT_SECURITY_POLICY
    assert CONTENT_SECURITY_POLICY.startswith("default-src 'none'; ")


@pytest.mark.parametrize("page", ["/", "/study/1.2"])
def test_pages_ask_nobody_else(console: Served, page: str) -> None:
    text = console.ask(page)[2].decode()
    assert "//" not in text.replace("<!doctype html>", "")
    assert "<style" not in text
    assert " style=" not in text
    assert "<script>" not in text


@pytest.mark.parametrize("address", ["0.0.0.0", "::", "10.1.1.20", "gateway.example", "", "::ffff:10.0.0.1"])
def test_what_is_not_loopback(address: str) -> None:
    assert not is_loopback(address)
