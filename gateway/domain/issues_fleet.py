"""What may be amiss between the box and central IT."""

from __future__ import annotations

from typing import Final

from gateway.domain.issue import About, Kind, Owner, Severity

FLEET: Final[dict[str, Kind]] = {
    "command-forged": Kind(
        about=About.BOX,
        severity=Severity.WARNING,
        owner=Owner.IT,
        cause="Commands came by MQTT that nobody had signed whose key is in the folder of [commands] keys.",
        step="Ask central IT who publishes under cmd/req, and look at `gateway commands`; nothing was carried out,"
        " and this ends a day after the last.",
    ),
}
