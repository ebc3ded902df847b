"""The RIS fails in every way it can; the scanner still gets its worklist, in time, and new orders once it is back."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from gateway.simulate.acceptor import hosted
from gateway.simulate.ris import RisBehaviour, RisSimulator, sample_row, sample_rows
from tests.journeys.gateway_process import From, Gateway, gateway
from tests.peers import dcmtk, needs, objects, orthanc, pynetdicom_scu
from tests.peers.processes import free_port
from tests.peers.pynetdicom_scp import worklist_scp

pytestmark = pytest.mark.slow

BOUND = 10.0
"""Seconds a scanner may wait: ten times the deadline, for a machine that is busy with other things."""
TIMEOUT = "12s"
"""How long a RIS may be silent before we give it up: longer than a scanner may wait."""
BACK = 90.0
"""Seconds in which a RIS that is back must be heard again; it is asked every half second."""


def _names(box: Gateway, **keys: object) -> list[str]:
    started = time.monotonic()
    found = pynetdicom_scu.find_worklist(
        box.port, pynetdicom_scu.worklist_query(**keys), called="GATEWAY_MWL", calling="CT1"
    )
    assert found.status == 0
    assert time.monotonic() - started < BOUND
    return sorted(str(row.AccessionNumber) for row in found.rows)


def until_copied(box: Gateway, count: int) -> None:
    """Until the copy itself has so many rows: what a scanner is shown may come from the RIS that answers still."""
    box.until(lambda: len(box.rows("SELECT 1 FROM worklist_row")) == count, what="the copy is filled")
    assert len(_names(box)) == count


@contextmanager
def copied(folder: Path, ris: RisSimulator, rows: Sequence[object]) -> Iterator[Gateway]:
    """A gateway whose copy holds what the RIS has."""
    with gateway(folder / "gw", ris=[From(port=ris.port, timeout=TIMEOUT)]) as box:
        until_copied(box, len(rows))
        yield box


@pytest.mark.parametrize(
    "behaviour",
    [
        RisBehaviour.HANG,
        RisBehaviour.REFUSE,
        RisBehaviour.EMPTY,
        RisBehaviour.ABORT_MIDWAY,
        RisBehaviour.FAIL,
        "killed",
    ],
)
def test_the_worklist_outlives_the_ris(tmp_path: Path, behaviour: RisBehaviour | str) -> None:
    today = datetime.now(UTC).date()
    rows = sample_rows(today)
    ris = RisSimulator(rows=rows)
    with hosted(ris) as host, copied(tmp_path, ris, rows) as box:
        before = _names(box)
        assert len(before) == len(rows)
        if behaviour == "killed":
            host.call(ris.stop())
        else:
            ris.behaviour = RisBehaviour(behaviour)
        asked = ris.queries
        box.until(lambda: _failed_or_asked(box, ris, asked, behaviour), what="a failure is noticed")
        for _ in range(5):  # by the second at the latest the copy is no longer fresh, and the RIS is asked
            assert _names(box) == before
            assert len(_names(box, Modality="CT")) == 3
        ris.rows = [*rows, sample_row(today, "CT", "CT1", 50)]
        if behaviour == "killed":
            host.call(ris.start())
        ris.behaviour = RisBehaviour.ANSWER
        box.until(lambda: len(_names(box)) == len(rows) + 1, what="the new order is seen", limit=BACK)


def _failed_or_asked(box: Gateway, ris: RisSimulator, asked: int, behaviour: RisBehaviour | str) -> bool:
    if behaviour == RisBehaviour.EMPTY:
        return ris.queries >= asked + 3  # it says success, only without a row
    (source,) = box.rows("SELECT last_error FROM worklist_source")
    return bool(source["last_error"])


def test_a_gateway_that_starts_without_its_ris_serves_the_copy_it_has(tmp_path: Path) -> None:
    rows = sample_rows(datetime.now(UTC).date())
    ris = RisSimulator(rows=rows)
    with hosted(ris) as host, copied(tmp_path, ris, rows) as box:
        host.call(ris.stop())
        box.kill()
        box.start()
        assert len(_names(box)) == len(rows)


def test_an_order_that_is_gone_leaves_the_copy_and_others_stay(tmp_path: Path) -> None:
    rows = sample_rows(datetime.now(UTC).date())
    ris = RisSimulator(rows=rows)
    with hosted(ris), copied(tmp_path, ris, rows) as box:
        ris.rows = rows[1:]
        box.until(lambda: len(_names(box)) == len(rows) - 1, what="the cancelled order is gone")


@needs.dcmtk
def test_wlmscpfs_is_killed_and_comes_back(tmp_path: Path) -> None:
    today = f"{datetime.now(UTC):%Y%m%d}"
    port = free_port()
    rows = [objects.scheduled(n, start=today) for n in range(3)]
    with gateway(tmp_path / "gw", ris=[From(port=port, timeout=TIMEOUT)]) as box:
        with dcmtk.wlmscpfs(tmp_path / "ris", port, worklist={"RIS": rows}) as ris:
            until_copied(box, 3)
            ris.hang()
            assert len(_names(box)) == 3
            ris.kill()
            assert len(_names(box)) == 3
        rows.append(objects.scheduled(3, start=today))
        with dcmtk.wlmscpfs(tmp_path / "ris", port, worklist={"RIS": rows}):
            box.until(lambda: len(_names(box)) == 4, what="the new order is seen", limit=BACK)


@needs.dcmtk  # its files are written as wlmscpfs has them
@needs.orthanc_worklist
def test_orthanc_is_paused_and_killed_and_comes_back(tmp_path: Path) -> None:
    today, folder = f"{datetime.now(UTC):%Y%m%d}", tmp_path / "ris"
    rows = [objects.scheduled(n, start=today) for n in range(3)]
    dcmtk.write_worklist(folder, "RIS", rows)
    config, port = orthanc.worklist_settings(folder / "RIS", callers=["GATEWAY"]), free_port()

    def error(box: Gateway) -> str:
        return str(box.rows("SELECT last_error FROM worklist_source")[0]["last_error"])

    with gateway(tmp_path / "gw", ris=[From(port=port, timeout=TIMEOUT)]) as box:
        with orthanc.orthanc(folder / "run", port, ae="RIS", config=config) as ris:
            until_copied(box, 3)
            ris.program.hang()
            box.until(lambda: error(box) == "silence", what="its silence is in the books")
            assert len(_names(box)) == 3
            ris.program.wake()
            box.until(lambda: not error(box), what="it answers again", limit=BACK)
            ris.program.kill()
            box.until(lambda: error(box) == "connect", what="its end is in the books")
            assert len(_names(box)) == 3
        rows.append(objects.scheduled(3, start=today))
        dcmtk.write_worklist(folder, "RIS", rows)
        with orthanc.orthanc(folder / "run", port, ae="RIS", config=config):
            box.until(lambda: len(_names(box)) == 4, what="the new order is seen", limit=BACK)


def test_a_ris_that_ignores_keys_and_a_scanner_that_cancels(tmp_path: Path) -> None:
    today = f"{datetime.now(UTC):%Y%m%d}"
    rows = [objects.scheduled(n, start=today) for n in range(300)]
    with worklist_scp(rows=rows) as ris, gateway(tmp_path / "gw", ris=[From(port=ris.port)]) as box:
        until_copied(box, 300)
        assert _names(box, PatientID="TEST00007") == ["ACC00007"]
        cancelled = pynetdicom_scu.find_worklist(
            box.port, pynetdicom_scu.worklist_query(), called="GATEWAY_MWL", calling="CT1", cancel_after=3
        )
        assert cancelled.status in (0xFE00, 0x0000)
        assert all(who == "GATEWAY" for who, _ in ris.queries)
