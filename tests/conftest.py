"""What every test gets: one profile for Hypothesis, and no setting of the machine it runs on."""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, settings

# CI and the other sessions share two cores: a slow example is no fault of the code under test
settings.register_profile("house", deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("house")


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take away what a person's shell may add to the programs that tests start."""
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("TZ", "UTC")
    monkeypatch.setenv("NO_COLOR", "1")
