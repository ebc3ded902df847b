"""The watched folder with real files and a real spool: each file whole, each message once, nothing lost."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from gateway.config.mappings import order_mapping
from gateway.domain.hl7 import Message
from gateway.domain.hl7_ack import Outcome
from gateway.domain.mllp import frame
from gateway.domain.model import SourceName, TemporaryFailure
from gateway.domain.orders import Sender as Reading
from gateway.roles.orders import Orders, Sender
from gateway.roles.orders.folder import OrderFolder
from gateway.spool import Connection, audit, messages, orders
from gateway.spool.watched import WatchedFolder
from tests.hl7_messages import message
from tests.spool.objects import Clock, open_spool

BERLIN = ZoneInfo("Europe/Berlin")
SIZE_MAX = 64 * 1024
PLACED, MOVED, CANCELLED = message("01"), message("06"), message("04")


class Box:
    """A folder, the role over it and the books behind it. `look` is one look; a new file is taken by the second."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "incoming"
        self.path.mkdir(exist_ok=True)
        self.clock = Clock()
        self.spool = open_spool(folder / "state", self.clock)
        self.fails: Exception | None = None
        mapping = order_mapping("generic", folder)
        reading = Reading(name=SourceName("ris"), mapping=mapping, zone=BERLIN, refuse_faults=True)

        def apply(c: Connection, message: Message, at: datetime) -> Outcome:
            done = orders.apply(c, message, reading, now=at)
            if self.fails:
                raise self.fails
            return done

        desk = Orders(
            self.spool,
            [Sender(name="ris", application="RADIS", refuse=True)],
            read=lambda message, _, at: partial(apply, message=message, at=at),
            messages_for=timedelta(days=14),
            orders_for=timedelta(days=30),
            now=self.clock,
            here=lambda at: at.astimezone(BERLIN),
        )
        watched = WatchedFolder(self.path, size_max=SIZE_MAX)
        self.role = OrderFolder(self.spool, desk, watched, poll=0.1, kept_for=timedelta(days=14), now=self.clock)

    def look(self, times: int = 1) -> None:
        async def looks() -> None:
            for _ in range(times):
                await self.role.look()

        asyncio.run(looks())

    def put(self, name: str, content: bytes) -> None:
        (self.path / name).write_bytes(content)

    def files(self) -> dict[str, bytes]:
        return {str(path.relative_to(self.path)): path.read_bytes() for path in self.path.rglob("*") if path.is_file()}

    def answers(self, name: str) -> list[bytes]:
        lines = (self.path / f"{name}.ack").read_bytes().split(b"\r")
        return [line for line in lines if line.startswith(b"MSA")]

    def done(self) -> list[str]:
        found = messages.latest(self.spool.db.read(), limit=100)
        return [f"{kept.received.control_id} {kept.code} {kept.effect}" for kept in reversed(found)]

    def status(self) -> list[str]:
        return [row["status"] for row in self.spool.db.read().execute("SELECT status FROM worklist_row")]

    def alarms(self) -> list[str]:
        return [alarm.code for alarm in audit.active_alarms(self.spool.db.read()) if alarm.subject == "folder"]


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    opened = Box(tmp_path)
    yield opened
    opened.spool.close()


def test_a_file_is_taken_answered_and_put_away(box: Box) -> None:
    box.put("a.hl7", PLACED)
    box.look()
    assert box.files() == {"a.hl7": PLACED}, "it may still be growing"
    box.look()
    assert sorted(box.files()) == ["a.hl7.ack", "done/a.hl7"]
    assert box.files()["done/a.hl7"] == PLACED
    assert box.answers("a.hl7") == [b"MSA|AA|RADIS000001"]
    assert (box.files()["a.hl7.ack"][:4], box.done(), box.status()) == (
        b"MSH|",
        ["RADIS000001 AA entered"],
        ["SCHEDULED"],
    )
    (kept,) = messages.latest(box.spool.db.read(), limit=9)
    assert (kept.received.sender, kept.received.address, kept.received.raw) == ("ris", "folder", PLACED)
    assert box.alarms() == []


def test_a_file_that_grows_waits(box: Box) -> None:
    for end in (300, 600, len(PLACED)):
        box.put("a.hl7", PLACED[:end])
        box.look()
    assert box.done() == []
    box.look()
    assert box.done() == ["RADIS000001 AA entered"]


@pytest.mark.parametrize(
    "as_sent", [b"".join, lambda parts: b"".join(map(frame, parts)), lambda parts: b"\x0b" + b"\x1c\r\x0b".join(parts)]
)
def test_a_file_may_hold_several_messages(box: Box, as_sent: object) -> None:
    box.put("day.hl7", as_sent([PLACED, MOVED, CANCELLED]))  # type: ignore[operator]
    box.look(2)
    assert box.answers("day.hl7") == [b"MSA|AA|RADIS000001", b"MSA|AA|RADIS000006", b"MSA|AA|RADIS000004"]
    assert (len(box.done()), box.status()) == (3, ["CANCELED"])


def test_a_batch_is_read_and_every_answer_is_original(box: Box) -> None:
    enhanced = PLACED.replace(b"|P|2.3.1|||", b"|P|2.3.1|||AL|NE", 1)
    assert enhanced != PLACED
    box.put("b.hl7", b"FHS|^~\\&|RADIS\rBHS|^~\\&|RADIS\r" + enhanced + b"BTS|1\rFTS|1\r")
    box.look(2)
    assert box.answers("b.hl7") == [b"MSA|AA|RADIS000001"]


def test_files_are_taken_oldest_first(box: Box) -> None:
    for age, (name, content) in enumerate([("z.hl7", PLACED), ("a.hl7", MOVED), ("m.hl7", CANCELLED)]):
        box.put(name, content)
        os.utime(box.path / name, (1_000_000 + age,) * 2)
    box.look(2)
    assert [told.split()[0] for told in box.done()] == ["RADIS000001", "RADIS000006", "RADIS000004"]


def test_the_same_file_again_has_no_second_effect(box: Box) -> None:
    box.put("a.hl7", PLACED)
    box.look(2)
    first = box.files()["a.hl7.ack"]
    box.put("c.hl7", CANCELLED)
    box.put("b.hl7", PLACED)
    box.look(2)
    box.put("a.hl7", PLACED)
    box.look(2)
    files = box.files()
    assert files["b.hl7.ack"] == files["a.hl7.ack"] == first
    assert (len(box.done()), box.status()) == (2, ["CANCELED"])
    assert len([name for name in files if name.startswith("done/") and name.endswith("a.hl7")]) == 2, "none overwritten"


def test_what_is_refused_goes_to_failed_with_an_alarm_until_it_is_taken_away(box: Box) -> None:
    box.put("bad.hl7", b"GET / HTTP/1.1\r\n")
    box.put("mixed.hl7", PLACED + message("02").replace(b"QUIST^BEN", b""))
    box.put("long.hl7", PLACED + b"NTE|1||" + b"x" * SIZE_MAX)
    box.put("empty.hl7", b"")
    box.look(2)
    assert sorted(name for name in box.files() if name.startswith("failed")) == [
        "failed/bad.hl7", "failed/empty.hl7", "failed/long.hl7", "failed/mixed.hl7",
    ]  # fmt: skip
    assert [answer[:7] for answer in box.answers("mixed.hl7")] == [b"MSA|AA|", b"MSA|AE|"]
    assert box.answers("long.hl7")[0].startswith(b"MSA|AR||the message is longer")
    assert box.answers("bad.hl7")[0].startswith(b"MSA|AR|")
    assert (box.alarms(), box.status()) == (["folder-refused"], ["SCHEDULED"])
    for path in (box.path / "failed").iterdir():
        path.unlink()
    box.look()
    assert box.alarms() == []


def test_links_are_not_followed_and_names_are_only_names(box: Box, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(PLACED)
    (box.path / "link.hl7").symlink_to(secret)
    os.mkfifo(box.path / "pipe.hl7")
    (box.path / "folder.hl7").mkdir()
    box.put(".hidden.hl7", PLACED)
    box.put("later.hl7.part", PLACED)
    box.put("x%2f..%2fy.hl7", MOVED)
    box.put("\udcff" + "n" * 190 + ".hl7", CANCELLED)
    box.look(2)
    assert len(box.done()) == 2
    assert secret.read_bytes() == PLACED
    assert (box.path / "failed" / "link.hl7").is_symlink()
    assert {path.name for path in (box.path / "failed").iterdir()} == {"link.hl7", "pipe.hl7"}
    assert {path.name for path in (box.path / "done").iterdir()} >= {"x%2f..%2fy.hl7"}
    assert {".hidden.hl7", "later.hl7.part"} <= box.files().keys()


def test_a_full_disk_leaves_the_file_until_there_is_room(box: Box) -> None:
    box.put("a.hl7", PLACED + MOVED)
    box.fails = TemporaryFailure("the disk is full", code="A700")
    box.look(3)
    assert (sorted(box.files()), box.done(), box.status()) == (["taken/a.hl7"], [], [])
    box.fails = None
    box.look()
    assert (sorted(box.files()), box.status()) == (["a.hl7.ack", "done/a.hl7"], ["SCHEDULED"])
    assert box.answers("a.hl7") == [b"MSA|AA|RADIS000001", b"MSA|AA|RADIS000006"]


def test_what_was_begun_before_a_kill_is_ended(box: Box, tmp_path: Path) -> None:
    box.put("a.hl7", PLACED)
    box.look(2)
    answered = box.files()["a.hl7.ack"]
    (box.path / "a.hl7.ack").unlink()
    (box.path / "done" / "a.hl7").rename(box.path / "taken" / "a.hl7")  # killed after the effect, before the answer
    box.put("a.hl7", CANCELLED)
    box.spool.close()
    again = Box(tmp_path)
    again.look()
    assert again.files() == {"a.hl7": CANCELLED, "a.hl7.ack": answered, "done/a.hl7": PLACED}
    again.look()
    assert (len(again.done()), again.status()) == (2, ["CANCELED"])
    again.spool.close()


def test_a_folder_that_is_away_is_alarmed_and_waited_for(box: Box) -> None:
    box.path.rename(box.path.with_name("gone"))
    box.look(2)
    assert box.alarms() == ["folder-away"]
    box.path.mkdir()
    box.put("a.hl7", PLACED)
    box.look(2)
    assert (box.alarms(), box.status()) == ([], ["SCHEDULED"])


def test_what_was_read_is_erased_after_its_time(box: Box) -> None:
    box.put("a.hl7", PLACED)
    box.put("b.hl7", b"no message")
    box.look(2)
    box.clock.pass_(days=13)
    box.look()
    assert len(box.files()) == 4
    box.clock.pass_(days=2)
    box.look()
    assert (box.files(), box.alarms()) == ({}, [])
