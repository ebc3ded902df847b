"""How often something may be done that a stranger can cause: a bucket of tokens, and a count of what was left out.

What is promised: at most `burst` at once and `per_second` in the long run, whatever comes in. Time is the caller's.
"""

from __future__ import annotations


class Rate:
    """One bucket."""

    def __init__(self, *, per_second: float, burst: int) -> None:
        self._per_second = per_second
        self._burst = burst
        self._tokens = float(burst)
        self._at: float | None = None
        self._left_out = 0

    def allows(self, now: float) -> bool:
        """Whether it may be done at `now`, in seconds of a clock that does not go back; else it is counted."""
        if self._at is not None:
            self._tokens = min(self._burst, self._tokens + max(now - self._at, 0.0) * self._per_second)
        self._at = now
        if self._tokens < 1:
            self._left_out += 1
            return False
        self._tokens -= 1
        return True

    def take_left_out(self) -> int:
        """How many were not allowed since this was asked last."""
        left_out, self._left_out = self._left_out, 0
        return left_out
