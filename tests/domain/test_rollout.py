"""A rollout goes ring by ring, stops by itself for each of its reasons, and never asks anybody after that."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from gateway.domain.command import Code, Outcome, Phase, Reason
from gateway.domain.fleet import BoxId, Key, SiteName
from gateway.domain.rollout import AGAIN, AT_ONCE, HEARD, Step, decide, resumed, stopped
from gateway.domain.rollout_model import (
    FAULTS,
    Answer,
    Cause,
    Kind,
    Limits,
    Mark,
    Member,
    Rollout,
    Sight,
    Stage,
)

T0 = datetime(2026, 11, 22, 8, 0, tzinfo=UTC)
LIMITS = Limits(
    failures=0.1, soak=timedelta(hours=1), patience=timedelta(hours=6), absence=timedelta(minutes=10)
)  # fmt: skip
VERSION = 8
NEW = Sight(version=VERSION, phase=Phase.CONFIRMED)
PACS = frozenset({"destination-unreachable pacs"})


def key(number: int) -> Key:
    return SiteName("north"), BoxId(f"b{number}")


@dataclass
class World:
    """A fleet, and the books of one rollout in it."""

    rings: tuple[int, ...] = (2, 2)
    kind: Kind = Kind.CONFIGURATION
    failures: float = LIMITS.failures
    now: datetime = T0
    heard_for: timedelta = HEARD
    asked: list[tuple[Key, int]] = field(default_factory=list)
    """Who was asked, and the ring that the rollout was in."""
    withdrawn: list[Key] = field(default_factory=list)
    proven: set[Key] = field(default_factory=set)
    """Who had proven it, ever."""
    members: dict[Key, Member] = field(init=False)
    sights: dict[Key, Sight] = field(init=False)
    rollout: Rollout = field(init=False)

    def __post_init__(self) -> None:
        places = [ring for ring, boxes in enumerate(self.rings) for _ in range(boxes)]
        self.members = {key(number): Member(ring=ring) for number, ring in enumerate(places)}
        self.sights = {one: Sight(version=VERSION - 1, phase=Phase.CONFIRMED) for one in self.members}
        self.rollout = Rollout(
            kind=self.kind,
            version=VERSION,
            rings=tuple(f"r{number}" for number in range(len(self.rings))),
            limits=replace(LIMITS, failures=self.failures),
            begun_at=self.now,
        )

    def look(self) -> Step:
        """One step, as the books keep it."""
        step = decide(self.rollout, self.members, self.sights, heard_for=self.heard_for, now=self.now)
        for one, asked in {**step.asks, **step.notes}.items():
            self.members[one] = replace(self.members[one], asked=asked)
        for one in step.asks:
            self.members[one] = replace(self.members[one], answer=None)
            self.asked.append((one, self.rollout.ring))
        for one in step.withdraws:
            self.members[one] = replace(self.members[one], asked=None, answer=None)
            self.withdrawn.append(one)
        self.proven |= {one for one, found in step.marks.items() if found is Mark.PROVEN}
        self.rollout = step.rollout
        return step

    def is_(self, number: int, **changes: object) -> None:
        self.sights[key(number)] = replace(self.sights[key(number)], **changes)  # type: ignore[arg-type]

    def take(self, *numbers: int) -> None:
        """These have proven it."""
        for number in numbers:
            self.is_(number, version=VERSION, phase=Phase.CONFIRMED)

    def pass_(self, **time: float) -> None:
        self.now += timedelta(**time)

    def resume(self) -> None:
        marks = decide(self.rollout, self.members, self.sights, heard_for=self.heard_for, now=self.now).marks
        self.rollout, excused = resumed(self.rollout, self.members, marks, now=self.now)
        for one in excused:
            self.members[one] = replace(self.members[one], excused=True)

    def names(self) -> list[str]:
        return [one[1] for one, _ in self.asked]


def test_a_ring_begins_when_the_one_before_is_whole_and_has_soaked() -> None:
    world = World()
    world.look()
    assert world.names() == ["b0", "b1"]
    world.take(0)
    world.look()
    world.take(1)
    world.pass_(minutes=5)
    world.look()
    assert (world.rollout.ring, world.rollout.whole_at) == (0, world.now)
    world.pass_(minutes=59)
    world.look()
    assert world.rollout.ring == 0
    world.pass_(minutes=1)
    world.look()
    assert (world.rollout.ring, world.names()) == (1, ["b0", "b1"])
    world.look()
    assert world.names() == ["b0", "b1", "b2", "b3"]
    world.take(2, 3)
    world.look()
    world.pass_(hours=1)
    assert world.look().rollout.stage is Stage.DONE
    world.look()
    assert world.names() == ["b0", "b1", "b2", "b3"]


def go_wrong(world: World, how: Mark) -> None:
    """The second box does, after both were asked and took it."""
    applied = {"version": VERSION, "phase": Phase.APPLIED}
    match how:
        case Mark.REJECTED:
            world.is_(1, version=VERSION, phase=Phase.REJECTED, faults=("mqtt.port",))
        case Mark.ROLLED_BACK:
            world.is_(1, version=VERSION, phase=Phase.ROLLED_BACK)
        case Mark.REFUSED:
            refused = Answer(outcome=Outcome.REFUSED, code=Reason.NOT_YET)
            world.members[key(1)] = replace(world.members[key(1)], answer=refused)
        case Mark.OTHER:
            world.is_(1, **applied, same=False)
        case Mark.LOST:
            world.is_(1, **applied, away_since=world.now)
            world.pass_(minutes=11)
        case Mark.WORSE:
            world.is_(1, **applied, alarms=PACS)
        case Mark.LATE:
            world.is_(1, version=VERSION, phase=Phase.STAGED)
            world.pass_(hours=7)
        case _:
            raise AssertionError(how)


SAYS = {
    Mark.REJECTED: ("mqtt.port",),
    Mark.REFUSED: ("not-yet",),
    Mark.WORSE: ("destination-unreachable pacs",),
    Mark.LATE: ("staged",),
}


@pytest.mark.parametrize("how", sorted(FAULTS))
def test_it_halts_for_each_way_in_which_a_box_fails(how: Mark) -> None:
    world = World()
    world.look()
    world.take(0)
    go_wrong(world, how)
    world.look()
    halt = world.rollout.halt
    assert (world.rollout.stage, halt and (halt.cause, halt.ring, halt.boxes)) == (Stage.HALTED, (how, "r0", 1))
    assert halt is not None
    assert [(one.box, one.mark, one.words) for one in halt.found] == [("b1", how, SAYS.get(how, ()))]
    world.pass_(days=3)
    world.look()
    assert world.names() == ["b0", "b1"]


@pytest.mark.parametrize("how", sorted(FAULTS))
def test_a_share_of_a_ring_may_fail(how: Mark) -> None:
    """One of ten is a tenth, two are more."""
    world = World(rings=(10, 1))
    world.look()
    world.take(0, *range(2, 10))
    go_wrong(world, how)
    world.look()
    assert world.rollout.stage is Stage.RUNNING
    world.pass_(hours=1)
    world.look()
    assert world.rollout.ring == 1
    world.is_(2, version=VERSION, phase=Phase.ROLLED_BACK)
    world.look()
    assert world.rollout.stage is Stage.HALTED, "a ring that is passed counts on"


def test_a_box_that_is_away_for_a_moment_keeps_the_ring_and_halts_nothing() -> None:
    world = World()
    world.look()
    world.take(0, 1)
    world.look()
    world.pass_(hours=1)
    world.is_(1, away_since=world.now - timedelta(minutes=9))
    world.look()
    assert (world.rollout.stage, world.rollout.ring) == (Stage.RUNNING, 0)
    world.is_(1, away_since=None)
    world.look()
    assert world.rollout.ring == 1


def test_an_alarm_that_stood_before_is_no_fault_of_the_change() -> None:
    world = World()
    world.is_(0, alarms=PACS)
    world.look()
    world.is_(1, alarms=PACS)
    world.look()
    world.take(0, 1)
    assert set(world.look().marks.values()) == {Mark.PROVEN, Mark.WAITING}
    world.is_(0, alarms=frozenset())
    world.look()
    world.is_(0, alarms=PACS)
    world.look()
    assert world.rollout.stage is Stage.RUNNING, "it was there before as well"


def test_a_box_that_was_away_is_not_waited_for_and_asked_when_it_is_back() -> None:
    world = World()
    world.is_(1, away_since=T0 - timedelta(days=3))
    world.look()
    assert world.names() == ["b0", "b1"], "its wish waits at the broker"
    world.take(0)
    world.look()
    world.pass_(hours=1)
    world.look()
    assert world.rollout.ring == 1
    world.is_(1, away_since=None)
    world.look()
    assert world.names() == ["b0", "b1", "b1", "b2", "b3"]
    assert world.look().marks[key(1)] is Mark.ASKED
    world.is_(1, version=VERSION, phase=Phase.ROLLED_BACK)
    world.look()
    assert world.rollout.stage is Stage.HALTED


def test_a_release_is_asked_only_of_who_is_there() -> None:
    world = World(kind=Kind.RELEASE)
    world.is_(1, away_since=T0)
    world.look()
    world.look()
    assert world.names() == ["b0"]
    world.is_(1, away_since=None)
    world.look()
    assert world.names() == ["b0", "b1"]


def test_a_ring_of_which_nobody_proved_anything_is_never_passed() -> None:
    world = World()
    for number in (0, 1):
        world.is_(number, away_since=T0 - timedelta(days=3))
    for _ in range(7):
        world.look()
        world.pass_(hours=1)
    world.look()
    assert world.rollout.halt is not None
    assert (world.rollout.stage, world.rollout.halt.cause) == (Stage.HALTED, Cause.NOBODY)
    world.resume()
    world.look()
    world.pass_(hours=1)
    world.look()
    assert world.rollout.ring == 1, "a person has said so"


def test_a_refusal_that_passes_is_asked_again_and_no_fault() -> None:
    world = World(rings=(1,), kind=Kind.RELEASE)
    world.look()
    for code in (Reason.EXAM_DUE, Reason.ASSOCIATION_OPEN, Code.NO_ANSWER):
        world.members[key(0)] = replace(
            world.members[key(0)], answer=Answer(outcome=Outcome.REFUSED, code=code)
        )  # fmt: skip
        world.look()
        world.pass_(seconds=AGAIN.total_seconds())
        world.look()
    assert world.names() == ["b0"] * 4
    world.pass_(hours=7)
    world.look()
    assert world.rollout.halt is not None
    assert world.rollout.halt.cause is Mark.LATE


def test_who_has_a_later_version_is_not_asked() -> None:
    world = World()
    world.is_(1, version=VERSION + 1)
    world.look()
    assert world.names() == ["b0"]
    world.take(0)
    world.look()
    world.pass_(hours=1)
    assert world.look().rollout.ring == 1


def test_who_has_it_already_is_not_asked_but_watched() -> None:
    world = World()
    world.take(0)
    world.look()
    assert world.names() == ["b1"]
    world.is_(0, alarms=PACS)
    world.look()
    assert world.rollout.halt is not None
    assert world.rollout.halt.cause is Mark.WORSE


@pytest.mark.parametrize("stage", [Stage.HALTED, Stage.ABORTED])
def test_what_no_box_has_taken_is_taken_back(stage: Stage) -> None:
    world = World()
    world.is_(1, away_since=T0 - timedelta(days=3))
    world.look()
    world.take(0)
    world.rollout = stopped(world.rollout, stage)
    assert world.rollout.halt is not None
    assert world.rollout.halt.cause is Cause.PERSON
    world.look()
    assert world.withdrawn == [key(1)]
    world.look()
    assert world.withdrawn == [key(1)]
    assert world.names() == ["b0", "b1"]


def test_after_a_halt_it_goes_on_without_those_that_failed_and_soaks_anew() -> None:
    world = World()
    world.look()
    world.take(0)
    go_wrong(world, Mark.ROLLED_BACK)
    world.look()
    world.resume()
    world.look()
    assert (world.rollout.stage, world.rollout.whole_at, world.rollout.ring) == (Stage.RUNNING, world.now, 0)
    world.pass_(hours=1)
    world.look()
    assert world.rollout.ring == 1
    world.look()
    assert world.names() == ["b0", "b1", "b2", "b3"]


def test_one_that_ended_stays_as_it_is() -> None:
    world = World()
    for stage in (Stage.ABORTED, Stage.DONE):
        ended = replace(world.rollout, stage=stage)
        assert stopped(ended, Stage.HALTED) == ended


def test_nothing_is_decided_while_nobody_listens() -> None:
    world = World(heard_for=timedelta(0))
    world.look()
    assert world.names() == []
    world.heard_for = HEARD
    world.look()
    world.heard_for = HEARD / 2
    go_wrong(world, Mark.LOST)
    world.look()
    assert world.rollout.stage is Stage.RUNNING


def test_a_large_ring_is_asked_in_parts() -> None:
    world = World(rings=(AT_ONCE + 1,))
    world.look()
    assert len(world.asked) == AT_ONCE
    world.take(*range(AT_ONCE))
    world.look()
    assert (len(world.asked), world.rollout.whole_at) == (AT_ONCE + 1, None)


class AnyFleet(RuleBasedStateMachine):
    """Boxes do whatever they like, people halt and resume, time passes: the rules hold."""

    @initialize(
        rings=st.lists(st.integers(1, 4), min_size=1, max_size=4),
        failures=st.sampled_from([0.0, 0.3, 1.0]),
        kind=st.sampled_from(Kind),
    )
    def begin(self, rings: list[int], failures: float, kind: Kind) -> None:
        self.world = World(rings=tuple(rings), failures=failures, kind=kind)

    @rule(number=st.integers(0, 15), version=st.integers(VERSION - 2, VERSION + 1), phase=st.sampled_from(Phase))
    def report(self, number: int, version: int, phase: Phase) -> None:
        one = key(number % len(self.world.members))
        if version >= self.world.sights[one].version:
            self.world.sights[one] = replace(self.world.sights[one], version=version, phase=phase)

    @rule(number=st.integers(0, 15), red=st.booleans(), away=st.booleans())
    def change(self, number: int, red: bool, away: bool) -> None:
        one = key(number % len(self.world.members))
        since = (self.world.sights[one].away_since or self.world.now) if away else None
        alarms = PACS if red else frozenset[str]()
        self.world.sights[one] = replace(self.world.sights[one], alarms=alarms, away_since=since)

    @rule()
    def all_take_it(self) -> None:
        for number, one in enumerate(self.world.members):
            if self.world.members[one].asked is not None and self.world.sights[one].version < VERSION:
                self.world.take(number)

    @rule(away=st.booleans())
    def all_go_or_come(self, away: bool) -> None:
        for one, sight in self.world.sights.items():
            since = (sight.away_since or self.world.now) if away else None
            self.world.sights[one] = replace(sight, away_since=since)

    @rule(hours=st.sampled_from([0.1, 0.2, 1.0, 7.0]))
    def wait(self, hours: float) -> None:
        self.world.pass_(hours=hours)

    @rule(stage=st.sampled_from([Stage.HALTED] * 9 + [Stage.ABORTED]))
    def stop(self, stage: Stage) -> None:
        self.world.rollout = stopped(self.world.rollout, stage)

    @rule()
    def resume(self) -> None:
        if self.world.rollout.stage is Stage.HALTED:
            self.world.resume()

    @rule()
    def soak(self) -> None:
        self.look_once(heard=True)
        self.world.pass_(hours=1)
        self.look_once(heard=True)

    @rule(heard=st.booleans())
    def look(self, heard: bool) -> None:
        self.look_once(heard=heard)

    def look_once(self, *, heard: bool) -> None:
        world = self.world
        before, asked = world.rollout, len(world.asked)
        world.heard_for = HEARD if heard else timedelta(0)
        reported = dict(world.sights)
        step = world.look()
        new = world.asked[asked:]
        assert not new or (before.stage is Stage.RUNNING and heard), "asked after a halt, or blindly"
        for one, ring in new:
            assert reported[one].version < VERSION, "an older wish than it reports"
            assert world.members[one].ring <= ring, "more than one ring at once"
        assert world.rollout.ring - before.ring in {0, 1}
        if world.rollout.ring > before.ring or world.rollout.stage is Stage.DONE:
            assert before.stage is not Stage.RUNNING or self.may_pass(before, step)

    def may_pass(self, before: Rollout, step: Step) -> bool:
        """None of the ring is under way, some have proven it or a person excused them, and few failed."""
        counted = [
            step.marks[one]
            for one, member in self.world.members.items()
            if member.ring == before.ring and not member.excused
        ]
        if before.whole_at is None or self.world.now - before.whole_at < LIMITS.soak:
            return False
        failed = len([one for one in counted if one in FAULTS])
        here = len([one for one in counted if one not in {Mark.AWAY, Mark.LATER}])
        under_way = {Mark.WAITING, Mark.ASKED, Mark.STAGED, Mark.APPLIED} & set(counted)
        return not under_way and failed <= self.world.failures * here and (Mark.PROVEN in counted or not counted)

    @invariant()
    def rings_are_passed_in_their_order(self) -> None:
        world = self.world
        later = [one for one, member in world.members.items() if member.ring > world.rollout.ring]
        assert not any(world.members[one].asked for one in later)
        for ring in range(world.rollout.ring):
            inside = {one for one, member in world.members.items() if member.ring == ring}
            excused = {one for one in inside if world.members[one].excused}
            assert inside & (world.proven | excused), "nobody proved it, and nobody was told so"


TestAnyFleet = AnyFleet.TestCase
TestAnyFleet.settings = settings(max_examples=100, stateful_step_count=30, deadline=None)
