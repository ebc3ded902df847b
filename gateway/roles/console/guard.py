"""The door of the console: who may ask, and what every answer carries.

What is promised, until there are accounts:

* Only a page that was asked for under a loopback name is answered: a web site that points its own name at
  127.0.0.1 (DNS rebinding) gets 421 and nothing else (RFC 9110 7.4).
* GET and HEAD only (405 else), but under `WRITABLE`, where POST takes JSON (415 else) of a declared length (411)
  and no more bytes than are told there (413), and not from a page of another origin (403): a browser names the
  origin of a POST (RFC 6454 7.3), and asks before it sends JSON elsewhere, which nobody answers here.
* Every answer forbids scripts, styles and frames of others (Content Security Policy 3), and being stored.
"""

from __future__ import annotations

from collections.abc import MutableMapping
from ipaddress import ip_address
from typing import Any, Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.net.problems import problem

CONTENT_SECURITY_POLICY: Final = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self';"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS: Final = (
    (b"content-security-policy", CONTENT_SECURITY_POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
)
_METHODS: Final = frozenset({"GET", "HEAD"})
WRITABLE: Final = {"/api/v1/desk": 16 * 1024, "/api/v1/orders": 128 * 1024, "/api/v1/tasks": 16 * 1024}
"""The paths, with what is below each, under which POST changes something; and the most bytes of its body."""


class Guard:
    """Stands before the application."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or refuse it."""
        if scope["type"] != "http":  # neither WebSocket nor lifespan is used here
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *_HEADERS]
            await send(message)

        if not is_loopback(_named_host(scope)):
            remedy = "ask for http://127.0.0.1 or http://localhost, through an SSH tunnel from elsewhere"
            answer = problem(421, f"The Host header names no loopback address; {remedy}.")
            await answer(scope, receive, send_guarded)
        elif scope["method"] == "POST" and (longest := _longest(scope["path"])):
            fault = _fault_of_write(scope, longest)
            await (self._app if fault is None else problem(*fault))(scope, receive, send_guarded)
        elif scope["method"] not in _METHODS:
            allowed = "GET, HEAD, POST" if _longest(scope["path"]) else "GET, HEAD"
            answer = problem(405, f"This address takes {allowed}.", headers={"Allow": allowed})
            await answer(scope, receive, send_guarded)
        else:
            # The server leaves the body of an answer to HEAD out by itself, from its own view of the request
            await self._app({**scope, "method": "GET"}, receive, send_guarded)


def is_loopback(host: str) -> bool:
    """Whether a host name or address can only be this machine."""
    if host.casefold() == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _longest(path: str) -> int:
    """The most bytes that may be posted there; 0: nothing may."""
    return next((most for place, most in WRITABLE.items() if path == place or path.startswith(f"{place}/")), 0)


def _fault_of_write(scope: MutableMapping[str, Any], longest: int) -> tuple[int, str] | None:
    """Why a POST is not let in: status and detail; None if it is."""
    origin, length = _header(scope, b"origin"), _header(scope, b"content-length") or "0"
    if origin and origin.partition("://")[2] != _header(scope, b"host"):
        return 403, "The page that asks is not of this console; only its own pages and programs may decide."
    if _header(scope, b"transfer-encoding") or not length.isascii() or not length.isdecimal():
        return 411, "Declare the length of the body in Content-Length."
    if int(length) > longest:
        return 413, f"The body is longer than {longest} bytes; nothing that is asked here is."
    if int(length) and _header(scope, b"content-type").partition(";")[0].strip().casefold() != "application/json":
        return 415, "Send JSON, with Content-Type: application/json."
    return None


def _header(scope: MutableMapping[str, Any], name: bytes) -> str:
    """The first header of that name; empty if there is none."""
    return next((bytes(value).decode("latin-1") for key, value in scope["headers"] if key == name), "")


def _named_host(scope: MutableMapping[str, Any]) -> str:
    """The host of the Host header without its port; empty if there is none (RFC 9110 7.2)."""
    named = _header(scope, b"host")
    if named.startswith("["):
        return str(named[1:].partition("]")[0])
    return str(named.partition(":")[0])
