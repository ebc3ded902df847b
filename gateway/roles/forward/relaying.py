"""One thread for each peer that messages are relayed to, of whatever kind: performed steps, what is told of orders.

What is promised: every message that was queued is sent until the peer has taken it, in the order that its kind asks
for. What fails for now is tried again for ever; what the peer refuses waits for a person, with an alarm. After a crash,
and after a failure of the database, a message may be sent twice: as the same message, which the peer can tell.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Final, Generic, Protocol, TypeVar

import structlog

from gateway.domain.model import GatewayError, PermanentFailure, TemporaryFailure
from gateway.domain.mpps import RelayState
from gateway.domain.retry import Outcome, OutcomeKind
from gateway.spool import Connection, Spool, relays
from gateway.spool.audit import Subject
from gateway.spool.relays import Queued

POLL_SECONDS: Final = 2.0

log = structlog.get_logger()
T = TypeVar("T")
Q = TypeVar("Q", bound=Queued)


class RelayWay(Protocol[Q]):
    """How messages of one kind reach one peer; used by one thread."""

    @property
    def kind(self) -> Subject: ...
    @property
    def name(self) -> str:
        """Of the peer in the configuration."""
        ...

    @property
    def warm(self) -> float:
        """Seconds that a connection stays open for the next message."""
        ...

    def due(self, c: Connection, now: datetime) -> Sequence[Q]:
        """What may be sent now, in order."""
        ...

    def connect(self, message: Q) -> bool:
        """Whether a connection stands on which this message may go; False while the peer is left alone.

        Raises `TemporaryFailure`."""
        ...

    def unreachable(self, message: Q, code: str, now: datetime) -> Callable[[Connection], None]:
        """What is written down of a message for which there was no connection."""
        ...

    def send(self, message: Q) -> Outcome:
        """One attempt. Raises `TemporaryFailure` if the connection broke, `PermanentFailure` for what is wrong with the
        message."""
        ...

    def wait(self, attempts: int) -> timedelta:
        """Until the next attempt, after so many."""
        ...

    @property
    def is_open(self) -> bool: ...

    def hang_up(self) -> None:
        """Orderly end, if there is a connection."""
        ...

    def abort(self) -> None:
        """End at once."""
        ...


class RelayThread(Generic[Q]):
    """The thread of one peer."""

    def __init__(self, spool: Spool, way: RelayWay[Q], *, now: Callable[[], datetime]) -> None:
        self._spool = spool
        self._way = way
        self._now = now
        self._unsettled = True
        """Whether a message may be left as being sent: by an ended process, or as the database failed."""
        self.wake = threading.Event()

    def run(self, stop: threading.Event) -> None:
        """The life of the thread, from what an earlier one left."""
        idle = 0.0
        try:
            while not stop.is_set():
                if self._worked(stop):
                    idle = 0.0
                    continue
                pause = min(POLL_SECONDS, self._way.warm) if self._way.is_open else POLL_SECONDS
                idle = 0.0 if self.wake.wait(pause) else idle + pause
                self.wake.clear()
                if idle >= self._way.warm:
                    self._way.hang_up()
        finally:
            self._way.hang_up()

    def _worked(self, stop: threading.Event) -> bool:
        """Whether a message was settled for good, so that the next may be due."""
        settled = False
        try:
            if self._unsettled:
                self._write(partial(relays.release, kind=self._way.kind, target=self._way.name, now=self._now()))
                self._unsettled = False
            for message in self._way.due(self._spool.db.read(), self._now()):
                if stop.is_set() or not self._connected(message):
                    break
                settled = self._relayed(message) or settled
        except GatewayError as error:  # the database, or a person decided meanwhile
            log.warning("not relayed", kind=self._way.kind, target=self._way.name, code=getattr(error, "code", ""))
            return False
        return settled

    def _connected(self, message: Q) -> bool:
        try:
            return self._way.connect(message)
        except TemporaryFailure as error:
            log.warning("not relayed", kind=self._way.kind, target=self._way.name, code=error.code)
            self._write(self._way.unreachable(message, error.code, self._now()))
            return False

    def _relayed(self, message: Q) -> bool:
        """Send one message and settle it; whether it is over, or waits for a person."""
        self._unsettled = True
        # Committed before it leaves: after a crash, "I have it already" must be known for our own
        message = self._write(partial(relays.begin, message=message, now=self._now()))
        outcome, now = self._outcome(message), self._now()
        not_before = None
        if outcome.is_stored:
            state, say = RelayState.SENT, log.info
        elif outcome.kind is OutcomeKind.PERMANENT:
            state, say = RelayState.REFUSED, log.error
        else:
            state, say = RelayState.QUEUED, log.warning
            not_before = now + self._way.wait(message.attempts)
        about = {"kind": message.kind, "about": message.about, "tells": message.tells, "target": message.target}
        say("relayed", **about, state=state, status=outcome.code)
        settle = partial(relays.settle, message=message, state=state, status=outcome.code)
        self._write(partial(settle, now=now, not_before=not_before))
        self._unsettled = False
        return state is not RelayState.QUEUED

    def _outcome(self, message: Q) -> Outcome:
        try:
            return self._way.send(message)
        except PermanentFailure as error:
            return Outcome(kind=OutcomeKind.PERMANENT, code=error.code, reason=str(error))
        except TemporaryFailure as error:
            self._way.abort()
            return Outcome(kind=OutcomeKind.TEMPORARY, code=error.code, reason=str(error))
        except Exception as error:  # noqa: BLE001 -- the relay's edge: a fault over one message must not hold the others
            log.error("fault over a relay", kind=message.kind, about=message.about, error=type(error).__name__)
            self._way.abort()
            return Outcome(kind=OutcomeKind.TEMPORARY, code="fault", reason="a fault of the gateway; look at its log")

    def _write(self, job: Callable[[Connection], T]) -> T:
        return self._spool.db.write(job).result()
