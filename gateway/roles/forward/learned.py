"""What a destination accepted of what it was offered: transfer syntaxes by SOP class, for a while.

What is promised: nothing is known that was not negotiated, and nothing for longer than `keep`: a destination may be
changed at any time. It tells in what form objects are worth preparing; what is proposed does not depend on it, so a
class that was refused once is asked for again. Safe from any thread.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta


class Learned:
    """What one destination accepts."""

    def __init__(self, *, keep: timedelta, now: Callable[[], datetime]) -> None:
        self._keep = keep
        self._now = now
        self._lock = threading.Lock()
        self._answers: dict[str, dict[str, tuple[bool, datetime]]] = {}

    def record(self, proposed: Mapping[str, Iterable[str]], accepted: Iterable[tuple[str, str]]) -> None:
        """The answer to one association: transfer syntaxes proposed by SOP class, and the pairs accepted."""
        taken, now = frozenset(accepted), self._now()
        with self._lock:
            for sop_class, syntaxes in proposed.items():
                answers = self._answers.setdefault(sop_class, {})
                answers.update({syntax: ((sop_class, syntax) in taken, now) for syntax in syntaxes})

    def accepted(self, sop_class: str) -> frozenset[str] | None:
        """The transfer syntaxes it took for this class; None if nothing is known."""
        fresh = self._fresh(sop_class)
        return frozenset(syntax for syntax, taken in fresh.items() if taken) if fresh else None

    def refused(self, sop_class: str) -> frozenset[str]:
        """Those it did not take."""
        return frozenset(syntax for syntax, taken in self._fresh(sop_class).items() if not taken)

    def _fresh(self, sop_class: str) -> dict[str, bool]:
        since = self._now() - self._keep
        with self._lock:
            answers = self._answers.get(sop_class, {})
            return {syntax: taken for syntax, (taken, at) in answers.items() if at > since}
