"""Which known order a message speaks of, and whether it may: by identifiers alone, never by name or time.

Promises: an order is the same if its Requested Procedure is (StudyInstanceUID, RequestedProcedureID); where a
message does not name that whole, by filler, then placer, then accession number, as long as nothing that both name
differs. Where several are the same by their numbers, the one that the message names whole is meant alone. Numbers
compare with their issuers; where one has none, only within the messages of one sender. An order that shares the
study, the filler, the placer or the accession number of an order of another patient is a conflict: it is neither
merged nor guessed at.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Protocol, TypeVar

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


class Order(Protocol):
    """Whatever is kept of an order."""

    @property
    def known(self) -> Known:
        """What it is found by."""


_O = TypeVar("_O", bound=Order)


def keys_of(change: OrderChange, source: str) -> Keys:
    """What a message says the order is known by."""
    given: Mapping[str, object] = change.procedure
    texts = {name: given.get(name) or "" for name in ("StudyInstanceUID", "RequestedProcedureID")}
    numbers = {name: given.get(name) or NOBODY for name in ("accession", "placer", "filler")}
    return Keys(source=source, **texts, **numbers)  # type: ignore[arg-type]


def spoken_of(candidates: Iterable[_O], asked: Keys) -> list[_O]:
    """The orders that the message speaks of: most often none or one."""
    same = [order for order in candidates if is_same(order.known, asked)]
    return [order for order in same if _is_whole(order.known, asked)] or same


def is_same(known: Known, asked: Keys) -> bool:
    """Whether the message speaks of this order."""
    same_study = asked.StudyInstanceUID in known.studies
    procedure = _procedure(known, asked)
    if same_study and procedure:
        return True
    if procedure is False:
        return False
    agree = [_numbers(known, asked, name) for name in ("filler", "placer", "accession")]
    decided = [answer for answer in agree if answer is not None]
    if decided:
        return decided[0]
    return same_study


def may_be(known: Known, asked: Keys, patient: PatientKey) -> bool:
    """Whether nothing that both name differs."""
    procedure = _procedure(known, asked)
    numbers = (_numbers(known, asked, name) for name in ("filler", "placer", "accession"))
    return known.patient.may_be(patient) and procedure is not False and all(same is not False for same in numbers)


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


def _is_whole(known: Known, asked: Keys) -> bool:
    """Whether the message names its requested procedure as it is now."""
    here = known.keys
    return bool(asked.StudyInstanceUID and asked.RequestedProcedureID) and (
        (here.StudyInstanceUID, here.RequestedProcedureID) == (asked.StudyInstanceUID, asked.RequestedProcedureID)
    )


def _procedure(known: Known, asked: Keys) -> bool | None:
    """Whether the Requested Procedure IDs are equal; None if one of them is unknown, or differs from what we made."""
    here, there = known.keys.RequestedProcedureID, asked.RequestedProcedureID
    if not here or not there or (here != there and Flag.PROCEDURE_GENERATED in known.flags):
        return None
    return here == there


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
