"""What is decided of one study: by the rules, by a person, or by what a person once decided of the same evidence.

What is promised: nothing is written here, and no edit is made but for a verdict that names its order (invariant 8).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final

from gateway.dicom import charset
from gateway.domain.assignment import assigned
from gateway.domain.check_rules import CheckRule, normalised
from gateway.domain.coercion import edits_for
from gateway.domain.edits import to_json
from gateway.domain.identity import decide
from gateway.domain.identity_model import Candidate, CheckPolicy, Header, Study, Verdict
from gateway.domain.identity_model import Decision as Ruling
from gateway.domain.model import UID, Instance, InstanceId, SourceName
from gateway.domain.task import Choice, Mode, Patience, Resend, Way, fingerprint, hold, stands
from gateway.domain.worklist import DataSet
from gateway.spool import Connection, candidates, checks, corrections, tasks
from gateway.spool.candidates import Asked, Found
from gateway.spool.checks import CHECK, Excerpt, Origins, StudyCheck, StudyKey
from gateway.spool.tasks import Decision

DOUBT: Final = frozenset({Ruling.HOLD, Ruling.SUGGEST, Ruling.UNSCHEDULED})
TOO_MANY: Final = "too-many-orders"
"""More orders than are looked at share a number with the study."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckRules:
    """What the site says of the check."""

    mode: Mode
    policy: CheckPolicy
    patience: Patience
    resend: Resend
    senders: tuple[SourceName, ...] = ()
    """Who sends orders by message: how long ago they did counts (kill switch)."""
    expects_orders: bool
    """Somebody sends or answers orders here, so a study without one is worth a look."""
    system: str
    """Modifying System (0400,0563)."""
    headers: tuple[CheckRule, ...] = ()
    """The site's own rules for headers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """What is to be written down."""

    check: StudyCheck
    edits: Mapping[str, str]
    """By the digest of each header; empty: none."""
    by_person: bool
    """A person decided it just now."""
    rule: int | None = None
    """The remembered decision that was followed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Looked:
    """One study as it was looked at."""

    study: StudyKey
    instances: tuple[Instance, ...]
    """Those that wait for it now."""
    standing: StudyCheck | None = None
    links: Mapping[str, str] = field(default_factory=dict)
    """The digest of the header of each image that was read, by the image's id."""
    new: Mapping[str, Excerpt] = field(default_factory=dict)
    """Headers that the study did not have, by digest."""
    judged: Judged | None = None
    """None: it follows what stands."""
    unpatchable: Mapping[str, str] = field(default_factory=dict)
    """Why the edits of its header can't be made in an image, by the image's id."""
    failed: bool = False

    def with_headers(self, links: Mapping[str, str], new: Mapping[str, Excerpt]) -> Looked:
        return replace(self, links=links, new=new)

    def without(self, ids: Collection[InstanceId]) -> Looked:
        """The same, and these images wait for another look."""
        return replace(self, instances=tuple(one for one in self.instances if one.id not in ids))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Case:
    """What a study is judged by."""

    looked: Looked
    headers: Mapping[str, tuple[DataSet, Header]]
    """By digest."""
    origins: Origins
    found: Found
    verdict: Verdict
    """Of the rules."""
    evidence: str
    """Its fingerprint."""


class Judge:
    """Judges studies by the rules of the site."""

    def __init__(self, rules: CheckRules) -> None:
        self._rules = rules

    def judged(
        self, c: Connection, looked: Looked, decision: Decision | None, *, afresh: bool, now: datetime
    ) -> Looked:
        """The study with what is to be written down of it. `afresh`: what a person said before does not count."""
        case = self._case(c, looked, decision, now)
        standing = looked.standing
        if decision is not None:
            made = self._by_person(case, decision, now, fresh=True)
        elif not afresh and (said := _said(c, standing)) is not None and standing is not None:
            same = standing.fingerprint == case.evidence
            holds = stands(said.choice, same_evidence=same, verdict=case.verdict)
            made = self._by_person(case, said, now, fresh=False) if holds else self._by_rules(case, now)
        elif not afresh and (known := tasks.recall(c, case.evidence)) is not None and self._rules.mode is Mode.APPLY:
            made = replace(self._by_person(case, known[1], now, fresh=False), rule=known[0])
        else:
            made = replace(self._by_rules(case, now), by_person=afresh)
        return replace(looked, judged=made)

    # -- the case --

    def _case(self, c: Connection, looked: Looked, decision: Decision | None, now: datetime) -> _Case:
        headers = {one.digest: (one.dataset, one.header) for one in checks.headers_of(c, looked.study)}
        headers |= {digest: (one.dataset(), one.header()) for digest, one in looked.new.items()}
        origins = checks.origins(c, looked.study)
        if origins is None:
            raise LookupError("a study without images")
        of_headers = [header for _, header in headers.values()]
        target = decision.target if decision is not None else {}
        asked = Asked(
            study=looked.study,
            headers=of_headers,
            scanners=origins.scanners,
            first_received=origins.first,
            zone=self._rules.policy.zone,
            AccessionNumber=target.get("AccessionNumber", ""),
            StudyInstanceUID=target.get("StudyInstanceUID", ""),
        )
        found = candidates.find(c, asked, now=now)
        verdict = self._verdict(c, looked, of_headers, origins=origins, found=found, now=now)
        evidence = fingerprint(of_headers, verdict)
        return _Case(looked=looked, headers=headers, origins=origins, found=found, verdict=verdict, evidence=evidence)

    def _policy(self, c: Connection, looked: Looked, origins: Origins) -> CheckPolicy:
        """The site's, without corrections while these are stopped; what was corrected before the stop stays so."""
        corrected = looked.standing is not None and bool(looked.standing.verdict.changes)
        if corrected or not corrections.are_stopped(c, origins.scanners):
            return self._rules.policy
        return replace(self._rules.policy, automatic=False)

    def _verdict(
        self, c: Connection, looked: Looked, headers: Sequence[Header], *, origins: Origins, found: Found, now: datetime
    ) -> Verdict:
        if not headers:
            return Verdict(decision=Ruling.PASS, because="check-off")
        study = Study(
            StudyInstanceUID=UID(looked.study),
            headers=tuple(headers),
            calling_aes=origins.scanners,
            first_received=origins.first,
            last_received=origins.last,
            performed=found.performed,
            patients=found.patients,
            before=found.before,
        )
        verdict = decide(study, found.candidates, self._policy(c, looked, origins), now)
        if verdict.changes and not found.complete:
            return demoted(verdict, TOO_MANY)
        return verdict

    # -- decisions --

    def _by_rules(self, case: _Case, now: datetime) -> Judged:
        verdict = case.verdict
        way, until = Way.ROUTES, None
        if self._rules.mode is Mode.APPLY:
            urgent = case.origins.urgent or _is_stat(case)
            time = max(
                (self._rules.patience.hold_for(ae, emergency=urgent) for ae in case.origins.scanners),
                default=timedelta(0),
            )
            held = hold(
                doubt=verdict.decision in DOUBT,
                blocks=verdict.blocks,
                since=case.origins.first,
                time=time,
                now=now,
            )
            way, until = held.way, held.until
        return self._judged(case, verdict, way, until, now=now, decision=None)

    def _by_person(self, case: _Case, decision: Decision, now: datetime, *, fresh: bool) -> Judged:
        verdict, way = case.verdict, Way.ROUTES
        match decision.choice:
            case Choice.ASSIGN:
                order = _meant(case, decision)
                verdict = assigned([header for _, header in case.headers.values()], order, verdict)
            case Choice.HOLD:
                verdict, way = replace(verdict, changes=()), Way.HELD
            case Choice.REJECT:
                verdict, way = replace(verdict, changes=()), Way.REJECTED
            case _:
                verdict = replace(verdict, changes=())
        judged = self._judged(case, verdict, way, None, now=now, decision=decision)
        return replace(judged, by_person=fresh)

    def _judged(
        self,
        case: _Case,
        verdict: Verdict,
        way: Way,
        until: datetime | None,
        *,
        now: datetime,
        decision: Decision | None,
    ) -> Judged:
        applied = self._rules.mode is Mode.APPLY or decision is not None
        as_it_came = decision is not None and decision.choice is not Choice.ASSIGN
        writes = applied and way is Way.ROUTES and not as_it_came
        at = now if decision is None else decision.decided_at
        edits = {
            digest: self._edits(verdict, dataset, case.origins.scanners, at) if writes else ""
            for digest, (dataset, _) in case.headers.items()
        }
        check = StudyCheck(
            study=case.looked.study,
            verdict=verdict,
            applied=applied,
            way=way,
            held_until=until,
            fingerprint=case.evidence,
            decided_by=CHECK if decision is None else decision.decided_by,
            decision=None if decision is None else decision.id,
            first_at=case.origins.first,
            calling_ae=min(case.origins.scanners),
            decided_at=now,
        )
        return Judged(check=check, edits=edits, by_person=False)

    def _edits(self, verdict: Verdict, dataset: DataSet, scanners: Collection[str], at: datetime) -> str:
        """What the verdict and the site's rules write; of a study of two scanners no rule knows which sent an image."""
        at = at.astimezone(self._rules.policy.zone)
        patch = edits_for(verdict, dataset, charset, at=at, system=self._rules.system)
        calling = "".join(scanners) if len(scanners) == 1 else ""
        patch = normalised(patch, verdict, dataset, charset, rules=self._rules.headers, calling=calling)
        return to_json(patch) if patch.edits else ""


def demoted(verdict: Verdict, because: str) -> Verdict:
    """The verdict as a suggestion: nothing is written."""
    return replace(verdict, decision=Ruling.SUGGEST, because=because, changes=())


def _said(c: Connection, standing: StudyCheck | None) -> Decision | None:
    """What a person decided of the study, if that stands."""
    return None if standing is None or standing.decision is None else tasks.decision(c, standing.decision)


def _meant(case: _Case, decision: Decision) -> Candidate:
    """The order that a person named, as it is now; as it was if the books have forgotten it."""
    named = [one for one in case.found.candidates if one.id == decision.target.get("order")]
    before = case.looked.standing.verdict.order if case.looked.standing is not None else None
    if named:
        return named[0]
    if before is not None and before.id == decision.target.get("order"):
        return before
    raise LookupError("the order is not known any more")


def _is_stat(case: _Case) -> bool:
    """Whether an order that the study names is urgent: not another of its scanner's day."""
    named = {order for met in case.verdict.evidence for order in met.orders}
    return any(
        one.id in named and one.procedure.RequestedProcedurePriority.upper() == "STAT" for one in case.found.candidates
    )
