"""The log's way to a syslog server, as the configuration says."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import partial
from typing import Final

from gateway.app.peers import now
from gateway.config import Config
from gateway.domain.syslog import Facility, Told, message, told
from gateway.net.syslog import Server, Syslog
from gateway.net.tls import ClientContext

LAST_SECONDS: Final = 2.0
"""How long the end of the process may wait for the server."""
_LEVELS: Final = {"info": 6, "warning": 4, "error": 3}


class Shipping:
    """What our log tells a syslog server."""

    def __init__(self, config: Config) -> None:
        section = config.syslog
        self._least = _LEVELS[section.level]
        self._names = config.names
        self._written = partial(
            message,
            facility=Facility[section.facility.upper()],
            host=f"{config.site.name}.{config.box.id}",
            process=os.getpid(),
        )
        server = Server(
            host=section.host,
            port=section.port,
            tls=ClientContext(ca=section.ca, certificate=section.certificate, key=section.key),
            timeout=section.timeout.total_seconds(),
        )
        self._way = Syslog(server, waiting=section.waiting, gap=self._gap)

    def __call__(self, line: Mapping[str, object]) -> None:
        """Hand in a line of the log as structlog has it; never blocks."""
        one = told(line, names=self._names, now=now())
        if one.severity <= self._least:
            self._way.send(self._written(one))

    def close(self) -> None:
        self._way.close(within=LAST_SECONDS)

    def _gap(self, lost: int) -> bytes:
        return self._written(Told(at=now(), severity=4, event="lines left out", values={"left_out": str(lost)}))


def shipping(config: Config) -> Shipping | None:
    """None: the log stays here."""
    return Shipping(config) if config.syslog.host else None
