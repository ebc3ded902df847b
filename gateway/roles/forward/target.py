"""A destination as `forward` needs to know it, and whether it is worth trying now."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from gateway.domain.model import Confirm, DestinationName, Lane
from gateway.domain.retry import Circuit
from gateway.net.dicom_client import Peer


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One DICOM destination."""

    name: DestinationName
    peer: Callable[[str], Peer]
    """How to call it on behalf of a scanner's AE title."""
    as_scanner: bool
    """The calling AE title is the scanner's: objects of two scanners never share an association."""
    confirm: Confirm
    lanes: tuple[Lane, ...]
    batch: int
    retry_base: timedelta
    retry_cap: timedelta
    commitment_wait: timedelta
    commitment_timeout: timedelta
    expect_refused: frozenset[str]


class Breaker:
    """The circuit of one destination, shared by its lanes; safe from any thread."""

    def __init__(self, circuit: Circuit, *, now: Callable[[], datetime], random: Callable[[], float]) -> None:
        self._circuit = circuit
        self._now = now
        self._random = random
        self._lock = threading.Lock()

    def may_try(self) -> bool:
        """Whether to try now; while the destination is being tested, one caller at a time may."""
        with self._lock:
            now = self._now()
            if not self._circuit.may_try(now):
                return False
            self._circuit = self._circuit.after_trial(now)
            return True

    def failed(self) -> None:
        with self._lock:
            self._circuit = self._circuit.after_failure(self._now(), self._random())

    def succeeded(self) -> None:
        with self._lock:
            if self._circuit.failures:
                self._circuit = self._circuit.after_success()

    @property
    def failures(self) -> int:
        """In a row."""
        return self._circuit.failures
