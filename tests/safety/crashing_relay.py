"""A process that relays messages and is killed between the peer's answer and our settlement of it.

    crashing_relay.py <state> <mpps|order-message> <port> <n>

It ends itself by SIGKILL when the n-th answer of the peer is here and read, before anything of it is in the books.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gateway.domain.retry import Outcome
from gateway.roles.forward.relaying import RelayThread, RelayWay
from gateway.spool.audit import Subject
from tests.safety.relay_ways import mpps_way, orders_way
from tests.spool.objects import open_spool


class Dying:
    """The way of a relay; the process does not outlive the n-th answer."""

    def __init__(self, way: RelayWay[Any], number: int) -> None:
        self._way = way
        self._left = number

    def __getattr__(self, name: str) -> Any:
        return getattr(self._way, name)

    def send(self, message: Any) -> Outcome:
        outcome = self._way.send(message)
        self._left -= 1
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return outcome


def main(state: Path, kind: Subject, port: int, number: int) -> None:
    spool = open_spool(state)
    way: RelayWay[Any] = mpps_way(spool, port) if kind is Subject.MPPS else orders_way(port)
    threading.Timer(60, os._exit, (1,)).start()  # nothing came to be sent
    RelayThread(spool, Dying(way, number), now=lambda: datetime.now(UTC)).run(threading.Event())  # type: ignore[arg-type]


if __name__ == "__main__":
    main(Path(sys.argv[1]), Subject(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
