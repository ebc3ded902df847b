"""`/api/v1/worklist`: what each scanner is answered from and was answered last, and why an order is not on its list.

What is promised: an answer tells nothing of a patient; what a patient is asked for by is in the question alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Query

from gateway.domain.admission import same_ae
from gateway.domain.explain import Explanation, explain
from gateway.domain.model import SourceName
from gateway.domain.overview import served_from
from gateway.domain.profile import GENERIC
from gateway.roles.console import models
from gateway.roles.console.api import ConfiguredScanner, ServedBy
from gateway.roles.console.books import Books, Standing
from gateway.spool.cases import AskedBy, Order, gather
from gateway.spool.query_log import LoggedQuery

Identifier = Annotated[str, Query(max_length=64)]
Title = Annotated[str, Query(min_length=1, max_length=16, description="The AE title that the scanner calls with.")]


def routes(
    books: Books,
    configured: Sequence[ConfiguredScanner],
    *,
    added: Callable[[str], ServedBy],
    errors: dict[int | str, dict[str, Any]],
) -> APIRouter:
    """The operations over these books. `added`: how a scanner of this profile is served that a command added."""
    router = APIRouter(prefix="/api/v1/worklist", responses=errors)

    def policy_of(ae: str, standing: Standing) -> ServedBy:
        profile = next((one.profile for one in standing.added if same_ae(one.ae, ae)), GENERIC)
        return next((one.worklist for one in configured if same_ae(one.ae, ae)), added(profile))

    @router.get("/scanners")
    async def scanners() -> models.WorklistScanners:
        """What each scanner would be answered from now, and what became of its last question."""
        standing = await books.standing()
        known = [*(one.ae for one in configured), *(one.ae for one in standing.added)]
        asked = {one.calling_ae.casefold(): one for one in standing.askers}
        others = [one.calling_ae for one in standing.askers if not any(same_ae(one.calling_ae, ae) for ae in known)]
        listed = [_scanner(ae, policy_of(ae, standing), asked.get(ae.casefold()), standing) for ae in [*known, *others]]
        return models.WorklistScanners(at=standing.overview.now, scanners=listed)

    @router.get("/explain")
    async def explained(
        aet: Title, accession: Identifier = "", patient: Identifier = "", study: Identifier = ""
    ) -> models.WorklistExplanation:
        """Which stage keeps an order from a scanner, and the next step. Name the order by one identifier or more."""
        order = Order(AccessionNumber=accession, PatientID=patient, StudyInstanceUID=study)
        if not order.known:
            raise HTTPException(422, "accession, patient, study: all empty; name the order by one of them.")
        standing = await books.standing()
        overview, policy = standing.overview, policy_of(aet, standing)
        scanner = AskedBy(
            calling_ae=aet.strip(),
            admitted=any(same_ae(one.ae, aet) for one in configured),
            live=policy.mode == "live",
            max_stale=policy.max_stale,
            hide_performed=policy.hide_performed,
            romanised=policy.romanised,
        )
        places = [SourceName(name) for name in overview.refresh]
        case = await books.read(partial(gather, order=order, scanner=scanner, places=places, now=overview.now))
        return models.WorklistExplanation(at=overview.now, rows=[_explained(one) for one in explain(case)])

    return router


def _scanner(ae: str, policy: ServedBy, asked: LoggedQuery | None, standing: Standing) -> models.WorklistScanner:
    overview = standing.overview
    return models.WorklistScanner(
        calling_ae=ae,
        mode=policy.mode,
        served_from=served_from(
            overview.worklist, fresh_for=policy.fresh_for, max_stale=policy.max_stale, now=overview.now
        ),
        last=None if asked is None else _question(asked),
    )


def _question(asked: LoggedQuery) -> models.WorklistQuestion:
    return models.WorklistQuestion(
        asked_at=asked.last_asked,
        count=asked.count,
        outcome=asked.outcome,
        answered=asked.answered,
        looked_at=asked.looked_at,
        dropped=dict(asked.dropped),
        quirks=dict(asked.quirks),
        asked=dict(asked.sources),
        copy_age_s=None if asked.age is None else asked.age.total_seconds(),
        slowest_s=asked.slowest.total_seconds(),
    )


def _explained(one: Explanation) -> models.WorklistExplained:
    return models.WorklistExplained(
        source=one.source,
        stage=one.stage,
        shown_at=one.shown_at,
        asked_at=one.asked_at,
        reasons=[models.WorklistReason(**asdict(reason)) for reason in one.reasons],
    )
