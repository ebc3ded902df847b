"""The hostile crowd, all at once for some seconds: python -m tests.siege.attackers PORT SECONDS SILENT LORIS SEED

Every peer goes on until the time is over and connects again soon after it was dropped; none is faster than `PAUSE`. The
time is longer on a machine that is too slow for each of them to be there as often as `least` says, up to `LONGEST`.
Strangers come from addresses of 127.1.0.0/16 and 127.2.0.0/16, the hostile peer whose AE title is listed from
`LISTED`. What was done is printed at the end as one JSON object of counts, with the seconds that it took. Status 0.
"""

from __future__ import annotations

import asyncio
import json
import random
import socket
import struct
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from contextlib import suppress
from typing import Any

import uvloop

from tests.siege import words

HOST = "127.0.0.1"
LISTED = "127.0.0.9"
PAUSE = 0.4
"""Seconds between two connections of one peer."""
PATIENCE = 3.0
"""Seconds to wait for an answer before a peer goes on to its next evil."""
LONGEST = 8
"""Times the seconds that were asked for."""
PIECE = 64 * 1024
MOST_STREAMED = 32 * 1024 * 1024
"""Bytes sent behind one header of 4 GB, should somebody listen."""
Peer = Callable[["Wire"], Awaitable[None]]


def least(silent: int, loris: int) -> dict[str, int]:
    """How often each kind must have been there for the attack to be one."""
    few = ("endless", "long request", "trickled store", "hoarder", "fuzz", "stranger: answered")
    return {
        "silent": silent,
        "loris": loris,
        **dict.fromkeys(few, 2),
        "evil words: answered": 21,
        "listed: accepted": 21,
    }


class Wire:
    """One connection; every wait has an end."""

    def __init__(self, loop: asyncio.AbstractEventLoop, sock: socket.socket, crowd: Crowd) -> None:
        self._loop = loop
        self.socket = sock
        self._crowd = crowd

    @property
    def left(self) -> float:
        """Seconds. Raises TimeoutError when the siege is over."""
        left = self._crowd.over - self._loop.time()
        if left <= 0:
            raise TimeoutError
        return left

    async def send(self, out: bytes) -> None:
        async with asyncio.timeout(self.left):
            await self._loop.sock_sendall(self.socket, out)

    async def hear(self, seconds: float) -> bytes:
        """What came, b"" at the end of the connection. Raises TimeoutError."""
        async with asyncio.timeout(min(seconds, self.left)):
            return await self._loop.sock_recv(self.socket, PIECE)

    async def until_dropped(self) -> None:
        while await self.hear(self.left):
            pass

    async def trickle(self, out: bytes, every: float) -> None:
        """A byte at a time until dropped."""
        for number in range(len(out)):
            await self.send(out[number : number + 1])  # raises when the siege is over
            with suppress(TimeoutError):
                if not await self.hear(every):
                    return


class Crowd:
    """All peers of one attack."""

    def __init__(self, port: int, seconds: float, seed: int) -> None:
        self._port = port
        self._loop = asyncio.get_running_loop()
        self._seconds = seconds
        self._began = self._loop.time()
        self.over = self._began + seconds
        self._works = True
        self.chance = random.Random(seed)
        self.done: Counter[str] = Counter()

    async def hold_on(self, least: Mapping[str, int]) -> None:
        """Until the time is over and all were there, or until it is far too long."""
        while self._works:
            await asyncio.sleep(PAUSE)
            now = self._loop.time()
            if now > self.over - 2 * PAUSE:
                lacks = any(self.done[kind] < often for kind, often in least.items())
                if lacks and now < self._began + LONGEST * self._seconds:
                    self.over = now + self._seconds / 2
                elif now > self.over:
                    self._works = False
        self.done["seconds"] = round(self._loop.time() - self._began)

    async def attack(self, name: str, peer: Peer, source: Callable[[], str]) -> None:
        """Be that peer again and again."""
        await asyncio.sleep(self.chance.random() * PAUSE)
        while self._works:
            with socket.socket() as sock:
                sock.setblocking(False)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                try:
                    sock.bind((source(), 0))
                    async with asyncio.timeout(max(self.over - self._loop.time(), 0.01)):
                        await self._loop.sock_connect(sock, (HOST, self._port))
                    self.done[name] += 1
                    await peer(Wire(self._loop, sock, self))
                except TimeoutError:
                    self.done[f"{name}: no answer"] += 1
                except OSError:
                    self.done[f"{name}: dropped"] += 1
                if self.chance.random() < 0.1:  # leave without a good-bye
                    with suppress(OSError):
                        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            await asyncio.sleep(PAUSE)

    # -- the peers --

    async def silent(self, wire: Wire) -> None:
        await wire.until_dropped()

    async def loris(self, wire: Wire) -> None:
        await wire.trickle(words.associate(), PAUSE)

    async def endless(self, wire: Wire) -> None:
        kind = self.chance.choice((0x01, 0x04, 0x05, 0x99))
        if self.chance.random() < 0.5:
            await self._associated(wire)
        await self._stream(wire, words.endless(kind))

    async def long_request(self, wire: Wire) -> None:
        """The longest A-ASSOCIATE-RQ that may be read, but for its last byte."""
        await wire.send(struct.pack(">BxL", 1, 128 * 1024) + bytes(128 * 1024 - 1))
        await wire.until_dropped()

    async def _stream(self, wire: Wire, head: bytes) -> None:
        await wire.send(head)
        for _ in range(MOST_STREAMED // PIECE):
            await wire.send(bytes(PIECE))
            await asyncio.sleep(0)

    async def trickled_store(self, wire: Wire) -> None:
        await self._associated(wire)
        await wire.trickle(words.trickled_store(), PAUSE)

    async def hoarder(self, wire: Wire) -> None:
        await self._associated(wire)
        for piece in words.hoard(query=self.chance.random() < 0.3, megabytes=15):
            await wire.send(piece)
        if self.chance.random() < 0.2:  # hold it, or have it read
            await wire.send(words.value(7, b"", command=False))
        await wire.until_dropped()

    async def evil_words(self, wire: Wire) -> None:
        """Every request with one evil word, answered or not."""
        await self._associated(wire)
        word = self.chance.choice(words.IDENTIFIERS)
        for request in words.evil_requests(word):
            await wire.send(request)
            self.done["evil words: answered"] += bool(await wire.hear(PATIENCE))

    async def fuzz(self, wire: Wire) -> None:
        await wire.send(words.spoiled(self.chance, b"BAD"))
        while await wire.hear(1.0):
            pass

    async def stranger(self, wire: Wire) -> None:
        """A proper request under a name that nobody knows, never the same."""
        name = self.chance.choice((words.IDENTIFIERS[self.chance.randrange(12)], b"STRANGER%d"))
        calling = b"%d" % self.chance.getrandbits(30) + name
        await wire.send(words.associate(calling, self.chance.choice((b"GATEWAY", calling))))
        self.done["stranger: answered"] += bool(await wire.hear(PATIENCE))

    async def _associated(self, wire: Wire) -> None:
        await wire.send(words.associate(self.chance.choice((b"BAD", b"bad", b"Bad", b"bAD"))))
        answer = await wire.hear(PATIENCE)
        self.done["listed: accepted" if answer[:1] == b"\2" else "listed: refused"] += 1
        if answer[:1] != b"\2":
            raise ConnectionAbortedError


async def siege(port: int, seconds: float, silent: int, loris: int, seed: int) -> dict[str, int]:
    crowd = Crowd(port, seconds, seed)
    chance = crowd.chance
    listed: Callable[[], str] = lambda: LISTED  # noqa: E731 -- the smallest of the sources

    def few() -> str:
        return f"127.1.0.{chance.randint(1, 40)}"

    def many() -> str:
        return f"127.2.{chance.randint(1, 250)}.{chance.randint(1, 250)}"

    few_are = silent // 2
    peers: Iterable[tuple[str, Peer, Callable[[], str], int]] = (
        ("silent", crowd.silent, few, few_are),
        ("silent", crowd.silent, many, silent - few_are),
        ("loris", crowd.loris, few, loris // 2),
        ("loris", crowd.loris, many, loris // 2),
        ("endless", crowd.endless, many, 2),
        ("endless", crowd.endless, listed, 2),
        ("long request", crowd.long_request, many, silent // 10),
        ("trickled store", crowd.trickled_store, listed, 10),
        ("hoarder", crowd.hoarder, listed, 16),
        ("evil words", crowd.evil_words, listed, 4),
        ("fuzz", crowd.fuzz, listed, 3),
        ("fuzz", crowd.fuzz, many, 3),
        ("stranger", crowd.stranger, many, silent // 20),
    )
    works: list[Coroutine[Any, Any, None]] = [
        crowd.attack(name, peer, source) for name, peer, source, count in peers for _ in range(count)
    ]
    await asyncio.gather(crowd.hold_on(least(silent, loris)), *works)
    return dict(sorted(crowd.done.items()))


if __name__ == "__main__":
    port, seconds, silent, loris, seed = map(int, sys.argv[1:6])
    print(json.dumps(uvloop.run(siege(port, seconds, silent, loris, seed))))
