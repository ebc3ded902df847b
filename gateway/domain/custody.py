"""The chain of custody of a study: of each image, where it came from, what was done with it, and who has it.

It is one record, told from the books alone: the same for people, for `gateway study --export` and for the API. Its form
is `docs/custody.schema.json`; within one `form` fields are added, never renamed or given another meaning. It names no
patient. Times are UTC.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

from gateway.domain.model import UID, AETitle, DeliveryState, DestinationName, InstanceId, InstanceState, Lane

FORM: Final = "gateway-custody/1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """One step of an image or of a delivery."""

    at: datetime
    by: str
    """A part of the gateway, a destination, or "command:" and the account of a person."""
    before: str
    """The state; empty: it began here."""
    after: str
    why: str
    """The cause: a rule, a status, what proved that it is kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One time that an image was sent."""

    at: datetime
    """When its outcome was known."""
    stored: bool
    status: str
    """The status of the C-STORE or of HTTP, or what failed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Handing:
    """An image on its way to one destination."""

    id: int
    destination: DestinationName
    lane: Lane
    state: DeliveryState
    compression: str
    """What a rule demanded; empty: as the destination's setting says."""
    sent_as: str
    """The Transfer Syntax UID it was stored there in; empty: it was not, or that was not written down."""
    queued_at: datetime
    queued_by: str
    because: str
    """The rule or the person's wish that queued it."""
    attempts: tuple[Attempt, ...]
    sent_at: datetime | None
    confirmed_at: datetime | None
    proof: str
    """What proved that the destination keeps it; empty: nothing yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Edited:
    """One attribute that is written anew on the way out. Neither value is told here: they may name the patient."""

    attribute: str
    rule: str
    """What asked for it, with its version."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """What the check of a study against its order came to."""

    decision: str
    because: str
    """The rule that decided."""
    findings: tuple[str, ...]
    """Codes of what it found."""
    version: str
    """Of the rules."""
    applied: bool
    """False: it was only reported (shadow mode)."""
    decided_by: str
    decided_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Custody:
    """One image."""

    id: InstanceId
    SOPClassUID: UID
    SOPInstanceUID: UID
    SeriesInstanceUID: UID
    TransferSyntaxUID: UID
    size: int
    """Bytes of the data set as received."""
    content_hash: str
    """xxh3-128 over Transfer Syntax UID and data set as received."""
    received_at: datetime
    calling_ae: AETitle
    called_ae: AETitle
    address: str
    state: InstanceState
    quarantine: str
    """Why it waits for a person; empty if it does not."""
    edited: tuple[Edited, ...]
    moves: tuple[Move, ...]
    handings: tuple[Handing, ...]
    purged_at: datetime | None

    @property
    def is_safe(self) -> bool:
        """Whether every destination that it was routed to confirmed it."""
        states = {one.state for one in self.handings}
        return states == {DeliveryState.CONFIRMED} and not self.quarantine


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyCustody:
    """All that the books tell of a study."""

    form: Literal["gateway-custody/1"]
    site: str
    box: str
    told_at: datetime
    StudyInstanceUID: UID
    safe: bool
    """Every image is confirmed at every destination it was routed to."""
    check: Checked | None
    """None: the check never met it."""
    instances: tuple[Custody, ...]


def attempts(moves: Iterable[Move]) -> tuple[Attempt, ...]:
    """The times that a delivery was tried, of its moves. What was put back without an outcome is none."""
    return tuple(
        Attempt(at=one.at, stored=one.after == DeliveryState.SENT, status=one.why)
        for one in moves
        if one.before == DeliveryState.SENDING and one.why and one.why not in _NO_ATTEMPT
    )


_NO_ATTEMPT: Final = frozenset({"lease over", "sender restarted"})


def proof(moves: Sequence[Move]) -> str:
    """What proved last that the destination keeps it."""
    return next((one.why for one in reversed(moves) if one.after == DeliveryState.CONFIRMED), "")
