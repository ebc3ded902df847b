"""Asking a RIS for its worklist (RAD-5; PS3.4 K): one association, one C-FIND, one answer.

An answer is `complete` only if the RIS said success after its last row and every row could be read:
whoever compares it with a copy must know the difference between "not there" and "not heard". What was
heard before it broke off is told all the same.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from gateway.dicom.associate import ProposedContext
from gateway.dicom.elements import DataSet, ElementError, encode, parse
from gateway.dicom.negotiation import MODALITY_WORKLIST, NATIVE
from gateway.domain.model import TemporaryFailure
from gateway.net.dicom_client import Peer, Requestor

PENDING = (0xFF00, 0xFF01)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """How the answer of a RIS to one query ended."""

    complete: bool
    """Success after the last row, and every row was readable."""
    limited: bool = False
    """There was more than we read."""
    failure: str = ""
    """Why it is not even half an answer: connect, reject-..., silence, abort, context, or the final status as
    four hexadecimal digits. Empty if the RIS said success, or was stopped at the limit."""
    responded: bool = False
    """The failure is the final status: the RIS works, and refuses this question."""


def ask(peer: Peer, identifier: DataSet, *, limit: int, take: Callable[[DataSet], None]) -> Answer:
    """Ask, and hand each row that was answered to `take`; beyond `limit` rows the query is cancelled."""
    try:
        return _ask(peer, identifier, limit, take)
    except TemporaryFailure as error:
        return Answer(complete=False, failure=error.code)


def _ask(peer: Peer, identifier: DataSet, limit: int, take: Callable[[DataSet], None]) -> Answer:
    contexts = [ProposedContext(1, MODALITY_WORKLIST, NATIVE)]
    taken = unreadable = 0
    with Requestor.connect(peer, contexts) as requestor:
        context = requestor.context_for(MODALITY_WORKLIST)
        if context is None:
            return Answer(complete=False, failure="context")
        responses = requestor.find(context, encode(identifier, context.transfer_syntax))
        for message in responses:
            status = message.status
            if status not in PENDING:
                break
            if taken == limit:
                responses.close()
                return Answer(complete=False, limited=True)
            try:
                take(parse(bytes(message.data_set), context.transfer_syntax))
            except ElementError:
                unreadable += 1
            taken += 1
    if status != 0:
        return Answer(complete=False, failure=f"{status:04X}", responded=True)
    return Answer(complete=not unreadable)
