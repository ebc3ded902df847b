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
    "central-unreachable": Kind(
        about=About.PART,
        severity=Severity.WARNING,
        owner=Owner.IT,
        cause="There has been no connection to the broker of [mqtt] for ten minutes.",
        step="Look for `central not connected` in the log: its code says whether name, connection, certificate or"
        " rights fail. What happens is kept and told later.",
    ),
    "central-late": Kind(
        about=About.PART,
        severity=Severity.WARNING,
        owner=Owner.IT,
        cause="The broker is connected, and central has not acknowledged what happened an hour ago.",
        step="Check that the collector runs, and that it may write the `ack` topic of this box.",
    ),
    "central-not-heard": Kind(
        about=About.PART,
        severity=Severity.WARNING,
        owner=Owner.IT,
        cause="The broker refuses that the box hears a topic of its own.",
        step="Look for `central not heard` in the log, which names the topics: the broker's rules must let the box read"
        " them; a cluster must be whole. It is asked again and again.",
    ),
    "central-same-id": Kind(
        about=About.PART,
        severity=Severity.ERROR,
        owner=Owner.IT,
        cause="Another box speaks to the broker under the name of this one, and each pushes the other out.",
        step="Give each box a [box] id and a certificate of its own; never copy the state folder of one to another.",
    ),
}
