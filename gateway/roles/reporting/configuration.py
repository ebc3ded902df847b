"""The configuration that central IT wishes for: proven, staged, put in place when it disturbs nobody, and proven again.

Promises
- What does not hold as `gateway check-config` would see it is rejected, with the keys that are wrong.
- It is put in place only while no scanner is connected and no exam is due; every process then ends in order and begins
  anew by it (its supervisor's part).
- It stays if within `TRIAL` the box is whole again: edge and forward run. Else the one before is put back.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Final, Protocol

import structlog

from gateway.domain.command import Code, Command, Done, Outcome, Phase, Standing
from gateway.domain.telemetry import Reported, Writer
from gateway.domain.topics import Leaf
from gateway.net.upkeep import repeat
from gateway.spool import Connection, Spool, configuration
from gateway.spool.configuration import Wish

TRIAL: Final = timedelta(minutes=3)
LOOK_SECONDS: Final = 5.0

log = structlog.get_logger()


class Place(Protocol):
    """Where a configuration is put (`gateway.config.overlay`)."""

    def text(self) -> str | None:
        """What is in place; None: the box's own file."""

    def put(self, text: str) -> None: ...

    def back(self) -> None: ...

    def settle(self) -> None: ...


def digest(text: str) -> str:
    """What a configuration is told by: the first 16 hexadecimal digits of its SHA-256."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


class Wishes:
    """Of one box."""

    leaf = Leaf.REPORTED

    def __init__(
        self,
        spool: Spool,
        *,
        faults: Callable[[str], Sequence[str]],
        place: Place,
        running: str,
        room: Callable[[Connection, datetime], Standing],
        whole: Callable[[], bool],
        writer: Writer,
        box: str,
        now: Callable[[], datetime],
    ) -> None:
        """`faults` are the keys for which a text is no configuration of this box; `running` is the digest of the wish
        that this process was started by, empty if it was the box's own file; `whole`: edge and forward run."""
        self._spool = spool
        self._faults = faults
        self._place = place
        self._running = running
        self._room = room
        self._whole = whole
        self._writer = writer
        self._box = box
        self._now = now
        self._begun = False

    def ask(self, command: Command) -> Done:
        """The deed of `apply_config`."""
        text = command.text("toml")
        job = partial(
            configuration.wish,
            version=command.number("version"),
            ring=command.text("ring"),
            digest=digest(text),
            toml=text,
            faults=self._faults(text),
            now=self._now(),
        )
        if not self._spool.db.write(job).result():
            return Done(outcome=Outcome.FAILED, code=Code.OLDER)
        found = configuration.latest(self._spool.db.read())
        if found is not None and found.phase is Phase.REJECTED:
            return Done(outcome=Outcome.FAILED, code=Code.REJECTED, count=len(found.faults))
        return Done(outcome=Outcome.DONE, code=Code.STAGED)

    async def run(self, stop: asyncio.Event) -> None:
        """Look after the wish until `stop`."""
        await repeat(partial(asyncio.to_thread, self._step), of="configuration", seconds=LOOK_SECONDS, stop=stop)

    def _step(self) -> None:
        if not self._begun:
            self._tell_again()
            self._begun = True
        self.look()

    def look(self) -> None:
        """The next step of the wish that counts. Raises OSError or GatewayError if it can't be done now."""
        c, now = self._spool.db.read(), self._now()
        found = configuration.latest(c)
        if found is None:
            return
        if found.phase is Phase.STAGED:
            standing = self._room(c, now)
            if not (standing.association_open or standing.exam_due):
                if self._place.text() != found.toml:  # else a crash came between the two
                    self._place.put(found.toml)
                self._move(found, Phase.APPLIED)
        elif found.phase is Phase.APPLIED:
            self._prove(found, now)

    def _prove(self, found: Wish, now: datetime) -> None:
        if self._running == found.digest and self._whole():
            self._place.settle()
            self._move(found, Phase.CONFIRMED)
        elif now - found.changed_at > TRIAL:
            if self._place.text() == found.toml:  # else it is rolled back already, or a person edited the file
                self._place.back()
            self._move(found, Phase.ROLLED_BACK)

    def _move(self, found: Wish, phase: Phase) -> None:
        self._spool.db.write(partial(configuration.move, found=found, phase=phase, now=self._now())).result()
        log.info("configuration moved", verdict=phase.value)

    def _tell_again(self) -> None:
        found = configuration.latest(self._spool.db.read())
        if found is not None:
            self._spool.db.write(partial(configuration.told, version=found.version, now=None)).result()

    def untold(self, c: Connection) -> Sequence[tuple[bytes, bytes, Callable[[Connection], None]]]:
        """What `gateway.roles.reporting.link` publishes: how the wish stands, when it changed."""
        found = configuration.latest(c)
        if found is None or found.is_told:
            return []
        reported = Reported(
            box=self._box,
            ts=found.changed_at,
            version=found.version,
            ring=found.ring,
            config=found.digest,
            phase=found.phase,
            faults=found.faults,
        )
        return [
            (self._writer.encode(reported), b"", partial(configuration.told, version=found.version, now=self._now()))
        ]
