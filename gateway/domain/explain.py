"""Why a row is not on a scanner's worklist: the stages in which it can be lost, one by one.

Stages are named once, here. The worklist role counts what it drops by these names, and `explain` says of one
row which of them it was.
"""

from __future__ import annotations

from enum import StrEnum


class Stage(StrEnum):
    """Where a row can be lost; stable names, for programs too."""

    NOT_ORDERED = "not-ordered"
    """No RIS has ever sent it."""
    RIS_SILENT = "ris-silent"
    """It is not in the copy, and a RIS that may have it does not answer."""
    REMOVED = "removed"
    """Its RIS left it out of two whole answers."""
    EXPIRED = "expired"
    """It was past its schedule and its RIS no longer spoke of it, or its step was done."""
    NOT_ASKED = "not-asked"
    """The scanner has not asked since the row came, or is turned away."""
    STALE = "stale"
    """Its RIS has been silent for longer than this scanner may be served from the copy."""
    CONFLICT = "conflict"
    """Another row of the same step stands before it, or a cancellation does."""
    STATUS = "status"
    """Its step is done or held, and the scanner asked for no state."""
    STATION = "station"
    """It is scheduled for another station."""
    DATE = "date"
    """It is scheduled outside the days or hours the scanner asked for."""
    KEY = "key"
    """Another key of the scanner's question does not hold."""
    CHARACTER_SET = "character-set"
    """A key does not hold, and the text it is compared with can't be read in its character set."""
    LIMIT = "limit"
    """It matched, and came after the limit or after the scanner broke off."""
