"""Two slots: whatever is done and whenever the power goes, the box starts something that is known to be good."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from gateway.domain import boot
from gateway.domain.boot import SECTOR, STARTS, TRIES, BootState, Slot, Standing, from_block, next_start, to_block
from gateway.domain.model import PermanentFailure

STATES = st.builds(
    BootState,
    good=st.sampled_from(Slot),
    trial=st.none() | st.sampled_from(Slot),
    tries=st.integers(0, TRIES),
    starts=st.integers(0, STARTS),
    spare=st.booleans(),
    tried=st.integers(0, 9_999_999_999),
    machine=st.just("") | st.text("0123456789abcdef", min_size=32, max_size=32),
)


@given(state=STATES)
def test_a_state_comes_back_from_its_block_and_fits_one_sector(state: BootState) -> None:
    block = to_block(state)
    assert from_block(block) == state
    assert set(block[SECTOR:]) == {ord("#")}  # so a torn write leaves the old or the new


@pytest.mark.parametrize(
    ("block", "said"),
    [
        (b"", "no environment block"),
        (b"#" * 1024, "no environment block"),
        (to_block(BootState()).replace(b"good=a", b"good=c"), "good is none of a, b"),
        (to_block(BootState()).replace(b"tries=0", b"tries=9"), "tries is none of"),
    ],
)
def test_a_block_that_is_none_of_ours_is_named(block: bytes, said: str) -> None:
    with pytest.raises(PermanentFailure, match=said):
        from_block(block)


def test_a_good_version_is_started_without_end() -> None:
    state = BootState(good=Slot.B)
    for _ in range(20):
        state, slot = next_start(state)
        assert slot is Slot.B


def test_an_update_that_holds_becomes_the_good_one_and_can_be_taken_back() -> None:
    state = boot.offered(BootState(), Slot.A, sequence=2)
    state, slot = next_start(state)
    assert (slot, boot.standing(state, slot)) == (Slot.B, Standing.TRIAL)
    state = boot.committed(state, slot)
    assert next_start(state)[1] is Slot.B
    assert boot.standing(state, Slot.B) is Standing.GOOD
    assert next_start(boot.rolled_back(state, Slot.B))[1] is Slot.A


def test_an_update_that_does_not_hold_is_left_after_its_tries() -> None:
    state = boot.offered(BootState(), Slot.A, sequence=2)
    for _ in range(TRIES):
        state, slot = next_start(state)
        assert slot is Slot.B
    state, slot = next_start(state)
    assert slot is Slot.A
    assert boot.standing(state, slot) is Standing.FELL_BACK
    assert boot.standing(boot.arrived(state, slot), slot) is Standing.FELL_BACK  # it stays known
    assert next_start(boot.arrived(state, slot))[1] is Slot.A


def test_a_trial_may_be_ended_by_hand() -> None:
    state, slot = next_start(boot.offered(BootState(), Slot.A, sequence=2))
    assert next_start(boot.rolled_back(state, slot))[1] is Slot.A


def test_a_good_slot_that_is_worn_gives_way_to_the_one_before() -> None:
    state = BootState(good=Slot.B, spare=True)
    slots = []
    for _ in range(STARTS + 1):
        state, slot = next_start(state)
        slots.append(slot)
    assert slots == [Slot.B] * STARTS + [Slot.A]
    assert boot.standing(state, Slot.A) is Standing.STAND_IN
    assert next_start(boot.committed(state, Slot.A))[1] is Slot.A


def test_the_slot_that_is_written_is_started_by_nobody() -> None:
    for state in (BootState(spare=True), boot.offered(BootState(), Slot.A, sequence=1)):
        writing = boot.emptied(state, Slot.A)
        for _ in range(2 * STARTS):
            writing, slot = next_start(writing)
            assert slot is Slot.A


def test_during_a_trial_nothing_is_written_over_the_good_slot() -> None:
    state, slot = next_start(boot.offered(BootState(), Slot.A, sequence=2))
    with pytest.raises(PermanentFailure, match="commit it or roll back first"):
        boot.emptied(state, slot)


def test_there_is_no_way_back_to_what_was_never_good() -> None:
    with pytest.raises(PermanentFailure, match="install one"):
        boot.rolled_back(BootState(), Slot.A)


class Box(RuleBasedStateMachine):
    """Installs, starts, self-tests, hands and power cuts in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.state, self.booted = next_start(BootState())
        self.holds = {Slot.A: True, Slot.B: False}
        """Whether what a slot has comes up and passes its self-test."""
        self.good_once = {Slot.A}

    def _start(self) -> None:
        for _ in range(2 * (TRIES + STARTS)):
            self.state, self.booted = next_start(from_block(to_block(self.state)))
            if self.holds[self.booted]:
                break
        else:
            raise AssertionError("the box never comes up")
        if self.booted is self.state.good:
            self.state = boot.arrived(self.state, self.booted)

    @rule()
    def power_cut(self) -> None:
        self._start()

    @precondition(lambda self: self.booted is self.state.good)
    @rule(holds=st.booleans(), cut=st.booleans())
    def install(self, holds: bool, cut: bool) -> None:
        other = self.booted.other
        self.state = boot.emptied(self.state, self.booted)
        self.holds[other] = False
        self.good_once.discard(other)
        if cut:
            self._start()
            assert self.booted is not other
            return
        self.holds[other] = holds
        self.state = boot.offered(self.state, self.booted, sequence=1)

    @rule()
    def commit(self) -> None:
        assert self.holds[self.booted]
        self.state = boot.committed(self.state, self.booted)
        self.good_once.add(self.booted)

    @rule()
    def roll_back(self) -> None:
        try:
            self.state = boot.rolled_back(self.state, self.booted)
        except PermanentFailure:
            return
        assert self.state.good in self.good_once

    @invariant()
    def what_is_called_good_was_good(self) -> None:
        assert self.state.good in self.good_once
        assert not self.state.spare or self.state.good.other in self.good_once


TestBox = Box.TestCase


def test_the_loader_makes_the_same_moves() -> None:
    """What grub.cfg says, read by an interpreter of the few words it uses, for every state that there is."""
    text = (Path(__file__).parents[2] / "image" / "grub.cfg").read_text()
    script = text[text.index("set slot=$good") : text.index("save_env")]
    for good in Slot:
        for trial in (None, *Slot):
            for tries in range(TRIES + 1):
                for starts in range(STARTS + 1):
                    for spare in (False, True):
                        state = BootState(good=good, trial=trial, tries=tries, starts=starts, spare=spare)
                        assert _by_the_loader(script, state) == next_start(state)


def _by_the_loader(script: str, state: BootState) -> tuple[BootState, Slot]:
    kept = dict(line.split("=", 1) for line in to_block(state).decode().rstrip("#").splitlines()[1:])
    shell = "".join(f"{name}={value}\n" for name, value in kept.items()) + re.sub(
        r"^(\s*)set ", r"\1", script, flags=re.M
    )
    shell = re.sub(r"(then|else) set ", r"\1 ", shell) + '\necho "$slot $tries $starts"'
    slot, tries, starts = _run(shell).split()
    return replace(state, tries=int(tries), starts=int(starts)), Slot(slot)


def _run(shell: str) -> str:
    import subprocess

    return subprocess.run(["/bin/sh", "-c", shell], capture_output=True, text=True, check=True).stdout
