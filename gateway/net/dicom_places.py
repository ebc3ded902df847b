"""The places of sockets that have not asked for an association yet: who gets one, and who makes room for it.

What is promised: one address never holds more than its share. When all places are taken a newcomer still gets one:
the address that holds most gives up its oldest socket, an address nobody expects before one from which a known
caller may come. So a thousand silent sockets, from however many addresses, keep no scanner out: a peer that speaks
at once (PS3.8 9.1.4) is through before its turn to make room comes. Only when every place is held by addresses of
known callers is a stranger's address refused.
"""

from __future__ import annotations

from typing import Protocol


class Holder(Protocol):
    """What holds a place."""

    def displace(self) -> None:
        """Close at once and without a word; the place is no longer yours."""


class Places:
    """Places in total and for one address."""

    def __init__(self, *, total: int, per_address: int) -> None:
        self._total = total
        self._per_address = per_address
        self.displaced = 0
        """How many had to make room."""
        self._taken = 0
        self._holders: dict[str, dict[Holder, None]] = {}
        """By address, the oldest first."""
        self._expected: set[str] = set()

    def __len__(self) -> int:
        return self._taken

    def of(self, address: str) -> int:
        """How many places `address` holds."""
        return len(self._holders.get(address, ()))

    def take(self, holder: Holder, address: str, *, expected: bool) -> bool:
        """Give `holder` a place if there is one for it; `expected`: a known caller may come from this address."""
        if self.of(address) >= self._per_address:
            return False
        if self._taken >= self._total and not self._make_room(expected=expected):
            return False
        self._holders.setdefault(address, {})[holder] = None
        if expected:
            self._expected.add(address)
        self._taken += 1
        return True

    def leave(self, holder: Holder, address: str) -> None:
        """`holder` needs its place no more; harmless if it was displaced."""
        holders = self._holders.get(address, {})
        if holder not in holders:
            return
        del holders[holder]
        self._taken -= 1
        if not holders:
            del self._holders[address]
            self._expected.discard(address)

    def _make_room(self, *, expected: bool) -> bool:
        crowd = [address for address in self._holders if address not in self._expected]
        if not crowd and expected:
            crowd = list(self._holders)
        if not crowd:
            return False
        address = max(crowd, key=self.of)
        oldest = next(iter(self._holders[address]))
        self.leave(oldest, address)
        oldest.displace()
        self.displaced += 1
        return True
