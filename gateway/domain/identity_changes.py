"""What of a study may be set to the values of its order: the allow-list, as far as orders say it.

Promises
- What the order doesn't know is never written. What would contradict the images never is: sex where both say one,
  side, modality, times and UIDs are not here.
- A value that is there is replaced only where the comparison calls it a slip, an alias or another form of the
  order's; everything else that is written was empty.
- Request Attributes are written only where the study is of one order, and the step only where that order has one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final

from gateway.domain.checks import Code
from gateway.domain.header_checks import is_group_case
from gateway.domain.identity_model import Candidate, Change, Header, Reason, Relation, Study
from gateway.domain.order_model import Patient

ALTERED: Final = frozenset({Relation.SLIP, Relation.ALIAS})
"""Relations by which a value that is there is replaced."""
FILLED: Final = ("ReferringPhysicianName", "StudyDescription", "AdmissionID")
"""Of the order, written where they are empty."""
ENRICH: Final = "enrich"
"""The rule of what is written where an image has nothing of it, whatever others of its study say."""
_OF_REQUEST: Final = ("RequestedProcedureID", "ScheduledProcedureStepID")
_OF_PATIENT: Final = frozenset(Patient.__dataclass_fields__)


def changes(
    study: Study,
    order: Candidate,
    stands: Mapping[str, Relation],
    codes: Mapping[str, str],
    *,
    enrich: bool,
    single: bool,
) -> tuple[Change, ...]:
    """What may be written. `codes` are the findings by attribute; `single`: the study is of this order alone."""
    made = [
        Change(attribute=attribute, value=value_of(order, attribute), reason=reason, rule=codes.get(attribute, ""))
        for attribute, relation in stands.items()
        if (reason := _reason(study, order, attribute, relation, enrich=enrich)) is not None
    ]
    if enrich:
        attributes = [*FILLED, *_OF_REQUEST] if single else []
        if single and stands["AccessionNumber"] is Relation.EQUAL and not any(map(is_group_case, study.headers)):
            attributes.append("AccessionNumber")  # the request has it
        made += _filled(study, order, attributes)
        made += _filled(study, order, ["IssuerOfPatientID"], rule=Code.ISSUER_MISSING)
    renumbered = [change for change in made if change.attribute == "PatientID"]
    if renumbered and order.key.issuer and "IssuerOfPatientID" not in {change.attribute for change in made}:
        made.append(replace(renumbered[0], attribute="IssuerOfPatientID", value=order.key.issuer))
    return tuple(made)


def _reason(study: Study, order: Candidate, attribute: str, relation: Relation, *, enrich: bool) -> Reason | None:
    """Why an attribute of the identity is written; None if it isn't."""
    value = value_of(order, attribute)
    if not value:
        return None
    if relation is Relation.SLIP:
        return Reason.CORRECT
    if relation is Relation.ALIAS:
        return Reason.COERCE
    has = {has_of(header, attribute) for header in study.headers}
    if relation is Relation.MISSING:
        return Reason.COERCE if enrich else None
    is_number = attribute in {"PatientID", "AccessionNumber"}
    return Reason.COERCE if relation is Relation.EQUAL and is_number and has - {value, ""} else None


def _filled(study: Study, order: Candidate, attributes: Sequence[str], rule: str = ENRICH) -> Iterator[Change]:
    """What the order says of attributes that an image has nothing of."""
    for attribute in attributes:
        value = value_of(order, attribute)
        if value and any(not has_of(header, attribute) for header in study.headers):
            yield Change(attribute=attribute, value=value, reason=Reason.COERCE, rule=rule)


def has_of(header: Header, attribute: str) -> str:
    """What a header has of an attribute that an order can say; "" if nothing."""
    if attribute == "PatientID":
        return header.PatientID.value
    if attribute == "IssuerOfPatientID":
        return header.PatientID.issuer
    if attribute == "AccessionNumber":
        return header.accession.value
    if attribute in _OF_REQUEST:
        return getattr(header.requests[0], attribute) if header.requests else ""
    value: str = getattr(header, attribute)
    return value


def value_of(order: Candidate, attribute: str) -> str:
    """What the order says of an attribute; "" if nothing."""
    if attribute == "PatientID":
        return order.key.PatientID
    if attribute == "IssuerOfPatientID":
        return order.key.issuer
    if attribute == "AccessionNumber":
        return order.procedure.accession.value
    if attribute == "AdmissionID":
        return order.procedure.admission.value
    if attribute == "StudyDescription":
        return order.procedure.RequestedProcedureDescription
    if attribute == "ScheduledProcedureStepID":
        return order.procedure.steps[0].ScheduledProcedureStepID if len(order.procedure.steps) == 1 else ""
    value: str = getattr(order.patient if attribute in _OF_PATIENT else order.procedure, attribute)
    return value
