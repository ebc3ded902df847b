"""Worklist files: a folder of files as DCMTK's wlmscpfs reads them, each a step or several, are rows of the worklist.

What is promised:

* The rows of a file change as a set, once it has changed and been the same at two looks; they go when it has been
  gone for two looks.
* What is not believed removes nothing: a folder that can't be read, one without a file that had several or that is
  another folder than before, and one with a file that can't be read. The last rows stand, with an alarm.
* Nothing but the folder has a memory: after a restart the copy is made to hold what the files hold.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Final, TypeVar

import structlog

from gateway.dicom import elements, part10
from gateway.domain.merge import Kind
from gateway.net.upkeep import repeat
from gateway.roles.worklist.rows import validated
from gateway.spool import Connection, Spool, audit, worklist_files
from gateway.spool import worklist as copy
from gateway.spool.watched import MOST_LISTED, Signature, Unusable, WatchedFolder
from gateway.spool.worklist import WorklistRow
from gateway.spool.worklist_files import SOURCE

SUFFIX: Final = ".wl"
FILE_MAX: Final = 1 << 20
"""Bytes of a file."""
READ_AT_ONCE: Final = 200
"""Files of one look: thousands at a start must not hold up the scanners."""
ATTEST: Final = timedelta(hours=6)
"""How often rows whose files stay as they are are confirmed, so that they don't expire."""
ALARM_FILES: Final = "worklist-files"
"""Worklist files can't be read, or all went at once. Subject: folder."""

_ELEMENTS: Final = 5_000
_MAGIC: Final = slice(128, 132)

T = TypeVar("T")

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class _File:
    signature: Signature
    keys: frozenset[str]
    """Of its rows."""


@dataclass(frozen=True, slots=True)
class _Read:
    """What was read of the files that are new or changed."""

    files: dict[str, _File]
    rows: list[WorklistRow]
    unreadable: dict[str, Signature]


class WorklistFiles:
    """Looks at the folder every `poll` seconds."""

    def __init__(self, spool: Spool, folder: WatchedFolder, *, poll: float, now: Callable[[], datetime]) -> None:
        """`now` is UTC-aware."""
        self._spool = spool
        self._folder = folder
        self._poll = poll
        self._now = now
        self._identity: tuple[int, int] | None = None
        self._seen: dict[str, Signature] = {}
        self._files: dict[str, _File] = {}
        self._unreadable: dict[str, Signature] = {}
        self._attested: datetime | None = None
        """When the copy was last made to hold all that the files hold; None: something has changed since."""
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="worklist-files")

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop`."""
        await repeat(self.look, of="worklist-files", seconds=self._poll, stop=stop)
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def look(self) -> None:
        """Make the copy hold what has not changed since the last look."""
        try:
            believed = await self._look()
        except OSError as error:
            log.error("worklist files not read", error=type(error).__name__)
            believed = False
        await self._tell(believed)

    async def _look(self) -> bool:
        identity, found = await self._do(self._list)
        before, self._seen = self._seen, found
        if not found and not self._may_be_empty(identity):
            return False
        self._identity = identity
        settled = {name: signature for name, signature in found.items() if before.get(name) == signature}
        read = await self._do(partial(self._read, settled))
        known = {name: file for name, file in self._files.items() if name in found or name in before}
        files = known | read.files
        self._unreadable = {n: s for n, s in (self._unreadable | read.unreadable).items() if found.get(n) == s}
        if files != self._files:
            self._attested = None
        whole = len(found) < MOST_LISTED and found == {name: file.signature for name, file in files.items()}
        await self._keep(read.rows, files.values() if whole else None)
        released = _keys(old for name, old in self._files.items() if files.get(name) != old)
        # A row that another file has too is now that one's, which is read again for it
        self._files = {name: f for name, f in files.items() if name in read.files or released.isdisjoint(f.keys)}
        return not self._unreadable

    def _may_be_empty(self, identity: tuple[int, int]) -> bool:
        """Whether no file at all is believed: nothing is lost by it, or the only one there was has gone."""
        if not copy.has_rows(self._spool.db.read(), SOURCE):
            return True
        return len(self._files) == 1 and identity == self._identity

    async def _keep(self, rows: list[WorklistRow], whole: Iterable[_File] | None) -> None:
        now = self._now()
        due = whole is not None and (self._attested is None or now - self._attested >= ATTEST)
        if not rows and not due:
            return
        keys = _keys(whole) if whole is not None else None
        job = partial(worklist_files.keep, rows=rows, keys=keys, now=now)
        removed = await asyncio.wrap_future(self._spool.db.write(job))
        log.info("worklist files read", rows=len(rows), removed=removed)
        if whole is not None:
            self._attested = now

    # -- on the thread --

    def _list(self) -> tuple[tuple[int, int], dict[str, Signature]]:
        return self._folder.identity(), self._folder.look(SUFFIX)

    def _read(self, settled: Mapping[str, Signature]) -> _Read:
        read = _Read({}, [], {})
        for name, signature in settled.items():
            known = self._files.get(name)
            if (known and known.signature == signature) or self._unreadable.get(name) == signature:
                continue
            if len(read.files) + len(read.unreadable) == READ_AT_ONCE:
                break
            try:
                content, at_reading = self._folder.read(name)
            except Unusable:
                read.unreadable[name] = signature
                continue
            except FileNotFoundError:
                continue
            if at_reading != signature:
                continue
            rows = rows_of(content, made=_made(signature, self._now()))
            if rows:
                read.files[name] = _File(signature, frozenset(rows))
                read.rows.extend(rows.values())
            else:
                read.unreadable[name] = signature
        return read

    # -- alarms --

    async def _tell(self, believed: bool) -> None:
        def job(c: Connection) -> None:
            told = audit.clear_alarm if believed else audit.raise_alarm
            told(c, code=ALARM_FILES, subject=SOURCE, now=self._now())

        if believed == bool(audit.active_alarms(self._spool.db.read(), code=ALARM_FILES)):
            await asyncio.wrap_future(self._spool.db.write(job))

    async def _do(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)


def rows_of(content: bytes, *, made: datetime) -> dict[str, WorklistRow]:
    """The rows of a file by their key; none if one of its steps can't be kept, or it is no data set."""
    try:
        rows, refused = validated(SOURCE, _data_set(content))
    except Exception:  # noqa: BLE001 -- whatever a file can hold; it is told as unreadable
        return {}
    return {} if refused else {key: replace(row, kind=Kind.HL7, stamp=made) for key, row in rows.items()}


def _data_set(content: bytes) -> elements.DataSet:
    """Part 10, or a data set alone in either little endian syntax. Raises ElementError."""
    syntax, offset = elements.EXPLICIT_LITTLE, 0
    if content[_MAGIC] == b"DICM":
        meta = part10.read(content)
        syntax, offset = meta.TransferSyntaxUID, meta.data_offset
    return elements.parse(content[offset:], syntax, max_elements=_ELEMENTS, max_inflated=FILE_MAX)


def _made(signature: Signature, now: datetime) -> datetime:
    """When the file was written; a clock ahead of ours counts as now."""
    seconds = min(max(signature.mtime_ns, 0) / 1e9, now.timestamp())
    return datetime.fromtimestamp(seconds, UTC)


def _keys(files: Iterable[_File]) -> frozenset[str]:
    return frozenset(key for file in files for key in file.keys)
