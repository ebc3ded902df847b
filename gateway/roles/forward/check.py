"""The check of received images against their orders: read, look for orders, decide, write down (DESIGN 5, Image).

Promises
- A study is decided once for all images that agree in what is read of them; later ones follow what is recorded,
  for as long as it is kept. A header that the study did not have before, or an order that came, decides it anew.
- One study is one transaction: verdict, edits, tasks and the moves of its images. Studies don't wait for each other.
- A fault in the check lets the study go on unchanged, with a task, unless it was held already; it is never lost.
- What a person decided is not taken back by the check (`gateway.domain.task.stands`).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Final

import structlog

from gateway.domain.model import Instance, InstanceState, TemporaryFailure
from gateway.domain.task import Mode, TaskKind, Way
from gateway.roles.forward.excerpts import excerpt_of, fault_of
from gateway.roles.forward.judging import CheckRules, Judge, Looked
from gateway.roles.forward.patching import stored_patch
from gateway.roles.forward.recording import follow, write
from gateway.spool import Connection, Spool, checks, tasks
from gateway.spool.checks import Excerpt, StudyKey
from gateway.spool.tasks import Decision

UNREADABLE: Final = "verdict-unreadable"
"""What stands of the study can't be read."""
UNREAD_AT_ONCE: Final = 5000
"""Images of one study whose headers are read late: they came while the check was off."""

log = structlog.get_logger()


class Check:
    """Looks with one connection and writes with another: no transaction waits for a file."""

    def __init__(self, spool: Spool, rules: CheckRules, *, now: Callable[[], datetime]) -> None:
        self._spool = spool
        self._rules = rules
        self._judge = Judge(rules)
        self._now = now

    def look(self, c: Connection, waiting: Sequence[Instance]) -> list[Looked]:
        """What becomes of received images, study by study. Nothing is written."""
        ordered = sorted(waiting, key=checks.key_of)  # stable: as received within a study
        return [self._looked(c, study, list(group)) for study, group in itertools.groupby(ordered, key=checks.key_of)]

    def look_again(
        self, c: Connection, study: StudyKey, decision: Decision | None = None, *, afresh: bool = False
    ) -> Looked:
        """What becomes of a study because something changed that it depends on, or because a person decided it.
        `afresh`: by the rules alone, whatever a person said of it before.

        Raises what a fault in the check raises: what stands, stands.
        """
        late = checks.unlinked(c, study, limit=UNREAD_AT_ONCE) if self._rules.mode is not Mode.OFF else []
        waiting = {
            one.id for one in late if one.state is InstanceState.RECEIVED and not one.held and not one.quarantine
        }
        looked = self._tried(c, self._of_study(c, study, late, decision=decision, anew=True, afresh=afresh))
        return looked.without(waiting)

    def write(self, c: Connection, looked: Looked) -> Way:
        """Writes down what was looked at; the way of the study."""
        return write(c, looked, self._rules, now=self._now())

    def fail(self, c: Connection, looked: Looked) -> Way:
        """What could not be checked or written down goes on unchanged, unless its study is held: with a task."""
        kind, now = TaskKind.CHECK_FAILED, self._now()
        tasks.open_task(c, looked.study, kind, code=kind, blocks=False, escalate_at=None, now=now)
        return follow(c, looked, checks.of_study(c, looked.study), now=now)

    def keep_back(self, c: Connection, looked: Looked) -> None:
        """Ask a person about a study of which it can't be told whether it is held; an alarm if nobody comes."""
        kind, now = TaskKind.CHECK_FAILED, self._now()
        at = now + self._rules.patience.escalate
        tasks.open_task(c, looked.study, kind, code=UNREADABLE, blocks=True, escalate_at=at, now=now)

    def _looked(self, c: Connection, study: StudyKey, group: Sequence[Instance]) -> Looked:
        try:
            return self._tried(c, self._of_study(c, study, group))
        except TemporaryFailure:
            raise
        except Exception as error:  # noqa: BLE001 -- the check's edge: no fault of ours or of a header may keep images back
            log.error("check failed", instance=group[0].id, error=type(error).__name__)
            return Looked(study=study, instances=tuple(group), failed=True)

    def _of_study(
        self,
        c: Connection,
        study: StudyKey,
        group: Sequence[Instance],
        *,
        decision: Decision | None = None,
        anew: bool = False,
        afresh: bool = False,
    ) -> Looked:
        try:
            standing = checks.of_study(c, study)
        except ValueError:
            if decision is None:
                raise
            standing = None  # it can't be read: what a person decides stands in its place
        looked = Looked(study=study, instances=tuple(group), standing=standing)
        if self._rules.mode is not Mode.OFF:
            looked = self._with_headers(c, looked)
        if decision is None and not anew and (standing is not None and not looked.new and not standing.again):
            return looked
        if decision is None and not afresh and self._rules.mode is Mode.OFF:
            return looked
        return self._judge.judged(c, looked, decision, afresh=afresh, now=self._now())

    def _with_headers(self, c: Connection, looked: Looked) -> Looked:
        links: dict[str, str] = {}
        new: dict[str, Excerpt] = {}
        known: dict[str, bool] = {}
        for instance in looked.instances:
            excerpt = excerpt_of(instance, self._spool.files.path_of(instance.id))
            digest = links[instance.id] = excerpt.digest
            if digest not in known:
                known[digest] = checks.header_known(c, looked.study, digest) is not None
            if not known[digest]:
                new.setdefault(digest, excerpt)
        return looked.with_headers(links, new)

    def _tried(self, c: Connection, looked: Looked) -> Looked:
        """Each image with edits has them made once, and thrown away: what can't be corrected is known before it is on
        its way, and goes as it came."""
        edits = dict(looked.judged.edits) if looked.judged is not None else {}
        for digest in set(looked.links.values()) - edits.keys():
            known = checks.header_known(c, looked.study, digest)
            edits[digest] = known[1] if known is not None else ""
        refused: dict[str, str] = {}
        for instance in looked.instances:
            if made := edits.get(looked.links.get(instance.id, ""), ""):
                code = fault_of(instance, self._spool.files.path_of(instance.id), stored_patch(made))
                if code:
                    log.warning("not corrected", instance=instance.id, code=code)
                    refused[instance.id] = code
        return replace(looked, unpatchable=refused)
