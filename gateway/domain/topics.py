"""The topic tree of MQTT: `dgw/1/{site}/{box}/...`, and how each topic is published.

Promises
- `{box}` is the client identifier and the common name of the box's certificate, so a rule with `%u` keeps a box
  to its own branch. It is unique at a broker, whatever the site.
- The major version is in the topic; minor ones are in `schema` (telemetry.py).
- No level of a topic is anything but a fixed word, a name of the configuration or the code of an alarm.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Final

ROOT: Final = "dgw/1"
_TOPIC: Final = re.compile(
    r"dgw/1/([A-Za-z0-9_.:-]{1,64})/([A-Za-z0-9_.:-]{1,64})/([a-z/]{1,16}?)(?:/([^/]+)/([^/]+))?"
)
_LEVEL: Final = re.compile(r"[A-Za-z0-9_.:-]{1,64}")


class Leaf(StrEnum):
    """What is behind the box in a topic."""

    STATUS = "status"
    INFO = "info"
    HEALTH = "health"
    ALARM = "alarm"
    """With the code and the instance behind it."""
    EVENT = "event"
    BACKFILL = "backfill"
    ACK = "ack"
    REQUEST = "cmd/req"
    RESULT = "cmd/res"
    DESIRED = "desired"
    REPORTED = "reported"


@dataclass(frozen=True, slots=True, kw_only=True)
class Channel:
    """How messages of a leaf go. All with QoS 1."""

    by_box: bool
    """Else central publishes it."""
    retained: bool = False
    expiry: timedelta | None = None
    """The broker drops it after so long (MQTT 5 alone)."""


HEALTH_EXPIRY: Final = timedelta(seconds=180)
ALARM_EXPIRY: Final = timedelta(days=7)
"""A box whose books were lost does not know what it published before; one that runs publishes each alarm anew."""
COMMAND_EXPIRY: Final = timedelta(minutes=15)

CHANNELS: Final[dict[Leaf, Channel]] = {
    Leaf.STATUS: Channel(by_box=True, retained=True),
    Leaf.INFO: Channel(by_box=True, retained=True),
    Leaf.HEALTH: Channel(by_box=True, retained=True, expiry=HEALTH_EXPIRY),
    Leaf.ALARM: Channel(by_box=True, retained=True, expiry=ALARM_EXPIRY),
    Leaf.EVENT: Channel(by_box=True),
    Leaf.BACKFILL: Channel(by_box=True),
    Leaf.ACK: Channel(by_box=False),
    Leaf.REQUEST: Channel(by_box=False, expiry=COMMAND_EXPIRY),
    Leaf.RESULT: Channel(by_box=True, expiry=COMMAND_EXPIRY),
    Leaf.DESIRED: Channel(by_box=False, retained=True),
    Leaf.REPORTED: Channel(by_box=True, retained=True),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Topic:
    """A topic of a box."""

    site: str
    box: str
    leaf: Leaf
    code: str = ""
    """Of an alarm."""
    inst: str = ""

    def __str__(self) -> str:
        """As it is published. Raises ValueError for a level that no topic may have."""
        levels = [self.site, self.box, *((self.code, self.inst) if self.leaf is Leaf.ALARM else ())]
        for level in levels:
            if _LEVEL.fullmatch(level) is None:
                raise ValueError(f"a level of {len(level)} characters is no name for a topic: letters, digits, _ . : -")
        return "/".join([ROOT, self.site, self.box, self.leaf, *levels[2:]])


def parse(text: str) -> Topic | None:
    """The topic of a box, or None if it is another."""
    found = _TOPIC.fullmatch(text)
    if found is None or found[3] not in set(Leaf) or (found[3] == Leaf.ALARM) != (found[4] is not None):
        return None
    return Topic(site=found[1], box=found[2], leaf=Leaf(found[3]), code=found[4] or "", inst=found[5] or "")


def every(leaf: Leaf) -> str:
    """The filter of that leaf of every box."""
    return f"{ROOT}/+/+/{leaf}{'/+/+' if leaf is Leaf.ALARM else ''}"
