"""A destination as `forward` needs to know it: its policy, the way to it, and whether it is worth trying now.

Each kind of destination is one class that is a `Way` (dimse.py and its neighbours); nothing else in this role
knows which kind it is, but for storage commitment, which only DICOM has.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, tzinfo
from typing import NamedTuple, Protocol

from gateway.dicom import part10
from gateway.dicom.convert import Segment
from gateway.domain.model import UID, Confirm, DestinationName, Instance, Lane
from gateway.domain.retry import Circuit, Outcome
from gateway.domain.window import Window
from gateway.net.flow import Flow
from gateway.roles.forward.sending import Opened, segments_of


class Line(Protocol):
    """An open way to a destination, for one thread: an association, or what stands for one."""

    def fits(self, instance: Instance) -> bool:
        """Whether it was opened for such an instance; one that doesn't fit waits for a line of its own."""
        ...

    def accepts(self, instance: Instance) -> frozenset[str]:
        """The transfer syntaxes that objects of its class may go out in; empty where only the object's own may."""
        ...

    def store(
        self, instance: Instance, opening: Callable[[Instance], Opened], *, attempts: int, meanwhile: Callable[[], None]
    ) -> Outcome:
        """Store the instance there. `opening` gives its file, and is not called where it can't be sent at all;
        `meanwhile` is called while the destination works on it; `attempts` failed before this one.

        Raises `TemporaryFailure` if the line broke, `PermanentFailure` for what is wrong with the object.
        """
        ...

    def release(self) -> None:
        """Orderly end."""
        ...

    def abort(self) -> None:
        """End at once."""
        ...


class Put(Protocol):
    """How a kind of destination that is given files stores one: a file meta and the segments of a data set, those of
    the file `source` among them. Raises as `Line.store`."""

    def __call__(
        self, instance: Instance, header: bytes, segments: Sequence[Segment], source: int, *, attempts: int
    ) -> Outcome: ...


class FileLine:
    """A line where nothing is negotiated (`Line`): any object fits, as it came or in a form that `accepts` names."""

    def __init__(self, put: Put, close: Callable[[], None], *, accepts: frozenset[str]) -> None:
        self._put = put
        self._accepts = accepts
        self.release = self.abort = close

    def fits(self, _instance: Instance) -> bool:
        """Any does."""
        return True

    def accepts(self, instance: Instance) -> frozenset[str]:
        """What the site says that can be read there, and what it came in."""
        return self._accepts | {instance.TransferSyntaxUID}

    def store(
        self, instance: Instance, opening: Callable[[Instance], Opened], *, attempts: int, meanwhile: Callable[[], None]
    ) -> Outcome:
        """Put as a Part 10 file in the syntax it is opened in."""
        with opening(instance) as opened:
            syntax = opened.instance.TransferSyntaxUID
            header = part10.meta(
                SOPClassUID=instance.SOPClassUID, SOPInstanceUID=instance.SOPInstanceUID, TransferSyntaxUID=syntax
            )
            outcome = self._put(instance, header, segments_of(opened, syntax), opened.descriptor, attempts=attempts)
        meanwhile()
        return replace(outcome, sent_as=syntax)


class Held(NamedTuple):
    """What a destination says it has, of some that it was asked for."""

    asked: Sequence[Instance]
    found: Collection[UID]


class Way(Protocol):
    """How a kind of destination is reached."""

    def open(self, found: Sequence[Instance], *, allow: Callable[[int], int], offered: frozenset[str]) -> Line:
        """A line for the first of these, and for as many of the others as fit. Before bytes of objects are sent on
        it, `allow` is asked how many of them may go now, and may wait. `offered`: the transfer syntaxes that native
        objects can be compressed to. Raises `TemporaryFailure`."""
        ...

    def held(self, wanted: Sequence[Instance]) -> Iterator[Held]:
        """Ask the destination which of these it has, some at a time. Raises `TemporaryFailure`."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One destination."""

    name: DestinationName
    way: Way
    confirm: Confirm
    lanes: tuple[Lane, ...]
    flow: Flow
    window: Window
    zone: tzinfo
    """Where the window's times of day are told."""
    stat_ignores_window: bool
    concurrency: int
    """Lines that one lane may have at a time."""
    batch: int
    retry_base: timedelta
    retry_cap: timedelta
    commitment_wait: timedelta
    commitment_timeout: timedelta
    expect_refused: frozenset[str]
    lossless: bool
    """Objects go out compressed, where a rule of the site says nothing else."""
    failover: tuple[DestinationName, ...] = ()
    """Who gets what is queued for it, in this order, while it can't be reached."""
    failover_after: timedelta = timedelta(minutes=5)

    def may_send(self, lane: Lane, now: datetime) -> bool:
        """Whether its window is open for that lane."""
        return (self.stat_ignores_window and lane is Lane.STAT) or self.window.is_open(now, self.zone)


class Ramp:
    """How many lines one lane may have at a time: one at first, one more for each batch that went well, and one
    again after a failure (slow start). Safe from any thread."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._allowed = 1

    def admits(self, number: int) -> bool:
        """Whether the line of that number (from 0) may be open now."""
        return number < self._allowed

    def succeeded(self) -> None:
        self._allowed = min(self._allowed + 1, self._most)

    def failed(self) -> None:
        self._allowed = 1


class Breaker:
    """The circuit of one destination, shared by its lanes; safe from any thread."""

    def __init__(self, circuit: Circuit, *, now: Callable[[], datetime], random: Callable[[], float]) -> None:
        self._circuit = circuit
        self._now = now
        self._random = random
        self._lock = threading.Lock()
        self._failing_since: datetime | None = None

    def may_try(self) -> bool:
        """Whether to try now; while the destination is being tested, one caller at a time may."""
        with self._lock:
            now = self._now()
            if not self._circuit.may_try(now):
                return False
            self._circuit = self._circuit.after_trial(now)
            return True

    def failed(self) -> None:
        with self._lock:
            now = self._now()
            self._circuit = self._circuit.after_failure(now, self._random())
            self._failing_since = self._failing_since or now

    def succeeded(self) -> None:
        with self._lock:
            if self._circuit.failures:
                self._circuit = self._circuit.after_success()
                self._failing_since = None

    @property
    def failing_since(self) -> datetime | None:
        """Of the first failure since something was stored; None if the last attempt succeeded."""
        return self._failing_since

    @property
    def failures(self) -> int:
        """In a row."""
        return self._circuit.failures


def by_series(wanted: Sequence[Instance], *, at_most: int) -> Iterator[Sequence[Instance]]:
    """The instances of one series together, in groups of a size that one query can name."""
    for _, group in itertools.groupby(sorted(wanted, key=_series), key=_series):
        instances = list(group)
        for start in range(0, len(instances), at_most):
            yield instances[start : start + at_most]


def _series(instance: Instance) -> tuple[str, str]:
    return instance.StudyInstanceUID, instance.SeriesInstanceUID
