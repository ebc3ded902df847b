"""Power cuts while four associations send and the gateway forwards: what was answered 0000 survives them all.

The whole state lies on the rig's disk, which forgets what was not flushed (tests/powercut). The senders, their
ledgers and the PACS are outside. After each cut the gateway starts on what is left and goes on, to be cut again;
the disk is honest about FLUSH and lets none, a fifth or most of the unflushed blocks through, torn and out of order.

The controls lose: without any fsync, without that of the objects alone, and without that of transactions whose rows no
file can give back. A test that they passed would show nothing. That a name outlives the cut with the one fsync of its
file is ext4's promise, and it is the first of these tests that shows it.
"""

from __future__ import annotations

import random
import shutil
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from gateway.dicom.elements import ElementError
from gateway.simulate.archive import read_file
from gateway.simulate.pacs import PacsBehaviour
from tests.powercut import rig
from tests.powercut.ledger import promises
from tests.safety.box import Box, select
from tests.safety.site import CUTS, Site, moody, percentile, see_through, sending, site, until_promised

pytestmark = [
    pytest.mark.safety,
    pytest.mark.timeout(600 + 30 * CUTS),
    pytest.mark.skipif(rig.missing() is not None, reason=str(rig.missing())),
]

LEAKS = (0, 20, 80)
ANSWERED = 6
"""Objects between two cuts, at least; more on a machine that is fast."""
PRODUCTION = ("edge", "forward")
SMALL = ("--smallest", "20000", "--largest", "200000")


def power_cut(disk: rig.VolatileDisk, box: Box) -> None:
    disk.cut(box.pids)
    box.reap()


def check_database(state: Path, scratch: Path) -> None:
    """Open a copy as the next start will: the log is replayed, and every page must be sound."""
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    for path in state.glob("gateway.db*"):
        if not path.name.endswith("-shm"):
            shutil.copy(path, scratch)
    assert select(scratch, "PRAGMA integrity_check") == [("ok",)]


def test_nothing_acknowledged_is_lost_by_power_cuts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    chance = random.Random(21)
    ends: list[int] = []
    with (
        rig.VolatileDisk(tmp_path / "rig", size=4 << 30, seed=21) as disk,
        site(tmp_path, state=disk.mount / "state", units=PRODUCTION, seed=21) as place,
    ):
        place.box.start()
        with sending(place.box, place.ledgers, "--commit", "0.2", *SMALL, seed=21) as sender:
            with moody(place.pacs, place.host, seed=21):
                for cut in range(CUTS):
                    until_promised(place.stored, len(promises(place.stored)) + ANSWERED)
                    time.sleep(chance.uniform(0.1, 1.0))  # the random moment: not a synchronisation
                    power_cut(disk, place.box)
                    ends.append(len(promises(place.stored)))
                    disk.power_on(leak=LEAKS[(cut + 1) % len(LEAKS)], seed=cut)
                    check_database(place.box.state, tmp_path / "scratch")
                    place.box.start()
            see_through(sender)
        place.drain()
        verdict = place.judge()
        for unit in PRODUCTION:
            place.box.kill(unit)
    times = place.box.times_to_echo
    with capsys.disabled():
        echo = f"start to first C-ECHO p50 {percentile(times, 0.5):.2f} s, p95 {percentile(times, 0.95):.2f} s"
        print(f"\npower cuts: {CUTS}, {verdict}, {echo} ({len(times)} starts)")
    assert verdict.acknowledged >= ANSWERED * CUTS
    assert verdict.kept_every_promise, f"{verdict}; answers before each cut: {ends}"


def surviving(state: Path) -> dict[str, str]:
    """UID and content hash of every whole object in the spool, whatever the database says."""
    found = {}
    for path in (state / "spool" / "objects").glob("*/*.dcm"):
        try:
            one = read_file(path)
        except ElementError:
            continue
        found[one.SOPInstanceUID] = one.content_hash
    return found


def committing(state: Path) -> set[str]:
    """Transaction UIDs of the storage commitment requests in the database; a cut may have taken the whole schema."""
    if not select(state, "SELECT 1 FROM sqlite_schema WHERE name = 'commitment_request'"):
        return set()
    return {uid for (uid,) in select(state, "SELECT transaction_uid FROM commitment_request")}


@dataclass(frozen=True, slots=True, kw_only=True)
class Losses:
    """What was answered 0000 before a cut, and how much of it is not on the disk after it."""

    objects: int
    objects_lost: int
    requests: int
    requests_lost: int

    def __add__(self, other: Losses) -> Losses:
        return Losses(
            objects=self.objects + other.objects,
            objects_lost=self.objects_lost + other.objects_lost,
            requests=self.requests + other.requests,
            requests_lost=self.requests_lost + other.requests_lost,
        )

    def __str__(self) -> str:
        return (
            f"objects acknowledged {self.objects}, lost {self.objects_lost}; "
            f"commitment requests acknowledged {self.requests}, lost {self.requests_lost}"
        )


def losses_of_a_cut(disk: rig.VolatileDisk, place: Site) -> Losses:
    power_cut(disk, place.box)
    promised, asked = promises(place.stored), promises(place.ledgers / "committing")
    with disk.recover() as recovered:
        kept = surviving(recovered.path / "state")
        known = committing(recovered.path / "state") if asked else set()
    return Losses(
        objects=len(promised),
        objects_lost=sum(kept.get(uid) != hashed for uid, hashed in promised.items()),
        requests=len(asked),
        requests_lost=len(asked.keys() - known),
    )


def losses_after_a_pause(folder: Path, how: str, *options: str, seed: int) -> Losses:
    """The edge alone, a scanner that has its last answer, then the cut: no later write may cover up a missing one."""
    command = (sys.executable, "-m", "gateway") if how == "honest" else (sys.executable, "-m", "tests.safety.weak", how)
    with (
        rig.VolatileDisk(folder / "rig", size=256 << 20, seed=seed) as disk,
        site(
            folder,
            state=disk.mount / "state",
            units=("edge",),
            behaviour=PacsBehaviour.DOWN,
            command=command,
        ) as place,
    ):
        place.box.start()
        few = ("--count", "5", "--associations", "1")
        with sending(place.box, place.ledgers, *SMALL, *few, *options, seed=seed) as sender:
            assert sender.wait(100) == 0
        return losses_of_a_cut(disk, place)


@pytest.mark.parametrize("how", ["honest", "no-fsync", "no-file-sync"])
def test_the_last_object_before_a_cut(tmp_path: Path, capsys: pytest.CaptureFixture[str], how: str) -> None:
    losses = losses_after_a_pause(tmp_path / "1", how, seed=31) + losses_after_a_pause(tmp_path / "2", how, seed=32)
    with capsys.disabled():
        print(f"\npower cut after the last answer, {how}: cuts 2, {losses}")
    assert losses.objects >= 10
    assert (losses.objects_lost == 0) == (how == "honest")


@pytest.mark.parametrize("how", ["honest", "no-full-commit"])
def test_the_last_commitment_request_before_a_cut(tmp_path: Path, capsys: pytest.CaptureFixture[str], how: str) -> None:
    losses = losses_after_a_pause(tmp_path, how, "--commit", "1", seed=33)
    with capsys.disabled():
        print(f"\npower cut after the last request, {how}: cuts 1, {losses}")
    assert losses.requests
    assert (losses.requests_lost == 0) == (how == "honest")


def test_a_gateway_without_fsync_loses_under_load(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with (
        rig.VolatileDisk(tmp_path / "rig", size=512 << 20, seed=41) as disk,
        site(
            tmp_path,
            state=disk.mount / "state",
            units=PRODUCTION,
            command=(sys.executable, "-m", "tests.safety.weak", "no-fsync"),
        ) as place,
    ):
        place.box.start()
        with sending(place.box, place.ledgers, *SMALL, seed=41):
            until_promised(place.stored, 40)
            losses = losses_of_a_cut(disk, place)
    with capsys.disabled():
        print(f"\npower cut under load, no-fsync: cuts 1, {losses}")
    assert losses.objects_lost > 0
