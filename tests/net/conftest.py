"""A real server on uvloop in a thread, and a certificate for it."""

from __future__ import annotations

import ssl
import subprocess
from collections.abc import Iterator

import pytest

from tests.net.wire import Box, Certificate, Opener


@pytest.fixture
def open_box() -> Iterator[Opener]:
    opener = Opener()
    yield opener
    opener.close()


@pytest.fixture
def box(open_box: Opener) -> Box:
    return open_box()


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """A self-signed certificate for localhost, trusted by the client's context alone."""
    folder = tmp_path_factory.mktemp("tls")
    key, path = folder / "key.pem", folder / "certificate.pem"
    command = [
        "/usr/bin/openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "2",
        "-subj",
        "/CN=localhost",
    ]
    names = ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", str(key), "-out", str(path)]
    subprocess.run([*command, *names], check=True, capture_output=True, timeout=60)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(path, key)
    client = ssl.create_default_context(cafile=str(path))
    return Certificate(server=server, client=client, path=path, key=key)
