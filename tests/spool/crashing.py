"""A process that receives objects and is killed at the n-th crash point of one name.

    crashing.py <state> <crash point> <n>

Writes one line `<uid> <content hash>` for each success, after the success.
"""

from __future__ import annotations

import os
import signal
import sys
from concurrent.futures import FIRST_COMPLETED, Future, wait
from pathlib import Path

from gateway.spool import Committed
from tests.spool.objects import open_spool, read_origin, receive


def main(state: Path, point: str, number: int) -> None:
    """Four senders' worth of objects: every third repeats the one before it, every seventh differs from it."""
    spool = open_spool(state)
    spool.sweep(read_origin)
    left = number

    def trace(step: str) -> None:
        nonlocal left
        left -= step == point
        if left <= 0:
            os.kill(os.getpid(), signal.SIGKILL)

    committer = spool.accepting(trace=trace)
    open_futures: set[Future[Committed]] = set()
    for n in range(60):
        uid = f"2.25.{n - 1 if n % 3 == 0 else n}"
        body = f"body of {uid}{' again' if n % 7 == 0 else ''}".encode()
        open_futures.add(committer.submit(receive(spool.files, uid, body)))
        if len(open_futures) == 4:
            done, open_futures = wait(open_futures, return_when=FIRST_COMPLETED)
            for future in done:
                instance = future.result().instance
                line = f"{instance.SOPInstanceUID} {instance.content_hash}\n"
                os.write(1, line.encode())  # whole or not at all: the kill may come while it is written
    sys.exit("the crash point was never reached")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
