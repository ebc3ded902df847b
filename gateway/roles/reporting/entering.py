"""What happens in the box, entered into the log for central: whole studies, alarms, the start and the end.

Promises
- A study event is entered once: with it, in one transaction, the number up to which they are.
- An alarm is raised at the second look in a row that finds it, and cleared at the second that does not; one that comes
  and goes is held until it is calm (`domain.health.Strand`). The event and what central is to know of the alarm are
  one transaction.
- Where more is kept than may be, the least severe goes, and an event says how much (`gap`).
- An alarm about something that the configuration does not name is told as one of the box: a name that is not listed
  never leaves.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final

from gateway.domain.health import Strand
from gateway.domain.health import issues as issues_of
from gateway.domain.issue import Issue, Severity, instance_of
from gateway.domain.issues import KINDS
from gateway.domain.overview import Alarm
from gateway.domain.parts import Part
from gateway.domain.telemetry import Health, Kind, Standing
from gateway.domain.telemetry_fields import OTHER, ref
from gateway.roles.reporting.pen import Pen
from gateway.spool import Connection, health, outbox, study_events
from gateway.spool.outbox import Outbox, ToldAlarm
from gateway.spool.study_events import StudyEvent, StudyState

STUDIES_AT_ONCE: Final = 200
_STUDY: Final = {
    StudyState.COMPLETE: Kind.STUDY_COMPLETE,
    StudyState.DELIVERED: Kind.STUDY_DELIVERED,
    StudyState.CONFIRMED: Kind.STUDY_CONFIRMED,
}
Key = tuple[str, str]
"""The code and the instance of an alarm."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a look found that is to be entered."""

    issues: tuple[Issue, ...]
    """That stand."""
    changes: tuple[ToldAlarm, ...] = ()
    """Alarms as they are now; number and identifier come with the event."""
    studies: tuple[StudyEvent, ...] = ()
    too_many: bool = False
    to_forget: bool = False

    @property
    def anything(self) -> bool:
        return bool(self.changes or self.studies or self.too_many or self.to_forget)


@dataclass(slots=True)
class Entering:
    """Looks with a reading connection, and enters with the writer's."""

    pen: Pen
    key: bytes
    names: frozenset[str]
    """The aliases of what is configured."""
    parts: Collection[Part]
    """Those that have to live."""
    most: int
    """Events kept."""
    now: Callable[[], datetime]
    strands: dict[Key, Strand] = field(default_factory=dict)

    def look(self, c: Connection) -> Found:
        """What there is to enter."""
        stands = outbox.state(c)
        alarms = health.alarms(c, parts=self.parts, now=self.now())
        issues = tuple(replace(one, instance=self._named(one.instance)) for one in issues_of(alarms))
        return Found(
            issues=issues,
            changes=self._changes(c, issues, self._counts(alarms)),
            studies=study_events.after(c, stands.study_seq, event=None, limit=STUDIES_AT_ONCE),
            too_many=stands.waiting > self.most,
            to_forget=outbox.has_acknowledged(c),
        )

    def enter(self, c: Connection, found: Found) -> Outbox:
        """Enter it, and keep what is kept within its bound."""
        for alarm in found.changes:
            self._alarm(c, alarm)
        for study in found.studies:
            self._study(c, study)
        if found.studies:
            outbox.entered(c, study_seq=found.studies[-1].seq)
        outbox.forget(c)
        gone = outbox.give_up(c, most=self.most)
        if gone is not None:
            self.happened(c, Kind.GAP, sev=Severity.WARNING, count=gone.count, upto=gone.upto)
        return outbox.state(c)

    def happened(self, c: Connection, kind: Kind, *, sev: Severity = Severity.INFO, **more: Any) -> int:
        """Enter an event of the box; its number."""
        at = self.now()
        return outbox.append(c, sev=sev, at=at, write=lambda seq: self.pen.event(seq, kind, at=at, sev=sev, **more))

    def sampled(self, c: Connection, values: Mapping[str, Any], *, samples: int) -> int:
        """Enter the numbers of the box, where nobody took them when they were new; its number."""
        at = self.now()

        def write(seq: int) -> bytes:
            return self.pen.encode(Health(**self.pen.envelope(seq, at=at), **values, samples=samples))

        return outbox.append(c, sev=Severity.INFO, at=at, write=write)

    def _study(self, c: Connection, study: StudyEvent) -> None:
        values: dict[str, Any] = {"study": ref(self.key, study.StudyInstanceUID), "images": study.images}
        outbox.append(
            c,
            sev=Severity.INFO,
            at=study.at,
            write=lambda seq: self.pen.event(seq, _STUDY[study.event], at=study.at, sev=Severity.INFO, **values),
        )

    def _alarm(self, c: Connection, alarm: ToldAlarm) -> None:
        raised = alarm.state is Standing.RAISED
        kind = Kind.ALARM_RAISED if raised else Kind.ALARM_CLEARED
        seq = outbox.append(
            c,
            sev=alarm.sev,
            at=alarm.changed_at,
            write=lambda seq: self.pen.event(
                seq,
                kind,
                at=alarm.changed_at,
                sev=alarm.sev,
                eid_=alarm.eid,
                code=alarm.code,
                inst=alarm.inst,
                count=alarm.count,
            ),
        )
        outbox.keep_alarm(c, alarm, seq=seq)

    def _changes(self, c: Connection, issues: Sequence[Issue], counts: Counter[Key]) -> tuple[ToldAlarm, ...]:
        """What central knows otherwise. Each call is an evaluation of every alarm."""
        now = self.now()
        standing = {(one.code, one.instance): one for one in issues}
        known = {(one.code, one.inst): one for one in outbox.alarms(c)}
        changes = list[ToldAlarm]()
        for key in standing.keys() | known.keys() | self.strands.keys():
            before = known.get(key)
            was_raised = before is not None and before.state is Standing.RAISED
            strand = self.strands.get(key) or Strand(standing=key[0] if was_raised else "")
            strand = strand.judged(key[0] if key in standing else "", now)
            self.strands[key] = strand
            issue = standing.get(key)
            if strand.standing and not was_raised and issue is not None:
                changes.append(self._raised(issue, counts[key], now))
            elif was_raised and before is not None and not strand.standing:
                changes.append(self._cleared(before, now))
            elif not strand.standing and not strand.raised and key not in standing:
                del self.strands[key]
        return tuple(changes)

    def _raised(self, issue: Issue, count: int, now: datetime) -> ToldAlarm:
        return ToldAlarm(
            code=issue.code,
            inst=issue.instance,
            state=Standing.RAISED,
            sev=issue.severity,
            since=issue.since,
            changed_at=now,
            count=count,
            seq=0,
            eid=self.pen.new_eid(),
        )

    def _cleared(self, before: ToldAlarm, now: datetime) -> ToldAlarm:
        return ToldAlarm(
            code=before.code,
            inst=before.inst,
            state=Standing.CLEARED,
            sev=before.sev,
            since=before.since,
            changed_at=now,
            count=before.count,
            seq=0,
            eid=self.pen.new_eid(),
        )

    def _counts(self, alarms: Sequence[Alarm]) -> Counter[Key]:
        """How often the cause of each alarm that stands was met."""
        counts = Counter[Key]()
        for alarm in alarms:
            kind = KINDS.get(alarm.code)
            if kind is not None:
                counts[alarm.code, self._named(instance_of(kind, alarm.subject))] += alarm.count
        return counts

    def _named(self, instance: str) -> str:
        return instance if instance in self.names else OTHER
