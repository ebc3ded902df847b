"""A study that a person gave to an order: what is written of it.

Promises: only attributes that an order can say, and only with values that the order has. What a person says is
evidence enough to replace a value that differs; side, modality, times and UIDs are never touched.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final

from gateway.domain.identity_changes import FILLED, has_of, value_of
from gateway.domain.identity_model import Candidate, Change, Decision, Header, Reason, Verdict

BY_PERSON: Final = "by-a-person"
"""The rule of what a person decided."""
_IDENTITY: Final = (
    *("PatientID", "IssuerOfPatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber"),
    *("RequestedProcedureID", "ScheduledProcedureStepID"),
)


def assigned(headers: Sequence[Header], order: Candidate, verdict: Verdict) -> Verdict:
    """The verdict of the rules, with the order that a person named and what follows of that."""
    changes = (*_changes(headers, order, _IDENTITY), *_changes(headers, order, FILLED, fill=True))
    return replace(
        verdict,
        decision=Decision.CORRECT if changes else Decision.PASS,
        because=BY_PERSON,
        order=order,
        changes=tuple(changes),
        blocks=False,
    )


def _changes(
    headers: Sequence[Header], order: Candidate, attributes: Sequence[str], *, fill: bool = False
) -> Iterator[Change]:
    for attribute in attributes:
        value = value_of(order, attribute)
        has = {has_of(header, attribute) for header in headers}
        if value and (has - {value} if not fill else "" in has):
            reason = Reason.CORRECT if has - {value, ""} else Reason.COERCE
            yield Change(attribute=attribute, value=value, reason=reason, rule=BY_PERSON)
