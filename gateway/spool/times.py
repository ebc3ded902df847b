"""Times in the database: UTC text of fixed width, so that comparing texts compares times."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from typing import overload


@overload
def to_text(when: datetime) -> str: ...
@overload
def to_text(when: None) -> None: ...
@lru_cache(maxsize=64)  # one job writes its `now` a dozen times
def to_text(when: datetime | None) -> str | None:
    """ISO 8601 with microseconds and offset +00:00. Raises ValueError for a time without a zone."""
    if when is None:
        return None
    if when.tzinfo is None:
        raise ValueError("a time without a zone reached the spool: pass UTC-aware times")
    return when.astimezone(UTC).isoformat(timespec="microseconds")


@overload
def from_text(text: str) -> datetime: ...
@overload
def from_text(text: None) -> None: ...
def from_text(text: str | None) -> datetime | None:
    """The UTC-aware time that `to_text` wrote."""
    return None if text is None else datetime.fromisoformat(text)
