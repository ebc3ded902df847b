"""The sweep at the start of the edge role: files and rows are made to agree again after any crash.

To be finished before the first object is received. The files are the promise, so
- a file without a content hash was never acknowledged (it was being received): it goes;
- a file without a row (a crash before the row, or a power cut that took a NORMAL commit) is adopted
  by what its file meta says; by invariant 11 if its UID is known; bytes that are here twice go once;
- a file whose row is purged is the rest of a purge: it goes;
- a file that is no object of ours is put into quarantine/, never deleted, and has an alarm for as
  long as it lies there; one that the disk can't read stays where it is, with an alarm;
- a row without its file is an alarm, because we owe someone that object; it is cleared when the
  file is back;
- deliveries whose sender is gone go back to the queue.

Running it again changes nothing more. A crash within it is healed by the next one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Final

from gateway.domain.model import Instance, InstanceId, InstanceState
from gateway.spool import audit, deliveries, instances
from gateway.spool.audit import AlarmCode
from gateway.spool.db import GROUP, Connection, Database
from gateway.spool.files import INSTANCE_ID, SpoolFiles


class Unfinished:
    """What a file is that was still being received: ours, without its content hash."""


ReadOrigin = Callable[[Path], Instance | Unfinished | None]
"""Reads an object's file meta. None if it is no object of ours, or damaged; OSError if the disk can't read it."""

_BATCH: Final = GROUP


@dataclass(frozen=True, slots=True, kw_only=True)
class Swept:
    """What a sweep found and did."""

    unfinished_removed: int
    adopted: int
    duplicates_removed: int
    purges_finished: int
    put_aside: int
    unreadable: int
    missing: int
    leases_released: int


@dataclass(slots=True, kw_only=True)
class _Findings:
    strays: list[Instance] = field(default_factory=list)
    """Files without a row that are objects of ours."""
    missing: list[InstanceId] = field(default_factory=list)
    unfinished: int = 0
    purges_finished: int = 0
    put_aside: int = 0
    unreadable: list[str] = field(default_factory=list)


def sweep(*, files: SpoolFiles, db: Database, read_origin: ReadOrigin, now: Callable[[], datetime]) -> Swept:
    """Makes files and rows agree. Raises OSError or TemporaryFailure if the disk does not let it."""
    found = _Findings()
    for folder in files.folders():
        _look_into(
            folder,
            files=files,
            states=instances.states_in_folder(db.read(), folder.name),
            found=found,
            read_origin=read_origin,
        )
    adopted, duplicates = _adopt(found.strays, files=files, db=db, now=now)
    db.write(partial(_raise_alarms, files=files, found=found, now=now())).result()
    released = db.write(partial(deliveries.release_expired_leases, now=now())).result()
    return Swept(
        unfinished_removed=found.unfinished,
        adopted=adopted,
        duplicates_removed=duplicates,
        purges_finished=found.purges_finished,
        put_aside=found.put_aside,
        unreadable=len(found.unreadable),
        missing=len(found.missing),
        leases_released=released,
    )


def _look_into(
    folder: Path,
    *,
    files: SpoolFiles,
    states: dict[InstanceId, InstanceState],
    found: _Findings,
    read_origin: ReadOrigin,
) -> None:
    seen: set[str] = set()
    for path in sorted(folder.iterdir()):
        ours = path.suffix == ".dcm" and INSTANCE_ID.fullmatch(path.stem) is not None and path.stem[:2] == folder.name
        state = states.get(InstanceId(path.stem)) if ours else None
        if state is InstanceState.PURGED:
            path.unlink(missing_ok=True)
            found.purges_finished += 1
        elif state is not None:
            seen.add(path.stem)
        else:
            _look_at_stray(path, ours=ours, files=files, found=found, read_origin=read_origin)
    found.missing += [
        instance_id
        for instance_id, state in states.items()
        if state is not InstanceState.PURGED and instance_id not in seen
    ]


def _look_at_stray(path: Path, *, ours: bool, files: SpoolFiles, found: _Findings, read_origin: ReadOrigin) -> None:
    try:
        instance = read_origin(path) if ours else None
    except OSError:
        found.unreadable.append(path.stem if ours else "foreign")
        return
    if isinstance(instance, Unfinished):
        path.unlink(missing_ok=True)
        found.unfinished += 1
    elif instance is None:
        files.put_aside(path)
        found.put_aside += 1
    else:
        fresh = replace(instance, id=InstanceId(path.stem), state=InstanceState.RECEIVED, quarantine="")
        found.strays.append(fresh)


def _adopt(strays: list[Instance], *, files: SpoolFiles, db: Database, now: Callable[[], datetime]) -> tuple[int, int]:
    """Enters the strays, the first received first, so that the first of two differing copies goes on."""
    adopted = duplicates = 0
    strays.sort(key=lambda instance: (instance.origin.received_at, instance.id))
    for start in range(0, len(strays), _BATCH):
        batch = strays[start : start + _BATCH]
        jobs = [partial(_accept, instance=instance, now=now()) for instance in batch]
        rows = db.write_together(jobs, rebuildable=True)
        for instance, row in zip(batch, rows, strict=True):
            accepted = row.result()
            if accepted.duplicate:
                files.keep_one(accepted.instance, extra=files.path_of(instance.id))
                duplicates += 1
            else:
                adopted += 1
    return adopted, duplicates


def _accept(c: Connection, *, instance: Instance, now: datetime) -> instances.Accepted:
    return instances.accept(c, instance, now=now, why="adopted")


def _raise_alarms(c: Connection, *, files: SpoolFiles, found: _Findings, now: datetime) -> None:
    found.missing = [instance_id for instance_id in found.missing if _still_missing(c, instance_id, files=files)]
    aside = [path.stem for path in sorted(files.quarantine.iterdir())]  # those of an interrupted sweep too
    standing = {
        AlarmCode.FILE_MISSING: list(map(str, found.missing)),
        AlarmCode.OBJECT_UNREADABLE: aside + found.unreadable,
    }
    for code, subjects in standing.items():
        for subject in subjects:
            audit.raise_alarm(c, code=code, subject=subject, now=now)
        for alarm in audit.active_alarms(c, code=code):
            if alarm.subject not in subjects:
                audit.clear_alarm(c, code=code, subject=alarm.subject, now=now)


def _still_missing(c: Connection, instance_id: InstanceId, *, files: SpoolFiles) -> bool:
    """Not so if a duplicate among the strays took its place, or another process purged it meanwhile."""
    instance = instances.get(c, instance_id)
    purged = instance is not None and instance.state is InstanceState.PURGED
    return not purged and not files.path_of(instance_id).exists()
