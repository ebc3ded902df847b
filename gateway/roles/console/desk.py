"""`/api/v1/desk`: entries for patients whose order has not come, for programs and the page.

What is promised: as `gateway desk`: what is answered 200 or 201 is durable, and an entry is served by then. 404 for
an unknown entry, 409 for a decision that can't be made now, 422 with every fault of a request.
"""

from __future__ import annotations

import secrets
import uuid
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, tzinfo
from functools import partial
from typing import Annotated, Any, Final

from fastapi import APIRouter, HTTPException, Path

from gateway.domain.desk import SALTS, DeskPolicy, Entry, EntryRefused, Request, accepted
from gateway.domain.desk_orders import Suggestion
from gateway.domain.model import UID
from gateway.roles.console import desk_models as models
from gateway.roles.console.books import Books
from gateway.spool import Connection, desk, desk_links
from gateway.spool.peers import scanners

BY: Final = "console"
"""Who decides, for the journal, until there are accounts."""
Key = Annotated[str, Path(min_length=1, max_length=64, description="Number, accession number or StudyInstanceUID.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeskRules:
    """What the configuration says of the desk."""

    policy: DeskPolicy
    stations: Sequence[str]
    """AE titles of the scanners it names; those that a command added are asked of the spool."""
    zone: tzinfo
    now: Callable[[], datetime]


def routes(books: Books, rules: DeskRules, errors: dict[int | str, dict[str, Any]]) -> APIRouter:
    """The operations on these books."""
    router = APIRouter(prefix="/api/v1/desk", responses=errors)
    _tell(router, books, rules)
    _decide(router, books, rules)
    return router


def _tell(router: APIRouter, books: Books, rules: DeskRules) -> None:
    @router.get("")
    async def desk_entries(every: bool = False) -> models.DeskEntries:
        """The entries that wait for their order; with `every` linked and cancelled ones too."""
        found = await books.read(partial(desk.entries, every=every))
        return models.DeskEntries(at=rules.now(), entries=[_entry(one) for one in found])

    @router.get("/{entry}")
    async def desk_entry(entry: Key) -> models.DeskEntry:
        """One entry, and its order if it has come."""
        return _entry(await books.read(partial(_found, key=entry)))

    @router.get("/{entry}/suggestions")
    async def desk_suggestions(entry: Key) -> models.DeskSuggestions:
        """The orders of the worklist that may be the entry's."""

        def look(c: Connection) -> models.DeskSuggestions:
            found = _found(c, entry)
            suggested = desk_links.suggest(c, found, accession_prefix=rules.policy.accession_prefix)
            return models.DeskSuggestions(number=found.number, suggestions=[_suggestion(one) for one in suggested])

        return await books.read(look)


def _decide(router: APIRouter, books: Books, rules: DeskRules) -> None:
    @router.post("", status_code=201)
    async def desk_add(asked: models.DeskRequest) -> models.DeskEntry:
        """Put a patient on the worklist of these stations, at once."""
        added = await books.read(scanners)
        local = rules.now().astimezone(rules.zone)
        known = [*rules.stations, *(one.ae for one in added)]
        values = asked.model_dump() | {"stations": tuple(asked.stations)}
        try:
            request = accepted(Request(**values), policy=rules.policy, known=known, today=local.date())
        except EntryRefused as error:
            raise HTTPException(422, _told(error)) from None
        return await decided(lambda c: _add(c, request, rules))

    @router.post("/{entry}/reconcile")
    async def desk_reconcile(entry: Key, order: models.DeskReconciliation) -> models.DeskEntry:
        """Say which order an entry is; the entry leaves the worklist."""
        wanted = order.model_dump()
        return await decided(lambda c: desk_links.reconcile(c, _found(c, entry), **wanted, now=rules.now(), by=BY))

    @router.post("/{entry}/unlink")
    async def desk_unlink(entry: Key) -> models.DeskEntry:
        """Take a link back: the entry waits again, and only a person links it."""
        return await decided(lambda c: desk_links.unlink(c, _found(c, entry), now=rules.now(), by=BY))

    @router.post("/{entry}/cancel")
    async def desk_cancel(entry: Key) -> models.DeskEntry:
        """Take an entry off the worklist for good."""
        return await decided(lambda c: desk.cancel(c, _found(c, entry), now=rules.now(), by=BY))

    async def decided(decision: Callable[[Connection], Entry]) -> models.DeskEntry:
        try:
            return _entry(await books.write(decision))
        except EntryRefused as error:
            raise HTTPException(409, _told(error)) from None


def _add(c: Connection, request: Request, rules: DeskRules) -> Entry:
    now = rules.now()
    return desk.add(
        c,
        request,
        policy=rules.policy,
        uid=UID(f"2.25.{uuid.uuid4().int}"),
        salt=partial(secrets.randbelow, SALTS),
        now=now,
        local=now.astimezone(rules.zone),
        by=BY,
    )


def _found(c: Connection, key: str) -> Entry:
    entry = desk.find(c, key)
    if entry is None:
        raise HTTPException(404, "There is no such entry; /api/v1/desk?every=true lists them.")
    return entry


def _told(error: EntryRefused) -> str:
    return "; ".join(str(error).splitlines())


def _entry(entry: Entry) -> models.DeskEntry:
    return models.DeskEntry(**asdict(entry) | {"stations": list(entry.stations)})


def _suggestion(one: Suggestion) -> models.DeskSuggestion:
    start = one.order.start
    values = asdict(one.order) | {"start": start.isoformat() if start else None}
    return models.DeskSuggestion(**values, reasons=list(one.reasons), differs=list(one.differs))
