"""What one scanner asked, and how that scanner's questions are answered."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import timedelta

from gateway.dicom import elements
from gateway.domain.explain import Stage
from gateway.domain.matching import Query, compile_query
from gateway.domain.model import SourceName
from gateway.roles.worklist.rows import decoder


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """How one scanner's queries are answered."""

    ask: bool
    """Ask the RISs when the copy is not fresh; else answer from the copy alone."""
    deadline: timedelta
    fresh_for: timedelta
    max_stale: timedelta


@dataclass(slots=True, kw_only=True)
class Trail:
    """What became of a question on its way, for the query log: each step adds what it did."""

    sources: dict[SourceName, str] = field(default_factory=dict)
    """The RISs that were asked, and what came of it: "answered", "deadline" or the code of a failure."""
    age: timedelta | None = None
    """Of the oldest copy that was looked at; None if there was none."""
    looked_at: int = 0
    """Rows that the index found."""
    dropped: Counter[Stage] = field(default_factory=Counter)
    """Rows lost in each stage."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One C-FIND: who asks, what, and by which policy it is answered."""

    calling: str
    """The AE title of the scanner, as it called."""
    identifier: elements.DataSet
    query: Query
    policy: Policy
    trail: Trail = field(default_factory=Trail)
    heard: set[tuple[SourceName, str]] = field(default_factory=set)
    """Source and merge key of what the RISs answered to this question."""


def read(data_set: bytes, transfer_syntax: str, *, calling: str, policy: Policy) -> Question:
    """The question of an identifier. Raises `ElementError` if it can't be read."""
    identifier = elements.parse(data_set, transfer_syntax)
    query = compile_query(identifier, decoder(identifier))
    return Question(calling=calling, identifier=identifier, query=query, policy=policy)
