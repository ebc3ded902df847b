"""What every test gets: one profile for Hypothesis, no setting of the machine it runs on, and a certificate."""

from __future__ import annotations

import logging
import os
import sys

import pytest
import structlog
from hypothesis import HealthCheck, settings

from gateway.cli.logs import FromLibraries
from gateway.simulate import acceptor
from tests.net.wire import Certificate, self_signed

# CI and the other sessions share two cores: a slow example is no fault of the code under test
settings.register_profile("house", deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("house")

# A port that a test chose, or whose owner it killed, must not be taken by a test that runs beside it (pytest-xdist)
_WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
_SHARE = len(acceptor.PORTS) // int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
acceptor.PORTS = acceptor.PORTS[_WORKER * _SHARE :][:_SHARE]


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take away what a person's shell may add to the programs that tests start."""
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("TZ", "UTC")
    monkeypatch.setenv("NO_COLOR", "1")


@pytest.fixture(autouse=True)
def logs_aside() -> None:
    """Peers that a test hosts in its own process log to standard error, not into the output of a command under test.
    What a command set up for itself in the test before (`gateway selftest`: no line below a warning, and what libraries
    say) is no more."""
    logging.captureWarnings(False)
    for handler in [one for one in logging.root.handlers if isinstance(one, FromLibraries)]:
        logging.root.removeHandler(handler)
    structlog.reset_defaults()
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.__stderr__))


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """A self-signed certificate for localhost, trusted by the client's context alone."""
    return self_signed(tmp_path_factory.mktemp("tls"))
