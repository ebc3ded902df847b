"""A site on a temporary folder: a configuration, a real spool to fill, and the command line over both."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from typer.testing import CliRunner, Result

from gateway.cli.commands import app
from gateway.domain.model import Delivery, DestinationName, Instance, Lane
from gateway.domain.parts import Part
from gateway.domain.routing import Route
from gateway.spool import Connection, GroupCommitter, Spool, audit, deliveries
from tests.spool.objects import EXPLICIT, Clock, open_spool, receive

T = TypeVar("T")

STUDY = "2.25.1"
"""The study of every object of tests.spool.objects."""
LEASE = timedelta(minutes=5)
PACS = DestinationName("pacs")
TOML = """
[site]
name = "north"
timezone = "Asia/Tokyo"
[box]
id = "box"
state = "state"
[[scanner]]
ae = "CT1"
address = ["10.1.1.20"]
[[ris]]
name = "main"
host = "ris.example"
ae = "RIS"
[[destination]]
name = "pacs"
host = "pacs.example"
ae = "PACS"
confirm = "commitment"
compression = "none"
"""


@contextmanager
def living(spool: Spool) -> Iterator[None]:
    """As if every part of the box ran."""
    with ExitStack() as claims:
        for part in Part:
            claims.enter_context(spool.claim(part))
        yield


class Site:
    """One box: `spool` stays open as the gateway's would while commands run."""

    def __init__(self, folder: Path) -> None:
        self.config = folder / "gateway.toml"
        self.config.write_text(TOML)
        self.state = folder / "state"
        self.clock = Clock(at=datetime.now(UTC))
        self._spool: Spool | None = None
        self._claims = ExitStack()
        self._committer: GroupCommitter | None = None

    @property
    def spool(self) -> Spool:
        """Made at the first use, as the gateway that runs would: it is edge and forward."""
        if self._spool is None:
            self._spool = open_spool(self.state, self.clock)
            self._claims.enter_context(living(self._spool))
        return self._spool

    def stop(self, part: Part) -> None:
        """Nobody is that part any more."""
        self._claims.close()
        for other in set(Part) - {part}:
            self._claims.enter_context(self.spool.claim(other))

    def close(self) -> None:
        self._claims.close()
        if self._spool is not None:
            self._spool.close()

    def write(self, job: Callable[[Connection], T]) -> T:
        return self.spool.db.write(job).result()

    def receive(self, *bodies: bytes, uid: str | None = None) -> list[Instance]:
        """Objects received now, each under a UID of its own unless one is given."""
        committer = self._committer = self._committer or self.spool.accepting()
        numbered = [(uid or f"2.25.9.{body.hex()}", body) for body in bodies]
        futures = [committer.submit(receive(self.spool.files, u, b, at=self.clock())) for u, b in numbered]
        return [future.result().instance for future in futures]

    def route(self, *instances: Instance, to: str = "pacs") -> list[int]:
        """Queue them; the delivery ids."""

        def job(c: Connection) -> list[int]:
            route = [Route(destination=DestinationName(to), lane=Lane.ROUTINE)]
            now = self.clock()
            return [deliveries.prepare(c, one.id, routes=route, now=now, by="forward", why="t")[0] for one in instances]

        return self.write(job)

    def claim(self, *, to: str = "pacs") -> tuple[Delivery, ...]:
        return self.write(
            lambda c: deliveries.claim(
                c,
                destination=DestinationName(to),
                lane=Lane.ROUTINE,
                now=self.clock(),
                lease=LEASE,
                limit=100,
            )
        )

    def refuse_all(self, status: str = "0122") -> None:
        """The destination refuses what waits for it, as forward books it."""
        for claimed in self.claim():
            self.write(partial(deliveries.refuse, claimed=claimed, status=status, now=self.clock(), by="pacs"))
            self.alarm("delivery-refused", "pacs")

    def alarm(self, code: str, subject: str) -> None:
        self.write(partial(audit.raise_alarm, code=code, subject=subject, now=self.clock()))

    def send_all(self, *, confirm: bool) -> None:
        """The destination takes what waits for it, and confirms it or does not yet."""

        def job(c: Connection, *, one: Delivery) -> None:
            arrived = deliveries.Arrived(delivery=one, status="0000", at=self.clock(), sent_as=EXPLICIT)
            deliveries.settle_sent(c, [arrived], by="pacs")
            if confirm:
                deliveries.settle_confirmed(c, [one.id], now=self.clock(), by="pacs", why="commitment 2.25.7")

        for claimed in self.claim():
            self.write(partial(job, one=claimed))

    def run(self, *words: str) -> Result:
        """Type a command at this box."""
        return CliRunner().invoke(app, [*words, "--config", str(self.config)], catch_exceptions=False)

    def json(self, *words: str) -> Any:
        """What a command answers to programs."""
        return json.loads(self.run(*words, "--json").stdout)
