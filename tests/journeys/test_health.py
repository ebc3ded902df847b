"""Health in a running gateway: what it sees is in the books and in the first line, and the synthetic patient comes."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gateway.cli.commands import app
from tests.journeys.gateway_process import To, gateway
from tests.peers.processes import HOST, free_port

pytestmark = pytest.mark.slow


def test_what_health_sees_is_in_the_books_and_on_the_screen(tmp_path: Path) -> None:
    lines = 'probe = "1s"\nsynthetic = "2s"'
    with gateway(tmp_path, to=[To(port=free_port())], mllp=free_port(), health=lines) as box:
        box.until_alarm("peer-not-listening")

        def hops() -> dict[str, str]:
            rows = box.rows("SELECT hop, code FROM health_probe WHERE peer = 'box'")
            return {one["hop"]: one["code"] for one in rows}

        every = ["order", "worklist", "store", "check", "forward", "confirm"]
        box.until(lambda: hops() == dict.fromkeys(every, ""), what="the synthetic patient came through")
        assert {one["name"] for one in box.rows("SELECT name FROM health_reading")} >= {"cpu", "mem"}
        shown = CliRunner().invoke(app, ["status", "--config", str(tmp_path / "gateway.toml")])
        assert shown.exit_code == 1
        assert shown.stdout.startswith("1 alarm needs a person: peer-not-listening.")
        assert box.instances() == []


def test_a_web_port_that_is_taken_keeps_no_scanner_waiting(tmp_path: Path) -> None:
    with socket.create_server((HOST, 0)) as other, gateway(tmp_path, started=False) as box:
        path, taken = tmp_path / "gateway.toml", f"]\nport = {other.getsockname()[1]}"
        text = path.read_text("utf-8")
        path.write_text(
            text.replace("[console]\nport = 0", f"[console{taken}").replace("[metrics]\nport = 0", f"[metrics{taken}")
        )
        box.start()
        box.until(
            lambda: (
                {row["subject"] for row in box.rows("SELECT subject FROM alarm WHERE code = 'port-taken'")}
                == {"console", "metrics"}
            ),
            what="both are said",
        )
        shown = CliRunner().invoke(app, ["status", "--config", str(path)])
        assert "[console]" in shown.stdout
        assert "[metrics]" in shown.stdout
        assert box.stop() == 0
