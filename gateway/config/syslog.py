"""The `[syslog]` section: the server that our log goes to as well."""

from __future__ import annotations

from typing import Literal

from gateway.config.section import Certificates, spelled
from gateway.config.values import Count, Duration, OptionalHost, Port


class SyslogSection(Certificates):
    host: OptionalHost = spelled("")
    """The server; empty: the log stays here."""
    port: Port = spelled(6514)
    """Its port for TLS (RFC 5425)."""
    level: Literal["info", "warning", "error"] = spelled("info")
    """The least that goes there."""
    facility: Literal["daemon", "local0"] = spelled("daemon")
    """Whose messages they are there."""
    waiting: Count = spelled(10_000)
    """Lines kept while it is away; then the oldest go, and it is told how many."""
    timeout: Duration = spelled("10s")
    """How long a connection may take, and a line that it does not take."""
