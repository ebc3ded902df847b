"""One C-STORE whose data set is coming in, between the connection that reads it and the role that keeps it.

What is promised: whatever a receiver raises refuses this object alone (A700, so that the sender tries again),
and its `abandon` is called exactly once if the object will not be whole or can't be kept. No exception of a
receiver passes, and none of its words go to the peer or the log: they may quote what the peer sent.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future

import structlog

from gateway.dicom.dimse import Command, Status
from gateway.net.dicom_service import StoreReceiver, StoreRefused

MOST_VIEWS = 1000
"""Pieces handed to a receiver at once: `writev` takes no more than 1,024 (IOV_MAX)."""

log = structlog.get_logger()


class Incoming:
    """Pieces of an object for its receiver; the rest is discarded once the object is refused."""

    def __init__(self, command: Command, open_receiver: Callable[[], StoreReceiver]) -> None:
        self.command = command
        self._views: list[memoryview] = []
        self._receiver: StoreReceiver | None = None
        self._refused: tuple[int, str] | None = None
        try:
            self._receiver = open_receiver()
        except Exception as error:  # noqa: BLE001 -- see the module's promise
            self._refused = _refusal(error)

    @property
    def holds_views(self) -> bool:
        """Bytes of the caller's buffer are still wanted: `keep` before it is used again."""
        return bool(self._views)

    def add(self, view: memoryview) -> None:
        if self._refused is None and len(view):
            self._views.append(view)
            if len(self._views) == MOST_VIEWS:
                self.keep()

    def keep(self) -> None:
        """Give the receiver what was added."""
        views, self._views = self._views, []
        if not views or self._refused is not None or self._receiver is None:
            return
        try:
            self._receiver.write(views)
        except Exception as error:  # noqa: BLE001 -- see the module's promise
            self._refuse(error)

    def finish(self) -> Future[tuple[int, str]]:
        """All is there: what to answer, once it may be answered."""
        self.keep()
        if self._refused is None and self._receiver is not None:
            try:
                return self._receiver.complete()
            except Exception as error:  # noqa: BLE001 -- see the module's promise
                self._refuse(error)
        answer: Future[tuple[int, str]] = Future()
        answer.set_result(self._refused or _NOT_STORED)
        return answer

    def abandon(self) -> None:
        """The object will never be whole."""
        self._views.clear()
        receiver, self._receiver = self._receiver, None
        if receiver is not None:
            try:
                receiver.abandon()
            except Exception as error:  # noqa: BLE001 -- see the module's promise
                log.error("object not dropped", error=type(error).__name__)

    def _refuse(self, error: Exception) -> None:
        self._refused = _refusal(error)
        self.abandon()


def outcome(future: Future[tuple[int, str]]) -> tuple[int, str]:
    """Status and comment of a commit that is done, failed or given up."""
    try:
        return future.result()
    except Exception as error:  # noqa: BLE001 -- see the module's promise
        return _refusal(error)


_NOT_STORED = (int(Status.OUT_OF_RESOURCES), "not stored, send again")


def _refusal(error: Exception) -> tuple[int, str]:
    if isinstance(error, StoreRefused):
        return error.status, error.comment
    log.error("object not stored", error=type(error).__name__)
    return _NOT_STORED
