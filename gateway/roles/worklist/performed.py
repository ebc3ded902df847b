"""Rows of steps that were performed: shown for a while after their scanner said COMPLETED, then no more.

A step in progress, or discontinued, takes no row away: the RIS may schedule it anew (PS3.4 F.1). Neither does a
completed one while another performed step of the same scheduled one goes on. What is answered live is the RIS's
word, and stays.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from gateway.domain.explain import Stage
from gateway.domain.worklist import study_step
from gateway.roles.worklist.question import Question
from gateway.spool import Connection, mpps
from gateway.spool.worklist import Candidate


def still_shown(c: Connection, question: Question, rows: Collection[Candidate], now: datetime) -> list[Candidate]:
    """The rows whose step was not performed longer ago than this scanner is shown it."""
    if question.policy.live:
        return list(rows)
    steps = {step for row in rows if (step := study_step(row.key)) is not None}
    over = mpps.performed(c, steps, ended_before=now - question.policy.hide_performed)
    left = [row for row in rows if study_step(row.key) not in over]
    if over:
        question.trail.dropped[Stage.PERFORMED] += len(rows) - len(left)
    return left
