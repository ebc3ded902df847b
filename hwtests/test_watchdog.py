"""The watchdog, when it is let fire: after everything else, as the box restarts."""

from __future__ import annotations

from hwtests import watchdog
from hwtests.outcome import Measured, NotAsked, NotTested
from hwtests.plugin import Plan, line


@line("watchdog.fires", "Without a sign of life the watchdog restarts the box", needs=["watchdog.present"])
def test_fires(plan: Plan, measured: Measured) -> None:
    if plan.fires:
        raise NotTested("the box restarts for it now; `gateway commission resume` completes this report")
    if plan.untried:
        raise NotTested(plan.untried)
    if plan.armed is None:
        raise NotAsked("not asked for: --watchdog, and the box restarts")
    restart = plan.profile.watchdog.restart.total_seconds()
    watchdog.judge(plan.machine, plan.armed, plan.record, restart, measured)
