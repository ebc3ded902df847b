"""Which ring of a rollout a box is in. Pure.

Rules, the first that fits
- A ring that names the box (`site/box`, `*` and `?` stand for anything).
- The ring that the box itself reports: the one of its last configuration.
- The first ring whose share holds the box. Its place is a hash of its name: the same box is early in every rollout, and
  a share of 10 % holds that of 1 %.

What is in no ring is left out, and so is what has a later version already.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Final

from gateway.domain.fleet import Key

_PLACES: Final = 1 << 32


@dataclass(frozen=True, slots=True, kw_only=True)
class RingRule:
    """Who is in a ring."""

    name: str
    boxes: tuple[str, ...] = ()
    """Patterns of site/box."""
    share: float = 0.0
    """Of all boxes that no rule before this one put elsewhere, 0 to 1; it holds that of the rings before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A box that a rollout may be for."""

    ring: str | None
    """That it reports."""
    version: int
    """The latest that it reports."""
    able: bool = True
    """It could do what is asked."""


class LeftOut(StrEnum):
    """Why a box is in no ring."""

    NO_RING = "no-ring"
    LATER = "later"
    NOT_ABLE = "not-able"


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """A fleet in rings."""

    rings: Mapping[Key, int]
    """The number of each box's ring."""
    left: Mapping[Key, LeftOut]


def draw(rules: Sequence[RingRule], fleet: Mapping[Key, Candidate], *, version: int) -> Drawn:
    """Put each box into its ring, or leave it out."""
    rings, left = dict[Key, int](), dict[Key, LeftOut]()
    for key, candidate in fleet.items():
        number = ring_of(rules, key, candidate.ring)
        if not candidate.able:
            left[key] = LeftOut.NOT_ABLE
        elif candidate.version > version:
            left[key] = LeftOut.LATER
        elif number is None:
            left[key] = LeftOut.NO_RING
        else:
            rings[key] = number
    return Drawn(rings=rings, left=left)


def ring_of(rules: Sequence[RingRule], key: Key, reported: str | None) -> int | None:
    """The number of a box's ring."""
    spelled = "/".join(key)
    place = int.from_bytes(hashlib.sha256(spelled.encode()).digest()[:4]) / _PLACES
    return _first(
        [
            *(any(fnmatchcase(spelled, pattern) for pattern in rule.boxes) for rule in rules),
            *(rule.name == reported for rule in rules),
            *(place < rule.share for rule in rules),
        ],
        len(rules),
    )


def _first(fits: Iterable[bool], rings: int) -> int | None:
    """The number of the ring of the first rule that fits."""
    return next((number % rings for number, holds in enumerate(fits) if holds), None)
