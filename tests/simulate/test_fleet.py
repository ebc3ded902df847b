"""A play of simulated boxes without a broker: what happens at a box is kept, and owed. The rest is in tests/fleet."""

from __future__ import annotations

import uvloop

from gateway.simulate.acceptor import free_port
from gateway.simulate.fleet import Fleet, Plan


def test_an_outage_is_two_events_of_each_of_its_boxes() -> None:
    nobody = (("127.0.0.1", free_port()),)
    plan = Plan(brokers=nobody, boxes=7, outage=5, lasts=0.3, events_every=0, drain=0)
    outcome = uvloop.run(Fleet(plan).run())
    assert (outcome.tally.events, outcome.owed, outcome.connected) == (10, 10, 0)
