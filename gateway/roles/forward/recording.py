"""What was decided of a study, written down: verdict, headers with their edits, tasks, and the moves of its images.

What is promised: all of it inside one transaction, and nothing of it again if nothing is different.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

import structlog

from gateway.domain.edits import from_json
from gateway.domain.identity_model import Decision as Ruling
from gateway.domain.identity_model import Reason
from gateway.domain.model import InstanceId, InstanceState
from gateway.domain.task import Resend, TaskKind, Way, escalation
from gateway.domain.worklist import text
from gateway.roles.forward.judging import DOUBT, CheckRules, Judged, Looked
from gateway.spool import Connection, checks, read_backs, tasks
from gateway.spool.checks import CHECK, KnownHeader, StudyCheck
from gateway.spool.datasets import decoder

WORDS: Final = {Way.HELD: "held", Way.REJECTED: "rejected"}
"""The word by which an image is kept from going on."""
_READ_BACK: Final = {
    0x00100020: "PatientID",
    0x00080050: "AccessionNumber",
    0x00100030: "PatientBirthDate",
    0x00100010: "PatientName",
    0x00100040: "PatientSex",
    0x00081030: "StudyDescription",
    0x00080090: "ReferringPhysicianName",
}
"""What a C-FIND at STUDY level can ask for (PS3.4 table C.6-5), that tells most first."""

log = structlog.get_logger()


def write(c: Connection, looked: Looked, rules: CheckRules, *, now: datetime) -> Way:
    """Write down what was looked at; the way that the study goes."""
    if looked.judged is not None:
        _Recording(c, looked, looked.judged, rules, now).write()
    elif looked.standing is not None:
        checks.touch_used(c, looked.study, now=now)
    for instance, digest in looked.links.items():
        known = checks.header_known(c, looked.study, digest)
        if known is not None:
            refused = looked.unpatchable.get(instance, "")
            checks.link(c, InstanceId(instance), known[0], unpatchable=refused)
            if refused:
                _tell_unpatchable(c, looked, refused, now)
    return follow(c, looked, looked.judged.check if looked.judged is not None else looked.standing, now=now)


def follow(c: Connection, looked: Looked, check: StudyCheck | None, *, now: datetime) -> Way:
    """Hold the images that wait now if their study is held or rejected; the way that it goes."""
    if check is None:
        return Way.ROUTES
    word = WORDS.get(check.way)
    if word is not None:
        ids = {one.id for one in looked.instances if one.state is InstanceState.RECEIVED}
        checks.send_back(c, ids, held=word, now=now, by=check.decided_by, why=_why(check))
    return check.way


def _tell_unpatchable(c: Connection, looked: Looked, code: str, now: datetime) -> None:
    kind = TaskKind.CHECK_FAILED
    tasks.open_task(c, looked.study, kind, code=code, blocks=False, escalate_at=None, now=now)


def is_same(standing: StudyCheck | None, judged: Judged) -> bool:
    """Whether judging a study anew led to what stands."""
    made = judged.check
    return standing is not None and (
        (standing.way, standing.fingerprint, standing.decision, standing.applied, standing.held_until)
        == (made.way, made.fingerprint, made.decision, made.applied, made.held_until)
        and (standing.verdict.decision, standing.verdict.because, standing.verdict.changes)
        == (made.verdict.decision, made.verdict.because, made.verdict.changes)
    )


class _Recording:
    """A verdict on its way into the books, in one transaction."""

    def __init__(self, c: Connection, looked: Looked, judged: Judged, rules: CheckRules, now: datetime) -> None:
        self._c = c
        self._looked = looked
        self._judged = judged
        self._rules = rules
        self._now = now

    def write(self) -> None:
        """Verdict and edits, then the tasks, then the moves."""
        c, check = self._c, self._judged.check
        before = checks.headers_of(c, check.study)
        ids = {one.digest: one.id for one in before}
        checks.record(c, check, now=self._now)
        for digest, excerpt in self._looked.new.items():
            ids[digest] = checks.add_header(c, check.study, excerpt, excerpt.header())
        fresh = not is_same(self._looked.standing, self._judged)
        stored = {one.digest: one.edits for one in before}
        edits = {
            ids[digest]: made
            for digest, made in self._judged.edits.items()
            if digest in self._looked.new or (fresh and not _says_the_same(stored.get(digest, ""), made))
        }
        changed = checks.set_edits(c, edits)
        if self._judged.rule is not None and fresh:
            tasks.used(c, self._judged.rule, now=self._now)
        self._ask()
        self._move([one for one in before if one.id in changed])
        log.info(
            "checked",
            verdict=check.verdict.decision,
            because=check.verdict.because,
            way=check.way,
            applied=check.applied,
            by=check.decided_by,
            rules=check.verdict.version,
        )

    # -- tasks --

    def _ask(self) -> None:
        """Open or settle the tasks of the study."""
        check, verdict = self._judged.check, self._judged.check.verdict
        if not check.applied:
            return
        if check.decision is not None:
            self._answered(check)
            return
        worth = verdict.decision in DOUBT and (verdict.decision is not Ruling.UNSCHEDULED or self._rules.expects_orders)
        if worth or verdict.blocks:
            alarm_at = escalation(
                blocks=verdict.blocks, opened=self._now, until=check.held_until, patience=self._rules.patience
            )
            self._open(TaskKind.IDENTITY, verdict.because, blocks=verdict.blocks, escalate_at=alarm_at)
        else:
            self._settle(TaskKind.IDENTITY, TaskKind.HELD, by=CHECK, outcome="resolved")

    def _answered(self, check: StudyCheck) -> None:
        """A person's decision ends what was asked; a hold is a question of its own."""
        if check.way is Way.HELD:
            self._open(TaskKind.HELD, "held-by-a-person", blocks=True)
            return
        kinds = (TaskKind.IDENTITY, TaskKind.HELD, TaskKind.AFTER_DELIVERY, TaskKind.CHECK_FAILED)
        self._settle(*kinds, by=check.decided_by, outcome=f"decision {check.decision}")

    def _open(self, kind: TaskKind, code: str, *, blocks: bool = False, escalate_at: datetime | None = None) -> None:
        study = self._looked.study
        tasks.open_task(self._c, study, kind, code=code, blocks=blocks, escalate_at=escalate_at, now=self._now)

    def _settle(self, *kinds: TaskKind, by: str, outcome: str) -> None:
        for kind in kinds:
            tasks.settle(self._c, self._looked.study, kind, by=by, outcome=outcome, now=self._now)

    # -- moves --

    def _move(self, changed: Sequence[KnownHeader]) -> None:
        """Move the images that came before: held ones free, prepared ones back, delivered ones by the site's policy."""
        check = self._judged.check
        new = {one.id for one in self._looked.instances}
        images = {id_: stands for id_, stands in checks.images(self._c, check.study).items() if id_ not in new}
        word = WORDS.get(check.way, "")
        if word:
            back = {InstanceState.RECEIVED, InstanceState.PREPARED}
            ids = {id_ for id_, (state, held) in images.items() if state in back and held != word}
        else:
            altered = checks.with_headers(self._c, {one.id for one in changed})
            ids = {id_ for id_, (_, held) in images.items() if held}
            ids |= {id_ for id_ in altered & images.keys() if images[id_][0] is InstanceState.PREPARED}
            there = {id_ for id_ in altered & images.keys() if images[id_][0] is InstanceState.DELIVERED}
            if there and self._is_sent_again(changed):
                ids |= there
        checks.send_back(self._c, ids, held=word, now=self._now, by=check.decided_by, why=_why(check))

    def _is_sent_again(self, changed: Sequence[KnownHeader]) -> bool:
        """Whether destinations get again what changed after they had it; a task where they don't and it matters."""
        resend, person, check = self._rules.resend, self._judged.by_person, self._judged.check
        if resend is Resend.ALWAYS or (person and resend is Resend.PERSON):
            expected = _expected(changed[0], self._judged)
            for destination in checks.destinations(self._c, {one.id for one in changed}) if expected else ():
                read_backs.expect(self._c, check.study, destination, expected, now=self._now)
            return True
        if person or any(change.reason is Reason.CORRECT for change in check.verdict.changes):
            self._open(TaskKind.AFTER_DELIVERY, "changed-after-delivery")
        return False


def _says_the_same(stored: str, made: str) -> bool:
    """Whether two patches change the same in the same way, whenever they were decided."""
    if not stored or not made:
        return stored == made
    return from_json(stored).edits == from_json(made).edits


def _expected(one: KnownHeader, judged: Judged) -> dict[str, str]:
    """What a destination shows of the study once it has taken over this header: corrected, or as it came where a
    correction was taken back."""
    made, before = judged.edits.get(one.digest, ""), one.edits
    paths = {edit.path for source in (made, before) if source for edit in from_json(source).edits}
    after = {edit.path: edit.value for edit in from_json(made).edits} if made else {}
    decode = decoder(one.dataset)
    told = {
        keyword: (after[tag,] or "") if (tag,) in after else text(one.dataset, tag, decode)
        for tag, keyword in _READ_BACK.items()
        if (tag,) in paths
    }
    return {keyword: value for keyword, value in told.items() if value}


def _why(check: StudyCheck) -> str:
    if check.decision is not None:
        return f"decision {check.decision}"
    return f"{check.verdict.decision}: {check.verdict.because}"[:128]
