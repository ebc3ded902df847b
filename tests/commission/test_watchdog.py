"""What a restart is taken for: the watchdog's doing only by the signs that were left before it."""

from __future__ import annotations

import struct
from dataclasses import replace
from pathlib import Path

import pytest

from hwtests import watchdog
from hwtests.machine import Machine
from hwtests.outcome import Fault, Measured
from hwtests.watchdog import Armed

ARMED = Armed(boot="before", at=1_000_000.0, timeout=30, margin=10, crash=False)


def machine(folder: Path, *, boot: str = "after", started: int = 0) -> Machine:
    files = {"proc/sys/kernel/random/boot_id": boot, "proc/stat": f"cpu 1\nbtime {started}\n"}
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return Machine(root=folder, state=folder)


def judge(folder: Path, armed: Armed, *, lived: float | None = None, boot: str = "after", started: int = 0) -> str:
    record = folder / "watchdog.json"
    if lived is not None:
        watchdog.signs(record).write_bytes(struct.pack("<d", armed.at + lived))
    try:
        watchdog.judge(machine(folder, boot=boot, started=started), armed, record, 60.0, Measured())
    except Fault as fault:
        return str(fault)
    return "passed"


@pytest.mark.parametrize(
    ("lived", "said"),
    [
        (29.9, "passed"),
        (39.0, "passed"),
        (44.0, "came too late"),
        (3.0, "something else restarted"),
        (None, "something else restarted"),
    ],
)
def test_signs_of_life_tell_when_it_fired(tmp_path: Path, lived: float | None, said: str) -> None:
    assert said in judge(tmp_path, ARMED, lived=lived)


def test_a_box_that_was_not_restarted_has_no_watchdog(tmp_path: Path) -> None:
    assert "it still runs" in judge(tmp_path, ARMED, lived=30.0, boot="before")


@pytest.mark.parametrize(("after", "said"), [(45, "passed"), (99, "passed"), (101, "came too late")])
def test_a_halted_kernel_is_judged_by_when_the_next_one_started(tmp_path: Path, after: int, said: str) -> None:
    assert said in judge(tmp_path, replace(ARMED, crash=True), started=1_000_000 + after)


def test_what_was_begun_is_kept_whole_or_not_at_all(tmp_path: Path) -> None:
    record = tmp_path / "watchdog.json"
    assert Armed.read(record) is None
    ARMED.write(record)
    assert Armed.read(record) == ARMED
    record.write_text(record.read_text()[:-5])
    assert Armed.read(record) is None
