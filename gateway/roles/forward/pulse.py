"""The sign of life of a thread that works in rounds: that it looks whether it is to stop.

Every part of forward must do that anyway, in each round and before each wait, so none can forget it. What takes
longer than a round may (an object on a slow link) looks at it in between.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


class Pulse(threading.Event):
    """The `stop` of one thread, which knows when it was last looked at."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._looked = clock()

    def is_set(self) -> bool:
        """As Event; a sign of life."""
        self._looked = self._clock()
        return super().is_set()

    def wait(self, timeout: float | None = None) -> bool:
        """As Event; a sign of life before and after."""
        self._looked = self._clock()
        ended = super().wait(timeout)
        self._looked = self._clock()
        return ended

    def silent_for(self) -> float:
        """Seconds since the last sign of life."""
        return self._clock() - self._looked
