"""An object's segments as bytes that pass through our memory in pieces: for wires that sendfile does not serve."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from gateway.dicom.convert import Extent, Segment
from gateway.domain.model import TemporaryFailure

PIECE: Final = 64 * 1024


def pieces(segments: Sequence[Segment], source: int, allow: Callable[[int], int]) -> Iterator[bytes]:
    """The bytes of the segments as `allow` lets them go. Raises `TemporaryFailure` "spool" if `source` ends early."""
    for segment in segments:
        length = segment.length if isinstance(segment, Extent) else len(segment)
        at = 0
        while at < length:
            count = allow(min(PIECE, length - at))
            piece = (
                _read(source, count, segment.offset + at) if isinstance(segment, Extent) else segment[at : at + count]
            )
            at += len(piece)
            yield piece


def _read(source: int, count: int, offset: int) -> bytes:
    try:
        piece = os.pread(source, count, offset)
    except OSError as error:
        raise TemporaryFailure(f"the spool file can't be read: {error.strerror}", code="spool") from error
    if not piece:
        raise TemporaryFailure("the spool file is shorter than its data set", code="spool")
    return piece
