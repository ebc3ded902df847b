"""A message of a box as a value, or the reason why it is none.

What is promised: nothing of what was refused is repeated; a box speaks for itself alone (topic and message name the
same); fields of later minor versions are left out, and those messages are taken (telemetry.read).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from gateway.domain import topics
from gateway.domain.fleet import BoxId, SiteName
from gateway.domain.telemetry import SAID, Alarm, Backfill, Said, read
from gateway.fleet.arrivals import Arrived

LISTENED: Final = tuple(SAID)


class Refused(ValueError):
    """A message that can't be taken; `reason` is a word of a closed list: topic, schema, box."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What a box said."""

    site: SiteName
    box: BoxId
    message: Said
    at: datetime
    """When it came."""
    live: bool
    """Told just now, not the broker's copy."""


def told(arrived: Arrived) -> Told | None:
    """Read a message; None for one without content, which only takes back what the broker kept. Raises Refused."""
    topic = topics.parse(arrived.topic)
    if topic is None or topic.leaf not in SAID:
        raise Refused("topic")
    if not arrived.payload:
        return None
    try:
        message = read(SAID[topic.leaf], arrived.payload)
    except ValueError:
        raise Refused("schema") from None
    named = (topic.code, topic.inst)
    if message.box != topic.box or (isinstance(message, Alarm) and (message.code, message.inst) != named):
        raise Refused("box")
    if isinstance(message, Backfill) and any(item.box != message.box for item in message.items):
        raise Refused("box")
    return Told(
        site=SiteName(topic.site), box=BoxId(topic.box), message=message, at=arrived.at, live=not arrived.retained
    )
