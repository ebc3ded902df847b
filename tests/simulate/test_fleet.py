"""A play of simulated boxes without a broker: what happens at a box is kept, and owed. The rest is in tests/fleet."""

from __future__ import annotations

import uvloop

from gateway.simulate.acceptor import free_port
from gateway.simulate.fleet import Fleet, Plan


def test_a_storm_is_an_event_of_each_box_and_an_outage_two_of_each_that_has_it() -> None:
    nobody = (("127.0.0.1", free_port()),)
    plan = Plan(brokers=nobody, boxes=7, storm_after=0.05, outage=5, lasts=0.3, events_every=0, drain=0)
    outcome = uvloop.run(Fleet(plan).run())
    assert (outcome.tally.events, outcome.owed, outcome.connected) == (17, 17, 0)
    assert (outcome.reconnected, outcome.drained) == (None, None)
