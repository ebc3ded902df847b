"""What an attempt to deliver came to, when to try again, and when to leave a destination alone.

Promises:

* Unknown means temporary, and temporary is tried again for ever, alarmed by age (`age_severity`).
  Permanent is only what the same bytes would meet again: it waits for a person, who may requeue it.
* A wait is bounded by its cap, and a circuit lets a trial through within its cap, whatever the clock does.
* Nothing is called stored unless the peer said so: a warning (PS3.4 Table B.2-1) says so, a duplicate
  only says that the UID is known, so it is to be verified before anything is purged.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final


class OutcomeKind(StrEnum):
    STORED = "stored"
    STORED_WITH_WARNING = "stored-with-warning"
    DUPLICATE = "duplicate"
    """The peer knows the UID: stored, once a query or commitment has verified it. Repeating is harmless."""
    TEMPORARY = "temporary"
    PERMANENT = "permanent"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What one attempt came to."""

    kind: OutcomeKind
    code: str
    """The status as four hexadecimal digits, or the name of a transport failure; never patient data."""
    reason: str
    """For people: the cause and the remedy."""
    blames_destination: bool = False
    """The whole destination is affected, not this instance alone: counts against its circuit."""
    sent_as: str = ""
    """The Transfer Syntax UID it was sent in; empty where nothing was."""

    @property
    def is_stored(self) -> bool:
        return self.kind in {OutcomeKind.STORED, OutcomeKind.STORED_WITH_WARNING, OutcomeKind.DUPLICATE}


CONTENT_ATTEMPTS: Final = 10
"""How often an instance is tried that a peer "cannot understand" before it waits for a person."""

_T, _P = OutcomeKind.TEMPORARY, OutcomeKind.PERMANENT
_EXACT: Final[dict[int, tuple[OutcomeKind, str, bool]]] = {
    0x0000: (OutcomeKind.STORED, "stored", False),
    # Archives answer it when our first answer was lost on the wire: sending again is idempotent.
    0x0111: (OutcomeKind.DUPLICATE, "the peer has this UID already; verified before it counts as delivered", False),
    # A general failure: locks, full queues and database faults of archives come as this, so time may cure it.
    0x0110: (_T, "processing failure at the peer; look at its log", False),
    # No such object instance, for a store: a peer's own confusion over a study it moves or merges.
    0x0112: (_T, "the peer misses an object it refers to; look at its log", False),
    # The UID breaks the rules for UIDs: the same bytes will break them again.
    0x0117: (_P, "invalid SOP Instance UID; correct the object or expect the refusal", False),
    # The peer would have to learn the class; until then each attempt is the same refusal.
    0x0118: (_P, "no such SOP class at the peer; add it there, route it elsewhere or expect the refusal", False),
    0x0119: (_P, "the peer knows this UID under another SOP class; a person decides", False),
    0x0122: (_P, "SOP class not supported; add it at the peer, route it elsewhere or expect the refusal", False),
    # A person adds us at the peer, not here: trying on heals itself on that day, without a requeue of everything.
    0x0124: (_T, "not authorised; add our AE title at the peer", True),
    # Our Message ID is still in use there: a new association has its own numbers.
    0x0210: (_T, "duplicate invocation; a new association cures it", False),
    0x0213: (_T, "resource limitation at the peer", True),
}


def classify_store_status(status: int, *, attempts: int = 0) -> Outcome:
    """The outcome of a C-STORE response (PS3.4 Table B.2-1, PS3.7 C).

    `attempts` counts the failed attempts before this one. Cxxx is temporary for the first
    CONTENT_ATTEMPTS, for many archives say it of a lock or a time-out, then permanent: an object
    that is really not understood must not circle for ever.
    """
    code = f"{status & 0xFFFF:04X}"
    if status in _EXACT:
        kind, reason, blames = _EXACT[status]
        return Outcome(kind=kind, code=code, reason=reason, blames_destination=blames)
    match code[0], code[1]:
        case "B", _:
            return Outcome(kind=OutcomeKind.STORED_WITH_WARNING, code=code, reason="stored with a warning")
        case "A", "7":
            return Outcome(kind=_T, code=code, reason="the peer is out of resources", blames_destination=True)
        case "A", "9":
            # The class and the bytes stay what they are; another transfer syntax may be tried before a person is.
            return Outcome(
                kind=_P, code=code, reason="data set does not match SOP class; correct it or route elsewhere"
            )
        case "C", _:
            kind = _P if attempts >= CONTENT_ATTEMPTS else _T
            return Outcome(kind=kind, code=code, reason="the peer cannot understand the object; look at its log")
        case _:
            return Outcome(kind=_T, code=code, reason="status unknown for a store; look at the peer's log")


_HTTP: Final[dict[int, tuple[OutcomeKind, str, bool]]] = {
    401: (_T, "not authenticated; renew the token, or correct user and password", True),
    403: (_T, "not allowed; give us the right to store at the server", True),
    404: (_T, "no such service; check the url", True),
    405: (_T, "no such service; check the url", True),
    413: (_P, "larger than the server takes; raise its limit, or route it elsewhere", False),
    415: (_P, "form not taken; add the transfer syntax at the server, or route it elsewhere", False),
    # The server itself fails, perhaps over this object: others go on, and this one is tried for ever.
    500: (_T, "the server failed; look at its log", False),
}
_REFUSED_SYNTAX: Final = 0xC122
"""Failure Reason "Referenced Transfer Syntax not supported" (PS3.18 table 10.5.3-2)."""


def classify_stow(
    status: int, reason: int | None, warning: int | None, *, named: bool, silent: bool = False, attempts: int = 0
) -> Outcome:
    """The outcome of STOW-RS for one instance (PS3.18 10.5.3): HTTP status, Failure Reason or Warning Reason of the
    instance where the answer has one, whether it names the instance as stored, and whether it has nothing but a status.

    What says nothing of the instance is in question (`is_in_question`): it is stored once a query found it.
    """
    code = f"http-{status}"
    if reason == _REFUSED_SYNTAX:
        return Outcome(kind=_P, code=f"{reason:04X}", reason=_HTTP[415][1])
    if reason is not None:
        return classify_store_status(reason, attempts=attempts)
    if warning is not None:
        return Outcome(kind=OutcomeKind.STORED_WITH_WARNING, code=f"{warning:04X}", reason="stored with a warning")
    if named or (status == 200 and silent):
        return Outcome(kind=OutcomeKind.STORED, code="0000", reason="stored")
    if status == 200:
        why = "answered without naming the image, and not found there; look for a proxy's page before the server"
        return Outcome(kind=_T, code=code, reason=why, blames_destination=True)
    if status == 202:
        return Outcome(kind=_T, code=code, reason="accepted, and not found there yet")
    if status in _HTTP:
        kind, why, blames = _HTTP[status]
        return Outcome(kind=kind, code=code, reason=why, blames_destination=blames)
    if status in (400, 409, 422):
        kind = _P if attempts >= CONTENT_ATTEMPTS else _T
        return Outcome(kind=kind, code=code, reason="the server can't use the object; look at its log")
    return Outcome(kind=_T, code=code, reason="the server can't store now; look at its log", blames_destination=True)


def is_in_question(status: int, reason: int | None, *, named: bool, silent: bool) -> bool:
    """Whether an answer leaves open that the server has the instance: a query tells."""
    open_to = (202, 409) if silent else (200, 202, 409)
    return not named and (reason == 0x0111 or (status in open_to and reason is None))


def reason_of_http(code: str) -> str:
    """The cause and the remedy behind a code of `classify_stow`."""
    return classify_stow(int(code.removeprefix("http-")), None, None, named=False).reason


class TransportFailure(StrEnum):
    """How an attempt ended without a status."""

    CONNECT = "connect"
    TIMEOUT = "timeout"
    ABORTED = "aborted"
    """A-ABORT, or the connection closed."""
    REJECTED = "rejected"
    """A-ASSOCIATE-RJ, transient or permanent (PS3.8 9.3.4)."""
    CONTEXT_REFUSED = "context-refused"
    """No presentation context was accepted in which this instance can be sent."""


_TRANSPORT: Final = {
    TransportFailure.CONNECT: "no connection; check address, port, firewall and that the peer runs",
    TransportFailure.TIMEOUT: "no answer in time; check the peer and the network",
    TransportFailure.ABORTED: "the association broke off; look at the peer's log",
    # "Permanent" in A-ASSOCIATE-RJ means "not before someone changes the peer": it heals itself that day.
    TransportFailure.REJECTED: "association rejected; check both AE titles and that the peer knows us",
}


def classify_transport(failure: TransportFailure) -> Outcome:
    """Temporary, except for a refused context: that instance alone would be refused again, so it waits
    for a person at once and the others go on."""
    if failure is TransportFailure.CONTEXT_REFUSED:
        reason = "SOP class or transfer syntax refused; add it at the peer, route it elsewhere or expect the refusal"
        return Outcome(kind=_P, code=failure, reason=reason)
    return Outcome(kind=_T, code=failure, reason=_TRANSPORT[failure], blames_destination=True)


def backoff(attempts: int, *, base: timedelta, cap: timedelta, random: float) -> timedelta:
    """How long to wait after that many failed attempts: full jitter, `random` (0 to 1) of the bound.

    The bound doubles from `base` with each attempt and never exceeds `cap`.
    """
    return _bound(attempts, base, cap) * random


def _bound(attempts: int, base: timedelta, cap: timedelta) -> timedelta:
    seconds = base.total_seconds() * 2.0 ** min(max(attempts - 1, 0), 60)
    return cap if seconds >= cap.total_seconds() else timedelta(seconds=seconds)


class CircuitState(StrEnum):
    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"
    """The rest is over: one trial decides."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Circuit:
    """Leaves a destination alone after `threshold` failures in a row; a success closes it.

    A value: each transition returns a new one. It holds no "trial under way", so a trial that is
    lost with its process blocks nothing: `after_trial` only asks the other lanes to wait for it.
    """

    threshold: int = 3
    base: timedelta = timedelta(seconds=15)
    cap: timedelta = timedelta(minutes=10)
    failures: int = 0
    open_until: datetime | None = None

    def state(self, now: datetime) -> CircuitState:
        if self.open_until is None:
            return CircuitState.CLOSED
        # A rest longer than the cap was stamped by a clock that has been set back since.
        resting = now < self.open_until <= now + self.cap
        return CircuitState.OPEN if resting else CircuitState.HALF_OPEN

    def may_try(self, now: datetime) -> bool:
        return self.state(now) is not CircuitState.OPEN

    def after_failure(self, now: datetime, random: float) -> Circuit:
        """Open from the threshold on, for half of the back-off bound and a random part of the other half:
        never not at all, and not at the same moment for all lanes."""
        failures = self.failures + 1
        if failures < self.threshold:
            return replace(self, failures=failures)
        rest = _bound(failures - self.threshold + 1, self.base, self.cap) * (0.5 + random / 2)
        return replace(self, failures=failures, open_until=now + rest)

    def after_trial(self, now: datetime) -> Circuit:
        """A trial begins: while half-open, others wait for `base` or its result."""
        if self.state(now) is not CircuitState.HALF_OPEN:
            return self
        return replace(self, open_until=now + min(self.base, self.cap))

    def after_success(self) -> Circuit:
        return replace(self, failures=0, open_until=None)


class Severity(StrEnum):
    NONE = "none"
    WARNING = "warning"
    CRITICAL = "critical"


def age_severity(
    age: timedelta, *, warning: timedelta = timedelta(minutes=15), critical: timedelta = timedelta(hours=4)
) -> Severity:
    """How loudly something that has waited this long is announced."""
    if age >= critical:
        return Severity.CRITICAL
    return Severity.WARNING if age >= warning else Severity.NONE
