"""The simulators as programs: they say where they are, end well on SIGTERM, and the scanner's status is honest."""

from __future__ import annotations

import subprocess
import sys
from datetime import date
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from gateway.simulate.acceptor import free_port, hosted
from gateway.simulate.programs import run_pacs, run_scanner
from gateway.simulate.ris import RisSimulator, sample_rows
from gateway.simulate.scanner import Scanner

_START = "import sys; from rich.console import Console; from gateway.simulate.programs import {0} as run; "
_RUN = "sys.exit(run(console=Console(), port={1}))"


@pytest.mark.slow
@pytest.mark.parametrize(("name", "ae"), [("run_ris", "RIS"), ("run_pacs", "PACS")])
def test_a_program_serves_until_it_is_told_to_end(name: str, ae: str) -> None:
    port = free_port()
    code = (_START + _RUN).format(name, port)
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as program:
        assert program.stdout is not None
        assert f"{ae} at 127.0.0.1:{port}" in program.stdout.readline()
        scanner = Scanner(host="127.0.0.1", port=port, called_ae=ae, calling_ae="CT1")
        assert scanner.echo() == 0
        if ae == "RIS":
            assert len(scanner.query(Modality="CT")) == 3
        program.terminate()
        assert program.wait(timeout=100) == 0


def test_a_taken_port_is_said(tmp_path: Path) -> None:
    out = StringIO()
    with hosted(ris := RisSimulator(rows=[])):
        assert run_pacs(console=Console(file=out), port=ris.port, folder=tmp_path) == 1
    assert "choose another port" in out.getvalue()


def test_the_scanner_fails_where_nothing_is_scheduled_or_nothing_is_taken() -> None:
    out = StringIO()
    ris = RisSimulator(rows=sample_rows(date(2026, 3, 2)), ae="GATEWAY")
    with hosted(ris):
        kept = Console(file=out)
        assert run_scanner(console=kept, port=ris.port, instances=1, give_up_after=0) == 1
        ris.rows = []
        assert run_scanner(console=kept, port=ris.port) == 1
    assert run_scanner(console=kept, port=ris.port) == 1
    lines = out.getvalue().splitlines()
    assert "worklist: 3 entries for CT" in lines
    assert "accepted: 0/1" in lines
    assert "worklist: 0 entries for CT" in lines
    assert lines[-1].startswith("failed: no connection")
