"""Telling each RIS what became of its orders (IHE RAD-13; HL7 v2 over MLLP).

What is promised beside `relaying`: messages go out in the order they were queued, one at a time, until the receiver has
taken each (AA, or CA in enhanced mode); tries are at most RETRY_CAP apart. What the receiver refuses (AE, AR, CE, CR)
is never sent again by itself: later messages of that order wait with it, while other orders go on. An answer under
another control id is nobody's. Sent again is the same bytes under the same control id.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Final

from gateway.domain.order_notice import Format, Header, Verdict, answer_to, reason_of
from gateway.domain.retry import Outcome, OutcomeKind, backoff
from gateway.net.mllp_client import MllpClient, Place
from gateway.spool import Connection, orders_out, relays
from gateway.spool.audit import Subject
from gateway.spool.orders_out import OrderMessage

RETRY_BASE: Final = timedelta(seconds=2)
RETRY_CAP: Final = timedelta(minutes=1)
"""Short enough that nobody waits for us when a RIS is back."""
_MEANT: Final = {
    Verdict.TAKEN: OutcomeKind.STORED,
    Verdict.REFUSED: OutcomeKind.PERMANENT,
    Verdict.UNCLEAR: OutcomeKind.TEMPORARY,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Receiver:
    """A RIS that is told of its orders."""

    name: str
    place: Place
    format: Format
    report: bool
    """Whether it is told the study's UID as a result, too."""
    senders: frozenset[str]
    """Whose orders it is told of, by the names of those who sent them; empty: of all."""
    header: Header


class OrdersWay:
    """The way to one receiver, by MLLP."""

    kind: Final = Subject.ORDER_MESSAGE
    warm: Final = 30.0

    def __init__(self, receiver: Receiver, *, random: Callable[[], float]) -> None:
        self.name = receiver.name
        self._place = receiver.place
        self._random = random
        self._client: MllpClient | None = None

    def due(self, c: Connection, now: datetime) -> Sequence[OrderMessage]:
        head = orders_out.head(c, receiver=self.name, now=now)
        return () if head is None else (head,)

    def connect(self, message: OrderMessage) -> bool:
        if self._client is None or not self._client.is_idle:
            self.hang_up()
            self._client = MllpClient(self._place)
        return True

    def unreachable(self, message: OrderMessage, code: str, now: datetime) -> Callable[[Connection], None]:
        not_before = now + self.wait(message.attempts + 1)
        return partial(relays.put_off, message=message, status=code, not_before=not_before)

    def send(self, message: OrderMessage) -> Outcome:
        assert self._client is not None
        answer = self._client.ask(message.body, partial(answer_to, control_id=message.control_id))
        if answer.verdict is Verdict.UNCLEAR:
            self.hang_up()
        return Outcome(kind=_MEANT[answer.verdict], code=answer.status, reason=reason_of(answer.status))

    def wait(self, attempts: int) -> timedelta:
        return backoff(attempts, base=RETRY_BASE, cap=RETRY_CAP, random=0.5 + self._random() / 2)

    @property
    def is_open(self) -> bool:
        return self._client is not None

    def hang_up(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None

    abort = hang_up
