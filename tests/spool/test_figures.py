"""The numbers of the box count everything once."""

from __future__ import annotations

from functools import partial

from gateway.spool import Spool, audit, figures
from tests.spool.objects import START


def taken(spool: Spool) -> None:
    """A destination took a delivery."""
    row = partial(audit.journal, before="sending", after="sent", now=START, by="pacs", why="0000")
    spool.db.write(lambda c: row(c, audit.Subject.DELIVERY, 1)).result()


def test_what_went_while_it_is_read_is_counted_the_next_time(spool: Spool) -> None:
    c, statements = spool.db.read(), list[str]()

    def meanwhile(statement: str) -> None:
        statements.append(statement)
        if len(statements) == 2:
            taken(spool)

    began = figures.newest(c)
    taken(spool)
    c.set_trace_callback(meanwhile)
    first = figures.went(c, seq=began)
    c.set_trace_callback(None)
    assert len(statements) == 2
    assert (first.taken, figures.went(c, seq=first.seq).taken) == (1, 1)
