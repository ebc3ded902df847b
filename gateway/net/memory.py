"""Memory that is free again goes back to the system, instead of staying with the C library.

glibc keeps what it freed for the next need: after a crowd of peers has left, tens of megabytes. With another C
library these do nothing.
"""

from __future__ import annotations

import contextlib
import ctypes
from typing import Final

_M_MMAP_THRESHOLD: Final = -3
_LARGE: Final = 1024 * 1024


def keep_large_blocks_apart() -> None:
    """glibc learns from one large block to keep all later ones in its heap; with a fixed threshold (mallopt(3)) the
    kernel gets each back at its end."""
    with contextlib.suppress(AttributeError):
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, _LARGE)


def give_back() -> None:
    """Hand over what is free, wherever it lies (malloc_trim(3)); some milliseconds."""
    with contextlib.suppress(AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
