"""Four ways to put a header right: ours, and three that rivals ship (worklist-orders-correction.md 4.6, 4.7).

Each says which order it would write into the study, what of it, and whether a person is asked.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from gateway.domain import likeness
from gateway.domain.identity import decide
from gateway.domain.identity_model import CheckPolicy, Decision, Header, Relation
from tests.adversary.dirt import Made
from tests.adversary.site import Booking, Site, confirmed

WHOLE = frozenset({"PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber"})


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a policy does with one study."""

    booking: Booking | None
    """The order that is written; None: nothing is."""
    attributes: frozenset[str] = frozenset()
    """What of it."""
    held: bool = False
    """A person is asked, or the study stays unmatched."""
    suspected: bool = False
    """A person is asked because the row may be the wrong one."""


Policy = Callable[[Site, Made], Outcome]


def ours(site: Site, made: Made, policy: CheckPolicy) -> Outcome:
    """`gateway.domain.identity`, given what the books would give it."""
    bookings = {id(one): one for one in _candidates(site, made)}
    now = made.study.last_received + timedelta(minutes=1)
    candidates = [confirmed(one.candidate, now) for one in bookings.values()]
    verdict = decide(made.study, candidates, policy, now)
    if verdict.decision in {Decision.CORRECT, Decision.ENRICH}:
        assert verdict.order is not None
        booking = next(one for one in bookings.values() if one.candidate.id == verdict.order.id)
        return Outcome(booking, frozenset(change.attribute for change in verdict.changes))
    codes = {finding.code for finding in verdict.findings}
    return Outcome(
        None,
        held=verdict.decision is not Decision.PASS,
        suspected=bool(codes & {"wrong-row-suspected", "wrong-entry-reported", "modality-differs"}),
    )


def _candidates(site: Site, made: Made) -> list[Booking]:
    found: list[Booking] = []
    for header in made.study.headers:
        requests = header.requests
        for uid in {header.StudyInstanceUID, *(one.StudyInstanceUID for one in requests)}:
            found += site.by_uid.get(uid, ())
        for accession in {header.accession.value, *(one.accession.value for one in requests)}:
            found += site.by_accession.get(likeness.canonical(accession), ())
        found += site.by_number.get(header.PatientID.value.strip(), ())
    for ae in made.study.calling_aes:
        found += site.waiting(ae, made.study.first_received)
    return found


def accession_only(site: Site, made: Made) -> Outcome:
    """The newest order with the accession number."""
    return _overwritten(made, site.by_accession.get(likeness.canonical(made.study.headers[0].accession.value), ()))


def patient_newest(site: Site, made: Made) -> Outcome:
    """The order of the PatientID that is scheduled last (dcm4chee: PatientIDOnly)."""
    return _overwritten(made, site.by_number.get(made.study.headers[0].PatientID.value.strip(), ()))


def ladder(site: Site, made: Made) -> Outcome:
    """Study UID, else accession number, else PatientID, else a name and birth date; the first hit is taken."""
    header = made.study.headers[0]
    name = header.PatientName.replace(" ", "^").casefold()
    return _overwritten(
        made,
        site.by_uid.get(header.StudyInstanceUID)
        or site.by_accession.get(likeness.canonical(header.accession.value))
        or site.by_number.get(header.PatientID.value.strip())
        or site.by_name.get((name, header.PatientBirthDate))
        or (),
    )


def _overwritten(made: Made, found: list[Booking] | tuple[()]) -> Outcome:
    if not found:
        return Outcome(None, held=True)
    booking = max(found, key=lambda one: one.start)
    agrees = all(agrees_with(header, booking) for header in made.study.headers)
    return Outcome(None) if agrees else Outcome(booking, WHOLE)


def agrees_with(header: Header, booking: Booking) -> bool:
    """Whether header and order are one in patient and order."""
    patient = booking.candidate.patient
    accession = booking.accession in {header.accession.value, *(one.accession.value for one in header.requests)}
    return (
        accession
        and header.PatientID.value == booking.candidate.key.PatientID
        and likeness.name(header.PatientName, patient.PatientName) is Relation.EQUAL
        and header.PatientBirthDate == patient.PatientBirthDate
    )
