"""Worklist files with real files, some made by DCMTK: rows as a set, and nothing removed on a doubt."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path

import pytest
from pydicom import Dataset, dcmwrite

from gateway.roles.worklist.files import FILE_MAX, WorklistFiles, rows_of
from gateway.spool import audit
from gateway.spool.watched import WatchedFolder
from tests.peers import dcmtk, needs, objects
from tests.spool.objects import Clock, open_spool

MADE = datetime(2026, 3, 1, 7, 0, tzinfo=UTC)
DUMP = """
(0008,0005) CS [ISO_IR 100]
(0008,0050) SH [ACC00007]
(0010,0010) PN [TEST^PATIENT]
(0010,0020) LO [TEST00007]
(0020,000d) UI [2.25.7]
(0040,1001) SH [RP7]
(0040,0100) SQ
(fffe,e000) na
(0008,0060) CS [CT]
(0040,0001) AE [CT1]
(0040,0002) DA [20260301]
(0040,0003) TM [081500]
(0040,0009) SH [SPS7]
(fffe,e00d) na
(fffe,e0dd) na
"""


def file_of(*seeds: int, **values: object) -> bytes:
    """A file of one order with a step for each seed."""
    row = objects.scheduled(seeds[0], **values)  # type: ignore[arg-type]
    for seed in seeds[1:]:
        row.ScheduledProcedureStepSequence.append(objects.scheduled(seed).ScheduledProcedureStepSequence[0])
    written = BytesIO()
    dcmwrite(written, row, implicit_vr=False, little_endian=True)
    return dcmtk.part10(written.getvalue())


class Box:
    """A folder, the role over it and the copy. A new file is read by the second look."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "incoming"
        self.path.mkdir(exist_ok=True)
        self.clock = Clock()
        self.spool = open_spool(folder / "state", self.clock)
        self.start()

    def start(self) -> None:
        watched = WatchedFolder(self.path, size_max=FILE_MAX)
        self.role = WorklistFiles(self.spool, watched, poll=0.1, now=self.clock)

    def put(self, name: str, content: bytes) -> None:
        (self.path / name).write_bytes(content)

    def look(self, times: int = 2) -> None:
        async def looks() -> None:
            for _ in range(times):
                await self.role.look()

        asyncio.run(looks())

    def steps(self) -> list[str]:
        found = self.spool.db.read().execute("SELECT ScheduledProcedureStepID AS id FROM worklist_row ORDER BY 1")
        return [row["id"] for row in found]

    def alarms(self) -> list[str]:
        return [alarm.code for alarm in audit.active_alarms(self.spool.db.read())]


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    opened = Box(tmp_path)
    yield opened
    opened.spool.close()


def test_the_rows_of_a_file_come_change_and_go_as_a_set(box: Box) -> None:
    box.put("a.wl", file_of(1, 2, 3))
    box.look(1)
    assert box.steps() == []
    box.look(1)
    assert box.steps() == ["SPS1", "SPS2", "SPS3"]
    (row,) = box.spool.db.read().execute("SELECT DISTINCT source, kind, stamp FROM worklist_row")
    assert (row["source"], row["kind"], row["stamp"] is not None) == ("folder", "hl7", True)
    box.put("b.wl", file_of(9))
    box.put("a.wl", file_of(1, 4))
    box.look()
    assert box.steps() == ["SPS1", "SPS4", "SPS9"]
    (box.path / "b.wl").unlink()
    box.look(1)
    assert box.steps() == ["SPS1", "SPS4", "SPS9"], "it may only be being replaced"
    box.look(1)
    assert (box.steps(), box.alarms()) == (["SPS1", "SPS4"], [])
    (box.path / "a.wl").unlink()
    box.look()
    assert (box.steps(), box.alarms()) == ([], [])
    removed = box.spool.db.read().execute("SELECT count(*) AS n FROM worklist_removal WHERE reason = 'absent'")
    assert removed.fetchone()["n"] == 5


def test_what_two_files_have_is_that_of_the_one_that_stays(box: Box) -> None:
    box.put("a.wl", file_of(1, start="20260301"))
    os.utime(box.path / "a.wl", (1, 1))
    box.put("b.wl", file_of(1, start="20260302"))
    box.look()
    (box.path / "b.wl").unlink()
    box.look(4)
    (row,) = box.spool.db.read().execute("SELECT start_date FROM worklist_row")
    assert row["start_date"] == "20260301"


def test_a_folder_that_is_empty_at_once_removes_nothing(box: Box) -> None:
    for seed in (1, 2):
        box.put(f"{seed}.wl", file_of(seed))
    box.look()
    files = {path: path.read_bytes() for path in box.path.glob("*.wl")}
    for path in files:
        path.unlink()
    box.look(3)
    assert (box.steps(), box.alarms()) == (["SPS1", "SPS2"], ["worklist-files"])
    box.start()
    box.look(3)
    assert (box.steps(), box.alarms()) == (["SPS1", "SPS2"], ["worklist-files"]), "nor after a restart"
    box.put("2.wl", file_of(2))
    box.look()
    assert (box.steps(), box.alarms()) == (["SPS2"], [])


def test_another_folder_in_its_place_removes_nothing(box: Box) -> None:
    box.put("1.wl", file_of(1))
    box.look()
    box.path.rename(box.path.with_name("unmounted"))
    box.look(3)
    assert (box.steps(), box.alarms()) == (["SPS1"], ["worklist-files"])
    box.path.mkdir()
    box.look(3)
    assert (box.steps(), box.alarms()) == (["SPS1"], ["worklist-files"])
    box.path.rmdir()
    box.path.with_name("unmounted").rename(box.path)
    box.look()
    assert (box.steps(), box.alarms()) == (["SPS1"], [])


def test_a_file_that_can_not_be_read_removes_nothing(box: Box, tmp_path: Path) -> None:
    for seed in (1, 2, 3):
        box.put(f"{seed}.wl", file_of(seed))
    box.look()
    box.put("1.wl", file_of(1)[:-30])
    (box.path / "2.wl").unlink()
    box.look(3)
    assert (box.steps(), box.alarms()) == (["SPS1", "SPS2", "SPS3"], ["worklist-files"])
    box.put("1.wl", file_of(4))
    box.look()
    assert (box.steps(), box.alarms()) == (["SPS3", "SPS4"], [])
    (tmp_path / "secret").write_bytes(file_of(7))
    (box.path / "link.wl").symlink_to(tmp_path / "secret")
    box.look()
    assert (box.steps(), box.alarms()) == (["SPS3", "SPS4"], ["worklist-files"])


def test_a_restart_finds_what_changed_meanwhile(box: Box) -> None:
    for seed in (1, 2, 3):
        box.put(f"{seed}.wl", file_of(seed))
    box.look()
    box.put("1.wl", file_of(8))
    (box.path / "2.wl").unlink()
    box.start()
    box.look()
    assert (box.steps(), box.alarms()) == (["SPS3", "SPS8"], [])


def test_rows_whose_files_stay_are_confirmed(box: Box) -> None:
    box.put("1.wl", file_of(1))
    box.look()
    for _ in range(3):
        box.clock.pass_(hours=7)
        box.look(1)
    (row,) = box.spool.db.read().execute("SELECT last_confirmed FROM worklist_row")
    assert row["last_confirmed"].startswith(f"{box.clock():%Y-%m-%dT%H:%M}")


@needs.dcmtk
@pytest.mark.parametrize("how", [("+te",), ("+ti",), ("+te", "-F"), ("+ti", "-F"), ("+te", "-e"), ("+ti", "-e", "-F")])
def test_files_as_dcmtk_makes_them(tmp_path: Path, how: tuple[str, ...]) -> None:
    text, made = tmp_path / "row.dump", tmp_path / "row.wl"
    text.write_text(DUMP)
    subprocess.run(["/usr/bin/dump2dcm", *how, str(text), str(made)], check=True, timeout=180)
    (row,) = rows_of(made.read_bytes(), made=MADE).values()
    found = (row.AccessionNumber, row.PatientID, row.StudyInstanceUID, row.ScheduledProcedureStepID, row.start_date)
    assert found == ("ACC00007", "TEST00007", "2.25.7", "SPS7", "20260301")
    assert (row.Modality, row.ScheduledStationAETitle, row.stamp) == ("CT", "CT1", MADE)


def test_what_is_no_worklist_file_has_no_rows() -> None:
    whole = file_of(1, 2)
    nobody = Dataset()
    nobody.PatientName = "TEST^NOBODY"
    written = BytesIO()
    dcmwrite(written, nobody, implicit_vr=False, little_endian=True)
    for content in (
        b"",
        b"\0" * 200,
        b"DICM" * 40,
        written.getvalue(),
        *(whole[:end] for end in range(0, whole.index(b"SPS2"), 7)),
    ):
        assert rows_of(content, made=MADE) == {}
    assert len(rows_of(whole, made=MADE)) == 2
    assert timedelta(0) == MADE - next(iter(rows_of(whole, made=MADE).values())).stamp  # type: ignore[operator]
