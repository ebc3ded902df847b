"""The synthetic patient comes through the doors of a real process, leaves nothing in the clinical books, and stops
where a part is dead though it looks alive."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from gateway.cli.commands import app
from gateway.domain.health import Hop
from gateway.domain.synthetic import SCANNER
from tests.journeys.gateway_process import ROOT, Gateway, To, gateway
from tests.peers import pynetdicom_scu
from tests.peers.processes import free_port

pytestmark = pytest.mark.slow
EVERY = {hop.value for hop in Hop} - {"echo", "find", "test-store"}


def selftest(box: Gateway, *, patience: int = 90) -> tuple[int, dict[str, Any]]:
    """Exit status, and what it says; hops by name."""
    config = str(box.folder / "gateway.toml")
    done = CliRunner().invoke(app, ["selftest", "--json", "--patience", str(patience), "--config", config])
    assert done.stdout, done.output
    told = json.loads(done.stdout)
    assert told["holds"] == (done.exit_code == 0)
    return done.exit_code, {hop["hop"]: hop for hop in told["hops"]}


def clinical(box: Gateway) -> str:
    """Every value of every table of the clinical books."""
    tables = [row["name"] for row in box.rows("SELECT name FROM sqlite_master WHERE type = 'table'")]
    return repr([box.rows(f"SELECT * FROM {name}") for name in tables])


def test_it_comes_through_and_is_in_no_clinical_book(tmp_path: Path) -> None:
    with gateway(tmp_path, to=[To(port=free_port())], mllp=free_port()) as box:
        shown = pynetdicom_scu.find_worklist(box.port, pynetdicom_scu.worklist_query(), called="GATEWAY_MWL")
        assert (shown.status, shown.rows) == (0, ())
        # Whoever calls by the name of its scanner reaches the books apart alone
        assert pynetdicom_scu.echo(box.port, calling=SCANNER, called="GATEWAY") == 0
        before = box.rows("SELECT count(*) AS n FROM journal")
        for _ in range(2):  # nothing that the first left makes the second come through, or stops it
            status, hops = selftest(box)
            assert {name: hop["holds"] for name, hop in hops.items()} == dict.fromkeys(EVERY, True), hops
            assert status == 0
            assert all(hop["latency_ms"] > 0 for hop in hops.values())
        books = clinical(box)
        assert "SELFTEST" not in books
        assert "loopback" not in books
        assert box.rows("SELECT count(*) AS n FROM journal") == before
        assert box.instances() == box.deliveries("loopback") == box.object_files() == []
        shown = pynetdicom_scu.find_worklist(box.port, pynetdicom_scu.worklist_query(), called="GATEWAY_MWL")
        assert (shown.status, shown.rows) == (0, ())  # while its order is on the list that it is shown itself


def test_a_part_that_hangs_is_named_by_its_hop(tmp_path: Path) -> None:
    """Planted: forward is stopped (SIGSTOP), which every look at processes and ports calls running."""
    with (
        gateway(tmp_path, to=[To(port=free_port())], roles=("worklist", "storage"), mllp=free_port()) as box,
        subprocess.Popen(
            [sys.executable, "-m", "gateway", "serve", "forward", "--config", str(tmp_path / "gateway.toml")],
            cwd=ROOT,
            stderr=subprocess.PIPE,
        ) as forward,
    ):
        try:
            assert forward.stderr is not None
            next(line for line in forward.stderr if b"ready" in line)
            assert selftest(box)[0] == 0
            os.kill(forward.pid, signal.SIGSTOP)
            status, hops = selftest(box, patience=6)
            assert status == 1
            assert [name for name, hop in hops.items() if hop["holds"] is False] == ["check"]
            assert [name for name, hop in hops.items() if hop["holds"] is None] == ["forward", "confirm"]
            os.kill(forward.pid, signal.SIGCONT)
            assert selftest(box)[0] == 0  # what the failed round left is no hindrance
        finally:
            forward.kill()


def test_without_a_door_for_orders_the_image_goes_and_without_a_gateway_nothing_does(
    tmp_path: Path,
) -> None:
    with gateway(tmp_path, to=[To(port=free_port())]) as box:
        status, hops = selftest(box)
        assert status == 0, hops
        assert hops["order"]["holds"] is hops["check"]["holds"] is None
        assert hops["confirm"]["holds"] is True
        box.kill()
        status, hops = selftest(box)
        assert status == 1
        assert hops["worklist"]["holds"] is False
        assert hops["confirm"]["holds"] is None
