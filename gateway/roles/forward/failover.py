"""Failover: what is queued for a destination that can't be reached goes to the next of its own choosing.

What is promised: an image is moved only once it and the failure are as old as `failover_after`, so that a destination
is tried with new images all the while, and gets them again as soon as it is back. It never goes where a delivery of it
stands already, for that would take a copy away. What was moved comes back if the second fails too and the first does
not: no order of failures is a trap.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

import structlog

from gateway.domain.model import DestinationName
from gateway.roles.forward.target import Breaker, Target
from gateway.spool import Connection, failover

log = structlog.get_logger()


class Failover:
    """For all destinations; `breakers` are those of sending."""

    def __init__(self, targets: Sequence[Target], breakers: Mapping[DestinationName, Breaker]) -> None:
        self._targets = {target.name: target for target in targets}
        self._breakers = breakers

    def move(self, c: Connection, *, now: datetime) -> int:
        """Move what is due to be moved; how many deliveries."""
        return sum(
            self._leave(c, failing=target, meant=meant, now=now)
            for target in self._targets.values()
            if self._fails(target.name)
            for meant in self._targets.values()
            if target.name in self._chain(meant)
        )

    def _leave(self, c: Connection, *, failing: Target, meant: Target, now: datetime) -> int:
        """What was meant for `meant` and is queued for `failing`."""
        since = self._breakers[failing.name].failing_since
        chosen = next((self._targets[name] for name in self._chain(meant) if not self._fails(name)), None)
        if since is None or chosen is None or now - since < meant.failover_after:
            return 0
        moved = failover.move(
            c,
            destination=failing.name,
            meant_for=meant.name,
            to=chosen.name,
            lanes=chosen.lanes,
            queued_before=now - meant.failover_after,
            now=now,
        )
        if moved:
            log.warning("failover", dest=failing.name, to=chosen.name, deliveries=moved)
        return moved

    def _chain(self, meant: Target) -> tuple[DestinationName, ...]:
        return (meant.name, *meant.failover) if meant.failover else ()

    def _fails(self, name: DestinationName) -> bool:
        return self._breakers[name].failing_since is not None
