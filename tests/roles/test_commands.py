"""The door of commands before real books: what is signed, for this box and now is carried out once, nothing else."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from structlog.testing import capture_logs

from gateway.domain.command import (
    FORMS,
    Code,
    Command,
    CommandName,
    Done,
    Outcome,
    Reason,
    Standing,
    judge,
    signed,
)
from gateway.domain.model import SourceName
from gateway.domain.signature import Flaw, canonical, key_id, ring, sealed
from gateway.roles.reporting.commands import ALARM_FORGED, Commands
from gateway.spool import audit, commands, progress, worklist
from gateway.spool.worklist import WorklistRow
from tests.domain.test_command import ANN, ARGUMENTS, BOB, EVE
from tests.spool.objects import Clock, held, open_spool

SITE, BOX = "north", "ct1-room"
TRUSTED = ring([ANN.public_key(), BOB.public_key()])
AT_ONCE = 64
"""Messages whose books are written in one commit, in their order."""
QUIET = Standing(association_open=False, exam_due=False)


class Room:
    """A box with a door for commands, and what came through it."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self.path, self.clock = path, clock
        self.standing = QUIET
        self.carried_out: list[Command] = []
        self.meanwhile: Callable[[], object] = lambda: None
        self.fails: type[Exception] | None = None
        self.number = 0
        self.spool = open_spool(path, clock)

    def restart(self) -> None:
        self.spool.close()
        self.spool = open_spool(self.path, self.clock)

    def deed(self, command: Command) -> Done:
        self.carried_out.append(command)
        self.meanwhile()
        if self.fails is not None:
            raise self.fails("DOE^JANE")
        return Done(outcome=Outcome.DONE, code=Code.OK)

    def send(self, *messages: bytes) -> None:
        asyncio.run(self._send(messages))

    async def _send(self, messages: tuple[bytes, ...]) -> None:
        door = self.door()
        for first in range(0, len(messages), AT_ONCE):
            await asyncio.gather(*map(door.carry_out, messages[first : first + AT_ONCE]))

    def door(self) -> Commands:
        return Commands(
            self.spool,
            trusted=TRUSTED,
            site=SITE,
            box=BOX,
            deeds=dict.fromkeys(CommandName, self.deed),
            room=lambda _c, _now: self.standing,
            kept=timedelta(days=1),
            now=self.clock,
        )

    def command(self, name: CommandName = CommandName.PING, **changes: object) -> Command:
        """A new one, good for five minutes."""
        self.number += 1
        good = Command(
            name=name,
            arguments=ARGUMENTS[name],
            site=SITE,
            box=BOX,
            nonce=f"nonce-{self.number:012}",
            not_before=self.clock.at,
            expires=self.clock.at + timedelta(minutes=5),
        )
        return replace(good, **changes)  # type: ignore[arg-type]

    def signed(self, name: CommandName = CommandName.PING, **changes: object) -> bytes:
        return signed(self.command(name, **changes), [ANN, BOB][: FORMS[name].signatures])

    @property
    def results(self) -> list[tuple[str, str]]:
        return [(one.outcome, one.code) for one in commands.untold(self.spool.db.read(), limit=1000)]

    @property
    def turned_away(self) -> dict[str, int]:
        return {one.reason: one.count for one in commands.turned_away(self.spool.db.read())}


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Room]:
    opened = Room(tmp_path / "state", Clock())
    yield opened
    opened.spool.close()


def test_each_command_is_carried_out_once_and_answered(room: Room) -> None:
    room.send(*(room.signed(name) for name in CommandName))
    assert [command.name for command in room.carried_out] == list(CommandName)
    assert room.results == [("done", "ok")] * len(CommandName)
    kept = commands.latest(room.spool.db.read(), limit=100)
    assert {one.signers for one in kept} == {
        (key_id(ANN.public_key()),),
        (key_id(ANN.public_key()), key_id(BOB.public_key())),
    }
    (first, last) = audit.journal_of(room.spool.db.read(), kind=audit.Subject.COMMAND, subject="nonce-000000000001")
    assert (first.who, last.who) == (f"key:{key_id(ANN.public_key())}", "reporting")
    room.spool.db.write(partial(commands.told, nonces=[one.nonce for one in kept], now=room.clock.at)).result()
    assert room.results == []


def test_a_second_copy_is_neither_carried_out_nor_answered(room: Room) -> None:
    message = room.signed()
    room.send(message, message)
    room.restart()
    room.send(message)
    assert len(room.carried_out) == 1
    assert (room.results, room.turned_away) == ([("done", "ok")], {"replayed": 2})


def test_what_a_restart_interrupted_is_told_and_not_done_again(room: Room) -> None:
    message = room.signed(CommandName.SELFTEST)
    judged = judge(message, trusted=TRUSTED, site=SITE, box=BOX, now=room.clock.at)
    taken = room.spool.db.write(partial(commands.take, judged=judged, standing=QUIET, now=room.clock.at)).result()
    assert taken is not None
    room.restart()

    async def start() -> None:
        stop = asyncio.Event()
        stop.set()
        await room.door().run(stop)

    asyncio.run(start())
    room.send(message)
    assert room.carried_out == []
    assert room.results == [("failed", "interrupted")]


def test_books_that_take_nothing_for_a_while_end_nobodys_work(impatient: None, room: Room) -> None:
    """While a command is carried out, and when the next one comes."""

    async def scene() -> None:
        door, stop = room.door(), asyncio.Event()
        running = asyncio.create_task(door.run(stop))

        async def until(fact: Callable[[], bool]) -> None:
            async with asyncio.timeout(60):
                while not fact():
                    assert not running.done(), running.exception()
                    await asyncio.sleep(0.01)

        with capture_logs() as logged, ExitStack() as nothing_taken:
            room.meanwhile = lambda: nothing_taken.enter_context(held(room.path))
            door.receive(room.signed())
            await until(lambda: len(logged) == 1)  # what came of it is not written down
            door.receive(room.signed())
            await until(lambda: len(logged) == 3)  # nor that, nor that another one came
        room.meanwhile = lambda: None
        door.receive(room.signed())
        await until(lambda: ("done", "ok") in room.results)
        stop.set()
        await running

    asyncio.run(scene())
    assert [command.nonce[-1] for command in room.carried_out] == ["1", "3"]
    assert room.results == [("failed", "interrupted"), ("done", "ok")]


def test_a_clock_that_goes_back_brings_nothing_back(room: Room) -> None:
    early = room.signed()
    never_sent = room.signed()
    room.send(early)
    room.clock.pass_(hours=30)
    room.send(room.signed())
    removed = room.spool.db.write(partial(commands.trim, before=room.clock.at - timedelta(days=1), limit=10)).result()
    assert removed == 1
    room.clock.pass_(hours=-30)
    room.send(early, never_sent)
    assert len(room.carried_out) == 2
    assert sorted(room.results) == [("done", "ok"), ("refused", "expired"), ("refused", "expired")]


def test_the_latest_command_is_never_forgotten_though_it_is_old(room: Room) -> None:
    message = room.signed()
    room.send(message)
    room.clock.pass_(days=400)
    room.spool.db.write(partial(commands.trim, before=room.clock.at, limit=10)).result()
    room.clock.pass_(days=-400)
    room.send(message)
    assert len(room.carried_out) == 1


def test_what_disturbs_an_exam_is_refused_and_may_be_asked_again(room: Room) -> None:
    room.standing = replace(QUIET, association_open=True)
    room.send(room.signed(CommandName.UPDATE), room.signed(CommandName.PING))
    room.standing = replace(QUIET, exam_due=True)
    room.send(room.signed(CommandName.UPDATE))
    room.standing = QUIET
    room.send(room.signed(CommandName.UPDATE))
    assert [one.name for one in room.carried_out] == [CommandName.PING, CommandName.UPDATE]
    assert room.results == [
        ("refused", "association-open"),
        ("done", "ok"),
        ("refused", "exam-due"),
        ("done", "ok"),
    ]


def test_a_deed_that_fails_is_answered_with_a_code_and_no_words(room: Room) -> None:
    room.fails = ValueError
    room.send(room.signed())
    assert room.results == [("failed", "fault")]


def test_what_nobody_signed_raises_an_alarm_that_ends_a_day_after_the_last(room: Room) -> None:
    room.send(b"{}", sealed({"cmd": "ping"}, [EVE]))
    assert [(one.code, one.count) for one in audit.active_alarms(room.spool.db.read())] == [(ALARM_FORGED, 2)]
    assert (room.results, room.turned_away) == ([], {"not-signed": 1, "unknown-key": 1})
    room.clock.pass_(hours=25)

    async def tidy() -> None:
        door, stop = room.door(), asyncio.Event()
        await door._write(door._tidy)
        stop.set()

    asyncio.run(tidy())
    assert audit.active_alarms(room.spool.db.read()) == ()


def test_what_takes_back_a_wish_is_no_command_and_no_forgery(room: Room) -> None:
    async def receive() -> int:
        door = room.door()
        door.receive(b"")
        door.receive(room.signed())
        await asyncio.sleep(0)
        return door._waiting.qsize()

    assert asyncio.run(receive()) == 1


MINUTE = timedelta(minutes=1)


def again(raw: bytes, **changes: object) -> bytes:
    """The same message with other words, and the signatures that it had."""
    return canonical({**json.loads(raw), **changes})


class Forger:
    """Makes commands that no box may carry out, of good ones, in every way it knows."""

    def __init__(self, room: Room, seed: int) -> None:
        self.room, self.dice = room, random.Random(seed)
        self.sent: list[bytes] = []
        """Good ones that the box has carried out."""
        self.ways: list[Callable[[], bytes]] = [
            self.flipped,
            self.other_words,
            self.strangers,
            self.borrowed,
            self.swapped,
            self.replayed,
            self.at_another_time,
            self.elsewhere,
            self.spelled_otherwise,
            self.padded,
            self.alone,
            self.twice_alone,
            self.argued,
            self.torn,
            self.naked,
            self.misshapen,
            self.in_company,
            self.out_of_context,
        ]

    def good(self, name: CommandName | None = None, **changes: object) -> bytes:
        return self.room.signed(name or self.dice.choice([*CommandName]), **changes)

    def flipped(self) -> bytes:
        raw = bytearray(self.good())
        raw[self.dice.randrange(len(raw))] ^= 1 << self.dice.randrange(8)
        return bytes(raw)

    def other_words(self) -> bytes:
        field, value = self.dice.choice(
            [
                ("cmd", self.dice.choice(["ping", "update", "delete", "__class__", "", "\0", 7, None])),
                ("args", self.dice.choice([{"peer": "vna"}, {"x": {}}, [], None, {"minutes": 1}])),
                ("box", self.dice.choice(["ct2-room", "", "*", "+", "ct1-room\n"])),
                ("site", self.dice.choice(["south", "#"])),
                ("nonce", f"other-{self.dice.randrange(10**12):015}"),
                ("nbf", "2000-01-01T00:00:00Z"),
                ("exp", "2099-01-01T00:00:00Z"),
                ("schema", "cmd/1.1"),
                ("more", 1),
            ]
        )
        return again(self.good(CommandName.SELFTEST), **{field: value})

    def strangers(self) -> bytes:
        """Signed by a key that we don't know, under the id of one that we do."""
        said = json.loads(sealed({**json.loads(self.good(CommandName.PING)), "sigs": None}, []))
        del said["sigs"]
        forged = json.loads(sealed(said, [EVE]))
        forged["sigs"][0]["kid"] = self.dice.choice([key_id(key.public_key()) for key in (ANN, EVE)])
        return canonical(forged)

    def borrowed(self) -> bytes:
        return again(self.good(CommandName.PING), sigs=json.loads(self.good(CommandName.PING))["sigs"])

    def swapped(self) -> bytes:
        raw = self.good(CommandName.APPLY_CONFIG)
        first, second = json.loads(raw)["sigs"]
        sigs = [{"kid": second["kid"], "sig": first["sig"]}, {"kid": first["kid"], "sig": second["sig"]}]
        return again(raw, sigs=sigs)

    def replayed(self) -> bytes:
        return self.dice.choice(self.sent)

    def at_another_time(self) -> bytes:
        begins, lasts = self.dice.choice(
            [(-20, 15), (-5, 5), (2, 5), (60, 5), (0, 16), (0, 0), (0, -5), (-(10**6), 10)]
        )
        begin = self.room.clock.at + begins * MINUTE
        return self.good(CommandName.LOG_LEVEL, not_before=begin, expires=begin + lasts * MINUTE)

    def elsewhere(self) -> bytes:
        return self.good(**self.dice.choice([{"box": "ct2-room"}, {"site": "south"}, {"box": "CT1-ROOM"}]))

    def spelled_otherwise(self) -> bytes:
        raw = self.good(CommandName.PING)
        twice = self.dice.choice(
            [b'"box":"ct1-room",', b'"cmd":"update",', b'"sigs":[],', b'"exp":"2099-01-01T00:00:00Z",']
        )
        tricks = [
            raw.replace(b"{", b"{" + twice, 1),
            raw[:-1] + b"," + twice[:-1] + b"}",
            raw.replace(b"p", b"\\u0070", 1),
            raw.replace(b":", b": ", 1),
            raw.replace(b"ping", "\uff50ing".encode(), 1),
            b"\xef\xbb\xbf" + raw,
            raw + b"\n",
            raw.decode().encode("utf-16"),
            raw.replace(b"ct1-room", b"ct1-room\\u200b", 1),
            raw.replace(b"/", b"\\/", 1),
        ]
        return self.dice.choice(tricks)

    def padded(self) -> bytes:
        return again(self.good(CommandName.PING), pad=" " * self.dice.choice([1, 5000, 200_000]))

    def alone(self) -> bytes:
        raw = self.good(self.dice.choice([CommandName.UPDATE, CommandName.APPLY_CONFIG]))
        body = {key: value for key, value in json.loads(raw).items() if key != "sigs"}
        return sealed(body, [self.dice.choice([ANN, BOB])])

    def twice_alone(self) -> bytes:
        raw = self.good(CommandName.UPDATE)
        body = {key: value for key, value in json.loads(raw).items() if key != "sigs"}
        return sealed(body, [ANN, ANN])

    def argued(self) -> bytes:
        body = json.loads(self.good(CommandName.C_ECHO))
        del body["sigs"]
        peers = [
            "../../etc/passwd",
            "a" * 65,
            "",
            "pacs\n",
            "\u0440acs",
            "; reboot",
            None,
            1,
            ["pacs"],
            {"peer": "pacs"},
        ]
        return sealed({**body, "args": {"peer": self.dice.choice(peers)}}, [ANN])

    def torn(self) -> bytes:
        raw = self.good()
        return self.dice.choice(
            [raw[: self.dice.randrange(len(raw))], raw + raw, self.dice.randbytes(200), b"[" * 50_000]
        )

    def naked(self) -> bytes:
        return again(self.good(), sigs=self.dice.choice([[], None, {}, [{}], [{"kid": "", "sig": ""}], "ok"]))

    def misshapen(self) -> bytes:
        body = json.loads(self.good(CommandName.PING))
        del body["sigs"]
        wrong = [{"nonce": "short"}, {"nbf": "now"}, {"args": None}, {"more": 1}, {"schema": "cmd/2.0"}, {"box": "*"}]
        return sealed({**body, **self.dice.choice(wrong)}, [ANN])

    def in_company(self) -> bytes:
        body = json.loads(self.good(CommandName.PING))
        del body["sigs"]
        return sealed(body, self.dice.choice([[ANN, EVE], [EVE, BOB], [EVE]]))

    def out_of_context(self) -> bytes:
        """The words alone signed, as for some other purpose."""
        body = {key: value for key, value in json.loads(self.good(CommandName.PING)).items() if key != "sigs"}
        signature = {"kid": key_id(ANN.public_key()), "sig": ANN.sign(canonical(body)).hex()}
        return canonical({**body, "sigs": [signature]})


@pytest.mark.slow
def test_of_ten_thousand_forged_replayed_expired_and_misdirected_commands_none_is_carried_out(room: Room) -> None:
    forger = Forger(room, seed=8)
    forger.sent = [room.signed(name) for name in CommandName for _ in range(3)]
    room.send(*forger.sent)
    good, made = len(room.carried_out), 0
    assert good == len(forger.sent)
    for round_ in range(10):
        room.send(*(forger.ways[number % len(forger.ways)]() for number in range(1026)))
        made += 1026
        assert [command.name for command in room.carried_out[good:]] == []
        room.restart()
        if round_ % 2:  # a clock that is far ahead for a while, and goes back
            room.clock.pass_(days=-400)
        else:
            room.clock.pass_(days=400)
    assert made >= 10_000
    room.clock.pass_(minutes=1)
    room.send(room.signed())
    assert len(room.carried_out) == good + 1
    assert {*Flaw, Reason.REPLAYED, Reason.MALFORMED, Reason.WRONG_BOX} == room.turned_away.keys()
    told = {code for _, code in room.results}
    assert {Reason.EXPIRED, Reason.NOT_YET, Reason.VALID_TOO_LONG, Reason.NEEDS_TWO, Reason.BAD_ARGUMENTS} <= told


BERLIN = ZoneInfo("Europe/Berlin")


def standing(room: Room) -> Standing:
    half_an_hour = timedelta(minutes=30)
    return commands.room(room.spool.db.read(), now=room.clock.at, zone=BERLIN, behind=half_an_hour, ahead=half_an_hour)


def test_a_connected_scanner_is_an_open_association(room: Room) -> None:
    assert standing(room) == QUIET
    room.spool.db.write(partial(progress.connected, calling_aes=["ct1"])).result()
    assert standing(room) == Standing(association_open=True, exam_due=False)


@pytest.mark.parametrize(
    ("start", "status", "due"),
    [
        ("20260301 0925", "", True),
        ("20260301 0930", "SCHEDULED", True),
        ("20260301 093001", "", False),
        ("20260301 0830", "READY", True),
        ("20260301 0829", "READY", False),
        ("20260301 0900", "Completed", False),
        ("20260301 ", "", False),
        ("20260302 0900", "", False),
    ],
)
def test_an_exam_is_due_from_half_an_hour_before_to_half_an_hour_after_it_begins(
    room: Room, start: str, status: str, due: bool
) -> None:
    """It is 9 o'clock in Berlin."""
    room.clock.at = datetime(2026, 3, 1, 8, 0, tzinfo=UTC)
    day, _, hour = start.partition(" ")
    one = WorklistRow(
        source=SourceName("main"),
        key="1",
        PatientID="1",
        PatientName="",
        AccessionNumber="",
        StudyInstanceUID="",
        RequestedProcedureID="",
        ScheduledProcedureStepID="",
        start_date=day,
        start_time=hour,
        Modality="CT",
        ScheduledStationAETitle="CT1",
        status=status,
        dataset=b"",
    )
    room.spool.db.write(
        partial(worklist.merge_answer, source=SourceName("main"), rows=[one], now=room.clock.at)
    ).result()
    assert standing(room).exam_due is due
