"""From received to prepared: every image is checked against its order, then routed (DESIGN 5, Image).

What is promised: studies that wait are looked at together and written down each by itself, so that one bad object
holds up no other. An image whose study is held stays received, and so does one of a study of which it can't be told
whether it is; every other one has its deliveries after the round.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from typing import Final

import structlog

from gateway.domain.model import GatewayError, Instance, InstanceState, TemporaryFailure
from gateway.domain.task import Way
from gateway.roles.forward.check import Check
from gateway.roles.forward.judging import Looked
from gateway.roles.forward.reconciling import Reconciler
from gateway.roles.forward.routing import Headers, Router
from gateway.spool import Connection, Spool, audit, instances
from gateway.spool.db import GROUP

POLL_SECONDS: Final = 2.0
AT_ONCE: Final = 500
"""Images of one round."""
ALARM_NO_ROUTE: Final = "no-route"

log = structlog.get_logger()


class Preparer:
    """The thread that looks at what was received, until `stop`."""

    def __init__(
        self,
        spool: Spool,
        check: Check,
        reconciler: Reconciler,
        router: Router,
        *,
        now: Callable[[], datetime],
        prepared: Callable[[], None],
    ) -> None:
        """`prepared` is called after images were given deliveries."""
        self._spool = spool
        self._check = check
        self._reconciler = reconciler
        self._router = router
        self._now = now
        self._prepared = prepared
        self.wake = threading.Event()

    def run(self, stop: threading.Event) -> None:
        """The life of the thread; a full disk or a busy database is waited out."""
        while not stop.is_set():
            worked = False
            try:
                worked = self.round()
            except GatewayError as error:
                log.error("preparing interrupted", error=type(error).__name__, code=getattr(error, "code", ""))
            if not worked:
                self.wake.wait(POLL_SECONDS)
                self.wake.clear()

    def round(self) -> bool:
        """Look at what changed and at what was received; whether there was any."""
        changed = self._reconciler.round()
        c = self._spool.db.read()
        waiting = instances.waiting(c, limit=AT_ONCE)
        if waiting and not self._router.has_routes:
            self._write(partial(audit.raise_alarm, code=ALARM_NO_ROUTE, subject="routing", now=self._now()))
            return False
        looked = self._check.look(c, waiting)
        entered = sum(self._enter(looked[start : start + GROUP]) for start in range(0, len(looked), GROUP))
        if entered:
            self._write(partial(audit.clear_alarm, code=ALARM_NO_ROUTE, subject="routing", now=self._now()))
            self._prepared()
        return entered > 0 or changed

    def _enter(self, looked: Sequence[Looked]) -> int:
        """Write down some studies in one transaction, each with what becomes of its images; how many."""
        entered = 0
        read = [self._router.headers_of(_received(one), one.links) for one in looked]
        jobs = [partial(self._study, looked=one, headers=headers) for one, headers in zip(looked, read, strict=True)]
        for one, headers, future in zip(looked, read, self._spool.db.write_together(jobs), strict=True):
            try:
                future.result()
            except TemporaryFailure:
                raise
            except Exception as error:  # noqa: BLE001 -- one study's edge: it goes on unchecked, the others as they are
                log.error("check not written", instance=one.instances[0].id, error=type(error).__name__)
                entered += self._went_unchecked(one, headers)
            else:
                entered += 1
        return entered

    def _went_unchecked(self, looked: Looked, headers: Headers) -> bool:
        """Let go what could not be written down. What stands of its study may not be readable either: then nobody
        knows whether it is held, and its images wait for a person."""
        try:
            self._write(partial(self._unchecked, looked=looked, headers=headers))
        except TemporaryFailure:
            raise
        except Exception as error:  # noqa: BLE001 -- as above: it must not keep the others
            log.error("study kept back", instance=looked.instances[0].id, error=type(error).__name__)
            self._write(partial(self._check.keep_back, looked=looked))
            return False
        return True

    def _study(self, c: Connection, *, looked: Looked, headers: Headers) -> None:
        way = self._check.fail(c, looked) if looked.failed else self._check.write(c, looked)
        self._let_go(c, looked, headers, way)

    def _unchecked(self, c: Connection, *, looked: Looked, headers: Headers) -> None:
        self._let_go(c, looked, headers, self._check.fail(c, looked))

    def _let_go(self, c: Connection, looked: Looked, headers: Headers, way: Way) -> None:
        if way in {Way.ROUTES, Way.UNVERIFIED}:
            unverified = way is Way.UNVERIFIED
            self._router.prepare(c, _received(looked), headers, now=self._now(), unverified=unverified)

    def _write(self, job: Callable[[Connection], object]) -> None:
        self._spool.db.write(job).result()


def _received(looked: Looked) -> list[Instance]:
    """Those that wait to be routed."""
    return [one for one in looked.instances if one.state is InstanceState.RECEIVED]
