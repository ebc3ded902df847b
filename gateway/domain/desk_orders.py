"""The real order behind an entry of the desk: proof, doubt, and what a person might look at.

Promises (worklist-orders 0b: a minted row is never shown beside its order, and nothing is guessed):

* An entry is linked without a person only on proof: an order carries the accession number or the
  StudyInstanceUID that we minted, everything that carries them is one order, and nothing that is known of the
  patient speaks against it. Else `verdict` says why not.
* `suggestions` never decides: same PatientID, same name and birth date, or an accession number that is ours
  but for a slip.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Final

from gateway.domain.desk import Entry, read_code
from gateway.domain.keys import fold
from gateway.domain.model import SourceName

MOST_SUGGESTED: Final = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class RealOrder:
    """An order of a RIS or an HL7 sender, as the copy has it."""

    source: SourceName
    AccessionNumber: str
    StudyInstanceUID: str
    PatientID: str
    IssuerOfPatientID: str
    PatientName: str
    PatientBirthDate: str
    """YYYYMMDD, or empty."""
    RequestedProcedureID: str
    Modality: str
    start: date | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What proof there is for an entry."""

    order: RealOrder | None = None
    """The order that it is; None if that is not proven."""
    how: str = ""
    """What proves it: "accession" or "study"."""
    doubt: str = ""
    """Why there is proof and yet no link: "several-orders", or "differs" in what `differences` names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Suggestion:
    """An order that may be the entry's, for a person to judge."""

    order: RealOrder
    reasons: tuple[str, ...]
    """Of "accession", "study", "slip in the accession", "patient id", "name and birth date"."""
    differs: tuple[str, ...]
    """Fields of the patient in which the two differ."""


def verdict(entry: Entry, orders: Sequence[RealOrder]) -> Verdict:
    """What these orders prove of an entry."""
    proven = [(order, how) for order in orders if (how := proof(entry, order))]
    if not proven:
        return Verdict()
    if not one_order([order for order, _ in proven]):
        return Verdict(doubt="several-orders")
    if any(differences(entry, order) for order, _ in proven):
        return Verdict(doubt="differs")
    order, how = max(proven, key=lambda one: (bool(one[0].StudyInstanceUID), one[0].source))
    return Verdict(order=order, how=how)


def proof(entry: Entry, order: RealOrder) -> str:
    """What we minted and the order carries; "" if nothing."""
    if order.AccessionNumber.upper() == entry.AccessionNumber:
        return "accession"
    return "study" if order.StudyInstanceUID == entry.StudyInstanceUID else ""


def one_order(orders: Sequence[RealOrder]) -> bool:
    """Whether these are one order, perhaps of several sources: one accession number, patient and study.

    A source that has no value for one of them says nothing about it.
    """
    return all(
        len(values - {""}) < 2
        for values in (
            {order.AccessionNumber.upper() for order in orders},
            {order.PatientID.upper() for order in orders},
            {order.StudyInstanceUID for order in orders},
        )
    )


def differences(entry: Entry, order: RealOrder) -> tuple[str, ...]:
    """The fields in which entry and order name different patients. What either doesn't know is no difference, and
    a name differs only if family and given name both do: one of them changes by marriage or by a slip."""
    found = []
    if not entry.mints_patient and _differ(entry.PatientID.upper(), order.PatientID.upper()):
        found.append("PatientID")
    if _differ(entry.PatientBirthDate, order.PatientBirthDate):
        found.append("PatientBirthDate")
    ours, theirs = _names(entry), _parts(order.PatientName)
    if ours and theirs and not any(a == b for a, b in zip(ours, theirs, strict=False) if a and b):
        found.append("PatientName")
    return tuple(found)


def suggestions(entry: Entry, orders: Iterable[RealOrder], *, accession_prefix: str) -> tuple[Suggestion, ...]:
    """The orders that may be the entry's, most likely first, at most `MOST_SUGGESTED`."""
    found = [
        Suggestion(order=order, reasons=reasons, differs=differences(entry, order))
        for order in dict.fromkeys(orders)
        if (reasons := _reasons(entry, order, accession_prefix))
    ]

    def place(one: Suggestion) -> tuple[object, ...]:
        away = abs((one.order.start - entry.start.date()).days) if one.order.start else 10_000
        other = one.order.Modality != entry.Modality
        return (len(one.differs), -len(one.reasons), other, away, one.order.source, one.order.AccessionNumber)

    return tuple(sorted(found, key=place)[:MOST_SUGGESTED])


def same_name(entry: Entry, name: str) -> bool:
    """Whether family and given name are the entry's, but for case and accents; false for somebody nobody knows."""
    ours = _names(entry)
    return any(ours) and ours == _parts(name)


def _reasons(entry: Entry, order: RealOrder, accession_prefix: str) -> tuple[str, ...]:
    proven = proof(entry, order)
    slip = not proven and read_code(order.AccessionNumber, accession_prefix) == entry.AccessionNumber
    born = entry.PatientBirthDate and entry.PatientBirthDate == order.PatientBirthDate
    return tuple(
        reason
        for reason, holds in (
            (proven, bool(proven)),
            ("slip in the accession", slip),
            ("patient id", entry.PatientID.upper() == order.PatientID.upper()),
            ("name and birth date", bool(born and same_name(entry, order.PatientName))),
        )
        if holds
    )


def _differ(ours: str, theirs: str) -> bool:
    return bool(ours and theirs and ours != theirs)


def _names(entry: Entry) -> tuple[str, ...]:
    return _parts(entry.PatientName) if entry.named else ()


def _parts(name: str) -> tuple[str, ...]:
    """Family and given name, folded; none for an empty name."""
    group = next((part for part in name.split("=") if part.strip("^ ")), "")
    family, _, rest = group.partition("^")
    given = rest.partition("^")[0]
    return (fold(family.strip()), fold(given.strip())) if group else ()
