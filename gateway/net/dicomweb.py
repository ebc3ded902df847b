"""STOW-RS and QIDO-RS as a client, for one thread (PS3.18 10.5, 10.6).

What is promised: an object goes from its file in pieces and is never whole in memory; every wait has an end; what a
server answers is bounded. Failures are `TransportFailure` whose code names the phase ("connect", "send", "receive",
"silence") or `TemporaryFailure` where there was an answer that is of no use. A status is the caller's to judge.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import httpx

from gateway.dicom.convert import Segment, length_of
from gateway.dicom.dimse import Status
from gateway.domain.model import TemporaryFailure
from gateway.net.dicom_socket import TransportFailure
from gateway.net.pieces import pieces
from gateway.net.tls import Context

ANSWER_MAX: Final = 16 * 1024 * 1024
"""Bytes of the longest answer that is read."""
TOKEN_MAX: Final = 64 * 1024
JSON: Final = "application/dicom+json"

_SOP_INSTANCE, _REFERENCED_INSTANCE = "00080018", "00081155"
_NO_FAILURES: Final = frozenset({0x0000, *range(0xB000, 0xC000)})
_REFERENCED, _FAILED, _REASON, _WARNING = "00081199", "00081198", "00081197", "00081196"

_PHASES: Final[dict[type[Exception], str]] = {
    UnicodeError: "connect",  # a name that IDNA has not
    httpx.ConnectError: "connect",
    httpx.ConnectTimeout: "connect",
    httpx.WriteError: "send",
    httpx.TimeoutException: "silence",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A DICOMweb service, and who we are to it."""

    url: str
    """The base of its resources, without a slash at the end."""
    connect_timeout: float
    timeout: float
    """Seconds without progress."""
    tls: Context | None = None
    token: Path | None = None
    """A file with a bearer token; read anew for each connection, so that it can be renewed."""
    user: str = ""
    """For Basic authentication, with the password in the file `password`."""
    password: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """What the server answered for one instance."""

    status: int
    """Of HTTP."""
    reason: int | None = None
    """Failure Reason (0008,1197) of the instance, if it names it as failed; 0110 for one that says no failure."""
    warning: int | None = None
    """Warning Reason (0008,1196), if it names it as stored with one."""
    named: bool = False
    """The answer names the instance as stored."""
    silent: bool = False
    """The answer says nothing at all: the status alone holds."""


class DicomWeb:
    """A connection to a server, kept between requests."""

    def __init__(self, server: Server) -> None:
        """Raises `TemporaryFailure` if a secret or a certificate can't be read. Nothing is connected yet."""
        self._url = server.url
        headers = {"Accept": JSON, "User-Agent": "modality-gateway"}
        if server.token is not None:
            headers["Authorization"] = f"Bearer {_secret(server.token)}"
        self._client = httpx.Client(
            headers=headers,
            auth=(server.user, _secret(server.password)) if server.password is not None else None,
            verify=server.tls() if server.tls is not None else True,
            timeout=httpx.Timeout(server.timeout, connect=server.connect_timeout),
            limits=httpx.Limits(max_connections=1),
            trust_env=False,
        )

    def __enter__(self) -> DicomWeb:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._client.close()

    def store(
        self, instance: str, header: bytes, segments: Sequence[Segment], source: int, *, allow: Callable[[int], int]
    ) -> Stored:
        """Store one Part 10 object: its file meta `header`, and a data set of bytes and extents of the file `source`.
        `instance` is its SOP Instance UID, `allow` says how many of so many bytes may go now."""
        boundary = secrets.token_hex(16)
        before = f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode() + header
        after = f"\r\n--{boundary}--\r\n".encode()
        headers = {
            "Content-Type": f'multipart/related; type="application/dicom"; boundary={boundary}',
            "Content-Length": str(len(before) + length_of(list(segments)) + len(after)),
        }
        body = pieces([before, *segments, after], source, allow)
        status, answer = self._exchange("POST", "/studies", headers=headers, content=body)
        return _stored(status, answer, instance)

    def held(self, study: str, series: str, instances: Sequence[str]) -> set[str]:
        """Which of these instances of one series the server says it has. Raises `TemporaryFailure`."""
        found = self._found(study, series, ",".join(instances))
        if not found and len(instances) > 1:
            # A server that knows no list of UIDs (PS3.18 8.3.4.1) takes it for one that it hasn't
            for instance in instances:
                found |= self._found(study, series, instance)
        return found

    def _found(self, study: str, series: str, instances: str) -> set[str]:
        within = f"/studies/{quote(study, safe='')}/series/{quote(series, safe='')}" if study and series else ""
        asked = {"SOPInstanceUID": instances, "includefield": _SOP_INSTANCE}
        status, answer = self._exchange("GET", f"{within}/instances", params=asked)
        if status in (204, 404):
            return set()
        if status != 200:
            raise TemporaryFailure(f"the query was answered {status}", code=f"http-{status}")
        return {str(uid) for row in _rows(answer) for uid in _values(row, _SOP_INSTANCE)}

    def reachable(self) -> int:
        """The HTTP status of a query for nothing, that costs the server little (PS3.18 10.6). Raises TemporaryFailure
        "unreadable" for success that is no answer to it, such as the page of a proxy."""
        status, answer = self._exchange("GET", "/instances", params={"SOPInstanceUID": "0.0", "limit": "1"})
        if status == httpx.codes.OK:
            _rows(answer)
        return status

    def _exchange(self, method: str, path: str, **request: Any) -> tuple[int, bytes]:
        with _phases(), self._client.stream(method, self._url + path, **request) as response:
            answer = bytearray()
            for piece in response.iter_bytes():
                answer += piece
                if len(answer) > ANSWER_MAX:
                    raise TransportFailure(f"an answer of more than {ANSWER_MAX} bytes", code="receive")
            return response.status_code, bytes(answer)


@contextmanager
def _phases() -> Iterator[None]:
    """Our failures for those of the library."""
    try:
        yield
    except (httpx.HTTPError, httpx.StreamError, httpx.InvalidURL, UnicodeError) as error:
        code = next((code for kind, code in _PHASES.items() if isinstance(error, kind)), "receive")
        raise TransportFailure(f"HTTP: {type(error).__name__}", code=code) from error
    except OSError as error:
        raise TransportFailure(f"HTTP: {error.strerror or type(error).__name__}", code="connect") from error


def _secret(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(TOKEN_MAX).decode("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise TemporaryFailure(
            f"a secret can't be read ({type(error).__name__}): look at token and password of the destination",
            code="secret",
        ) from error


def _stored(status: int, answer: bytes, instance: str) -> Stored:
    """What the Store Instances Response (PS3.18 10.5.3) says of the instance; an answer that can't be read, such as the
    page of a proxy, names none."""
    try:
        rows = _rows(answer)
    except TemporaryFailure:
        return Stored(status=status)
    if not rows:
        return Stored(status=status, silent=True)
    for row in rows:
        for item in _items(row, _FAILED):
            if instance in _values(item, _REFERENCED_INSTANCE):
                return Stored(status=status, reason=_failure(item))
        for item in _items(row, _REFERENCED):
            if instance in _values(item, _REFERENCED_INSTANCE):
                return Stored(status=status, warning=_number(item, _WARNING), named=True)
    return Stored(status=status)


def _failure(item: Mapping[str, Any]) -> int:
    """Why it failed. A reason that would mean "stored" of a C-STORE is none among what failed (PS3.18 10.5.3.2)."""
    reason = _number(item, _REASON)
    if reason is None or reason in _NO_FAILURES:
        return Status.PROCESSING_FAILURE
    return reason


def _rows(answer: bytes) -> list[Mapping[str, Any]]:
    """The objects of DICOM JSON (PS3.18 F). Raises `TemporaryFailure` for anything else."""
    try:
        read = json.loads(answer) if answer.strip() else []
    except (ValueError, RecursionError) as error:
        raise TemporaryFailure("the answer is no DICOM JSON", code="unreadable") from error
    rows = read if isinstance(read, list) else [read]
    if not all(isinstance(row, dict) for row in rows):
        raise TemporaryFailure("the answer is no DICOM JSON", code="unreadable")
    return rows


def _values(row: Mapping[str, Any], tag: str) -> list[Any]:
    element = row.get(tag)
    values = element.get("Value") if isinstance(element, dict) else None
    return values if isinstance(values, list) else []


def _items(row: Mapping[str, Any], tag: str) -> list[Mapping[str, Any]]:
    return [item for item in _values(row, tag) if isinstance(item, dict)]


def _number(item: Mapping[str, Any], tag: str) -> int | None:
    return next((value & 0xFFFF for value in _values(item, tag) if isinstance(value, int)), None)
