"""MLLP framing without a socket: bytes in, messages out (HL7 v2.5.1 appendix C; MLLP Release 1).

A message stands between <VT> and <FS><CR>. What is promised of senders that are not so exact: however the
bytes are parted among reads, the messages are the same; the CR after FS may be missing; blanks, line ends
and NULs between messages are nothing; a message without its VT is a message. A frame that was begun and
begun again is read from its last beginning, so the half of a message that a sender gave up is none.
"""

from __future__ import annotations

from typing import Final

START: Final = b"\x0b"
END: Final = b"\x1c"
_NOISE: Final = b" \t\r\n\0\x0b"
_BEGINNINGS: Final = (b"\x0bMSH", b"\x0bFHS", b"\x0bBHS")


class FrameTooLong(Exception):
    """More bytes than a message may have, and no end."""


class FrameReader:
    """The messages of one connection."""

    def __init__(self, *, message_max: int) -> None:
        self._message_max = message_max
        self._buffer = bytearray()
        self._looked_at = 0

    def receive(self, data: bytes) -> None:
        """Take what was read."""
        self._buffer += data

    def next_message(self) -> bytes | None:
        """The next whole message; None if there is none yet. Raises `FrameTooLong`: then nothing more is to be read."""
        while True:
            if self._buffer[:1] and self._buffer[0] in _NOISE:
                self._buffer = self._buffer.lstrip(_NOISE)
                self._looked_at = 0
            end = self._buffer.find(END, self._looked_at)
            self._looked_at = len(self._buffer)
            if (self._looked_at if end < 0 else end) > self._message_max:
                raise FrameTooLong
            if end < 0:
                return None
            between = bytes(self._buffer[:end])
            del self._buffer[: end + 1]
            self._looked_at = 0
            if between:
                return _message_of(between)

    @property
    def begun(self) -> bool:
        """Whether a message has begun and not ended."""
        return bool(self._buffer)


def frame(message: bytes) -> bytes:
    """A message as it goes on the wire."""
    return START + message + END + b"\r"


def _message_of(between: bytes) -> bytes:
    start = max(between.rfind(beginning) for beginning in _BEGINNINGS)
    return between[start + 1 :]
