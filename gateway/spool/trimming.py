"""Books do not grow for ever: what is long over is forgotten, oldest first, a little at a time.

Only what can't matter any more goes: purged instances with their deliveries and journal, settled and
answered commitments, cleared alarms. Nothing that is open, held, refused or unconfirmed is ever touched.
"""

from __future__ import annotations

from datetime import datetime

from gateway.domain.model import InstanceId
from gateway.spool.db import Connection
from gateway.spool.queries import sql
from gateway.spool.times import to_text


def trim(c: Connection, *, before: datetime, limit: int) -> int:
    """Forgets up to `limit` instances purged before then, and what else ended before then. How many instances."""
    values = {"before": to_text(before), "limit": limit}
    purged = [InstanceId(row["subject"]) for row in c.execute(sql("trim_purged"), values)]
    for instance_id in purged:
        c.execute(sql("trim_delivery_journal"), {"id": instance_id})
        c.execute(sql("trim_instance_journal"), {"id": instance_id})
        c.execute(sql("trim_deliveries"), {"id": instance_id})
        c.execute(sql("trim_instance"), {"id": instance_id})
    c.execute(sql("trim_transactions"), values)
    c.execute(sql("trim_requests"), values)
    c.execute(sql("trim_alarms"), values)
    c.execute(sql("throughput_trim"))
    return len(purged)
