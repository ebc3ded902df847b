"""Whether a destination took over what was sent to it again: asked by a query for a changed attribute.

An archive may answer an object whose UID it knows with success and keep the one it has. So after a re-send the study is
looked for at STUDY level (PS3.4 C.6.2.1.2), and what is shown compared with what was sent. Promises:

- Asked only when all of the study is confirmed there. A destination that is down is asked again later.
- Values that differ are looked for again for a while, as archives index late; then a task names the destination.
- A destination that can't be asked leaves it unproven, and a task says so.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Final, Protocol, runtime_checkable

import structlog

from gateway.domain.keys import fold
from gateway.domain.model import GatewayError, TemporaryFailure
from gateway.domain.task import TaskKind
from gateway.roles.forward.target import Target
from gateway.spool import Connection, Spool, checks, read_backs, tasks
from gateway.spool.read_backs import ReadBack

POLL_SECONDS: Final = 5.0
AT_ONCE: Final = 20
LOOKED_FOR: Final = timedelta(minutes=10)
"""How long a destination may show the values of before."""
UNREACHED: Final = frozenset({"files", "connect", "silence", "timeout", "aborted"})
"""Failures that say nothing of whether it can be asked."""

log = structlog.get_logger()


@runtime_checkable
class Shows(Protocol):
    """A way to a destination that can be asked for a study's attributes."""

    def shown(self, StudyInstanceUID: str, keywords: Sequence[str]) -> Mapping[str, str] | None:
        """What it shows, by keyword; None if it does not know the study. Raises `TemporaryFailure`."""
        ...


class ReadBacks:
    """Asks destinations, one after the other, until `stop`."""

    def __init__(self, spool: Spool, targets: Sequence[Target], *, now: Callable[[], datetime]) -> None:
        self._spool = spool
        self._targets = targets
        self._now = now
        self.wake = threading.Event()

    def run(self, stop: threading.Event) -> None:
        """The life of the thread."""
        while not stop.is_set():
            for target in self._targets:
                try:
                    self.look(target)
                except GatewayError as error:
                    log.warning("not read back", dest=target.name, code=getattr(error, "code", ""))
            stop.wait(POLL_SECONDS)

    def look(self, target: Target) -> None:
        """Ask one destination for what is due there."""
        for one in read_backs.due(self._spool.db.read(), target.name, limit=AT_ONCE):
            outcome = self._outcome(target, one)
            if outcome:
                self._spool.db.write(partial(self._settle, one=one, outcome=outcome)).result()

    def _outcome(self, target: Target, one: ReadBack) -> str:
        """What came of it; empty if it is to be asked again."""
        if not isinstance(target.way, Shows):
            return "not-askable"
        try:
            shown = target.way.shown(one.StudyInstanceUID, list(one.expected))
        except TemporaryFailure as error:
            if error.code in UNREACHED:
                raise
            return "not-askable"
        if shown is not None and all(_same(shown.get(name, ""), value) for name, value in one.expected.items()):
            return "shown"
        if self._now() - one.asked_at < LOOKED_FOR:
            return ""
        return "unknown-there" if shown is None else "differs"

    def _settle(self, c: Connection, *, one: ReadBack, outcome: str) -> None:
        now = self._now()
        if not read_backs.settle(c, one, outcome=outcome, now=now):
            return
        log.info("read back", dest=one.destination, outcome=outcome)
        study = checks.StudyKey(one.StudyInstanceUID)
        if outcome == "shown":
            tasks.settle(c, study, TaskKind.NOT_TAKEN_OVER, by=one.destination, outcome="shown", now=now)
            return
        code = f"{one.destination}: {outcome}"[:128]
        tasks.open_task(c, study, TaskKind.NOT_TAKEN_OVER, code=code, blocks=False, escalate_at=None, now=now)


def _same(shown: str, expected: str) -> bool:
    """Equal but for padding, case, accents, and how the components of a name are parted."""
    return fold(shown.strip().rstrip("^=")) == fold(expected.strip().rstrip("^="))
