"""Rows of the worklist that files hold.

Promises: `keep` makes the copy hold what the files hold, in one transaction; it removes a row only if it is told all
that they hold, and remembers it as one that its source no longer has.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Final

from gateway.domain.explain import Removal
from gateway.domain.model import SourceName
from gateway.spool import removals, worklist
from gateway.spool.db import Connection
from gateway.spool.queries import sql
from gateway.spool.times import to_text
from gateway.spool.worklist import WorklistRow

SOURCE: Final = SourceName("folder")


def keep(c: Connection, *, rows: Sequence[WorklistRow], keys: Collection[str] | None, now: datetime) -> int:
    """Enters the rows of files that are new or changed; the number of rows removed.

    `keys`: of all rows of all files, which are confirmed by it; None if not all could be read.
    """
    worklist.merge_answer(c, SOURCE, rows=rows, now=now)
    if keys is None:
        return 0
    gone = c.execute(sql("worklist_files_absent"), {"source": SOURCE, "keys": json.dumps([*keys])})
    removed = removals.record(c, gone.fetchall(), reason=Removal.ABSENT, now=now)
    c.execute(sql("worklist_files_confirm"), {"source": SOURCE, "now": to_text(now)})
    return removed
