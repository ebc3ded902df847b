"""Books that a later release wrote in: the one before takes them back, and what it does not know holds up nothing."""

from __future__ import annotations

from functools import partial

from gateway.domain.command import Phase
from gateway.domain.completeness import Because
from gateway.domain.model import UID
from gateway.domain.task import TaskKind
from gateway.spool import Spool, progress, query_log, releases, tasks
from gateway.spool.checks import StudyKey
from tests.spool.objects import Clock, receive
from tests.spool.test_query_log import QUERY, write


def later(spool: Spool, statement: str) -> None:
    spool.db.write(lambda c: c.execute(statement)).result()


def test_a_study_whose_reason_is_of_a_later_release_is_looked_at(spool: Spool, clock: Clock) -> None:
    spool.accepting().submit(receive(spool.files, "2.25.3", b"one")).result()
    spool.db.write(partial(progress.advance, now=clock())).result()
    (known,) = progress.due(spool.db.read(), now=clock())
    later(spool, "UPDATE study_progress SET because = 'of-a-later-release'")
    (found,) = progress.due(spool.db.read(), now=clock())
    assert (found.StudyInstanceUID, found.because) == (UID(known.StudyInstanceUID), Because.NOT_QUIET)


def test_a_question_that_lost_rows_in_a_stage_of_a_later_release_is_told(spool: Spool) -> None:
    write(spool, QUERY)
    later(spool, """UPDATE worklist_query SET dropped = '{"of-a-later-release": 1, "station": 5, "status": 1}'""")
    assert query_log.askers(spool.db.read()) == (QUERY,)


def test_what_a_later_release_asked_hides_no_other_task(spool: Spool, clock: Clock) -> None:
    for study in ("1.2", "1.3"):
        ask = partial(tasks.open_task, study=StudyKey(study), kind=TaskKind.IDENTITY, code="no-order")
        spool.db.write(partial(ask, blocks=False, escalate_at=None, now=clock())).result()
    later(spool, "UPDATE task SET kind = 'of-a-later-release' WHERE study = '1.2'")
    c = spool.db.read()
    assert [one.study for one in tasks.latest(c, every=True, limit=9)] == ["1.3"]
    assert [one.count for one in tasks.counts(c)] == [1]
    assert tasks.of_study(c, StudyKey("1.2")) == []
    assert tasks.named(c, "1") is None


def test_a_release_that_was_rejected_in_a_word_of_a_later_one_is_told_as_rejected(spool: Spool, clock: Clock) -> None:
    """It is what the box tells of itself with every other fact: without it central hears nothing more of it."""
    spool.db.write(partial(releases.wish, sequence=3, version="1.2.0", ring="", sha256="ab" * 32, now=clock())).result()
    later(spool, "UPDATE release_wish SET phase = 'rejected', fault = 'of-a-later-release'")
    found = releases.latest(spool.db.read())
    assert found is not None
    assert (found.phase, found.fault) == (Phase.REJECTED, None)
