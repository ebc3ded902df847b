"""The sections of health: how often peers are asked and the synthetic patient comes, from when on it is told, and where
programs look at the box."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from pydantic import Field

from gateway.config.section import Section, spelled
from gateway.config.values import Count, Duration, Host, Name, OptionalPort, OptionalWait


class HealthSection(Section):
    probe: Annotated[OptionalWait, Field(le=timedelta(hours=1))] = spelled("1m")
    """How often each RIS and DICOM destination is asked whether it works; "0s": never."""
    hold: tuple[Name, ...] = spelled([])
    """Names of RISs and destinations whose association stays open between two probes, to see whether one that stands
    still works. It takes a place at them."""
    synthetic: Annotated[OptionalWait, Field(le=timedelta(days=1))] = spelled("5m")
    """How often the synthetic patient goes through this box's own doors; "0s": only by `gateway selftest`."""
    certificate: Duration = spelled("30d")
    """How long before its end a certificate is an alarm."""
    temperature: Annotated[Count, Field(le=150)] = spelled(85)
    """Degrees Celsius of the hottest sensor above which it is an alarm."""


class Metrics(Section):
    address: Host = spelled("127.0.0.1")
    """Where health answers /metrics and /healthz: loopback, or an address of this machine, "0.0.0.0" for each of them.
    Whoever reaches it reads numbers and names of the configuration, unencrypted."""
    port: OptionalPort = spelled(9465)
    """Its port; 0: nowhere."""
