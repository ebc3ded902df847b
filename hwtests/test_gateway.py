"""The gateway that runs on the box."""

from __future__ import annotations

from hwtests import selftest
from hwtests.outcome import Fault, Measured
from hwtests.plugin import Plan, line


@line("gateway.selftest", "A synthetic patient comes through the running gateway")
def test_selftest(plan: Plan, measured: Measured) -> None:
    hops = selftest.hops(plan.config.box.state, plan.settings, plan.profile.selftest.patience.total_seconds())
    for hop in hops:
        if hop["holds"] is False:
            raise Fault(f"{hop['hop']}: {hop['said']}; look at `gateway status`, and at the log of the gateway")
        if hop["holds"]:
            measured.tell(str(hop["hop"]), float(hop["latency_ms"]), "ms")
    if not hops or not hops[-1]["holds"]:
        raise Fault("no image came through; a port of [[listen]] must take images without a client's certificate")
