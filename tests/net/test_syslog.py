"""Our log at a real syslog server over TLS: whole, escaped, once; and what becomes of it while there is none."""

from __future__ import annotations

import os
import resource
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import UTC, datetime
from pathlib import Path

import pytest

from gateway.domain.model import TemporaryFailure
from gateway.domain.syslog import Facility, Told, framed, message, told
from gateway.net.syslog import Server, Syslog
from tests.net.wire import HOST, PATIENCE, Certificate
from tests.peers.processes import free_port
from tests.peers.rsyslog import messages, rsyslog

AT = datetime(2026, 11, 22, 8, 0, 0, 250_000, tzinfo=UTC)


def line(event: str, **values: str) -> bytes:
    one = Told(at=AT, severity=6, event=event, values=values)
    return message(one, facility=Facility.DAEMON, host="north.ct1-room", process=7)


def gap(lost: int) -> bytes:
    return line("lines left out", left_out=str(lost))


@contextmanager
def way(port: int, tls: ssl.SSLContext, *, waiting: int = 100) -> Iterator[Syslog]:
    server = Server(host=HOST, port=port, tls=lambda: tls, timeout=PATIENCE)
    opened = Syslog(server, waiting=waiting, gap=gap)
    try:
        yield opened
    finally:
        opened.close(within=PATIENCE)


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline
        threading.Event().wait(0.01)


@pytest.mark.slow
def test_a_server_of_the_hospital_reads_each_line_as_it_was_meant(tmp_path: Path, certificate: Certificate) -> None:
    with rsyslog(tmp_path / "server", certificate, free_port()) as (server, out):
        with way(server.port, certificate.client) as log:
            log.send(line("attempt", dest="pacs", status="0000"))
            log.send(line("two words, and a comma", code='a"b]c\\d'))
        until(lambda: len(messages(out)) == 2)
    first, second = messages(out)
    assert (first["pri"], first["version"], first["host"], first["app"]) == ("30", "1", "north.ct1-room", "gateway")
    assert (first["msgid"], first["said"]) == ("attempt", "attempt")
    assert first["data"] == '[gateway@32473 dest="pacs" status="0000"]'
    assert (second["msgid"], second["said"]) == ("two-words-and-a-comma", "two words, and a comma")
    assert second["data"] == '[gateway@32473 code="a\\"b\\]c\\\\d"]'
    assert "2026-11-22T08:00:00.250000Z" in first["raw"]


@pytest.mark.slow
def test_after_an_outage_of_the_server_the_lines_that_were_kept_come_and_the_gap_is_told(
    tmp_path: Path, certificate: Certificate
) -> None:
    port = free_port()
    with way(port, certificate.client, waiting=3) as log:
        for number in range(10):
            log.send(line(f"line {number}"))
        with rsyslog(tmp_path / "server", certificate, port) as (_, out):
            until(lambda: len(messages(out)) == 4)
    assert [one["said"] for one in messages(out)] == ["lines left out", "line 7", "line 8", "line 9"]
    assert messages(out)[0]["data"] == '[gateway@32473 left_out="7"]'


class Listener:
    """A server in this process, of which the connections can be ended."""

    def __init__(self, tls: ssl.SSLContext) -> None:
        self._socket = socket.create_server((HOST, 0))
        self._socket.settimeout(PATIENCE)
        self.port = int(self._socket.getsockname()[1])
        self._tls = tls
        self.received = b""

    def take(self, size: int) -> None:
        """One connection, up to so many bytes; then it is closed."""
        plain, _ = self._socket.accept()
        with self._tls.wrap_socket(plain, server_side=True) as connection:
            while len(self.received) < size and (some := connection.recv(4096)):
                self.received += some

    def close(self) -> None:
        self._socket.close()


@contextmanager
def many_files() -> Iterator[None]:
    """A process that has opened more than select(2) can name."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    opened = [os.open(os.devnull, os.O_RDONLY) for _ in range(1100)]
    try:
        yield
    finally:
        for one in opened:
            os.close(one)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize("files", [nullcontext, many_files], ids=["few files", "many files"])
def test_a_connection_that_the_server_ended_is_made_anew(
    certificate: Certificate, files: Callable[[], AbstractContextManager[None]]
) -> None:
    with files():
        made_anew(certificate)


def made_anew(certificate: Certificate) -> None:
    listener = Listener(certificate.server)
    first, second = framed(line("one")), framed(line("two"))
    with way(listener.port, certificate.client) as log:
        log.send(line("one"))
        listener.take(len(first))
        log.send(line("two"))
        listener.take(len(first + second))
    listener.close()
    assert listener.received == first + second


def test_a_certificate_that_is_away_for_a_while_keeps_lines_and_ends_nothing(certificate: Certificate) -> None:
    listener = Listener(certificate.server)
    asked = []

    def contexts() -> ssl.SSLContext:
        asked.append(1)
        if len(asked) == 1:
            raise TemporaryFailure("ca is away", code="files")
        return certificate.client

    server = Server(host=HOST, port=listener.port, tls=contexts, timeout=PATIENCE)
    log = Syslog(server, waiting=10, gap=gap)
    log.send(line("one"))
    listener.take(len(framed(line("one"))))
    log.close(within=PATIENCE)
    listener.close()
    assert listener.received == framed(line("one"))


def test_a_server_with_a_strangers_certificate_gets_nothing(certificate: Certificate) -> None:
    listener = Listener(certificate.server)
    with way(listener.port, ssl.create_default_context()) as log:
        log.send(line("one"))
        with pytest.raises((ssl.SSLError, OSError)):
            listener.take(1)
        listener.close()
        assert listener.received == b""


def test_a_server_that_reads_nothing_holds_nobody_up(certificate: Certificate) -> None:
    silent = socket.create_server((HOST, 0))
    server = Server(host=HOST, port=silent.getsockname()[1], tls=lambda: certificate.client, timeout=PATIENCE)
    log = Syslog(server, waiting=10, gap=gap)
    for number in range(10_000):
        log.send(line("line", seq=str(number)))
    silent.close()
    log.close(within=PATIENCE)


NAMES = {"pacs"}


@pytest.mark.parametrize(
    ("key", "value", "leaves"),
    [
        ("dest", "pacs", True),
        ("dest", "DOE^JANE", False),
        ("dest", "other", False),
        ("rows", 7, True),
        ("rows", "7", False),
        ("code", "no-answer", True),
        ("code", "A700", True),
        ("code", "http-503", True),
        ("code", "ACC12345", False),
        ("code", "1.2.840.113619", False),
        ("code", "DOE^JANE", False),
        ("code", "doe jane", False),
        ("error", "TemporaryFailure", True),
        ("error", "MUELLER", False),
        ("instance", "0f" * 11, True),
        ("instance", "1.2.3", False),
        ("raised_at", "lane.py:352", True),
        ("address", "10.1.1.20", False),
        ("ae", "CT1", False),
        ("association", "a1", False),
        ("anything", 1, False),
    ],
)
def test_only_listed_keys_leave_with_values_of_their_kind(key: str, value: object, leaves: bool) -> None:
    one = told({"event": "attempt", "level": "info", key: value}, names=NAMES, now=AT)
    assert one.values == ({key: str(value)} if leaves else {"left_out": "1"})


def test_words_that_are_none_of_ours_do_not_leave() -> None:
    for event in ("M\u00fcller", "DOE^JANE", "1.2.840.10008", "", "a" * 81, "line\nline", None):
        assert told({"event": event}, names=NAMES, now=AT).event == "a line that may not leave"
