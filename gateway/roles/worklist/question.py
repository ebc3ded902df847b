"""What one scanner asked, and how that scanner's questions are answered."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import date, timedelta

from gateway.dicom import elements
from gateway.domain.explain import Stage
from gateway.domain.matching import Query, compile_query
from gateway.domain.model import SourceName
from gateway.domain.profile import Profile, Quirk, adapt
from gateway.domain.worklist import DataSet
from gateway.roles.worklist.rows import decoder


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """How one scanner's queries are answered."""

    ask: bool
    """Ask the RISs when the copy is not fresh; else answer from the copy alone."""
    live: bool = False
    """Ask the RISs every time, and answer what they answer to this very question, never the copy."""
    deadline: timedelta
    fresh_for: timedelta
    max_stale: timedelta
    """What its RIS has not confirmed for longer is not served."""
    hide_performed: timedelta
    """How long after it was completed a step is still shown."""
    profile: Profile
    """How the scanner asks and what it can take."""
    mark: bool = False
    """Let rows that are not fresh say of when they are, in the step's comment."""


@dataclass(slots=True, kw_only=True)
class Trail:
    """What became of a question on its way, for the query log: each step adds what it did."""

    sources: dict[SourceName, str] = field(default_factory=dict)
    """The RISs that were asked, and what came of it: "answered", "deadline" or the code of a failure."""
    age: timedelta | None = None
    """Of the oldest copy that was looked at; None if there was none."""
    newest_entry: int = -1
    """The newest entry of the desk when it was asked (spool/desk.py)."""
    looked_at: int = 0
    """Rows that the index found."""
    dropped: Counter[Stage] = field(default_factory=Counter)
    """Rows lost in each stage."""
    quirks: Counter[Quirk] = field(default_factory=Counter)
    """What the profile did: to the question, and to how many rows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One C-FIND: who asks, what, and by which policy it is answered."""

    calling: str
    """The AE title of the scanner, as it called."""
    received: bytes
    """The identifier as it was encoded."""
    identifier: elements.DataSet
    """As it came: what is to be returned."""
    meant: DataSet
    """As the profile understands it: what is to be matched, here and by a RIS."""
    query: Query
    """Of what is meant."""
    policy: Policy
    today: date
    """The site's day."""
    trail: Trail = field(default_factory=Trail)
    heard: set[tuple[SourceName, str]] = field(default_factory=set)
    """Source and merge key of what the RISs answered to this question."""

    @property
    def is_unanswered(self) -> bool:
        """It was for the RISs to answer alone, and none did: an empty list would be a lie."""
        return self.policy.live and "answered" not in self.trail.sources.values()


def read(data_set: bytes, transfer_syntax: str, *, calling: str, policy: Policy, today: date) -> Question:
    """The question of an identifier. Raises `ElementError` if it can't be read."""
    identifier = elements.parse(data_set, transfer_syntax)
    decode = decoder(identifier)
    asked = adapt(identifier, policy.profile, calling=calling, today=today, decode=decode)
    return Question(
        calling=calling,
        received=data_set,
        identifier=identifier,
        meant=asked.identifier,
        query=compile_query(asked.identifier, decode, romanised=policy.profile.romanised),
        policy=policy,
        today=today,
        trail=Trail(quirks=Counter(asked.quirks)),
    )
