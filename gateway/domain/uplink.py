"""What of the log is sent next, and when it is sent once more: the box's side of the acknowledgement by central.

Promises
- Whatever central has not acknowledged is sent again on the next connection, and on the same one after a wait that
  doubles up to `LONGEST_WAIT`: a broker's PUBACK ends nothing.
- What happens now goes first, one message each (live). What was kept goes behind it in batches, no more than `WINDOW`
  numbers ahead of the acknowledgement, so that nobody is flooded while central is away.
- Every number is in a live message or in the range (after, upto] of a batch, so central can tell a gap from a loss.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

WINDOW: Final = 5_000
"""Numbers that batches may be ahead of the acknowledgement."""
FIRST_WAIT: Final = 30.0
"""Seconds without an acknowledgement until what it is owed for is sent again."""
LONGEST_WAIT: Final = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Sending:
    """How far a connection is. Times are seconds of a clock that only goes forward."""

    acked: int
    back: int
    """Up to here everything was acknowledged, or sent in a batch."""
    live_from: int
    """Behind here everything goes live; in between (back, live_from] is for batches."""
    live: int
    """The last that went live."""
    since: float
    """When the acknowledgement last moved, or something was first owed one."""
    repeats: int = 0
    """How often it was sent once more since then."""

    @classmethod
    def begin(cls, *, acked: int, last: int, now: float) -> Sending:
        """Of a new connection: what there is up to `last` is history."""
        return cls(acked=acked, back=acked, live_from=last, live=last, since=now)

    @property
    def _owed(self) -> int:
        """The last that an acknowledgement is owed for."""
        return self.live if self.live > self.live_from else self.back

    @property
    def behind(self) -> tuple[int, int] | None:
        """The range (after, upto] that the next batch is taken from; None: none is, or central must answer first."""
        if self.back >= self.live_from or self.back - self.acked >= WINDOW:
            return None
        return self.back, self.live_from

    def went_live(self, upto: int, *, now: float) -> Sending:
        """Live messages up to that number were sent."""
        return replace(self._owing(now), live=max(self.live, upto))

    def went_back(self, upto: int, *, now: float) -> Sending:
        """A batch that covers everything up to that number was sent."""
        return replace(self._owing(now), back=max(self.back, min(upto, self.live_from)))

    def acknowledged(self, upto: int, *, now: float) -> Sending:
        """Central has committed everything up to that number."""
        if upto <= self.acked:
            return self
        return replace(self, acked=upto, back=max(self.back, upto), since=now, repeats=0)

    def repeated(self, *, now: float, random: float) -> Sending:
        """The same, or with everything that is owed to be sent once more, as batches. `random`: 0 to 1."""
        wait = min(LONGEST_WAIT, FIRST_WAIT * 2.0 ** min(self.repeats, 10)) * (0.75 + random / 2)
        if self._owed <= self.acked or self.behind is not None or now - self.since < wait:
            return self
        return replace(self, back=self.acked, live_from=self.live, since=now, repeats=self.repeats + 1)

    def _owing(self, now: float) -> Sending:
        return self if self._owed > self.acked else replace(self, since=now)


def fitting(sizes: Sequence[int], *, most: int, most_bytes: int) -> int:
    """How many of these bodies, from the first on, fit into one batch; at least one."""
    total = 0
    for number, size in enumerate(sizes[:most]):
        total += size + 1
        if total > most_bytes:
            return max(1, number)
    return min(len(sizes), most)
