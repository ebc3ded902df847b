"""Messages from a folder: files of HL7 messages, each message as if it had come to the port.

What is promised: a file is taken once it is whole, that is unchanged between two looks; its messages are received one
after the other, each by the way of the port (kept, applied and answered in one durable transaction); then the answers
are put beside it, and it goes to `done`, or to `failed` if a message of it was answered AE or AR. Whatever is killed
in between is done again from the file, where a message that had its effect is answered the same and has none (see
gateway/spool/messages.py). Nothing goes on while the disk is full or the folder away: the file waits, with an alarm.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from functools import partial
from typing import Final, TypeVar

import structlog

from gateway.domain.mllp import END, START, FrameReader
from gateway.domain.model import TemporaryFailure
from gateway.net.upkeep import repeat
from gateway.roles.orders import Orders
from gateway.spool import Connection, Spool, audit
from gateway.spool.watched import DONE, FAILED, LONGEST_NAME, TAKEN, Signature, TooLong, Unusable, WatchedFolder

SUFFIX: Final = ".hl7"
SUBJECT: Final = "folder"
ALARM_REFUSED: Final = "folder-refused"
"""Files lie in `failed`."""
ALARM_AWAY: Final = "folder-away"
"""The folder can't be read or written."""
SWEEP: Final = timedelta(minutes=10)
"""Between two erasures of what was kept for long enough."""
_REFUSALS: Final = frozenset({b"AE", b"AR", b"CE", b"CR"})

T = TypeVar("T")

log = structlog.get_logger()


class OrderFolder:
    """Looks at the folder every `poll` seconds."""

    def __init__(
        self,
        spool: Spool,
        orders: Orders,
        folder: WatchedFolder,
        *,
        poll: float,
        kept_for: timedelta,
        now: Callable[[], datetime],
    ) -> None:
        """What was read is kept in the folder for `kept_for`; `now` is UTC-aware."""
        self._spool = spool
        self._orders = orders
        self._folder = folder
        self._poll = poll
        self._kept_for = kept_for
        self._now = now
        self._seen: dict[str, Signature] = {}
        self._swept: datetime | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="order-folder")

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop`."""
        await repeat(self.look, of="order-folder", seconds=self._poll, stop=stop)
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def look(self) -> None:
        """Take every file that has not changed since the last look."""
        try:
            away = await self._take_all()
        except TemporaryFailure as error:
            log.error("files of orders wait", code=error.code)
        except Exception as error:  # noqa: BLE001 -- the watch's edge: it is tried again; unknown means temporary
            log.error("files of orders not read", error=type(error).__name__)
        else:
            await self._tell(away)

    async def _take_all(self) -> bool:
        """Whether the folder is away."""
        try:
            await self._do(self._folder.prepare)
            begun = await self._do(partial(self._folder.look, SUFFIX, TAKEN))
            found = await self._do(partial(self._folder.look, SUFFIX))
            settled = [name for name, signature in found.items() if self._seen.get(name) == signature]
            self._seen = found
            for name in begun:
                await self._receive(name)
            for name in settled:
                if await self._do(partial(self._folder.take, name)):
                    await self._receive(name)
            await self._sweep()
        except OSError as error:
            log.error("the folder of orders is away", error=type(error).__name__)
            return True
        return False

    async def _receive(self, name: str) -> None:
        """One file that is ours, to its end. It stays ours if that can't be now, or if it grows while it is read."""
        try:
            content, signature = await self._do(partial(self._folder.read, name, TAKEN))
        except FileNotFoundError:
            return
        except Unusable as error:
            log.warning("a file of orders was refused", reason=str(error))
            answer = self._orders.too_long() if isinstance(error, TooLong) else b""
            await self._end(name, answer, FAILED)
            return
        answer = b"".join([await self._orders.receive_file(part) for part in _frames(content)])
        if await self._do(partial(self._folder.is_unchanged, name, signature)):
            await self._end(name, answer, FAILED if _is_refused(answer) else DONE)

    async def _end(self, name: str, answer: bytes, place: str) -> None:
        now = self._now()
        if answer and len(name.encode(errors="surrogateescape")) <= LONGEST_NAME:
            whole = b"".join(_frames(answer))
            await self._do(partial(self._folder.answer, name, whole, now))
        await self._do(partial(self._folder.put_away, name, place, now))

    async def _sweep(self) -> None:
        now = self._now()
        if self._swept is None or now - self._swept >= SWEEP:
            await self._do(partial(self._folder.erase, now - self._kept_for))
            self._swept = now

    async def _tell(self, away: bool) -> None:
        """Raise the alarms of what stands, clear those of what is over."""
        stands = {ALARM_AWAY: away}
        if not away:
            stands[ALARM_REFUSED] = bool(await self._do(partial(self._folder.look, SUFFIX, FAILED)))
        active = {alarm.code for alarm in audit.active_alarms(self._spool.db.read()) if alarm.subject == SUBJECT}

        def job(c: Connection) -> None:
            for code, is_so in stands.items():
                told = audit.raise_alarm if is_so else audit.clear_alarm
                told(c, code=code, subject=SUBJECT, now=self._now())

        if any(is_so != (code in active) for code, is_so in stands.items()):
            await asyncio.wrap_future(self._spool.db.write(job))

    async def _do(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)


def _frames(content: bytes) -> list[bytes]:
    """The messages of a file that has them framed as on the wire (MLLP), else the file as it is."""
    if not content.lstrip(b" \t\r\n").startswith(START):
        return [content]
    reader = FrameReader(message_max=len(content))
    reader.receive(content + END)  # the last frame may lack its end
    return list(iter(reader.next_message, None))


def _is_refused(answer: bytes) -> bool:
    segments = answer.replace(START, b"\r").split(b"\r")
    return any(segment[:3] == b"MSA" and segment[4:6] in _REFUSALS for segment in segments)
