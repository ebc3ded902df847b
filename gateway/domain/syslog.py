"""What of our log may leave the box, and how it is written for a syslog server (RFC 5424). Pure.

Promises
- Only listed keys leave, each with a value of its own kind: a number, a word of ours (lower case, no digits), a status
  code, a configured name, a type's name, an id that we made. Anything else is left out and counted (`left_out`): no
  patient, no identifier of an image or an order, no address, no text of a peer or an exception (invariant 9).
- A message is one line of printable ASCII of bounded length; what stands in structured data is escaped (6.3.3).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import IntEnum
from typing import Final

ELEMENT: Final = "gateway@32473"
"""The name of our structured data; 32473 is the enterprise number for examples (RFC 5612)."""
NUMBERS: Final = frozenset({
    "adopted", "applied", "bytes", "commands", "contexts", "deliveries", "delivery", "decision", "destinations",
    "expired", "failed", "failures", "faults", "instances", "known", "left_out", "linked", "missing", "ok", "order",
    "port", "refusals", "refused", "removed", "result", "rows", "seq", "size", "sockets", "source", "studies", "tls",
    "unfinished", "waiting",
})  # fmt: skip
WORDS: Final = frozenset({
    "because", "code", "command", "error", "kind", "lane", "logger", "of", "outcome", "part", "reason", "roles",
    "status", "verdict", "way", "why",
})  # fmt: skip
NAMES: Final = frozenset({"dest", "ris", "sender", "target", "to"})
IDS: Final = frozenset({"instance"})
PLACES: Final = frozenset({"raised_at", "place"})
_EVENT: Final = re.compile(r"[A-Za-z][A-Za-z0-9 ,':-]{0,79}", re.ASCII)
_WORD: Final = re.compile(r"[a-z]+([-_.,][a-z]+){0,7}|[0-9A-F]{4}|http-[1-5][0-9]{2}|([A-Z][a-z]+){1,5}", re.ASCII)
_WORD_MAX: Final = 64
_ID: Final = re.compile(r"[0-9a-f]{22}", re.ASCII)
_PLACE: Final = re.compile(r"[a-z_]{1,40}(\.py)?:[0-9]{1,6}", re.ASCII)
_UNPRINTABLE: Final = re.compile(r"[^!-~]")
_SEVERITIES: Final = {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2, "exception": 3}


class Facility(IntEnum):
    """Whose message it is (RFC 5424 table 1)."""

    DAEMON = 3
    LOCAL0 = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """A line of the log, as far as it may leave."""

    at: datetime
    severity: int
    """As RFC 5424 table 2 counts: 0 is the worst."""
    event: str
    values: Mapping[str, str]


def told(line: Mapping[str, object], *, names: Collection[str], now: datetime) -> Told:
    """What may leave of a line: its `event`, its `level`, and its keys. `names`: of the configuration."""
    kinds: tuple[tuple[Collection[str], Callable[[object], bool]], ...] = (
        (NUMBERS, lambda value: isinstance(value, int | float)),
        (WORDS, lambda value: isinstance(value, str) and len(value) <= _WORD_MAX and bool(_WORD.fullmatch(value))),
        (NAMES, lambda value: isinstance(value, str) and value in names),
        (IDS, lambda value: isinstance(value, str) and bool(_ID.fullmatch(value))),
        (PLACES, lambda value: isinstance(value, str) and bool(_PLACE.fullmatch(value))),
    )
    keys = [key for key in line if key not in {"event", "level", "timestamp"}]
    kept = [key for key in keys if any(key in listed and fits(line[key]) for listed, fits in kinds)]
    values = {key: str(line[key]) for key in kept}
    if len(kept) < len(keys):
        values["left_out"] = str(len(keys) - len(kept))
    event = line.get("event")
    return Told(
        at=now,
        severity=_SEVERITIES.get(str(line.get("level")), 5),
        event=event if isinstance(event, str) and _EVENT.fullmatch(event) else "a line that may not leave",
        values=values,
    )


def message(one: Told, *, facility: Facility, host: str, process: int) -> bytes:
    """The line as RFC 5424 section 6 writes it: UTC with microseconds, the message's id the event's words."""
    at = one.at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    named = _UNPRINTABLE.sub("_", host)[:255] or "-"
    msgid = re.sub(r"[^A-Za-z0-9]+", "-", one.event).strip("-")[:32]
    head = f"<{facility * 8 + one.severity}>1 {at} {named} gateway {process} {msgid}"
    values = "".join(f' {key}="{_escaped(value)}"' for key, value in one.values.items())
    return f"{head} [{ELEMENT}{values}] {one.event}".encode("ascii", "replace")


def framed(line: bytes) -> bytes:
    """The line as it goes over TLS: its length in bytes before it (RFC 5425 4.3.1)."""
    return b"%d %b" % (len(line), line)


def _escaped(value: str) -> str:
    return re.sub(r'(["\\\]])', r"\\\1", value)
