"""How central is called: nothing that is amiss with that keeps the box from starting."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from gateway.app.reporting import dial
from gateway.config import parse
from gateway.domain.model import TemporaryFailure
from gateway.net.mqtt import Outgoing, Version
from tests.net.wire import Certificate

TOML = """
[site]
name = "north"
timezone = "UTC"
[box]
id = "ct1-room"
[mqtt]
host = "127.0.0.1"
port = 1
user = "ct1-room"
"""


@pytest.mark.parametrize("key", ["ca", "password"])
def test_a_file_that_is_away_is_a_call_that_failed(tmp_path: Path, key: str, certificate: Certificate) -> None:
    call = dial(parse(f'{TOML}{key} = "away"\n', base=tmp_path))
    for code in ("files", "connect"):
        with pytest.raises(TemporaryFailure) as caught:
            call(Version.FIVE, Outgoing(topic="x", payload=b""), lambda _: None)
        assert caught.value.code == code
        shutil.copy(certificate.path, tmp_path / "away")  # it is there again
