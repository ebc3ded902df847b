"""Everything the books hold of one order and one scanner, gathered for `gateway.domain.explain`.

What is promised: nothing is asked of a RIS and nothing is changed. The work is bounded, however full the books are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from gateway.dicom import charset
from gateway.domain.admission import same_ae
from gateway.domain.explain import Case, CopiedRow, Heard, PastQuery, Readable
from gateway.domain.matching import compile_query
from gateway.domain.merge import Claim, merge, same_step
from gateway.domain.model import SourceName
from gateway.domain.transliteration import Script
from gateway.domain.worklist import DataSet, study_step
from gateway.spool import mpps, peers, query_log, removals, served, standing, worklist
from gateway.spool.datasets import character_sets, decoder, read
from gateway.spool.db import Connection
from gateway.spool.query_log import LoggedQuery
from gateway.spool.times import from_text, to_text
from gateway.spool.worklist import Attested, Contender

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


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedBy:
    """The scanner in question, as the configuration has it."""

    calling_ae: str
    admitted: bool
    """The configuration lets it call; else a command may have."""
    live: bool
    max_stale: timedelta
    hide_performed: timedelta
    romanised: frozenset[Script]
    """Scripts that it is shown in Latin letters, and by which it finds names."""


def gather(c: Connection, order: Order, scanner: AskedBy, *, places: Sequence[SourceName], now: datetime) -> Case:
    """The case of this order at this scanner. `places`: the RISs in the site's order."""
    known = order.known
    if not known:
        raise ValueError("Order: nothing is known of it; give an accession number, a patient id or a study UID")
    ae = scanner.calling_ae
    away = [one for one in peers.callers(c) if same_ae(one.calling_ae, ae)]
    return Case(
        calling_ae=ae,
        now=now,
        rows=_rows(c, known, scanner, places=places, now=now),
        gone=removals.of_order(c, known),
        heard=[
            Heard(source=one.name, last_success=one.last_success, error=one.last_error) for one in worklist.sources(c)
        ],
        queries=[_past(one, scanner) for one in query_log.latest(c, ae, limit=QUERIES)],
        turned_away=away[0].reason if away else "",
        known=scanner.admitted or any(same_ae(one.ae, ae) for one in peers.scanners(c)),
        live=scanner.live,
    )


def _rows(
    c: Connection, known: Mapping[str, str], scanner: AskedBy, *, places: Sequence[SourceName], now: datetime
) -> list[CopiedRow]:
    """The rows of the order, each with what stands before it."""
    attested, oldest = worklist.attested(c), to_text(now - scanner.max_stale)
    wanted = {(row.row.source, row.row.key) for row in worklist.of_order(c, known, limit=ROWS)}
    pool = worklist.contenders(c, {key for _, key in wanted})
    late = {_name(one) for one in pool if standing.too_old(one.row, attested.get(one.row.source), oldest=oldest)}
    recent = [one for one in pool if _name(one) not in late]
    rivals = _rivals(recent, standing.claims(recent, attested, places=places), now)
    rows = [
        _row(c, one, scanner, attested, too_old=_name(one) in late, rival=rivals.get(_name(one), ""))
        for one in pool
        if _name(one) in wanted
    ]
    if scanner.live:
        return rows
    steps = {step for row in rows if (step := study_step(row.key)) is not None}
    over = mpps.performed(c, steps, ended_before=now - scanner.hide_performed)
    return [replace(row, performed_at=over.get(study_step(row.key) or ("", ""))) for row in rows]


def _rivals(pool: Sequence[Contender], claims: Sequence[Claim], now: datetime) -> dict[tuple[str, str], str]:
    """The source that stands before each row that is not shown."""
    merged = merge(claims, now)
    foremost = [claim for claim, its in zip(claims, merged, strict=True) if its.shown]
    return {
        _name(one): next(rival.source for rival in foremost if same_step(rival, claim))
        for one, claim, its in zip(pool, claims, merged, strict=True)
        if not its.shown
    }


def _name(one: Contender) -> tuple[str, str]:
    return one.row.source, one.row.key


def _row(
    c: Connection,
    one: Contender,
    scanner: AskedBy,
    attested: Mapping[SourceName, Attested],
    *,
    too_old: bool,
    rival: str,
) -> CopiedRow:
    dataset = read(one.row.dataset)
    return CopiedRow(
        source=one.row.source,
        key=one.row.key,
        dataset=dataset,
        decode=decoder(dataset),
        readable=_readable(dataset),
        since=one.first_seen,
        confirmed=from_text(standing.confirmed(one.row, attested.get(one.row.source))),
        too_old=too_old,
        rival=rival,
        shown_at=served.last_served(c, scanner.calling_ae, key=one.row.key),
    )


def _past(logged: LoggedQuery, scanner: AskedBy) -> PastQuery:
    identifier = read(logged.meant or logged.identifier)
    query = compile_query(identifier, decoder(identifier), romanised=scanner.romanised)
    return PastQuery(
        first_asked=logged.first_asked,
        last_asked=logged.last_asked,
        answered=logged.last_asked + logged.slowest,
        query=query if logged.identifier else None,
        dropped=logged.dropped,
        sources=logged.sources,
    )


def _readable(dataset: DataSet) -> Readable:
    names = character_sets(dataset)
    return lambda value, vr: charset.decode_checked(value, vr, names).faithful
