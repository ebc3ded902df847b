"""Storage Commitment Push Model messages (PS3.4 J.3, PS3.3 C.14) as values and bytes. Pure.

A request names instances under a Transaction UID; its report names which of them are committed to
and which are not, and why. Failure reasons are those of PS3.3 C.14.1.1.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from gateway.dicom.dimse import CommandField, CommandSet
from gateway.dicom.elements import DataSet, Element, encode, parse, text_of
from gateway.dicom.negotiation import STORAGE_COMMITMENT, STORAGE_COMMITMENT_INSTANCE

REQUEST = 1
"""Action Type ID of a request."""
ALL_COMMITTED, SOME_FAILED = 1, 2
"""Event Type IDs of a report."""
PROCESSING_FAILURE = 0x0110
NO_SUCH_INSTANCE = 0x0112
CLASS_INSTANCE_CONFLICT = 0x0119
SOP_CLASS_NOT_SUPPORTED = 0x0122

MAX_ELEMENTS = 1_000_000
"""A request for a whole tomosynthesis study names tens of thousands of instances, three elements each."""

_TRANSACTION_UID = 0x00081195
_FAILED_SEQUENCE = 0x00081198
_REFERENCED_SEQUENCE = 0x00081199
_CLASS_UID = 0x00081150
_INSTANCE_UID = 0x00081155
_FAILURE_REASON = 0x00081197


class CommitmentError(ValueError):
    """The message lacks what PS3.4 J.3 demands; names the element."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What a report says."""

    transaction_uid: str
    succeeded: tuple[str, ...]
    """SOP Instance UIDs."""
    failed: tuple[tuple[str, int], ...]
    """SOP Instance UIDs with their Failure Reason (0008,1197)."""


def action_request(
    transaction_uid: str, references: Iterable[tuple[str, str]], *, transfer_syntax: str, message_id: int
) -> tuple[CommandSet, bytes]:
    """N-ACTION-RQ asking to commit to `references`: pairs of SOP Class and SOP Instance UID."""
    command = CommandSet(
        CommandField=CommandField.N_ACTION_RQ,
        RequestedSOPClassUID=STORAGE_COMMITMENT,
        RequestedSOPInstanceUID=STORAGE_COMMITMENT_INSTANCE,
        MessageID=message_id,
        CommandDataSetType=1,
        ActionTypeID=REQUEST,
    )
    dataset: DataSet = {
        _TRANSACTION_UID: _ui(transaction_uid),
        _REFERENCED_SEQUENCE: Element("SQ", [_reference(*pair) for pair in references]),
    }
    return command, encode(dataset, transfer_syntax)


def event_report(
    transaction_uid: str,
    *,
    succeeded: Sequence[tuple[str, str]],
    failed: Sequence[tuple[str, str, int]],
    transfer_syntax: str,
    message_id: int,
) -> tuple[CommandSet, bytes]:
    """N-EVENT-REPORT-RQ: pairs that are committed to, and triples that are not with their reason."""
    command = CommandSet(
        CommandField=CommandField.N_EVENT_REPORT_RQ,
        AffectedSOPClassUID=STORAGE_COMMITMENT,
        AffectedSOPInstanceUID=STORAGE_COMMITMENT_INSTANCE,
        MessageID=message_id,
        CommandDataSetType=1,
        EventTypeID=SOME_FAILED if failed else ALL_COMMITTED,
    )
    dataset: DataSet = {_TRANSACTION_UID: _ui(transaction_uid)}
    if failed:
        items = [
            {**_reference(sop_class, instance), _FAILURE_REASON: Element("US", reason.to_bytes(2, "little"))}
            for sop_class, instance, reason in failed
        ]
        dataset[_FAILED_SEQUENCE] = Element("SQ", [dict(sorted(item.items())) for item in items])
    if succeeded:
        dataset[_REFERENCED_SEQUENCE] = Element("SQ", [_reference(*pair) for pair in succeeded])
    return command, encode(dataset, transfer_syntax)


def parse_request(data_set: bytes, transfer_syntax: str) -> tuple[str, tuple[tuple[str, str], ...]]:
    """Transaction UID and references of an N-ACTION-RQ. Raises `CommitmentError` or `ElementError`."""
    dataset = parse(data_set, transfer_syntax, max_elements=MAX_ELEMENTS)
    references = tuple(
        (text_of(item, _CLASS_UID), text_of(item, _INSTANCE_UID)) for item in _items(dataset, _REFERENCED_SEQUENCE)
    )
    if not references or not all(instance for _, instance in references):
        raise CommitmentError("Referenced SOP Sequence (0008,1199) names no instance")
    return _transaction(dataset), references


def parse_result(data_set: bytes, transfer_syntax: str) -> Result:
    """What an N-EVENT-REPORT-RQ reports. Raises `CommitmentError` or `ElementError`."""
    dataset = parse(data_set, transfer_syntax, max_elements=MAX_ELEMENTS)
    return Result(
        transaction_uid=_transaction(dataset),
        succeeded=tuple(text_of(item, _INSTANCE_UID) for item in _items(dataset, _REFERENCED_SEQUENCE)),
        failed=tuple((text_of(item, _INSTANCE_UID), _reason(item)) for item in _items(dataset, _FAILED_SEQUENCE)),
    )


def _transaction(dataset: DataSet) -> str:
    transaction = text_of(dataset, _TRANSACTION_UID)
    if not transaction:
        raise CommitmentError("Transaction UID (0008,1195) is missing or empty")
    return transaction


def _items(dataset: DataSet, tag: int) -> list[DataSet]:
    element = dataset.get(tag)
    return element.value if element is not None and isinstance(element.value, list) else []


def _reason(item: DataSet) -> int:
    element = item.get(_FAILURE_REASON)
    value = element.value if element is not None else b""
    return int.from_bytes(value, "little") if isinstance(value, bytes) and len(value) == 2 else PROCESSING_FAILURE


def _reference(sop_class: str, instance: str) -> DataSet:
    return {_CLASS_UID: _ui(sop_class), _INSTANCE_UID: _ui(instance)}


def _ui(value: str) -> Element:
    raw = value.encode("latin-1", "replace")
    return Element("UI", raw + b"\0" * (len(raw) % 2))
