"""Several sources, one worklist: which row of a step is shown, and when two sources contradict each other.

Promises:

* A step that several sources know is shown once, from one source whole: values are never mixed.
* The order of precedence is total. A RIS that answers now is the master of its rows; of all else the newest
  stamp stands, and of equal stamps live before HL7 before the desk.
* A cancellation by message hides a row of a RIS for `CANCEL_LEADS`, as worklists lag behind messages; then the
  RIS is the master again. While the RIS is silent, what is newer stands. A row that the RIS made after the
  cancellation is not hidden by it.
* A row with identifiers that we minted is not shown beside another row of the same order.
* Nothing is guessed: the same step for two patients is a conflict. The row of the stronger kind is shown, both
  if they are of one kind, and each is marked: never evidence for an automatic correction.
* Every step that goes in comes out: a row is left out only for one that is shown, or for a cancellation.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from gateway.domain.model import SourceName

CANCEL_LEADS: Final = timedelta(minutes=10)
"""How long a cancellation by message stands before a RIS that still answers the row."""


class Kind(StrEnum):
    """What kind of source a row came from."""

    LIVE = "live"
    """A RIS, asked by C-FIND."""
    HL7 = "hl7"
    """Order messages."""
    DESK = "desk"
    """Entered by a person while nothing else worked."""


_STRENGTH: Final = {Kind.LIVE: 0, Kind.HL7: 1, Kind.DESK: 2}


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What one source says of one step, as far as precedence needs it."""

    source: SourceName
    kind: Kind
    key: str
    """The merge key of the step."""
    AccessionNumber: str
    IssuerOfAccessionNumber: str
    ScheduledProcedureStepID: str
    PatientID: str
    IssuerOfPatientID: str
    minted: bool
    """Its Study Instance UID or Accession Number is ours, for want of one."""
    cancelled: bool
    stamp: datetime
    """When the source said so last: the stamp of the message or entry, or the last answer of the RIS."""
    since: datetime
    """When the row first came."""
    answering: bool
    """The RIS answered when it was asked last."""
    place: int
    """Of the source among its kind, as the site ordered them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What became of a claim."""

    shown: bool
    conflict: SourceName | None = None
    """A source that has the same step for another patient."""


def merge(claims: Sequence[Claim], now: datetime) -> list[Standing]:
    """The standing of each claim, in the order given."""
    ranked = sorted(range(len(claims)), key=lambda place: _rank(claims[place], now))
    kept = _Kept()
    shown = [False] * len(claims)
    conflicts: dict[int, SourceName] = {}
    for place in ranked:
        claim = claims[place]
        rivals = [rival for rival in kept.rivals(claims, claim) if _leads(claims[rival], claim, now)]
        foreign = [rival for rival in rivals if not same_patient(claims[rival], claim)]
        for rival in foreign:
            conflicts.setdefault(rival, claim.source)
            conflicts.setdefault(place, claims[rival].source)
        if all(rival in foreign and claims[rival].kind is claim.kind for rival in rivals):
            shown[place] = True
            kept.add(place, claim)
    return [Standing(shown=shown[place], conflict=conflicts.get(place)) for place in range(len(claims))]


class _Kept:
    """The claims that stand so far, by what they may be known by."""

    def __init__(self) -> None:
        self._keys: defaultdict[str, list[int]] = defaultdict(list)
        self._accessions: defaultdict[str, list[int]] = defaultdict(list)

    def add(self, place: int, claim: Claim) -> None:
        self._keys[claim.key].append(place)
        if claim.AccessionNumber:
            self._accessions[_folded(claim.AccessionNumber)].append(place)

    def rivals(self, claims: Sequence[Claim], claim: Claim) -> Iterable[int]:
        known = dict.fromkeys(self._keys.get(claim.key, ()))
        if claim.AccessionNumber:
            known |= dict.fromkeys(self._accessions.get(_folded(claim.AccessionNumber), ()))
        return [place for place in known if same_step(claims[place], claim)]


def same_step(one: Claim, other: Claim) -> bool:
    """Whether two sources speak of one step: the same merge key, or where a source gave no Study Instance UID of
    its own the same accession number and step. Of an order whose identifiers we minted the accession suffices."""
    if one.source == other.source:
        return False
    if one.key == other.key:
        return True
    if not any(claim.minted or claim.key.startswith("accession\\") for claim in (one, other)):
        return False
    if not one.AccessionNumber or _folded(one.AccessionNumber) != _folded(other.AccessionNumber):
        return False
    issuers = {claim.IssuerOfAccessionNumber for claim in (one, other) if claim.IssuerOfAccessionNumber}
    if len(issuers) > 1:
        return False
    return one.minted != other.minted or one.ScheduledProcedureStepID == other.ScheduledProcedureStepID


def same_patient(one: Claim, other: Claim) -> bool:
    """False only if both name a patient and these differ; ids of two issuers can't be compared."""
    if not one.PatientID or not other.PatientID:
        return True
    if one.IssuerOfPatientID and other.IssuerOfPatientID and one.IssuerOfPatientID != other.IssuerOfPatientID:
        return True
    return _folded(one.PatientID) == _folded(other.PatientID)


def _folded(value: str) -> str:
    return value.strip(" \0").casefold()


def _cancels(claim: Claim, now: datetime) -> bool:
    """A cancellation by message that still leads."""
    return claim.cancelled and claim.kind is not Kind.LIVE and abs(now - claim.stamp) <= CANCEL_LEADS


def _leads(rival: Claim, claim: Claim, now: datetime) -> bool:
    """Whether a claim of higher rank has a say about this one."""
    return not (_cancels(rival, now) and claim.kind is Kind.LIVE and claim.since > rival.stamp)


def _rank(claim: Claim, now: datetime) -> tuple[int, bool, float, int, int, str]:
    if _cancels(claim, now):
        place, newest = 0, -claim.stamp.timestamp()
    elif claim.kind is Kind.LIVE and claim.answering:
        place, newest = 1, 0.0
    else:
        place, newest = 2, -claim.stamp.timestamp()
    return (place, claim.minted, newest, _STRENGTH[claim.kind], claim.place, f"{claim.source} {claim.key}")
