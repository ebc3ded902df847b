"""How far a study is on its way to a destination, how fast that goes, and when it will be there.

Promises
- The rate is measured: what the destination took lately, whosever images these were. Where it took nothing lately the
  rate and the time of arrival are None, for nothing is known of them.
- What waits before a study counts into its time of arrival. What was refused does not: it does not go on by itself.
- Bytes are those of the images as received, and images count whole: one that is being sent is not there yet.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from gateway.domain.model import UID, DestinationName

LATELY: Final = timedelta(minutes=1)
"""The time over which a rate is measured."""
LONGEST: Final = timedelta(days=365)
"""What takes longer is not foretold."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """What a destination took lately."""

    destination: DestinationName
    size: int
    """Bytes."""
    seconds: float
    """In this time."""

    @property
    def rate(self) -> float | None:
        """Bytes a second; None: nothing lately."""
        return self.size / self.seconds if self.size and self.seconds > 0 else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Transit:
    """A study, or all there is, on its way to one destination."""

    destination: DestinationName
    images: int
    size: int
    """Bytes."""
    waiting_images: int
    """Queued or being sent."""
    waiting_size: int
    sent_images: int
    """Sent, not confirmed yet."""
    confirmed_images: int
    refused_images: int
    ahead_size: int
    """Bytes of other studies that are sent before the last of this."""
    rate: float | None
    """Bytes a second, as measured lately; None: not known."""

    @property
    def arrives_in(self) -> timedelta | None:
        """When all that waits will have been sent; zero if nothing waits, None if it can't be told."""
        if not self.waiting_images:
            return timedelta(0)
        if not self.rate:
            return None
        seconds = (self.ahead_size + self.waiting_size) / self.rate
        return timedelta(seconds=seconds) if seconds < LONGEST.total_seconds() else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Journey:
    """A study on its way to all its destinations."""

    StudyInstanceUID: UID
    at: datetime
    received_images: int
    received_size: int
    last_received: datetime
    is_over: bool
    """Whether the examination is: no more images are expected."""
    destinations: tuple[Transit, ...]
