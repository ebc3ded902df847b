"""The timers of one acceptor's connection, as values to be asked: what has waited too long, by the loop's clock.

ARTIM counts from the connection, or from our last word (PS3.8 9.1.5), whatever trickles in meanwhile. Inside a
message the peer must send `LEAST_PROGRESS` bytes, or end the message, in every `message` seconds: else a byte
a minute would hold an association for ever. While we do not read, or answers are due, the peer is not late.
"""

from __future__ import annotations

from typing import Protocol

from gateway.dicom.association import Association, Timer

LEAST_PROGRESS = 4 * 1024
"""Bytes."""


class Durations(Protocol):
    """Seconds."""

    artim: float
    idle: float
    message: float


class Timers:
    """When what happened last."""

    __slots__ = ("_durations", "_grown", "_grown_since", "_heard", "_since", "_unread_since")

    def __init__(self, durations: Durations, now: float) -> None:
        self._durations = durations
        self._since = self._heard = self._grown_since = self._unread_since = now
        self._grown = 0

    def received(self, count: int, now: float) -> None:
        self._grown += count
        self._heard = now

    def answered(self, now: float) -> None:
        self._heard = now

    def ended(self, now: float) -> None:
        """Our last word is said: ARTIM runs from here."""
        self._since = now

    def blocked(self, now: float) -> None:
        """The peer stopped reading."""
        self._unread_since = now

    def artim(self, now: float) -> bool:
        return now - self._since > self._durations.artim

    def unread(self, now: float) -> bool:
        """The peer has not read its answers for too long."""
        return now - self._unread_since > self._durations.message

    def late(self, association: Association, now: float, *, reading: bool, due: bool) -> bool:
        """Whether the peer should have done something by now; to be asked about once a second."""
        timer = association.timer
        if not reading or not association.in_message or self._grown >= LEAST_PROGRESS:
            self._grown, self._grown_since = 0, now
        if timer in (Timer.ARTIM, Timer.REPLY):
            return self.artim(now)
        if association.in_message:
            return now - self._grown_since > self._durations.message
        return timer is Timer.IDLE and not due and now - self._heard > self._durations.idle
