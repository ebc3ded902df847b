"""What every line may ask for: the machine, the limits of its profile, the peers of its site, a place for figures."""

from __future__ import annotations

import pytest

from hwtests.machine import Machine
from hwtests.outcome import Measured
from hwtests.peers import Peers
from hwtests.plugin import Commissioning, Plan
from hwtests.profile import Profile


@pytest.fixture(scope="session")
def commissioning(pytestconfig: pytest.Config) -> Commissioning:
    return next(one for one in pytestconfig.pluginmanager.get_plugins() if isinstance(one, Commissioning))


@pytest.fixture(scope="session")
def plan(commissioning: Commissioning) -> Plan:
    return commissioning.plan


@pytest.fixture(scope="session")
def machine(plan: Plan) -> Machine:
    return plan.machine


@pytest.fixture(scope="session")
def profile(plan: Plan) -> Profile:
    return plan.profile


@pytest.fixture(scope="session")
def peers(plan: Plan) -> Peers:
    return plan.peers


@pytest.fixture
def measured(commissioning: Commissioning, request: pytest.FixtureRequest) -> Measured:
    return commissioning.measured(request.node.nodeid)
