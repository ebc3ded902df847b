"""Every shipped profile against its capture, and what a profile does at the role's door beyond one answer."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from importlib import resources
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from gateway.config import load_profiles
from gateway.dicom import elements
from gateway.dicom.association import AcceptedContext
from gateway.dicom.dimse import CommandField, CommandSet, Status, decode_command
from gateway.dicom.negotiation import MODALITY_WORKLIST
from gateway.dicom.readable import Table, data_set, table
from gateway.domain.model import SourceName
from gateway.domain.profile import Above, Profile
from gateway.net.dicom_service import Caller, Exchange
from gateway.roles.worklist import Policy, Retention, Worklist
from gateway.roles.worklist.capture import Capture, read, written
from gateway.roles.worklist.replay import replay
from gateway.roles.worklist.rows import validated
from gateway.spool import Spool, audit
from gateway.spool import worklist as copy
from tests.spool.desk import add

CAPTURES = sorted((Path(__file__).parents[1] / "profiles").glob("*.toml"))
SHIPPED = load_profiles(Path("nowhere"))
SOURCE = SourceName("main")


@pytest.mark.asyncio
@pytest.mark.parametrize("path", CAPTURES, ids=lambda path: path.stem)
async def test_a_profile_answers_as_captured(path: Path, tmp_path: Path) -> None:
    capture = read(path.read_text("utf-8"))
    replayed = await replay(capture, SHIPPED[capture.profile], folder=tmp_path / "spool")
    assert (replayed.status, replayed.answer) == (capture.status, capture.answer)


def test_every_shipped_profile_has_a_capture_and_a_source() -> None:
    assert {read(path.read_text("utf-8")).profile for path in CAPTURES} == SHIPPED.keys()
    for name in SHIPPED:
        raw = tomllib.loads(resources.files("gateway").joinpath("profiles", f"{name}.toml").read_text("utf-8"))
        assert all(raw["source"])


@pytest.mark.asyncio
async def test_a_capture_tells_a_wrong_profile(tmp_path: Path) -> None:
    capture = read(next(path for path in CAPTURES if path.stem == "japanese").read_text("utf-8"))
    replayed = await replay(capture, SHIPPED["latin-1"], folder=tmp_path / "spool")
    assert replayed.answer != capture.answer


@pytest.mark.parametrize("path", CAPTURES, ids=lambda path: path.stem)
def test_a_capture_is_written_as_it_was_read(path: Path) -> None:
    capture = read(path.read_text("utf-8"))
    assert read(written(capture)) == capture


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('calling = "XR1"', "", "calling: missing"),
        ('status = "0000"', 'status = "none"', "status: not four"),
        ("+02:00", "", "at: without an offset"),
        ("[question]", "[questions]", "question: missing"),
        ("[[answer]]", "[[answers]]", "answers: not a key"),
        ("PatientID", "PatientIDs", "PatientIDs: no keyword"),
        ('"P1"', "P1", "capture: is not TOML"),
    ],
)
def test_a_faulty_capture_is_told_by_its_key(old: str, new: str, said: str) -> None:
    text = next(path for path in CAPTURES if path.stem == "ge-brivo-xr").read_text("utf-8")
    with pytest.raises(ValueError, match=said):
        read(text.replace(old, new))


# -- at the role's door --


@dataclass(slots=True)
class Line:
    status: int = 0
    comment: str = ""
    answer: list[Table] = field(default_factory=list)
    gone: bool = False
    releasing: bool = False

    def next_message_id(self) -> int:
        return 1

    async def ask(self, _context: int, _command: CommandSet, _data_set: bytes | None) -> CommandSet | None:
        return None

    def send(self, _context: int, command: CommandSet | bytes, data_set: bytes | None) -> None:
        response = decode_command(command) if isinstance(command, bytes) else command
        self.status, self.comment = response.Status or 0, response.ErrorComment or ""
        if data_set is not None:
            self.answer.append(table(elements.parse(data_set, elements.EXPLICIT_LITTLE)))

    async def flush(self) -> None: ...


class Door:
    """The role with one scanner, a copy that is never asked for, and a clock that stands."""

    def __init__(self, folder: Path, profile: Profile) -> None:
        self.now = datetime(2026, 7, 6, 6, 30, tzinfo=UTC)
        zone = ZoneInfo("Europe/Berlin")
        self.spool = Spool.open(folder, now=lambda: self.now)
        day = timedelta(days=1)
        self.policy = Policy(ask=False, deadline=day, fresh_for=day, max_stale=day, hide_performed=day, profile=profile)
        self.role = Worklist(
            self.spool,
            [],
            policy_of=lambda _: self.policy,
            today=lambda: self.now.astimezone(zone).date(),
            now=lambda: self.now,
            random=lambda: 0.0,
            retention=Retention(queries=day, served=day),
            entries_for=day,
            zone=zone,
        )

    def schedule(self, *times: str) -> None:
        rows = [row for time in times for row in validated(SOURCE, data_set(step(time)))[0].values()]
        self.spool.db.write(lambda c: copy.replace_source(c, SOURCE, rows=rows, now=self.now)).result()

    async def ask(self, **keys: object) -> Line:
        line = Line()
        question = {"AccessionNumber": "", "PatientID": "", "ScheduledProcedureStepSequence": [{}], **keys}
        exchange = Exchange(
            line,
            Caller(calling_ae="CT1", called_ae="GATEWAY", address="127.0.0.1", association="a"),
            AcceptedContext(1, MODALITY_WORKLIST, elements.EXPLICIT_LITTLE),
            CommandSet(CommandField=CommandField.C_FIND_RQ, AffectedSOPClassUID=MODALITY_WORKLIST, MessageID=1),
            elements.encode(data_set(question), elements.EXPLICIT_LITTLE),
        )
        await self.role.find(exchange)
        return line

    def alarms(self) -> list[tuple[str, str]]:
        self.spool.db.write(lambda _: None).result()  # what was written before is there now
        return [(alarm.code, alarm.subject) for alarm in audit.active_alarms(self.spool.db.read())]


def step(time: str) -> Table:
    return {
        "AccessionNumber": f"A{time}",
        "PatientID": f"P{time}",
        "PatientName": "TEST^ADA",
        "StudyInstanceUID": f"2.25.{time}",
        "ScheduledProcedureStepSequence": [
            {
                "Modality": "CT",
                "ScheduledProcedureStepStartDate": "20260706",
                "ScheduledProcedureStepStartTime": time,
                "ScheduledProcedureStepID": "S1",
            }
        ],
    }


@pytest.fixture
def door(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Door]:
    made = Door(tmp_path / "state", request.param)
    yield made
    made.spool.close()


def shown(line: Line) -> list[str]:
    return [answer["AccessionNumber"] for answer in line.answer]


@pytest.mark.asyncio
@pytest.mark.parametrize("door", [Profile(max_answers=2)], indirect=True)
async def test_above_the_cap_the_nearest_are_shown_and_an_alarm_says_so(door: Door) -> None:
    door.schedule("060000", "083500", "140000", "090000")
    line = await door.ask()  # it is 08:30 at the site
    assert (line.status, shown(line)) == (0, ["A083500", "A090000"])
    assert door.alarms() == [("worklist-capped", "CT1")]
    line = await door.ask(PatientID="P*")
    assert shown(line) == ["A083500", "A090000"]
    line = await door.ask(PatientID="P140000")
    assert shown(line) == ["A140000"]
    assert door.alarms() == [("worklist-capped", "CT1")]  # a search says nothing of the day list
    door.schedule("083500", "090000")
    door.spool.db.write(
        lambda c: c.execute("DELETE FROM worklist_row WHERE start_time IN ('060000', '140000')")
    ).result()
    assert shown(await door.ask()) == ["A083500", "A090000"]
    assert door.alarms() == []


@pytest.mark.asyncio
@pytest.mark.parametrize("door", [Profile(max_answers=2, above=Above.REFUSE)], indirect=True)
async def test_above_the_cap_a_profile_may_refuse(door: Door) -> None:
    door.schedule("060000", "083500", "140000")
    line = await door.ask()
    assert (line.status, line.answer) == (0xA700, [])
    assert line.comment.startswith("3 steps match")
    assert door.alarms() == [("worklist-capped", "CT1")]


@pytest.mark.asyncio
@pytest.mark.parametrize("door", [Profile(polling=timedelta(seconds=5))], indirect=True)
async def test_a_console_that_polls_is_answered_again_for_a_while(door: Door) -> None:
    door.schedule("060000")
    first = await door.ask()
    door.schedule("060000", "083500")
    door.now += timedelta(seconds=4.9)
    assert (await door.ask()).answer == first.answer
    assert shown(await door.ask(AccessionNumber="A083500")) == ["A083500"]
    door.now += timedelta(seconds=0.1)
    assert shown(await door.ask()) == ["A060000", "A083500"]
    door.now -= timedelta(seconds=60)  # a clock that was set back must not keep an answer alive
    door.schedule("060000", "083500", "140000")
    assert shown(await door.ask()) == ["A060000", "A083500", "A140000"]


@pytest.mark.asyncio
@pytest.mark.parametrize("door", [Profile(polling=timedelta(seconds=5))], indirect=True)
async def test_an_entry_of_the_desk_is_not_waited_for(door: Door) -> None:
    door.schedule("060000")
    assert shown(await door.ask()) == ["A060000"]
    entry = add(door.spool, door.now, stations=("CT1",))
    assert entry.AccessionNumber in shown(await door.ask())


@pytest.mark.asyncio
@pytest.mark.parametrize("door", [Profile()], indirect=True)
async def test_a_scanner_that_is_answered_live_is_shown_the_desk_though_no_ris_answers(door: Door) -> None:
    door.policy = replace(door.policy, live=True)
    door.schedule("060000")
    assert (await door.ask()).status == Status.UNABLE_TO_PROCESS
    entry = add(door.spool, door.now, stations=("CT1",))
    line = await door.ask()
    assert (line.status, shown(line)) == (Status.SUCCESS, [entry.AccessionNumber])


@pytest.mark.asyncio
@pytest.mark.parametrize("door", [Profile()], indirect=True)
async def test_without_a_cache_a_new_row_is_there_at_once(door: Door) -> None:
    door.schedule("060000")
    assert shown(await door.ask()) == ["A060000"]
    door.schedule("060000", "083500")
    assert shown(await door.ask()) == ["A060000", "A083500"]


@pytest.mark.asyncio
@pytest.mark.parametrize("door", [Profile()], indirect=True)
async def test_a_question_too_wide_to_remember_is_answered_all_the_same(door: Door) -> None:
    door.schedule("060000", "083500")
    wide = {f"0009,{number:04x}": {"vr": "LO", "text": ""} for number in range(0x1000, 0x1000 + 300)}
    assert shown(await door.ask(**wide)) == ["A060000", "A083500"]


def test_a_replay_needs_nothing_but_its_folder() -> None:
    capture = Capture(
        profile="generic", calling="CT1", at=datetime(2026, 7, 6, tzinfo=UTC), status=0, question={}, rows=(), answer=()
    )
    assert replace(capture, status=0) == read(written(capture, comment=["nothing asked, nothing found"]))
