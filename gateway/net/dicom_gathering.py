"""A request that is held in memory until it is whole, and how much of that a peer may have us do.

What is promised: only a request that somebody handles is held, the rest is counted. A query may be 64 KB,
far more than every key there is, and other requests `MAX_IDENTIFIER`. What associations hold beyond `FREE`
bytes each is bounded for one address and in total, so that neither a peer with many associations nor many
peers take the memory, and small requests always pass. What was held goes back to the system when it is over.
"""

from __future__ import annotations

from collections import Counter

from gateway.dicom.dimse import Command, CommandField
from gateway.net.memory import keep_large_blocks_apart

MAX_IDENTIFIER = 16 * 1024 * 1024
"""Bytes of the longest data set held in memory: a commitment request for 100,000 instances fits."""
MAX_QUERY = 64 * 1024
FREE = 64 * 1024
PER_ADDRESS = MAX_IDENTIFIER
IN_TOTAL = 2 * MAX_IDENTIFIER


class Memory:
    """Bytes held for the peers of a process, beyond what is free."""

    def __init__(self) -> None:
        self._held: Counter[str] = Counter()
        keep_large_blocks_apart()

    def take(self, address: str, count: int) -> bool:
        """Whether `count` bytes more may be held for `address`."""
        if self._held[address] + count > PER_ADDRESS or self._held.total() + count > IN_TOTAL:
            return False
        self._held[address] += count
        return True

    def give_back(self, address: str, count: int) -> None:
        self._held[address] -= count
        if not self._held[address]:
            del self._held[address]

    def __len__(self) -> int:
        return self._held.total()


class Gathering:
    """One message other than C-STORE on its way in."""

    __slots__ = ("_address", "_content", "_handled", "_memory", "_size", "_taken", "message")

    def __init__(self, message: Command, *, handled: bool, memory: Memory, address: str) -> None:
        self.message = message
        self._handled = handled
        self._memory = memory
        self._address = address
        self._content = bytearray()
        self._size = self._taken = 0

    def add(self, view: memoryview) -> bool:
        """Keep these bytes; False if they are too many."""
        self._size += len(view)
        query = self.message.command.CommandField == CommandField.C_FIND_RQ
        if self._size > (MAX_QUERY if query else MAX_IDENTIFIER):
            return False
        if not self._handled:
            return True
        beyond = max(self._size - FREE, 0) - self._taken
        if beyond > 0:
            if not self._memory.take(self._address, beyond):
                return False
            self._taken += beyond
        self._content += view
        return True

    def content(self) -> bytes:
        """All of it; it counts until `forget`."""
        content, self._content = bytes(self._content), bytearray()
        return content

    def forget(self) -> None:
        """Nothing of it is held any more."""
        if self._taken:
            self._memory.give_back(self._address, self._taken)
        self._taken, self._content = 0, bytearray()
