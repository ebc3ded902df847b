"""Which known order a message speaks of, and whether it may: by identifiers alone, never by name or time.

Promises: an order is the same if its Requested Procedure is (StudyInstanceUID, RequestedProcedureID); where a
message does not name that whole, by filler, then placer, then accession number, as long as nothing that both name
differs. Numbers compare with their issuers; where one has none, only within the messages of one sender. An order
that shares the study, the filler, the placer or the accession number of an order of another patient is a conflict:
it is neither merged nor guessed at.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from gateway.domain.order_model import Flag, Identifier, PatientKey
from gateway.domain.orders import OrderChange

NOBODY: Final = Identifier(value="")


@dataclass(frozen=True, slots=True, kw_only=True)
class Keys:
    """What an order is known by. Empty: not known."""

    source: str
    StudyInstanceUID: str = ""
    RequestedProcedureID: str = ""
    accession: Identifier = NOBODY
    placer: Identifier = NOBODY
    filler: Identifier = NOBODY


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """An order we have, as far as finding it needs."""

    id: int
    patient: PatientKey
    keys: Keys
    flags: frozenset[str]
    studies: frozenset[str]
    """Every UID it is or was known by."""
    accessions: frozenset[str]


def keys_of(change: OrderChange, source: str) -> Keys:
    """What a message says the order is known by."""
    given: Mapping[str, object] = change.procedure
    texts = {name: given.get(name) or "" for name in ("StudyInstanceUID", "RequestedProcedureID")}
    numbers = {name: given.get(name) or NOBODY for name in ("accession", "placer", "filler")}
    return Keys(source=source, **texts, **numbers)  # type: ignore[arg-type]


def is_same(known: Known, asked: Keys) -> bool:
    """Whether the message speaks of this order."""
    same_study = asked.StudyInstanceUID in known.studies
    procedure = _agree(asked.RequestedProcedureID, known.keys.RequestedProcedureID)
    if Flag.PROCEDURE_GENERATED in known.flags and procedure is False:
        procedure = None
    if same_study and procedure:
        return True
    if procedure is False:
        return False
    agree = [_numbers(known, asked, name) for name in ("filler", "placer", "accession")]
    decided = [answer for answer in agree if answer is not None]
    if decided:
        return decided[0]
    return same_study


def shared(known: Known, asked: Keys) -> str:
    """What the message and this order have in common: "study", "accession", "filler", "placer", or nothing."""
    if asked.StudyInstanceUID in known.studies:
        return "study"
    return next((name for name in ("accession", "filler", "placer") if _numbers(known, asked, name)), "")


def foreign(candidates: Iterable[Known], asked: Keys, patient: PatientKey) -> tuple[Known, str] | None:
    """The first order of another patient that the message would bind to this one, and by what."""
    for known in candidates:
        if not known.patient.may_be(patient) and (by := shared(known, asked)):
            return known, by
    return None


def _agree(one: str, other: str) -> bool | None:
    """None if one of them is unknown."""
    return one == other if one and other else None


def _numbers(known: Known, asked: Keys, name: str) -> bool | None:
    here: Identifier = getattr(known.keys, name)
    there: Identifier = getattr(asked, name)
    if not here.value or not there.value:
        return None
    also = known.accessions if name == "accession" else ()
    equal = here.value == there.value or there.value in also
    if here.issuer and there.issuer:
        # Two issuers may give the same number to two orders; then it says nothing.
        return equal if here.issuer == there.issuer else None
    return equal if known.keys.source == asked.source else None
