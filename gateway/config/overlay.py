"""The configuration that central IT wished for, in place of the file of the box.

Promises
- It counts while the file of the box is, to the byte, the one it was put over: after any edit of that file the wish
  counts no more, for who stands at the box decides. A wish that does not hold (any more) does not count either.
- It is there whole or not at all, and the one before is kept until the new one has proven itself (`back`, `settle`).
"""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from pathlib import Path
from typing import Final

FOLDER: Final = "configuration"
_HEAD: Final = "# Wished for by central IT, over the file with SHA-256 "


class Overlay:
    """Beside the spool, in the state folder."""

    def __init__(self, state: Path) -> None:
        self._folder = state / FOLDER
        self._current = self._folder / "current.toml"
        self._previous = self._folder / "previous.toml"

    def text(self, local: str) -> str | None:
        """The wish, if it counts over this text of the file of the box."""
        with suppress(OSError, UnicodeDecodeError):
            head, _, text = self._current.read_bytes().decode("utf-8").partition("\n")
            if head == _HEAD + _digest(local):
                return text
        return None

    def mark(self) -> tuple[int, int] | None:
        """Differs after each change; None: there is none."""
        with suppress(OSError):
            found = self._current.stat()
            return found.st_mtime_ns, found.st_ino
        return None

    def put(self, text: str, *, over: str) -> None:
        """Let this be the wish, over that text of the file of the box. Raises OSError."""
        self._folder.mkdir(mode=0o700, exist_ok=True)
        written = self._folder / "next.toml"
        with written.open("wb") as file:
            file.write(f"{_HEAD}{_digest(over)}\n{text}".encode())
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileNotFoundError):
            self._current.replace(self._previous)
        written.replace(self._current)
        self._keep()

    def back(self) -> None:
        """Return to what was before `put`: the wish before, or the file of the box. Raises OSError."""
        try:
            self._previous.replace(self._current)
        except FileNotFoundError:
            self._current.unlink(missing_ok=True)
        self._keep()

    def settle(self) -> None:
        """What was put stays. Raises OSError."""
        self._previous.unlink(missing_ok=True)
        self._keep()

    def _keep(self) -> None:
        fd = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
