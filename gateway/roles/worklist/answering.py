"""Rows into the responses of one C-FIND, as the scanner can take them (PS3.4 K.4.1.3, PS3.7 9.1.2).

What is promised: a C-CANCEL takes effect within ten responses, and the final status says whether it did.
"""

from __future__ import annotations

from collections.abc import Sequence

from gateway.dicom.dimse import Status
from gateway.net.dicom_service import Exchange
from gateway.roles.worklist.question import Question
from gateway.roles.worklist.rows import response, shape_of
from gateway.spool.worklist import Candidate

RESPONSES_PER_WRITE = 8
"""Fewer than the ten responses within which a C-CANCEL must take effect."""


async def answer(exchange: Exchange, question: Question, rows: Sequence[Candidate]) -> list[Candidate]:
    """Send the rows and the final status; those that were sent before the scanner cancelled or left."""
    shape, syntax = shape_of(question.identifier), exchange.context.transfer_syntax
    answered: list[Candidate] = []
    for number, row in enumerate(rows):
        if number % RESPONSES_PER_WRITE == 0:
            await exchange.flush()
        if exchange.cancelled or exchange.closed:
            break
        exchange.respond(Status.PENDING, data_set=response(row.dataset, shape, syntax))
        answered.append(row)
    exchange.respond(Status.CANCEL if exchange.cancelled else Status.SUCCESS)
    return answered
