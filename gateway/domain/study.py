"""A study in counts, and whether it is safe: what a technologist asks after an exam.

What is promised: "safe" is said only if every image of the study that ever came is confirmed at every destination
it was routed to, and none waits for a person.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from gateway.domain.model import UID, AETitle, DeliveryState, DestinationName, InstanceId


class Standing(StrEnum):
    SAFE = "safe"
    ON_ITS_WAY = "on-its-way"
    """Goes on by itself."""
    PERSON = "needs-a-person"


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """All images that came under one Study Instance UID."""

    id: InstanceId
    """Of its first image: our own name for the study, safe where a UID is not wanted."""
    StudyInstanceUID: UID
    """Empty where the images had none."""
    senders: tuple[AETitle, ...]
    first_received: datetime
    last_received: datetime
    images: int
    size: int
    """Bytes of the data sets."""
    settled: int
    """Images confirmed everywhere; of these some may be purged here."""
    purged: int
    quarantined: int
    refused: int
    """Images that at least one destination refused."""
    unrouted: int
    """Images that have nowhere to go."""
    held: int
    """Images that wait for a decision of a person, or for an order, and those that a person rejected."""

    @property
    def standing(self) -> Standing:
        if self.quarantined or self.refused or self.unrouted or self.held:
            return Standing.PERSON
        return Standing.SAFE if self.settled == self.images else Standing.ON_ITS_WAY


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """What came of a study from one scanner."""

    calling_ae: AETitle
    address: str
    images: int
    size: int
    first: datetime
    last: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivered:
    """What stands alike on the way to one destination."""

    destination: DestinationName
    state: DeliveryState
    last_status: str
    images: int
    attempts: int
    """The most of any."""
    first_queued: datetime
    last_sent: datetime | None
    last_confirmed: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Hops:
    """A study and its way, hop by hop."""

    study: Study
    received: tuple[Received, ...]
    delivered: tuple[Delivered, ...]
