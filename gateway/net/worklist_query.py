"""Asking a RIS for its worklist (RAD-5; PS3.4 K): one association, one C-FIND, one whole answer.

An answer is `complete` only if the RIS said success after its last row and every row could be read:
whoever compares it with a copy must know the difference between "not there" and "not heard".
"""

from __future__ import annotations

from dataclasses import dataclass

from gateway.dicom.associate import ProposedContext
from gateway.dicom.elements import DataSet, ElementError, encode, parse
from gateway.dicom.negotiation import MODALITY_WORKLIST, NATIVE
from gateway.domain.model import TemporaryFailure
from gateway.net.dicom_client import Peer, Requestor

PENDING = (0xFF00, 0xFF01)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a RIS answered to one query."""

    rows: tuple[DataSet, ...]
    complete: bool


def ask(peer: Peer, identifier: DataSet, *, limit: int) -> Answer:
    """The rows that match `identifier`, at most `limit`: beyond it the query is cancelled.

    Raises `TemporaryFailure` (code: connect, reject-..., silence, abort, context, or the final
    status as four hexadecimal digits) if the RIS could not be asked or said anything but success.
    """
    contexts = [ProposedContext(1, MODALITY_WORKLIST, NATIVE)]
    rows: list[DataSet] = []
    unreadable = 0
    with Requestor.connect(peer, contexts) as requestor:
        context = requestor.context_for(MODALITY_WORKLIST)
        if context is None:
            raise TemporaryFailure("the RIS accepted no context for Modality Worklist", code="context")
        responses = requestor.find(context, encode(identifier, context.transfer_syntax))
        for message in responses:
            status = message.command.Status
            if status not in PENDING:
                break
            if len(rows) == limit:
                responses.close()
                return Answer(rows=tuple(rows), complete=False)
            try:
                rows.append(parse(bytes(message.data_set), context.transfer_syntax))
            except ElementError:
                unreadable += 1
    if status != 0:
        raise TemporaryFailure(f"the RIS ended its answer with status {status:04X}", code=f"{status:04X}")
    return Answer(rows=tuple(rows), complete=not unreadable)
