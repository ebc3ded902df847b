"""What is refused is counted once each, however many threads refuse at a time."""

from __future__ import annotations

import threading

from gateway.spool import Spool, figures
from gateway.spool.refusals import Refusals


def counted(spool: Spool) -> int:
    spool.db.write(lambda _: None).result()
    return figures.waiting(spool.db.read()).refused


def test_each_counts_once(spool: Spool) -> None:
    refusals = Refusals(spool.db)
    threads = [threading.Thread(target=lambda: [refusals.count() for _ in range(500)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    while counted(spool) < 2000:
        pass
    assert counted(spool) == 2000
