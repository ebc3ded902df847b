"""What was found out about rows for questions that come again, so that a console that polls costs next to nothing.

Whether a row matches, and how it is shown, depends on the question, the profile, the day and what the source said
of the row: nothing here can be out of date, as it is kept by all of these. Only a question that comes a second time
is remembered, the least used go first, and all of it is bounded in bytes, as peers choose both rows and questions.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final

import xxhash

from gateway.domain.explain import Stage
from gateway.domain.profile import Quirk
from gateway.roles.worklist.question import Question, Trail

Fingerprint = bytes
Presented = tuple[bytes, frozenset[Quirk]]
"""A response, encoded, and what the profile did for it."""

REMEMBERED_BYTES: Final = 40 << 20
MET_KEPT: Final = 4096
"""Questions that came once."""
QUESTION_BYTES: Final = 20_000
VERDICT_BYTES: Final = 200
PRESENTED_BYTES: Final = 300
"""About what each takes in memory, the bytes of a response apart."""
REMEMBERED_MOST: Final = 4 << 20
"""Of one question: a list of all rows there are must not drive out everything else."""
STRANGERS: Final = 1000
"""Rows remembered beyond those of the last answer, before all are found out anew."""


def fingerprint(data_set: bytes, *about: str) -> Fingerprint:
    """What makes two questions the same: the bytes, and all else that understanding and showing depend on."""
    return xxhash.xxh3_128_digest("\0".join(about).encode(errors="surrogatepass") + b"\0" + data_set)


@dataclass(slots=True)
class Remembered:
    """What is known of one question."""

    question: Question
    verdicts: dict[str, Stage | None] = field(default_factory=dict)
    """By digest of the row: the stage that drops it, or None if it matches."""
    presented: dict[tuple[str, str], Presented] = field(default_factory=dict)
    """By digest of the row and what its comment begins with."""
    bytes: int = QUESTION_BYTES
    habits: Counter[Quirk] = field(init=False)
    """What the profile did to the question itself."""

    def __post_init__(self) -> None:
        self.habits = self.question.trail.quirks.copy()

    def verdict(self, digest: str, find: Callable[[], Stage | None]) -> Stage | None:
        """The stage that drops this row, found out now if it is not known; None if the row matches."""
        if digest not in self.verdicts:
            stage = find()
            if self.bytes > REMEMBERED_MOST:
                return stage
            self.verdicts[digest] = stage
            self.bytes += VERDICT_BYTES
        return self.verdicts[digest]

    def present(self, key: tuple[str, str], make: Callable[[], Presented]) -> Presented:
        """The response of this row, made now if it is not known."""
        presented = self.presented.get(key)
        if presented is None:
            presented = make()
            if self.bytes <= REMEMBERED_MOST:
                self.presented[key] = presented
                self.bytes += PRESENTED_BYTES + len(presented[0])
        return presented


class Recall:
    """The questions of one box that came more than once."""

    def __init__(self, *, limit: int = REMEMBERED_BYTES) -> None:
        self._limit = limit
        self._met: OrderedDict[Fingerprint, None] = OrderedDict()
        self._kept: OrderedDict[Fingerprint, Remembered] = OrderedDict()
        self._bytes = 0

    @property
    def bytes(self) -> int:
        """About what is held."""
        return self._bytes

    def of(self, mark: Fingerprint, read: Callable[[], Question]) -> Remembered:
        """What is known of the question with this fingerprint, under a trail of its own; else it is read now."""
        known = self._kept.get(mark)
        if known is None:
            return Remembered(read())
        self._bytes -= known.bytes
        del self._kept[mark]  # until `keep`, so that two who ask at once do not count it twice
        known.question = replace(known.question, trail=Trail(quirks=known.habits.copy()), heard=set())
        return known

    def keep(self, mark: Fingerprint, remembered: Remembered) -> None:
        """Keep what was found out, if the question came before."""
        if mark not in self._met:
            self._met[mark] = None
            if len(self._met) > MET_KEPT:
                self._met.popitem(last=False)
            return
        self._met.move_to_end(mark)
        if len(remembered.verdicts) > remembered.question.trail.looked_at + STRANGERS:
            remembered.verdicts.clear()
            remembered.presented.clear()
            remembered.bytes = QUESTION_BYTES
        before = self._kept.pop(mark, None)
        self._bytes += remembered.bytes - (before.bytes if before is not None else 0)
        self._kept[mark] = remembered
        while self._bytes > self._limit:
            self._bytes -= self._kept.popitem(last=False)[1].bytes
