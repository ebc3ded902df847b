"""Whether rows of the copy stand: the age of each and its claim to its step, as the books attest them.

These are the predicates by which the worklist role answers and by which `cases` explains an answer; and the step by
which it is seen whether a source still answers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gateway.domain.merge import Claim, Kind
from gateway.domain.model import SourceName
from gateway.domain.worklist import DONE
from gateway.spool.db import Connection
from gateway.spool.queries import sql
from gateway.spool.times import from_text
from gateway.spool.worklist import Attested, Candidate, Contender


def confirmed(row: Candidate, attested: Attested | None) -> str:
    """When its source last said that it is scheduled; UTC text of fixed width."""
    return row.last_confirmed if attested is None else attested.confirmed(row)


def too_old(row: Candidate, attested: Attested | None, *, oldest: str) -> bool:
    """Whether its RIS confirmed it last before `oldest`, text as of `confirmed`; what came by message or from the
    desk is nobody's to confirm."""
    return row.kind == Kind.LIVE and confirmed(row, attested) < oldest


def known_patient(c: Connection, source: SourceName, *, first: str, last: str) -> str:
    """The Patient ID of some step within these days (YYYYMMDD) that the source confirmed when asked last; empty if
    there is none that is plain ASCII."""
    values = {"source": source, "first": first, "last": last}
    row = c.execute(sql("worklist_known_patient"), values).fetchone()
    return "" if row is None else str(row["PatientID"])


def claims(
    pool: Sequence[Contender], attested: Mapping[SourceName, Attested], *, places: Sequence[SourceName]
) -> list[Claim]:
    """What the rows claim, for `gateway.domain.merge`. `places`: the sources in the site's order."""
    order = {name: place for place, name in enumerate(places)}
    return [_claim(one, attested.get(one.row.source), order.get(one.row.source, len(order))) for one in pool]


def _claim(one: Contender, attested: Attested | None, place: int) -> Claim:
    row = one.row
    return Claim(
        source=row.source,
        kind=Kind(row.kind),
        key=row.key,
        AccessionNumber=one.AccessionNumber,
        IssuerOfAccessionNumber=one.IssuerOfAccessionNumber,
        ScheduledProcedureStepID=one.ScheduledProcedureStepID,
        PatientID=one.PatientID,
        IssuerOfPatientID=one.IssuerOfPatientID,
        minted=one.minted,
        cancelled=one.status in DONE,
        stamp=one.stamp if one.stamp is not None else from_text(confirmed(row, attested)),
        since=one.first_seen,
        answering=attested is not None and attested.answering,
        place=place,
    )
