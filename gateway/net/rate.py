"""How often, or how much, something may be done: a bucket of tokens, and a count of what was left out of it.

What is promised: at most `burst` at once and `per_second` in the long run, whatever comes in. Time is the caller's,
in seconds of any clock; one that goes back gives nothing.
"""

from __future__ import annotations


class Bucket:
    """Tokens that come in at a steady rate."""

    def __init__(self, *, per_second: float, burst: float) -> None:
        self.per_second = per_second
        self._burst = burst
        self._tokens = burst
        self._at: float | None = None

    def available(self, now: float) -> float:
        """How many there are; never more than the burst."""
        if self._at is not None:
            self._tokens = min(self._burst, self._tokens + max(now - self._at, 0.0) * self.per_second)
        self._at = now
        return self._tokens

    def spend(self, tokens: float) -> None:
        """Take some that are available."""
        self._tokens -= tokens

    def wait_for(self, tokens: float) -> float:
        """Seconds from when `available` was asked last until there are so many, of which there are less."""
        return (tokens - self._tokens) / self.per_second


class Rate:
    """How often something may be done that a stranger can cause."""

    def __init__(self, *, per_second: float, burst: int) -> None:
        self._bucket = Bucket(per_second=per_second, burst=burst)
        self._left_out = 0

    def allows(self, now: float) -> bool:
        """Whether it may be done at `now`; else it is counted."""
        if self._bucket.available(now) < 1:
            self._left_out += 1
            return False
        self._bucket.spend(1)
        return True

    def take_left_out(self) -> int:
        """How many were not allowed since this was asked last."""
        left_out, self._left_out = self._left_out, 0
        return left_out
