"""The one buffer that a connection receives into: small until it is worth more, and moved only when it must be.

A thousand idle sockets cost 4 KB each. An object's bytes are handed on as views into the buffer, so the next
bytes go behind them while there is room; `make_room` says what it needs and keeps nothing that was consumed.
"""

from __future__ import annotations

FIRST = 4 * 1024
FULL = 160 * 1024
"""Bytes; more costs cache misses and less costs system calls (docs/performance.md)."""
LEAST_ROOM = 16 * 1024


class ReceiveBuffer:
    """Bytes that have come and are not consumed yet, and room behind them."""

    __slots__ = ("_end", "_start", "_view")

    def __init__(self) -> None:
        self._view = memoryview(bytearray(FIRST))
        self._start = self._end = 0

    def room(self) -> memoryview:
        """Where the next bytes go; never empty after `make_room`."""
        return self._view[self._end :]

    def spare(self) -> memoryview:
        """The whole buffer, for bytes that nobody will look at."""
        return self._view

    def received(self, count: int) -> memoryview:
        """All that is not consumed, now that `count` bytes more are there."""
        self._end += count
        return self._view[self._start : self._end]

    def consume(self, count: int) -> None:
        self._start += count

    @property
    def has_room(self) -> bool:
        """Enough bytes fit behind those that are there to leave them where they are."""
        return len(self._view) - self._end >= LEAST_ROOM

    def make_room(self, *, full: bool) -> None:
        """Move what is left to the front; views given out are invalid from here."""
        left = self._end - self._start
        size = max(len(self._view), FULL if full else FIRST)
        while left >= size:
            size *= 2  # at most one control PDU, which the reader bounds
        if size != len(self._view):
            grown = memoryview(bytearray(size))
            grown[:left] = self._view[self._start : self._end]
            self._view = grown
        elif left and self._start:
            self._view[:left] = bytes(self._view[self._start : self._end])
        self._start, self._end = 0, left
