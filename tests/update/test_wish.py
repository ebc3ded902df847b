"""A release that central wishes for: taken up only as it lies at the mirror, followed by the agent, told to the end."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from typer.testing import CliRunner

from gateway.app import updating
from gateway.app.wished_release import ask, facts, runs
from gateway.cli import update as commands
from gateway.cli.commands import app
from gateway.config import load
from gateway.domain.boot import TRIES, Slot
from gateway.domain.command import Code, Command, CommandName, Done, Outcome, Phase
from gateway.domain.update import REMEDIES, Objection
from gateway.spool import Spool, audit, releases
from tests.spool.objects import Clock, open_spool
from tests.update.releases import KEY, SECOND, STRANGER, Appliance, appliance, manifest, publish

SEQUENCE = 2


@dataclass
class Room:
    """A box with a mirror, and central that asks."""

    made: Appliance
    folder: Path
    spool: Spool
    clock: Clock

    @property
    def config(self) -> Path:
        return self.folder / "gateway.toml"

    @property
    def mirror(self) -> Path:
        return self.folder / "mirror"

    def ask(self, raw: bytes, *, sequence: int = SEQUENCE) -> Done:
        asked = Command(
            name=CommandName.UPDATE,
            arguments={
                "version": "1.1.0",
                "sequence": sequence,
                "ring": "lab",
                "sha256": hashlib.sha256(raw).hexdigest(),
            },
            site="north",
            box="ct1-room",
            nonce="0123456789abcdef",
            not_before=self.clock.at,
            expires=self.clock.at,
        )
        return ask(load(self.config), self.spool, asked, box=self.made.box, keys=self.folder / "release-keys")

    def told(self) -> dict[str, Any]:
        return dict(facts(runs(self.made.box), self.spool.db.read()))

    @property
    def phase(self) -> Phase:
        found = releases.latest(self.spool.db.read())
        assert found is not None
        return found.phase


@pytest.fixture
def room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Room]:
    """The programs of the image are at fixed places; here they are handed in."""
    clock = Clock()
    spool = open_spool(tmp_path / "state", clock)
    made = Room(made=appliance(tmp_path / "box"), folder=tmp_path, spool=spool, clock=clock)
    (tmp_path / "gateway.toml").write_text(
        f'[site]\nname = "north"\ntimezone = "UTC"\n[box]\nid = "ct1-room"\nstate = "{tmp_path}/state"\n'
        f'[update]\nsource = "{tmp_path}/mirror"\n',
        "utf-8",
    )
    keys = tmp_path / "release-keys"
    keys.mkdir()
    for number, key in enumerate((KEY, SECOND)):
        pem = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        (keys / f"{number}.pem").write_bytes(pem)
    monkeypatch.setattr(commands, "_box", lambda: made.made.box)
    monkeypatch.setattr(commands, "_survey", lambda box: updating.survey(box, migrations=40))
    monkeypatch.setattr("gateway.config.update.RELEASE_KEYS", keys)
    yield made
    spool.close()


def follow(room: Room, monkeypatch: pytest.MonkeyPatch) -> tuple[int, list[str]]:
    """What the timer does, and what it asks of systemd."""
    said: list[str] = []
    monkeypatch.setattr(commands, "_systemctl", said.append)
    done = CliRunner().invoke(app, ["update", "follow", "--config", str(room.config)])
    return done.exit_code, said


STAGED = Done(outcome=Outcome.DONE, code=Code.STAGED)


def test_a_wish_is_installed_started_and_told(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = publish(room.mirror, manifest(), [KEY])
    assert room.told() == {"sw_seq": 1}
    assert follow(room, monkeypatch) == (0, []), "what only appears there is left alone"
    assert room.ask(raw) == STAGED
    assert room.ask(raw) == STAGED, "asked again it is under way already"
    assert room.told() == {"sw_seq": 1, "release": 2, "release_phase": Phase.STAGED}
    assert follow(room, monkeypatch) == (0, ["reboot"])
    assert room.phase is Phase.APPLIED
    shown = CliRunner().invoke(app, ["update", "status", "--config", str(room.config)])
    assert (shown.exit_code, "central wished for 1.1.0: applied" in shown.output) == (0, True)
    assert room.made.start() is Slot.B
    assert follow(room, monkeypatch) == (0, [])
    assert room.phase is Phase.APPLIED, "on trial"
    assert updating.commit(room.made.box, updating.survey(room.made.box, migrations=40), selftest=lambda: True)
    assert follow(room, monkeypatch) == (0, [])
    assert room.told() == {"sw_seq": 2, "release": 2, "release_phase": Phase.CONFIRMED}
    assert room.ask(raw).code is Objection.NOT_NEWER
    rows = audit.journal_of(room.spool.db.read(), kind=audit.Subject.RELEASE, subject="2")
    assert [row.to_state for row in rows] == ["staged", "applied", "confirmed"]


def test_a_release_that_does_not_hold_is_told_and_not_tried_again(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    raw = publish(room.mirror, manifest(), [KEY])
    room.ask(raw)
    follow(room, monkeypatch)
    for _ in range(TRIES):
        assert room.made.start() is Slot.B
    assert room.made.start() is Slot.A
    assert follow(room, monkeypatch) == (0, [])
    assert room.told()["release_phase"] is Phase.ROLLED_BACK
    assert room.ask(raw) == Done(outcome=Outcome.FAILED, code=Objection.FELL_BACK)


def test_what_is_in_the_way_is_said_in_a_word_with_a_remedy(room: Room) -> None:
    raw = publish(room.mirror, manifest(), [KEY])
    other = publish(room.folder / "other", replace(manifest(), root_hash="cd" * 32), [KEY])
    found = {room.ask(other).code, room.ask(raw, sequence=3).code}
    assert found == {Objection.OTHER_RELEASE}
    for said, keys, code in (
        (manifest(), [STRANGER], Objection.SIGNATURE),
        (replace(manifest(), arch="arm64"), [KEY], Objection.ARCH),
        (replace(manifest(), sequence=1), [KEY], Objection.NOT_NEWER),
        (replace(manifest(), least_migrations=10_000), [KEY], Objection.ONE_WAY),
    ):
        raw = publish(room.mirror, said, keys)
        assert room.ask(raw, sequence=said.sequence) == Done(outcome=Outcome.FAILED, code=code)
    (room.mirror / "manifest.json").unlink()
    assert room.ask(raw).code is Objection.MIRROR
    room.config.write_text(room.config.read_text().partition("[update]")[0], "utf-8")
    assert room.ask(raw).code is Objection.NO_SOURCE
    (room.made.root / "cmdline").write_text("quiet\n")
    assert room.ask(raw).code is Objection.NO_SLOTS
    assert room.told() == {}
    assert releases.latest(room.spool.db.read()) is None
    assert {*REMEDIES} == {*Objection}


def test_what_turns_out_bad_when_it_is_written_is_rejected_and_may_be_mended(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = publish(room.mirror, manifest(), [KEY], root=b"not what was signed")
    assert room.ask(raw) == STAGED
    assert follow(room, monkeypatch) == (2, [])
    assert room.told() == {
        "sw_seq": 1,
        "release": 2,
        "release_phase": Phase.REJECTED,
        "release_fault": Objection.TAMPERED.value,
    }
    assert follow(room, monkeypatch) == (0, []), "it is not tried by itself"
    raw = publish(room.mirror, manifest(), [KEY])
    assert room.ask(raw) == STAGED
    assert follow(room, monkeypatch) == (0, ["reboot"])


def test_another_release_at_the_mirror_is_not_the_one_that_was_wished_for(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    room.ask(publish(room.mirror, manifest(), [KEY]))
    publish(room.mirror, manifest("1.2.0", 3), [KEY])
    before = room.made.holds(Slot.B)
    assert follow(room, monkeypatch) == (2, [])
    assert room.told()["release_fault"] == Objection.OTHER_RELEASE.value
    assert room.made.holds(Slot.B) == before


def test_a_restart_waits_for_the_room(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    from gateway.spool import progress

    room.ask(publish(room.mirror, manifest(), [KEY]))
    room.spool.db.write(partial(progress.connected, calling_aes=["ct1"])).result()
    assert follow(room, monkeypatch) == (0, [])
    assert room.phase is Phase.APPLIED
    room.spool.db.write(partial(progress.connected, calling_aes=[])).result()
    assert follow(room, monkeypatch) == (0, ["reboot"])


def test_what_a_person_went_back_from_does_not_come_again_by_itself(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    room.config.write_text(f"{room.config.read_text('utf-8')}install = true\n", "utf-8")
    raw = publish(room.mirror, manifest(), [KEY])
    assert room.ask(raw) == STAGED
    assert follow(room, monkeypatch) == (0, ["reboot"])
    assert room.made.start() is Slot.B
    assert updating.commit(room.made.box, updating.survey(room.made.box, migrations=40), selftest=lambda: True)
    assert follow(room, monkeypatch) == (0, [])
    assert room.phase is Phase.CONFIRMED
    assert CliRunner().invoke(app, ["update", "rollback"]).exit_code == 0
    assert room.made.start() is Slot.A
    assert updating.commit(room.made.box, updating.survey(room.made.box, migrations=40), selftest=lambda: False)
    before = room.made.state
    assert follow(room, monkeypatch) == (0, [])
    assert room.made.state == before
    assert room.phase is Phase.ROLLED_BACK
    assert room.ask(raw) == Done(outcome=Outcome.FAILED, code=Objection.FELL_BACK)
    publish(room.mirror, manifest("1.2.0", 3), [KEY])
    assert follow(room, monkeypatch) == (0, ["reboot"]), "a later one does"


def test_what_a_person_went_back_from_on_trial_is_told(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    room.ask(publish(room.mirror, manifest(), [KEY]))
    follow(room, monkeypatch)
    assert room.made.start() is Slot.B
    assert CliRunner().invoke(app, ["update", "rollback"]).exit_code == 0
    assert room.made.start() is Slot.A
    assert follow(room, monkeypatch) == (0, [])
    assert room.phase is Phase.ROLLED_BACK


def test_a_good_release_that_came_up_no_more_is_not_written_again(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    room.config.write_text(f"{room.config.read_text('utf-8')}install = true\n", "utf-8")
    publish(room.mirror, manifest(), [KEY])
    assert follow(room, monkeypatch) == (0, ["reboot"])
    assert room.made.start() is Slot.B
    assert updating.commit(room.made.box, updating.survey(room.made.box, migrations=40), selftest=lambda: True)
    while room.made.start() is Slot.B:
        pass
    assert updating.commit(room.made.box, updating.survey(room.made.box, migrations=40), selftest=lambda: True)
    before = room.made.state
    assert follow(room, monkeypatch) == (0, [])
    assert room.made.state == before
