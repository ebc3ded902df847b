"""What a connection asks of the server it belongs to: places, associations, memory, somebody to handle a request.

The server keeps the counts for all connections of the process; a connection gives back what it took, in every end.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from gateway.dicom.pdu import Reject
from gateway.net.dicom_gathering import Memory
from gateway.net.dicom_service import Exchange, Handler
from gateway.net.dicom_timers import Durations

if TYPE_CHECKING:
    from gateway.net.dicom_connection import Connection


class Registry(Durations, Protocol):
    """Counts sockets and associations for all connections of a process."""

    memory: Memory

    def take_socket(self, connection: Connection, address: str, *, expected: bool) -> bool:
        """Whether the connection gets a place among those without an association."""

    def leave_socket(self, connection: Connection, address: str) -> None: ...

    def take_association(self, calling_ae: str, address: str) -> str | None:
        """A short identifier for a new association; None if there are too many."""

    def leave_association(self, calling_ae: str, address: str) -> None: ...

    def refused(self, answer: Reject) -> None:
        """An association was; it is logged, unless there are many."""

    def forget(self, connection: Connection) -> None:
        """The connection is no more."""

    def start(self, handler: Handler, exchange: Exchange, done: Callable[[], None]) -> None:
        """Run `handler`, then call `done`; whatever it raises is answered as a processing failure."""
