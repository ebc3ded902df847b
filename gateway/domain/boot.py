"""Which half of the box starts: two slots, one that is known to be good and perhaps one on trial.

What is promised: a slot is started without end only after its self-test held (`commit`). One on trial is started as
often as it has tries; then the good one starts again, whatever the trial did, a hang or a kernel that panics included.
A power cut never costs the good slot anything. If the good slot itself doesn't come up for STARTS starts in a row
(its disk may be worn), the other is tried, provided that it was good once.

The moves here are those of `image/grub.cfg`, which makes them before there is any program of ours; `next_start` says
the same in Python, and the image's test compares the two. The values live in GRUB's environment block: 1024 bytes that
GRUB rewrites in place (GRUB manual, 15.4). All of ours lie in the first 512, so that a cut while they are written
leaves the old or the new, never a mixture: a disk writes a sector whole.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from gateway.domain.model import PermanentFailure

BLOCK: Final = 1024
SECTOR: Final = 512
TRIES: Final = 2
"""Starts on trial; the second is for whoever pulls the plug during the first."""
STARTS: Final = 4
"""Starts of the good slot in a row that may end before the box is up."""
_HEADER: Final = b"# GRUB Environment Block\n"
_DIGITS: Final = 10
_MACHINE: Final = re.compile(r"[0-9a-f]{32}")


class Slot(StrEnum):
    A = "a"
    B = "b"

    @property
    def other(self) -> Slot:
        """The one that is written while this one runs."""
        return Slot.B if self is Slot.A else Slot.A


class Standing(StrEnum):
    """What the running slot is to the box."""

    GOOD = "good"
    TRIAL = "trial"
    """Started to be tried; `commit` or the next start decides."""
    FELL_BACK = "fell back"
    """The other was tried and did not hold; this one is the good one."""
    STAND_IN = "stand-in"
    """The good one did not come up; this one was good once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BootState:
    """What is kept between starts."""

    good: Slot = Slot.A
    trial: Slot | None = None
    tries: int = 0
    """Starts that the trial has left."""
    starts: int = 0
    """Starts of the good slot since the box was last up."""
    spare: bool = False
    """The slot that is not good holds a whole version that was good once."""
    tried: int = 0
    """The release that was offered last (`Manifest.sequence`): one that failed is not offered by itself again."""
    machine: str = ""
    """machine-id(5), which a read-only root can't keep; empty before the first start is done."""


def next_start(state: BootState) -> tuple[BootState, Slot]:
    """What GRUB does: the state it leaves and the slot it starts."""
    if state.trial is not None and state.tries > 0:
        return replace(state, tries=state.tries - 1), state.trial
    if state.starts >= STARTS and state.spare:
        return state, state.good.other
    return replace(state, starts=min(state.starts + 1, STARTS)), state.good


def standing(state: BootState, booted: Slot) -> Standing:
    """What the slot that runs now is."""
    if booted is state.trial:
        return Standing.TRIAL
    if booted is not state.good:
        return Standing.STAND_IN
    return Standing.FELL_BACK if state.trial is not None and state.tries == 0 else Standing.GOOD


def emptied(state: BootState, booted: Slot) -> BootState:
    """Before the other slot is overwritten: nothing starts it any more. Raises PermanentFailure during a trial, for
    then the other slot is the one that is known to be good."""
    if booted is not state.good:
        raise PermanentFailure("the running version is not yet known to be good: commit it or roll back first")
    return replace(state, trial=None, tries=0, spare=False)


def offered(state: BootState, booted: Slot, *, sequence: int) -> BootState:
    """The other slot is whole and proven: release `sequence` is tried at the next start."""
    return replace(emptied(state, booted), trial=booted.other, tries=TRIES, tried=sequence)


def committed(state: BootState, booted: Slot) -> BootState:
    """The self-test held: the running slot is the good one; the other was until now, and stays for `rolled_back`."""
    if booted is state.good:
        return arrived(state, booted)
    return replace(state, good=booted, trial=None, tries=0, starts=0, spare=True)


def arrived(state: BootState, booted: Slot) -> BootState:
    """The box is up: of the good slot no more is asked. That a trial failed stays known until the next is offered."""
    return replace(state, starts=0) if booted is state.good else state


def rolled_back(state: BootState, booted: Slot) -> BootState:
    """The slot that does not run starts next and is the good one. Raises PermanentFailure if it holds nothing good."""
    match standing(state, booted):
        case Standing.TRIAL:
            return replace(state, trial=None, tries=0, starts=0)
        case Standing.STAND_IN:
            raise PermanentFailure("the other slot did not start: install a version, or commit this one")
        case _ if not state.spare:
            raise PermanentFailure("the other slot holds no version that was good: install one")
        case _:
            return replace(state, good=booted.other, trial=None, tries=0, starts=0, spare=True)


def to_block(state: BootState) -> bytes:
    """The environment block, as grub-editenv would write it."""
    values = {
        "good": state.good.value,
        "trial": state.trial.value if state.trial else "",
        "tries": str(state.tries),
        "starts": str(state.starts),
        "spare": str(int(state.spare)),
        "tried": str(state.tried),
        "machine": state.machine,
    }
    block = _HEADER + "".join(f"{key}={value}\n" for key, value in values.items()).encode("ascii")
    return block.ljust(BLOCK, b"#")


def from_block(block: bytes) -> BootState:
    """The state of an environment block. Raises PermanentFailure that names the value that is none of ours."""
    if len(block) != BLOCK or not block.startswith(_HEADER):
        raise PermanentFailure(f"the boot state is no environment block of {BLOCK} bytes: make the boot partition anew")
    lines = block[len(_HEADER) :].decode("ascii", "replace").rstrip("#").splitlines()
    values = dict(line.split("=", 1) for line in lines if "=" in line)
    return BootState(
        good=Slot(_one_of(values, "good", {"a", "b"})),
        trial=Slot(trial) if (trial := _one_of(values, "trial", {"", "a", "b"})) else None,
        tries=int(_one_of(values, "tries", {str(n) for n in range(TRIES + 1)})),
        starts=int(_one_of(values, "starts", {str(n) for n in range(STARTS + 1)})),
        spare=_one_of(values, "spare", {"0", "1"}) == "1",
        tried=int(tried) if (tried := values.get("tried", "")).isdecimal() and len(tried) <= _DIGITS else 0,
        machine=machine if _MACHINE.fullmatch(machine := values.get("machine", "")) else "",
    )


def _one_of(values: dict[str, str], key: str, known: set[str]) -> str:
    value = values.get(key, "")
    if value not in known:
        raise PermanentFailure(f"the boot state's {key} is none of {', '.join(sorted(known))}: make it anew")
    return value
