"""What a destination accepted of what it was offered: transfer syntaxes by SOP class, for a while.

What is promised: nothing is known that was not negotiated, and nothing for longer than `keep`: a destination may be
changed at any time. It saves presentation contexts for compressed forms that were refused; the form an object has,
and native ones, are asked for each time. Safe from any thread.
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

    def refused(self, sop_class: str) -> frozenset[str]:
        """The transfer syntaxes it did not take for this class."""
        since = self._now() - self._keep
        with self._lock:
            answers = self._answers.get(sop_class, {})
            return frozenset(syntax for syntax, (taken, at) in answers.items() if not taken and at > since)
