"""`/api/v1/orders`: orders from programs, by the same way as those of messages.

What is promised: what is answered 200 is durable with its rows. The same request again is answered the same and does
nothing. 409 where it names another patient than the one known: it was set aside, with an alarm. 422 with every fault
of a request; what was understood and can't be applied is kept with the messages, under an alarm.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Final

from fastapi import APIRouter, HTTPException, Request
from pydantic import BaseModel

from gateway.domain.hl7_ack import Code
from gateway.domain.order_entry import Entry
from gateway.domain.orders import Sender
from gateway.roles.console.books import Books
from gateway.roles.console.order_models import OrderCode, OrderNumber, OrderOutcome, OrderRequest
from gateway.spool import Connection
from gateway.spool.order_entry import Entered, enter
from gateway.spool.orders import DUPLICATE

PATH: Final = "/api/v1/orders"


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderRules:
    """How what a program tells becomes an order."""

    sender: Sender
    now: Callable[[], datetime]


def routes(books: Books, rules: OrderRules, errors: dict[int | str, dict[str, Any]]) -> APIRouter:
    """The operation on these books."""
    router = APIRouter(responses=errors)

    @router.post(PATH)
    async def order_told(told: OrderRequest, request: Request) -> OrderOutcome:
        """Tell what happened to an order: it was placed, changed, begun, cancelled."""
        entry = Entry(
            at=told.at,
            control=told.control,
            status=told.status,
            patient=_given(told.patient),
            procedure=_given(told.procedure),
            steps=[_given(step) for step in told.steps],
        )
        raw = json.dumps(told.model_dump(mode="json", exclude_unset=True)).encode()
        address = request.client.host if request.client else ""

        def job(c: Connection) -> Entered:
            return enter(c, raw, entry, rules.sender, control_id=told.id, address=address, now=rules.now())

        done = await books.write(job)
        if done.code is not Code.AA:
            conflict = any(fault.code == DUPLICATE for fault in done.faults)
            raise HTTPException(409 if conflict else 422, "; ".join(fault.text for fault in done.faults))
        return OrderOutcome.model_validate(
            {"id": told.id, "code": "AA", "effect": done.effect, "orders": [asdict(each) for each in done.orders]}
        )

    return router


def _given(part: BaseModel) -> dict[str, Any]:
    """The fields that were told, as the order model has them; None: to be deleted."""
    return {name: _value(getattr(part, name)) for name in part.model_fields_set}


def _value(value: object) -> Any:
    match value:
        case OrderNumber():
            return value.identifier()
        case OrderCode():
            return value.code()
        case list():
            return tuple(map(_value, value))
        case _:
            return value
