"""A blocking MLLP connection to a receiver of HL7 messages, for one thread (HL7 v2.5.1 appendix C).

Promises
- `ask` returns what was made of the one frame that answers the message; frames about other messages are read over.
- Every wait has an end: connecting, and from the first byte sent to the last of the answer. A peer that drips its
  answer gains no time, one that floods us is given up.
- Failures are TemporaryFailure whose code names the phase: "files" (of TLS, our own), "connect", "send", "receive"
  (the peer ended the connection) or "silence" (no answer in time). After one the connection is of no use: close it.
"""

from __future__ import annotations

import select
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self, TypeVar

from gateway.domain.mllp import FrameReader, FrameTooLong, frame
from gateway.domain.model import TemporaryFailure
from gateway.net.connection import connected
from gateway.net.tls import Context

ANSWER_MAX: Final = 256 * 1024
"""Bytes of one answer, and what may wait unread."""
FOREIGN_MAX: Final = 100
"""Frames about other messages that are read over."""
READ: Final = 65536
SHORTEST_WAIT: Final = 0.001
"""Seconds: 0 would mean "do not block"."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a receiver listens; times in seconds."""

    host: str
    port: int
    connect_timeout: float
    timeout: float
    """For sending a message and its answer together."""
    tls: Context | None = None


class MllpClient:
    """One connection."""

    def __init__(self, place: Place) -> None:
        """Connect. Raises TemporaryFailure."""
        self._timeout = place.timeout
        self._frames = FrameReader(message_max=ANSWER_MAX)
        try:
            self._socket = connected(place.host, place.port, within=place.connect_timeout, tls=place.tls)
        except OSError as error:
            raise TemporaryFailure(f"no connection ({type(error).__name__})", code="connect") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        self._socket.close()

    @property
    def is_idle(self) -> bool:
        """Whether the connection stands and the peer has said nothing since: what it says unasked is its farewell,
        or an answer too late. To be asked between two messages: before the first, TLS may have tickets to be read."""
        try:
            looking = select.poll()  # select(2) knows no more than 1024 files
            looking.register(self._socket, select.POLLIN)
            return not looking.poll(0)
        except (OSError, ValueError):
            return False

    def ask(self, message: bytes, read: Callable[[bytes], T | None]) -> T:
        """Send a message; what `read` makes of the frame that answers it. It makes None of any other frame.

        Raises TemporaryFailure.
        """
        deadline = time.monotonic() + self._timeout
        try:
            self._wait_until(deadline)
            self._socket.sendall(frame(message))
        except OSError as error:
            raise TemporaryFailure(f"could not be sent ({type(error).__name__})", code="send") from error
        for _ in range(FOREIGN_MAX):
            found = read(self._next_frame(deadline))
            if found is not None:
                return found
        raise TemporaryFailure("answers other messages without end", code="silence")

    def _next_frame(self, deadline: float) -> bytes:
        try:
            while (answer := self._frames.next_message()) is None:
                self._wait_until(deadline)
                received = self._socket.recv(READ)
                if not received:
                    raise TemporaryFailure("ended the connection before its answer", code="receive")
                self._frames.receive(received)
        except TimeoutError as error:
            raise TemporaryFailure("no answer in time", code="silence") from error
        except OSError as error:
            raise TemporaryFailure(f"the connection broke ({type(error).__name__})", code="receive") from error
        except FrameTooLong as error:
            raise TemporaryFailure(f"an answer of more than {ANSWER_MAX} bytes", code="receive") from error
        return answer

    def _wait_until(self, deadline: float) -> None:
        """Let the next wait end by then. Raises TimeoutError if it is over."""
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._socket.settimeout(max(left, SHORTEST_WAIT))
