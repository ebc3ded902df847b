"""Everything the books hold of one order and one scanner, gathered for `gateway.domain.explain`.

What is promised: nothing is asked of a RIS and nothing is changed. The work is bounded, however full the books are.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Final

from gateway.dicom import charset
from gateway.domain.admission import same_ae
from gateway.domain.explain import Case, CopiedRow, Heard, PastQuery, Readable
from gateway.domain.matching import compile_query
from gateway.domain.merge import Kind
from gateway.domain.worklist import DataSet
from gateway.spool import peers, query_log, removals, served, worklist
from gateway.spool.datasets import character_sets, decoder, read
from gateway.spool.db import Connection
from gateway.spool.query_log import LoggedQuery
from gateway.spool.worklist import StoredRow

ROWS: Final = 50
"""Rows of one order that are explained."""
QUERIES: Final = 20
"""Questions of the scanner that are looked at, the last ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What a person knows of an order; empty values don't count, and those given must all hold."""

    AccessionNumber: str = ""
    PatientID: str = ""
    StudyInstanceUID: str = ""

    @property
    def known(self) -> dict[str, str]:
        """What is known of it, by keyword."""
        return {keyword: value.strip() for keyword, value in asdict(self).items() if value.strip()}


def gather(
    c: Connection, order: Order, *, calling_ae: str, admitted: bool, max_stale: timedelta, now: datetime
) -> Case:
    """The case of this order at this scanner. `admitted`: the configuration lets it call."""
    known = order.known
    if not known:
        raise ValueError("Order: nothing is known of it; give an accession number, a patient id or a study UID")
    rows = worklist.of_order(c, known, limit=ROWS)
    away = [one for one in peers.callers(c) if same_ae(one.calling_ae, calling_ae)]
    sources = worklist.sources(c)
    answered = {source.name: source.last_success for source in sources}
    return Case(
        calling_ae=calling_ae,
        now=now,
        rows=[_row(c, row, calling_ae=calling_ae, answered=answered.get(row.row.source)) for row in rows],
        gone=removals.of_order(c, known),
        heard=[Heard(source=one.name, last_success=one.last_success, error=one.last_error) for one in sources],
        queries=[_past(one) for one in query_log.latest(c, calling_ae, limit=QUERIES)],
        turned_away=away[0].reason if away else "",
        known=admitted or any(same_ae(one.ae, calling_ae) for one in peers.scanners(c)),
        max_stale=max_stale,
    )


def _row(c: Connection, stored: StoredRow, *, calling_ae: str, answered: datetime | None) -> CopiedRow:
    dataset = read(stored.row.dataset)
    return CopiedRow(
        source=stored.row.source,
        key=stored.row.key,
        dataset=dataset,
        decode=decoder(dataset),
        readable=_readable(dataset),
        since=stored.first_seen,
        confirmed=answered,
        always=stored.row.kind is not Kind.LIVE,
        shown_at=served.last_served(c, calling_ae, key=stored.row.key),
    )


def _past(logged: LoggedQuery) -> PastQuery:
    identifier = read(logged.meant or logged.identifier)
    return PastQuery(
        first_asked=logged.first_asked,
        last_asked=logged.last_asked,
        query=compile_query(identifier, decoder(identifier)) if logged.identifier else None,
        dropped=logged.dropped,
    )


def _readable(dataset: DataSet) -> Readable:
    names = character_sets(dataset)
    return lambda value, vr: charset.decode_checked(value, vr, names).faithful
