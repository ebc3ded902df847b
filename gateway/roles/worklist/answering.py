"""Rows into the responses of one C-FIND, as the scanner can take them (PS3.4 K.4.1.3, PS3.7 9.1.2).

What is promised: a C-CANCEL takes effect within ten responses, and the final status says whether it did.
"""

from __future__ import annotations

from collections.abc import Sequence

from gateway.dicom.dimse import Status
from gateway.domain.explain import Stage
from gateway.net.dicom_service import Exchange
from gateway.roles.worklist.question import Question
from gateway.roles.worklist.rows import response, shape_of
from gateway.spool.served import Shown
from gateway.spool.worklist import Candidate

RESPONSES_PER_WRITE = 8
"""Fewer than the ten responses within which a C-CANCEL must take effect."""


async def answer(exchange: Exchange, question: Question, rows: Sequence[Candidate]) -> tuple[list[Shown], int | None]:
    """Send the rows and the final status.

    Returns what was sent before the scanner cancelled or left, and the status; None if it had left.
    """
    shape, syntax = shape_of(question.identifier), exchange.context.transfer_syntax
    shown: list[Shown] = []
    for number, row in enumerate(rows):
        if number % RESPONSES_PER_WRITE == 0:
            await exchange.flush()
        if exchange.cancelled or exchange.closed:
            question.trail.dropped[Stage.LIMIT] += len(rows) - number
            break
        encoded = response(row.dataset, shape, syntax)
        exchange.respond(Status.PENDING, data_set=encoded)
        shown.append(Shown(row.source, row.key, row.dataset, encoded, syntax))
    status = Status.CANCEL if exchange.cancelled else Status.SUCCESS
    exchange.respond(status)
    return shown, None if exchange.closed else status
