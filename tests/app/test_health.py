"""Whom health asks: each RIS and each destination for itself, whatever they are called."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from gateway.app.deeds import deeds
from gateway.app.health import certificates_of, probes_of
from gateway.app.reporting import peers_of
from gateway.config import Config, parse
from gateway.domain.command import Code, Command, CommandName
from gateway.simulate.acceptor import free_port, hosted
from gateway.simulate.ris import RisSimulator, sample_rows
from tests.spool.objects import START, open_spool

TOML = """
[site]
name = "north"
timezone = "UTC"
[box]
id = "ct1-room"
state = "state"
[[ris]]
name = "main"
host = "127.0.0.1"
port = {ris}
ae = "RIS"
certificate = "ris.pem"
key = "ris.key"
[[destination]]
name = "main"
host = "127.0.0.1"
port = {pacs}
ae = "PACS"
confirm = "query"
compression = "none"
certificate = "pacs.pem"
key = "pacs.key"
[routing]
default = ["main"]
unverified = "main"
"""


@pytest.fixture
def ris() -> RisSimulator:
    return RisSimulator(rows=sample_rows(datetime.now(UTC).date()))


def configured(folder: Path, ris: RisSimulator) -> Config:
    return parse(TOML.format(ris=ris.port, pacs=free_port()), base=folder)


def test_a_ris_and_a_destination_of_one_name_are_two_peers(tmp_path: Path, ris: RisSimulator) -> None:
    with hosted(ris):
        config = configured(tmp_path, ris)
        found = {one.name: one.ask(patience=5).code for one in probes_of(config)}
    assert found == {"main": "peer-not-listening", "main:ris": ""}
    assert peers_of(config) == {"main": "dicom", "main:ris": "ris"}
    assert {name: path.name for name, path in certificates_of(config).items()} == {
        "main": "pacs.pem",
        "main:ris": "ris.pem",
    }


def test_either_can_be_asked_for_an_echo(tmp_path: Path, ris: RisSimulator) -> None:
    spool = open_spool(tmp_path / "state")
    with hosted(ris):
        echo = deeds(configured(tmp_path, ris), spool)[CommandName.C_ECHO]
        said = [echo(asking(peer)).code for peer in ("main", "main:ris", "other")]
    spool.close()
    assert said == [Code.NO_ANSWER, Code.OK, Code.UNKNOWN_NAME]


def asking(peer: str) -> Command:
    return Command(
        name=CommandName.C_ECHO,
        arguments={"peer": peer},
        site="north",
        box="ct1-room",
        nonce="0123456789abcdef",
        not_before=START,
        expires=START,
    )
