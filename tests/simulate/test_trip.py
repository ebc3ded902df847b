"""The trip's own words: its configuration is one the gateway takes, its books are read strictly, it fails loudly."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from datetime import UTC, datetime
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from gateway.config import load
from gateway.domain.model import Confirm
from gateway.simulate.acceptor import hosted
from gateway.simulate.box import Books, Box, read_books
from gateway.simulate.pacs import PacsSimulator
from gateway.simulate.scanner import Scanner
from gateway.simulate.study import Modality, make_study
from gateway.simulate.trip import INTERRUPTED, byte_exact, trip


def test_the_configuration_is_one_the_gateway_takes(tmp_path: Path) -> None:
    box = Box(tmp_path, ris_port=104, pacs_port=105, scanner_ae="CT1")
    config = load(box.config)
    assert (config.listen[0].port, config.ris[0].port, config.destination[0].port) == (box.port, 104, 105)
    assert config.destination[0].confirm is Confirm.COMMITMENT
    assert config.box.state == tmp_path / "state"
    assert len({box.port, box.console_port}) == 2


def books(*states: list[str]) -> bytes:
    instances = [
        {"SOPInstanceUID": str(number), "deliveries": [{"state": state} for state in one]}
        for number, one in enumerate(states)
    ]
    return json.dumps({"StudyInstanceUID": "1.2.3", "instances": instances}).encode()


def two_copies(*states: str) -> bytes:
    instances = [{"SOPInstanceUID": "1", "deliveries": [{"state": state}]} for state in states]
    return json.dumps({"instances": instances}).encode()


def said(delivered: str, confirmed: str) -> Books:
    return Books(delivered=frozenset(delivered), confirmed=frozenset(confirmed))


@pytest.mark.parametrize(
    ("out", "expected"),
    [
        (books(["confirmed"], ["confirmed", "confirmed"]), said("01", "01")),
        (books(["confirmed", "queued"], ["sent"], ["refused"]), said("1", "")),
        (books([]), said("", "")),
        (two_copies("confirmed", "queued"), said("", "")),
        (two_copies("confirmed", "confirmed"), said("1", "1")),
        (b"", None),
        (b"[]", None),
        (b'{"instances": [{}]}', None),
    ],
)
def test_books_are_read_strictly(out: bytes, expected: Books | None) -> None:
    assert read_books(out) == expected


@pytest.mark.slow
def test_a_gateway_that_dies_is_shown_with_its_last_words(tmp_path: Path) -> None:
    out = StringIO()
    dying = (sys.executable, "-c", "import sys; sys.exit('boom: [no] state folder')")
    console = Console(file=out, width=120)
    assert asyncio.run(trip(once=True, folder=tmp_path, console=console, deadline=100, command=dying)) == 1
    assert "the gateway ended while we were waiting for the gateway's first C-ECHO" in out.getvalue()
    assert "boom: [no] state folder" in out.getvalue()


@pytest.mark.slow
def test_a_gateway_that_never_answers_ends_with_the_deadline(tmp_path: Path) -> None:
    out = StringIO()
    mute = (sys.executable, "-c", "import signal; signal.pause()")
    console = Console(file=out, width=120)
    assert asyncio.run(trip(once=False, folder=tmp_path, console=console, deadline=0.5, command=mute)) == 1
    assert "the deadline passed while we were waiting for the gateway's first C-ECHO" in out.getvalue()


def test_byte_exact_means_the_bytes_that_were_sent(tmp_path: Path) -> None:
    at = datetime(2026, 3, 2, tzinfo=UTC)
    files = make_study({}, Modality.CT, tmp_path, at=at, instances=2, rows=8, columns=8)
    with hosted(pacs := PacsSimulator()):
        sent = Scanner(host="127.0.0.1", port=pacs.port, called_ae="PACS", calling_ae="CT1").send(files)
    assert byte_exact(pacs, sent) == 2
    content = files[0].read_bytes()
    files[0].write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert byte_exact(pacs, sent) == 1
    assert byte_exact(PacsSimulator(), sent) == 0


Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@pytest.mark.slow
@pytest.mark.parametrize("ask", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_stops_the_gateway_too(tmp_path: Path, ask: signal.Signals) -> None:
    """The stand-in connects back and waits; the connection ends when its process does."""

    async def interrupted() -> tuple[int, bytes]:
        started: asyncio.Future[Streams] = asyncio.get_running_loop().create_future()
        server = await asyncio.start_server(lambda *streams: started.set_result(streams), "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        words = f"import signal, socket; s = socket.create_connection(('127.0.0.1', {port})); signal.pause()"
        command = (sys.executable, "-c", words)
        running = asyncio.create_task(
            trip(once=True, folder=tmp_path, console=Console(file=StringIO()), command=command)
        )
        reader, writer = await started
        os.kill(os.getpid(), ask)
        status = await running
        rest = await reader.read()
        writer.close()
        await writer.wait_closed()
        server.close()
        return status, rest

    assert asyncio.run(interrupted()) == (INTERRUPTED, b"")


@pytest.mark.slow
def test_one_whole_trip_through_the_real_gateway(tmp_path: Path) -> None:
    out = StringIO()
    console = Console(file=out, width=120)
    status = asyncio.run(trip(once=True, folder=tmp_path, console=console, instances=3, deadline=200))
    assert status == 0, out.getvalue()
    assert "3/3 in the gateway's books, 3/3 byte-exact" in out.getvalue()
