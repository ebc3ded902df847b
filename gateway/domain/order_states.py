"""What an order control and an order status ask of an order, and what state that leaves it in.

HL7 v2.5.1 tables 0119 (ORC-1) and 0038 (ORC-5). Promises: every pair has one answer (`action`), and the state
after it is a pure function of the state before and the two stamps (`after`). An order that has ended is opened
again only by a new or changed order with a newer stamp; COMPLETED and CANCELED are left by nothing else. What is
older than what is known changes nothing: the order of stamps counts, not that of arrival; equal stamps count as
they arrive. A changed order that is under way stays so.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from gateway.domain.order_model import ENDED, Stamp, Status

ABSORBING: Final = frozenset({Status.COMPLETED, Status.CANCELED})
UNDER_WAY: Final = frozenset({Status.STARTED, Status.ARRIVED})


class Action(StrEnum):
    """What a message asks for."""

    UPSERT = "upsert"
    """A new order: enter it, or lay it over the one that is known."""
    REPLACE = "replace"
    """A changed order: as UPSERT, but a started one keeps its steps."""
    STATE = "state"
    """Only the state changes; nothing else is taken over."""
    NOTE = "note"
    """Nothing changes: observations to follow, a status we have."""
    REFUSE = "refuse"
    """Not understood."""


_NEW: Final = frozenset({"NW", "SN", "NA", "OK", "RO"})
_CHANGE: Final = frozenset({"XO", "XX", "RU", "RP", "CH", "PA"})
_CANCEL: Final = frozenset({"CA", "OC", "CR"})
_DISCONTINUE: Final = frozenset({"DC", "OD", "DR"})
_STATUS: Final = frozenset({"SC", "SS", "SR"})
_HOLD: Final = frozenset({"HD", "OH", "HR"})
_RELEASE: Final = frozenset({"RL", "OE", "OR"})
_UNABLE: Final = frozenset({"UC", "UD", "UH", "UM", "UN", "UR", "UX"})
"""The filler could not do as asked: the order stays as it is."""
_OBSERVE: Final = frozenset({"RE", "PR"})

_STATE_OF: Final = {
    "": Status.SCHEDULED,
    "SC": Status.SCHEDULED,
    "IP": Status.SCHEDULED,
    "A": Status.COMPLETED,
    "CM": Status.COMPLETED,
    "CA": Status.CANCELED,
    "RP": Status.CANCELED,
    "DC": Status.DISCONTINUED,
    "HD": Status.HELD,
}
"""ORC-5 beside a new or changed order. RP: it was replaced by another."""
_STATE_NOW: Final = _STATE_OF | {"IP": Status.STARTED}
"""ORC-5 beside a status change: in progress means that the examination began."""


def action(control: str, status: str) -> tuple[Action, Status | None]:
    """What ORC-1 and ORC-5 ask for, and the state they name; no state: the order keeps the one it has."""
    if status not in _STATE_OF and control in _NEW | _CHANGE | _STATUS:
        return Action.REFUSE, None
    if control in _NEW:
        return Action.UPSERT, _STATE_OF[status]
    if control in _CHANGE:
        return Action.REPLACE, _STATE_OF[status]
    if control in _STATUS:
        return (Action.NOTE, None) if status in {"", "SC"} else (Action.STATE, _STATE_NOW[status])
    if control in _CANCEL:
        return Action.STATE, Status.CANCELED
    if control in _DISCONTINUE:
        return Action.STATE, Status.DISCONTINUED
    if control in _HOLD:
        return Action.STATE, Status.HELD
    if control in _RELEASE:
        return Action.STATE, Status.SCHEDULED
    return (Action.NOTE, None) if control in _UNABLE | _OBSERVE else (Action.REFUSE, None)


def after(current: Status, known: Stamp, asked: Status, stamp: Stamp, *, asks: Action) -> Status | None:
    """The state that a message leads to; None if it changes nothing, as it is older or the order has ended."""
    if stamp < known:
        return None
    if asks is not Action.STATE:
        if current in ENDED:
            return asked if stamp > known else None
        return current if asked is Status.SCHEDULED and current in UNDER_WAY else asked
    if current in ABSORBING or (current in ENDED and asked not in ENDED):
        return None
    return None if asked is Status.SCHEDULED and current is not Status.HELD else asked
