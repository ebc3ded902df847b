"""Foreign senders at the port: node-hl7-client, and the command and the client of python's hl7; plain and with TLS."""

from __future__ import annotations

import asyncio
import ssl
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pytest
from hl7.mllp import open_hl7_connection

from tests.net.wire import Certificate
from tests.peers import needs, node_peer
from tests.peers.processes import HOST, free_port, program, run
from tests.roles.orders_desk import Opener, order


def files_of(folder: Path, *messages: bytes) -> list[Path]:
    paths = [folder / f"{number}.hl7" for number in range(len(messages))]
    for path, message in zip(paths, messages, strict=True):
        path.write_bytes(message)
    return paths


def server_context(certificate: Certificate) -> ssl.SSLContext:
    """Who calls must show the one certificate there is."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.path, certificate.key)
    context.load_verify_locations(certificate.path)
    context.verify_mode = ssl.CERT_REQUIRED
    return context


def utf8(control: str) -> bytes:
    return order(control, tail="P|2.5.1||||||UNICODE UTF-8", name="\u68ee\u5ddd", codec="utf_8")


@needs.node
@pytest.mark.slow
@pytest.mark.parametrize("encrypted", [False, True])
def test_node_hl7_client(open_desk: Opener, certificate: Certificate, tmp_path: Path, encrypted: bool) -> None:
    desk = open_desk(tls=server_context(certificate) if encrypted else None)
    files = files_of(tmp_path, *(utf8(f"N{number}") for number in range(5)), utf8("N0"))
    shown = {"certificate": certificate.path, "key": certificate.key} if encrypted else {}
    told = node_peer.send_hl7(desk.post.port, files, **shown)
    assert told.problem is None
    assert [answer.split("\r")[1] for answer in told.answers] == [f"MSA|AA|N{n}" for n in (0, 1, 2, 3, 4, 0)]
    assert told.answers[0] == told.answers[5]
    assert desk.done() == {f"ris-hl7 N{n}": 1 for n in range(5)}
    assert {kept.received.raw.rstrip() for kept in desk.kept()} == {utf8(f"N{n}").rstrip() for n in range(5)}


@contextmanager
def tunnel(port: int, certificate: Certificate, folder: Path) -> Iterator[int]:
    """The TLS that a sender without any is given: what comes to the port goes on encrypted, with the certificate."""
    shown = f"cert={certificate.path},key={certificate.key},cafile={certificate.path},commonname=localhost"
    own = free_port()
    command = ["/usr/bin/socat", f"TCP-LISTEN:{own},bind={HOST},fork", f"OPENSSL:{HOST}:{port},{shown}"]
    with program(command, port=own, folder=folder):
        yield own


@needs.socat
@pytest.mark.slow
@pytest.mark.parametrize("encrypted", [False, True])
def test_mllp_send_of_python_hl7(open_desk: Opener, certificate: Certificate, tmp_path: Path, encrypted: bool) -> None:
    desk = open_desk(tls=server_context(certificate) if encrypted else None)
    (stream,) = files_of(tmp_path, b"".join(b"\x0b" + utf8(f"P{n}") + b"\x1c\r" for n in range(5)))
    with tunnel(desk.post.port, certificate, tmp_path) if encrypted else nullcontext(desk.post.port) as port:
        ended = run([Path(sys.executable).with_name("mllp_send"), "--file", stream, "--port", str(port), HOST])
    assert ended.returncode == 0, ended.output
    assert [f"MSA|AA|P{n}" in ended.output for n in range(5)] == [True] * 5
    assert desk.done() == {f"ris-hl7 P{n}": 1 for n in range(5)}


def test_python_hl7_with_tls(open_desk: Opener, certificate: Certificate) -> None:
    desk = open_desk(tls=server_context(certificate))
    client = ssl.create_default_context(cafile=str(certificate.path))
    client.load_cert_chain(certificate.path, certificate.key)

    async def talk() -> list[str]:
        reader, writer = await open_hl7_connection(
            HOST, desk.post.port, ssl=client, server_hostname="localhost", encoding="utf-8"
        )
        told = []
        for number in range(5):
            writer.writeblock(utf8(f"T{number}"))
            await writer.drain()
            told.append(str((await reader.readmessage()).segment("MSA")))
        writer.close()
        await writer.wait_closed()
        return told

    assert asyncio.run(talk()) == [f"MSA|AA|T{n}" for n in range(5)]
    assert sum(desk.done().values()) == 5
