"""Alarms of boxes, and the incidents that they are part of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gateway.domain.telemetry import Alarm, Standing
from gateway.fleet.database import sql
from gateway.fleet.reading import Told


async def write(c: Any, told: Sequence[Told]) -> None:
    """Note what stands at each box, by code and instance; of two words of one alarm the last one holds."""
    rows = {}
    for one in told:
        alarm = one.message
        assert isinstance(alarm, Alarm)
        cleared = one.at if alarm.state is Standing.CLEARED else None
        key = (one.site, one.box, alarm.code, alarm.inst)
        rows[key] = (*key, alarm.sev.value, alarm.since, cleared)
    if rows:
        await c.execute(sql("alarms_write"), *(list(column) for column in zip(*rows.values(), strict=True)))
