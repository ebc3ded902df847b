"""How fast one destination is sent to: a cap in bytes per second, precedence among its lanes, what the link carries.

What is promised: all gates of a `Flow` together let through at most its rate, in pieces, so that it holds for bytes
that never pass through our memory (sendfile). While a gate of higher precedence is in use, those below it share an
eighth of what the link carries: the first goes first, and nothing stands still. What the link carries is measured on
what was sent unhindered, the peer's own time for each object included. Safe from any thread; clock and sleep are
the caller's.
"""

from __future__ import annotations

import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from gateway.net.rate import Bucket

PIECE: Final = 64 * 1024
"""Bytes let through at a time, at most."""
LEAST: Final = 1024
"""Bytes worth a write of their own."""
SHARE: Final = 8
"""Into how many parts the link is divided, of which the lower lanes get one."""
UNKNOWN: Final = 1024 * 1024
"""Bytes per second that a link is taken to carry before it was measured."""
SLOWEST: Final = 8 * 1024
"""Bytes per second that a lower lane gets of any link, so that its peer does not take it for dead."""
MEASURED: Final = 1024 * 1024
"""Bytes that make a measurement."""
WEIGHT: Final = 0.3
"""Of the newest measurement."""
SHORTEST_SLEEP: Final = 0.001
LONGEST_SLEEP: Final = 1.0
_BURST_SECONDS: Final = 0.25


class Flow:
    """All that is sent to one destination."""

    def __init__(
        self,
        *,
        rate: int = 0,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """`rate` is in bytes per second; 0: no cap."""
        self.clock = clock
        self._sleep = sleep
        self._lock = threading.Lock()
        self._cap = _bucket(rate) if rate else None
        self._rate = rate
        self._lower: Bucket | None = None
        """For the gates below one that is in use."""
        self._in_use: Counter[int] = Counter()
        self._bytes = 0
        self._seconds = 0.0
        self._measured = 0.0

    def gate(self, rank: int) -> Gate:
        """For one lane; the lower the rank, the higher its precedence."""
        return Gate(self, rank)

    @property
    def bytes_per_second(self) -> float:
        """What the link carries, as measured lately; 0 as long as nothing was."""
        return self._measured

    def _begin(self, rank: int) -> None:
        with self._lock:
            self._in_use[rank] += 1
            carried = min(self._measured or UNKNOWN, self._rate or math.inf)
            self._lower = _bucket(max(carried / SHARE, SLOWEST))

    def _end(self, rank: int) -> None:
        with self._lock:
            self._in_use[rank] -= 1

    def _hindered(self, rank: int) -> bool:
        return any(count > 0 and other < rank for other, count in self._in_use.items())

    def _allow(self, rank: int, want: int) -> int:
        while True:
            with self._lock:
                buckets = [self._cap] if self._cap is not None else []
                if self._lower is not None and self._hindered(rank):
                    buckets.append(self._lower)
                if not buckets:
                    return want
                now = self.clock()
                give = int(min(want, PIECE, *(bucket.available(now) for bucket in buckets)))
                least = min(want, LEAST)
                if give >= least:
                    for bucket in buckets:
                        bucket.spend(give)
                    return give
                wait = max(bucket.wait_for(least) for bucket in buckets)
            self._sleep(min(max(wait, SHORTEST_SLEEP), LONGEST_SLEEP))

    def _sent(self, rank: int, count: int, seconds: float) -> None:
        with self._lock:
            if self._hindered(rank):
                return
            self._bytes += count
            self._seconds += seconds
            if self._bytes >= MEASURED and self._seconds > 0:
                found = self._bytes / self._seconds
                self._measured += (found - self._measured) * (WEIGHT if self._measured else 1.0)
                self._bytes, self._seconds = 0, 0.0


class Gate:
    """One lane's part in a flow."""

    def __init__(self, flow: Flow, rank: int) -> None:
        self._flow = flow
        self._rank = rank
        self.clock = flow.clock

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """While it has something to send, gates of lower precedence stand back."""
        self._flow._begin(self._rank)
        try:
            yield
        finally:
            self._flow._end(self._rank)

    def allow(self, want: int) -> int:
        """How many of `want` bytes may go now, at least one; waits until some may."""
        return self._flow._allow(self._rank, want)

    def sent(self, count: int, seconds: float) -> None:
        """An object of so many bytes took that long, its answer included."""
        self._flow._sent(self._rank, count, seconds)


def _bucket(rate: float) -> Bucket:
    return Bucket(per_second=rate, burst=max(rate * _BURST_SECONDS, LEAST))
