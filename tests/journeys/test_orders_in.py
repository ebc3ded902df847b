"""An order over MLLP reaches a scanner's worklist, survives `kill -9`, and is applied once however often it comes."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.hl7_messages import message
from tests.journeys.gateway_process import Gateway, gateway
from tests.net.mllp_wire import Caller
from tests.peers import dcmtk, needs, objects
from tests.peers.processes import free_port

pytestmark = [pytest.mark.slow, needs.dcmtk]
TODAY = f"{datetime.now(UTC):%Y%m%d}"


def ask(port: int, raw: bytes) -> list[str]:
    with Caller(port) as caller:
        return (caller.ask(raw) or b"").decode().split("\r")


def steps(box: Gateway, folder: Path) -> list[str]:
    """What the scanner's worklist holds: accession number and date of each row."""
    keys = ["AccessionNumber", "ScheduledProcedureStepSequence[0].ScheduledProcedureStepStartDate"]
    found = dcmtk.findscu(box.port, keys, folder=folder, called="GATEWAY_MWL")
    return [
        f"{row.AccessionNumber} {row.ScheduledProcedureStepSequence[0].ScheduledProcedureStepStartDate}"
        for row in found.rows
    ]


def test_an_order_reaches_the_scanner_once(tmp_path: Path) -> None:
    port = free_port()
    order = message("01", ("202603041030", f"{TODAY}1030"))
    cancel = message("04", ("202603041030", f"{TODAY}1030"), ("20260304081455", "20260304091455"))
    with gateway(tmp_path / "gw", mllp=port) as box:
        first = ask(port, order)
        assert first[1] == "MSA|AA|RADIS000001"
        assert steps(box, tmp_path / "one") == [f"A2603040077 {TODAY}"]
        box.kill()
        box.start()
        assert steps(box, tmp_path / "two") == [f"A2603040077 {TODAY}"]
        assert ask(port, order) == first
        assert len(box.rows("SELECT 1 FROM message")) == 1
        assert ask(port, cancel)[1] == "MSA|AA|RADIS000004"
        assert steps(box, tmp_path / "three") == []
        assert box.alarms() == set()
        assert box.stop() == 0


def test_orders_from_a_folder_reach_the_scanner(tmp_path: Path) -> None:
    incoming = tmp_path / "incoming"
    incoming.mkdir()
    order = message("01", ("202603041030", f"{TODAY}1030"))
    (incoming / "order.hl7").write_bytes(order)
    dcmtk.write_worklist(tmp_path, incoming.name, [objects.scheduled(1, start=TODAY)])
    orders = f'folder = "{incoming}"\npoll = "100ms"'
    with gateway(tmp_path / "gw", orders=orders, sender='application = "RADIS"') as box:
        box.until(lambda: len(box.rows("SELECT 1 FROM worklist_row")) == 2, what="both are on the worklist")
        box.until((incoming / "done" / "order.hl7").exists, what="the file is put away")
        assert b"MSA|AA|RADIS000001" in (incoming / "order.hl7.ack").read_bytes()
        assert sorted(steps(box, tmp_path / "one")) == [f"A2603040077 {TODAY}", f"ACC00001 {TODAY}"]
        (incoming / "00000.wl").unlink()
        box.until(lambda: len(box.rows("SELECT 1 FROM worklist_row")) == 1, what="the row of the file has gone")
        assert steps(box, tmp_path / "two") == [f"A2603040077 {TODAY}"]
        assert box.alarms() == set()
        assert box.stop() == 0
