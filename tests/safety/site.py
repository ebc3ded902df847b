"""A site: scanners that send without end, the gateway, and a PACS that fails in every way it knows.

`Site.judge` is the one place where a round is judged: everything that was answered 0000 is at the PACS byte-exact
(xxh3-128 over transfer syntax and data set), the PACS holds nothing that nobody sent, and the books are in order.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gateway.simulate.acceptor import Host, free_port, hosted
from gateway.simulate.pacs import PacsBehaviour, PacsSimulator
from tests.powercut.ledger import promises
from tests.safety.box import GATEWAY, ROOT, Box, audit, put_aside, select, unfinished

KILLS: Final = int(os.environ.get("GATEWAY_KILLS", "3"))
CUTS: Final = int(os.environ.get("GATEWAY_CUTS", "3"))
DRAIN_SECONDS: Final = 150.0
_POLL: Final = 0.05
_MOODS: Final = (
    *[PacsBehaviour.UP] * 4,
    *[PacsBehaviour.FLAP] * 3,
    PacsBehaviour.DOWN,
    PacsBehaviour.HANG,
    PacsBehaviour.REFUSE,
    PacsBehaviour.ABORT,
    PacsBehaviour.DROP_RESPONSE,
)


@contextmanager
def sending(box: Box, ledgers: Path, *options: str, seed: int) -> Iterator[subprocess.Popen[bytes]]:
    """An independent process that sends (see sender.py); killed on leaving if it still runs."""
    ledgers.mkdir(parents=True, exist_ok=True)
    base = ["--port", str(box.port), "--ledgers", str(ledgers), "--seed", str(seed)]
    command = [sys.executable, "-m", "tests.safety.sender", *base, *options]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL) as process:
        try:
            yield process
        finally:
            process.kill()


def see_through(sender: subprocess.Popen[bytes]) -> None:
    """Ask the sender to end, and let it get an answer for all that it sent."""
    sender.terminate()
    assert sender.wait(DRAIN_SECONDS) == 0, "the sender got no answer for something"


def until_promised(ledger: Path, count: int, *, limit: float = 150.0) -> None:
    """Wait for that many answers 0000 in all."""
    deadline = time.monotonic() + limit
    while len(promises(ledger)) < count:
        assert time.monotonic() < deadline, f"{len(promises(ledger))} of {count} answers within {limit} s"
        time.sleep(0.005)


def until(condition: Callable[[], bool], *, limit: float = 150.0) -> None:
    """Wait for something that is seen from outside."""
    deadline = time.monotonic() + limit
    while not condition():
        assert time.monotonic() < deadline, f"not so within {limit} s"
        time.sleep(0.01)


@contextmanager
def moody(pacs: PacsSimulator, host: Host, *, seed: int) -> Iterator[None]:
    """Let the PACS change its mind at random moments; it is well again on leaving."""
    over, chance = threading.Event(), random.Random(seed)

    def live() -> None:
        while not over.wait(chance.uniform(0.1, 0.6)):
            host.call(pacs.behave(chance.choice(_MOODS)))
        host.call(pacs.behave(PacsBehaviour.UP))

    thread = threading.Thread(target=live, name="moods")
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """One round in figures, and what was wrong."""

    acknowledged: int
    lost: tuple[str, ...]
    """Answered 0000, and not at the PACS byte-exact."""
    unknown: tuple[str, ...]
    """At the PACS with bytes that nobody was answered 0000 for."""
    repeated: int
    """C-STOREs of an instance that the PACS held already."""
    faults: tuple[str, ...]
    """In the books."""
    put_aside: int
    """Files that were not whole, kept for a person: a power cut may leave some that nobody was answered 0000 for."""

    def __str__(self) -> str:
        return (
            f"acknowledged {self.acknowledged}, lost {len(self.lost)}, twice in the books or out of order "
            f"{len(self.faults)}, put aside {self.put_aside}, sent again to the PACS {self.repeated}"
        )

    @property
    def kept_every_promise(self) -> bool:
        return not self.lost and not self.unknown and not self.faults


class Site:
    """A PACS, and a gateway that sends to it."""

    def __init__(self, pacs: PacsSimulator, host: Host, box: Box, ledgers: Path) -> None:
        self.pacs = pacs
        self.host = host
        self.box = box
        self.ledgers = ledgers

    @property
    def stored(self) -> Path:
        return self.ledgers / "stored"

    def drain(self) -> None:
        """Wait until everything that is in the spool is at the PACS and proven, for as long as it gets less: what a
        hundred kills leave behind is much."""
        deadline, least = time.monotonic() + DRAIN_SECONDS, sys.maxsize
        while left := unfinished(self.box.state):
            if sum(left.values()) < least:
                deadline, least = time.monotonic() + DRAIN_SECONDS, sum(left.values())
            assert time.monotonic() < deadline, f"no less for {DRAIN_SECONDS} s: {left}"
            assert all(map(self.box.running, self.box.units)), "the gateway ended by itself"
            time.sleep(_POLL)

    def judge(self) -> Verdict:
        """To be called when drained."""
        promised = promises(self.stored)
        held = self.pacs.held
        asked = promises(self.ledgers / "committing")
        answers = {
            str(transaction): str(result).count('"2.25.')
            for transaction, result in select(
                self.box.state,
                "SELECT transaction_uid, result FROM commitment_request WHERE result LIKE '%failed\": []%'",
            )
        }
        forgotten = [
            f"commitment {uid} of {n}: {answers.get(uid)}" for uid, n in asked.items() if answers.get(uid) != int(n)
        ]
        return Verdict(
            acknowledged=len(promised),
            lost=tuple(uid for uid, hashed in promised.items() if uid not in held or held[uid].content_hash != hashed),
            unknown=tuple(uid for uid, one in held.items() if promised.get(uid) != one.content_hash or one.differing),
            repeated=sum(one.received - 1 for one in held.values()),
            faults=(*audit(self.box.state), *forgotten),
            put_aside=len(put_aside(self.box.state)),
        )


@contextmanager
def site(
    folder: Path,
    *,
    state: Path,
    units: Sequence[str] = ("all",),
    behaviour: PacsBehaviour = PacsBehaviour.UP,
    seed: int = 0,
    command: Sequence[str] = GATEWAY,
    reserve: str = "5%",
    absent_ris: bool = False,
    timeout: str = "1s",
    commitment_timeout: str = "4s",
) -> Iterator[Site]:
    """PACS running, gateway configured and not started yet."""
    pacs = PacsSimulator(port=free_port(), seed=seed, behaviour=behaviour)
    with (
        hosted(pacs) as host,
        Box(
            folder / "box",
            pacs_port=pacs.port,
            state=state,
            units=units,
            command=command,
            reserve=reserve,
            absent_ris=absent_ris,
            timeout=timeout,
            commitment_timeout=commitment_timeout,
        ) as box,
    ):
        yield Site(pacs, host, box, folder / "ledgers")


def percentile(values: Sequence[float], share: float) -> float:
    """Nearest rank."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]
