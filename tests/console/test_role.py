"""The role starts, stops by SIGTERM with the others, and stays on loopback."""

from __future__ import annotations

import re
import signal
import sys
from pathlib import Path

import pytest

import gateway
from gateway.domain.model import ConfigError
from tests.cli.site import Site
from tests.console.box import Served, free_port, made
from tests.peers.processes import program, run

ROOT = Path(gateway.__file__).parents[1]
TOML = """
[site]
name = "north"
timezone = "UTC"
[box]
id = "box"
state = "state"
runtime = "."
[[listen]]
address = "127.0.0.1"
port = {port}
[mllp]
port = 0
[[destination]]
name = "pacs"
host = "127.0.0.1"
port = {port}
ae = "PACS"
confirm = "status"
compression = "none"
[metrics]
port = 0
[console]
address = "{address}"
port = {console}
"""


def command(folder: Path, *roles: str, console: int, address: str = "127.0.0.1") -> list[str]:
    config = folder / "gateway.toml"
    config.write_text(TOML.format(port=free_port(), console=console, address=address))
    return [sys.executable, "-m", "gateway", "serve", *roles, "--config", str(config)]


@pytest.mark.slow
@pytest.mark.parametrize("roles", [("console",), ("all",)], ids=["alone", "all"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_serves_until_it_is_told_to_stop(tmp_path: Path, roles: tuple[str, ...], number: signal.Signals) -> None:
    port = free_port()
    serve = command(tmp_path, *roles, console=port)
    with program(serve, port=port, folder=tmp_path, env={"PYTHONPATH": str(ROOT)}) as running:
        served = Served(port)
        status, _, told = served.ask("/healthz")
        assert (status, b"no process is its edge and forward" in told) == (
            (200, False) if "all" in roles else (503, True)
        )
        assert served.json("/api/v1/status")["instances_received"] == 0
        running.process.send_signal(number)
        assert running.process.wait(timeout=90) == 0
        assert "event=stopping" in running.text()
        assert "Traceback" not in running.text()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("address", "console", "told"),
    [
        ("0.0.0.0", 8080, 'gateway: console.address: is no loopback address, .* write "127.0.0.1"'),
        ("127.0.0.1", 0, "gateway: console.port: is 0, .* write a port"),
    ],
)
def test_what_cannot_be_served_is_refused_with_the_remedy(
    tmp_path: Path, address: str, console: int, told: str
) -> None:
    done = run(command(tmp_path, "console", console=console, address=address), env={"PYTHONPATH": str(ROOT)})
    assert done.returncode == 2
    assert re.search(told, done.output)


def test_an_address_is_refused_before_the_port_is_taken(site: Site) -> None:
    with pytest.raises(ConfigError, match=r"^console\.address: "):
        made(site, address="10.1.1.20")


def test_a_port_that_is_taken_is_told(site: Site, console: Served) -> None:
    told: list[bool] = []
    assert made(site, port=console.port, port_had=told.append).server.port == console.port
    assert told == [False]
