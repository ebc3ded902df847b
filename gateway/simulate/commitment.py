"""The data sets of Storage Commitment, Push Model (PS3.4 J.3.2, J.3.3), for both sides.

What is promised: what `request` writes `read_request` reads, and what `report` writes `read_report` reads.
Written apart from the gateway's own on purpose: a mistake there is not mirrored here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from gateway.dicom.elements import DataSet, Element, encode, parse, text_of
from gateway.domain.worklist import items
from gateway.simulate.keywords import Values, data_set, tag

REQUEST_ACTION: Final = 1
ALL_COMMITTED: Final = 1
SOME_FAILED: Final = 2
"""Event Type IDs of the result (PS3.4 J.3.3)."""
PROCESSING_FAILURE: Final = 0x0110
NO_SUCH_OBJECT: Final = 0x0112
CLASS_CONFLICT: Final = 0x0119
"""Failure Reasons (PS3.3 C.14.1.1)."""

_FAILURE_REASON: Final = tag("FailureReason")
_REFERENCED: Final = tag("ReferencedSOPSequence")
_FAILED: Final = tag("FailedSOPSequence")
_TRANSACTION: Final = tag("TransactionUID")
_CLASS: Final = tag("ReferencedSOPClassUID")
_INSTANCE: Final = tag("ReferencedSOPInstanceUID")


class Reference(NamedTuple):
    """One instance that is asked about."""

    SOPClassUID: str
    SOPInstanceUID: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What became of one request."""

    TransactionUID: str
    committed: frozenset[str]
    """SOP Instance UIDs."""
    failed: Mapping[str, int]
    """Failure Reason by SOP Instance UID."""


def request(transaction: str, references: Sequence[Reference], transfer_syntax: str) -> bytes:
    """The Action Information of an N-ACTION request."""
    return encode(
        data_set({"TransactionUID": transaction, "ReferencedSOPSequence": [_item(one) for one in references]}),
        transfer_syntax,
    )


def read_request(body: bytes, transfer_syntax: str) -> tuple[str, list[Reference]]:
    """Transaction UID and references. Raises ElementError for damage."""
    asked = parse(body, transfer_syntax, max_elements=1_000_000)
    return text_of(asked, _TRANSACTION), _references(asked, _REFERENCED)


def report(
    transaction: str, committed: Sequence[Reference], failed: Mapping[Reference, int], transfer_syntax: str
) -> bytes:
    """The Event Information of an N-EVENT-REPORT; a sequence without items is left out."""
    event = data_set({"TransactionUID": transaction})
    if committed:
        event |= data_set({"ReferencedSOPSequence": [_item(one) for one in committed]})
    if failed:
        reasons: list[DataSet] = [
            data_set(_item(one)) | {_FAILURE_REASON: Element("US", reason.to_bytes(2, "little"))}
            for one, reason in failed.items()
        ]
        event[_FAILED] = Element("SQ", reasons)
    return encode(event, transfer_syntax)


def read_report(body: bytes, transfer_syntax: str) -> Result:
    """What a result says. Raises ElementError for damage."""
    event = parse(body, transfer_syntax, max_elements=1_000_000)
    failed = {}
    for item, one in zip(items(event, _FAILED), _references(event, _FAILED), strict=True):
        reason = item.get(_FAILURE_REASON)
        value = reason[1] if reason is not None else b""
        failed[one.SOPInstanceUID] = int.from_bytes(value, "little") if isinstance(value, bytes) else 0
    return Result(
        TransactionUID=text_of(event, _TRANSACTION),
        committed=frozenset(one.SOPInstanceUID for one in _references(event, _REFERENCED)),
        failed=failed,
    )


def _item(reference: Reference) -> Values:
    return {
        "ReferencedSOPClassUID": reference.SOPClassUID,
        "ReferencedSOPInstanceUID": reference.SOPInstanceUID,
    }


def _references(source: DataSet, sequence: int) -> list[Reference]:
    element = source.get(sequence)
    if element is None or isinstance(element.value, bytes):
        return []
    return [Reference(text_of(item, _CLASS), text_of(item, _INSTANCE)) for item in element.value]
