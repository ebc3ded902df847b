"""What a destination took, on its way into the books.

Some are settled together, `TOGETHER` at most and none later than after `SOON` and the object that is being sent
then: a lane that sends thousands of small objects a second is not held up by a transaction for each. Until it is
settled a delivery counts as being sent; after a crash it is sent again, and never lost.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import Future
from datetime import datetime, timedelta
from functools import partial
from typing import Final

import structlog

from gateway.domain.model import Delivery, DestinationName, Instance
from gateway.spool import Connection, Spool, deliveries
from gateway.spool.deliveries import Arrived

log = structlog.get_logger()


TOGETHER: Final = 32
SOON: Final = timedelta(milliseconds=100)
LARGE: Final = 1024 * 1024
"""Bytes of an object that is not begun before the others are settled: it may take minutes."""


class Settlement:
    """The settled deliveries of one lane, for the lane's thread."""

    def __init__(self, spool: Spool, destination: DestinationName) -> None:
        self._spool = spool
        self._destination = destination
        self._arrived: list[tuple[Arrived, bool]] = []
        self._jobs: list[Future[None]] = []

    def add(self, delivery: Delivery, *, status: str, at: datetime, proven: bool, sent_as: str = "") -> None:
        """The destination answered `status` at that time; `proven`: nothing more is asked of it. `sent_as` is the
        Transfer Syntax UID it stored, if it stored anything."""
        self._arrived.append((Arrived(delivery=delivery, status=status, at=at, sent_as=sent_as), proven))
        if len(self._arrived) >= TOGETHER or at - self._arrived[0][0].at >= SOON:
            self.hand_in()

    def before(self, instance: Instance) -> None:
        """That instance is sent next."""
        if instance.size >= LARGE:
            self.hand_in()

    def hand_in(self) -> None:
        """Have what came so far written down."""
        if self._arrived:
            arrived, self._arrived = self._arrived, []
            self._jobs.append(self._spool.db.write(partial(self._settle, arrived=arrived)))

    def wait(self) -> None:
        """Until all of it is committed. Raises what a commit raised: the deliveries are in hand still."""
        self.hand_in()
        jobs, self._jobs = self._jobs, []
        for job in jobs:
            job.result()

    def _settle(self, c: Connection, *, arrived: Sequence[tuple[Arrived, bool]]) -> None:
        lost = deliveries.settle_sent(c, [one for one, _ in arrived], by=self._destination)
        if lost:
            log.warning("sent under a lease that was over", dest=self._destination, deliveries=len(lost))
        by_status: defaultdict[str, list[Arrived]] = defaultdict(list)
        for one, proven in arrived:
            if proven and one.delivery.id not in lost:
                by_status[one.status].append(one)
        for status, group in by_status.items():
            deliveries.settle_confirmed(
                c,
                [one.delivery.id for one in group],
                now=max(one.at for one in group),
                by=self._destination,
                why=f"status {status}",
            )
