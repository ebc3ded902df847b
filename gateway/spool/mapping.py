"""Files looked at where they lie: headers without their pixels.

A page that the disk can't give ends the process (SIGBUS) when it is touched in a map, and the same file would end it
again after each restart. So the pages that hold headers are asked for beforehand, which raises instead.
"""

from __future__ import annotations

import errno
import mmap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

HEADERS: Final = 1 << 20
"""Bytes from the start that are asked for: nearly every header ends before."""
_POPULATE_READ: Final = 22
"""MADV_POPULATE_READ of Linux 5.14, which Python 3.11 has no name for."""


@contextmanager
def mapped(file: Path | int) -> Iterator[memoryview]:
    """The bytes of a file, by its path or descriptor; to be released before the end of the block.

    Raises OSError if its first `HEADERS` bytes can't be read, ValueError if it is empty.
    """
    if isinstance(file, Path):
        with file.open("rb") as opened, mapped(opened.fileno()) as view:
            yield view
        return
    with mmap.mmap(file, 0, prot=mmap.PROT_READ) as pages:
        _ask_for(pages)
        with memoryview(pages) as view:
            yield view


def _ask_for(pages: mmap.mmap) -> None:
    try:
        pages.madvise(_POPULATE_READ, 0, min(len(pages), HEADERS))
    except OSError as error:
        if error.errno == errno.EINVAL:  # a kernel before 5.14
            return
        raise OSError(errno.EIO, "the file can't be read") from error
