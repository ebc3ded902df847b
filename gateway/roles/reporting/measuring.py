"""The numbers of the box at one moment, and what many of them come to.

What is promised: a number that is not known is left out, never guessed. Totals count from the start of the reporting,
those of what came in from the beginning of the books.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from statistics import fmean, quantiles
from typing import Any, Final

from gateway.domain.health import PROBED, Reading
from gateway.domain.issue import Issue
from gateway.domain.telemetry import HEALTH_BYTES, Clock, Health
from gateway.roles.reporting.pen import Pen
from gateway.spool import Connection, disk, figures, health, instances, outbox, tasks, worklist
from gateway.spool.files import Space

LATELY: Final = timedelta(minutes=15)
MOST_LAGS: Final = 10_000
_DOWN: Final = PROBED | {"destination-unreachable"}
_AVERAGED: Final = ("cpu", "mem", "temp_c", "clk_off_ms", "fwd_lag_p95_s")
"""Of these an average says more than the last; of the others the last counts."""


@dataclass(slots=True)
class Measuring:
    """Reads the books with a reading connection."""

    destinations: Mapping[str, str]
    """The alias of each."""
    sources: Sequence[str]
    """The RISs that are asked for their worklists."""
    space: Callable[[], Space]
    now: Callable[[], datetime]
    _seq: int | None = None
    _taken: int = 0
    _failed: int = 0
    _lags: deque[tuple[datetime, float]] = field(default_factory=lambda: deque(maxlen=MOST_LAGS))

    def take(self, c: Connection, issues: Sequence[Issue]) -> dict[str, Any]:
        """The numbers, by the names of `Health`."""
        now = self.now()
        waits = figures.waiting(c)
        readings = {name.value: value for name, value in health.readings(c).items()}
        space = self.space()
        return {
            "spool_n": waits.count,
            "spool_bytes": waits.size,
            "spool_oldest_s": _since(waits.oldest, now) or 0.0,
            "in_ok_total": waits.received,
            "in_fail_total": waits.refused,
            "assoc_active": waits.connected,
            **self._forwarding(c, now),
            "mwl_age_s": self._worklist_age(c, now),
            "disk_forecast_h": _forecast(c),
            **self._destinations(issues),
            "quarantine_n": instances.count_quarantined(c),
            "tasks_n": sum(one.count for one in tasks.counts(c)),
            "alarms_n": len(issues),
            "outbox_n": outbox.state(c).waiting,
            "disk_free_ratio": space.free / space.total if space.total else None,
            **{name: value for name, value in readings.items() if name in Health.__dataclass_fields__},
        }

    def _forwarding(self, c: Connection, now: datetime) -> dict[str, Any]:
        if self._seq is None:
            self._seq = figures.newest(c)
        went = figures.went(c, seq=self._seq)
        self._seq = went.seq
        self._taken += went.taken
        self._failed += went.failed
        self._lags.extend((now, lag) for lag in went.lags)
        while self._lags and now - self._lags[0][0] > LATELY:
            self._lags.popleft()
        lags = [lag for _, lag in self._lags]
        p95 = quantiles(lags, n=20, method="inclusive")[-1] if len(lags) > 1 else next(iter(lags), None)
        return {"fwd_ok_total": self._taken, "fwd_fail_total": self._failed, "fwd_lag_p95_s": p95}

    def _worklist_age(self, c: Connection, now: datetime) -> float | None:
        """Of the oldest copy; None: there is none, or one never came."""
        known = {one.name: one.last_success for one in worklist.sources(c)}
        ages = [_since(known.get(name), now) for name in self.sources]  # type: ignore[call-overload]
        return None if not ages or None in ages else max(age for age in ages if age is not None)

    def _destinations(self, issues: Sequence[Issue]) -> dict[str, Any]:
        down = {one.instance for one in issues if one.code in _DOWN}
        up = {alias: alias not in down for alias in self.destinations.values()}
        return {"dest_up": up, "dest_n": len(up), "dest_down_n": sum(not one for one in up.values())}


def clock(values: Mapping[str, Any], issues: Sequence[Issue]) -> Clock:
    """How far the clock can be trusted."""
    off = values.get(Reading.CLOCK.value)
    return Clock(sync=off is not None and not any(one.code == "clock-off" for one in issues), off_ms=off)


def written(pen: Pen, seq: int, values: Mapping[str, Any]) -> Health:
    """The message of these numbers, no longer than `HEALTH_BYTES`: where destinations are too many for that, those that
    answer are left out, and then all of them; their numbers stay. Raises ValueError for a value that is not listed."""
    envelope = pen.envelope(seq)
    up = values.get("dest_up") or {}
    for named in (up, {name: one for name, one in up.items() if not one}, None):
        message = Health(**{**envelope, **values, "dest_up": named})
        if len(pen.encode(message)) <= HEALTH_BYTES:
            break
    return message


def average(samples: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """One for many: the last, with the averages of what goes up and down."""
    last = dict(samples[-1])
    for name in _AVERAGED:
        known = [one[name] for one in samples if one.get(name) is not None]
        last[name] = fmean(known) if known else None
    return last


def _since(when: datetime | None, now: datetime) -> float | None:
    return None if when is None else max(0.0, (now - when).total_seconds())


def _forecast(c: Connection) -> float | None:
    seen = disk.last(c)
    holds_out = None if seen is None else seen.holds_out
    return None if holds_out is None else holds_out.total_seconds() / 3600
