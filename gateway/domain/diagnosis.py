"""What support may see of a configuration and of a log: shapes and listed values, no patient, no secret. Pure.

Promises
- Of a configuration numbers, switches and times stay as they are, and words under listed keys (`WORDS`). A name, an AE
  title and an address becomes one of a row of pseudonyms (`ae-1`, `place-2`), the same for the same everywhere, so that
  it can be seen whether two agree. Any other text becomes its length.
- Of a line of the log stays what `gateway.domain.syslog` lets leave the box.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict
from datetime import datetime
from typing import Any, Final

from gateway.domain.syslog import NUMBERS, told

WORDS: Final = frozenset({
    "ack", "calling_ae", "compression", "confirm", "facility", "fallback_charset", "format", "kind", "lanes", "level",
    "mode", "on_identity_conflict", "on_not_understood", "priority", "processing", "services", "sop_classes",
    "timezone", "version",
})  # fmt: skip
"""Keys of which the words are a closed list."""
NAMES: Final = {
    "name": "name",
    "id": "name",
    "members": "name",
    "failover": "name",
    "default": "name",
    "unverified": "name",
    "senders": "name",
    "profile": "profile",
    "mapping": "mapping",
    "ae": "ae",
    "called_ae": "ae",
    "host": "place",
    "address": "place",
}
"""Keys of which the values are what a site calls things, and what becomes of each."""
_WORD: Final = re.compile(r"[A-Za-z0-9_/+.-]{1,32}", re.ASCII)
_TIME: Final = re.compile(r"-?P[0-9YDTHMS.]{1,30}", re.ASCII)
_PAIR: Final = re.compile(r'([a-z_]{1,40})=("(?:[^"\\]|\\.)*"|[^ ]*)')
_NUMBER: Final = re.compile(r"-?[0-9]{1,15}(\.[0-9]{1,6})?", re.ASCII)


class Pseudonyms:
    """The same for the same, in the order in which they are met."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], str] = {}

    def of(self, kind: str, text: str) -> str:
        known = self._known
        count = sum(one == kind for one, _ in known)
        return known.setdefault((kind, text.casefold()), f"{kind}-{count + 1}") if text else ""


def redacted(value: object, pseudonyms: Pseudonyms, *, key: str = "") -> Any:
    """The configuration (as JSON has it) that support may see."""
    if isinstance(value, Mapping):
        return {name: redacted(one, pseudonyms, key=str(name)) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [redacted(one, pseudonyms, key=key) for one in value]
    if not isinstance(value, str):
        return value
    if not value or _TIME.fullmatch(value) or (key in WORDS and _WORD.fullmatch(value)):
        return value
    return pseudonyms.of(NAMES[key], value) if key in NAMES else f"text of {len(value)} characters"


def excerpt(lines: Collection[str], *, names: Collection[str], pseudonyms: Pseudonyms) -> Iterator[dict[str, Any]]:
    """Lines of the log (logfmt) as far as they may leave; those that can't be read are left out."""
    for line in lines:
        pairs = {key: _value(key, text) for key, text in _PAIR.findall(line)}
        try:
            at = datetime.fromisoformat(str(pairs.pop("timestamp", "")))
        except ValueError:
            continue
        one = told(pairs, names=names, now=at)
        values = {key: pseudonyms.of("name", text) if text in names else text for key, text in one.values.items()}
        yield {**asdict(one), "at": at.isoformat(), "values": values}


def _value(key: str, text: str) -> object:
    if text.startswith('"'):
        text = re.sub(r"\\(.)", r"\1", text[1:-1])
    if key in NUMBERS and _NUMBER.fullmatch(text):
        return float(text) if "." in text else int(text)
    return text
