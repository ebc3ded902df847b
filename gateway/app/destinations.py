"""The wiring of destinations: the section of each kind becomes its way, and the policy that all kinds share."""

from __future__ import annotations

from datetime import timedelta

from gateway.app.peers import caller_of, now
from gateway.config import Config, Destination
from gateway.domain.model import DestinationName
from gateway.net.flow import Flow
from gateway.roles.forward import Target
from gateway.roles.forward.dimse import Dimse
from gateway.roles.forward.learned import Learned
from gateway.roles.forward.target import Way


def target_of(config: Config, destination: Destination) -> Target:
    """A destination as `forward` knows it."""
    return Target(
        name=DestinationName(destination.name),
        way=way_to(config, destination),
        confirm=destination.confirm,
        lanes=destination.lanes,
        flow=Flow(rate=destination.rate),
        window=destination.window,
        zone=config.site.timezone,
        stat_ignores_window=destination.stat_ignores_window,
        concurrency=destination.concurrency,
        batch=destination.batch,
        retry_base=destination.retry.base,
        retry_cap=destination.retry.cap,
        commitment_wait=destination.commitment_wait if destination.commitment_return == "any" else timedelta(0),
        commitment_timeout=destination.commitment_timeout,
        expect_refused=frozenset(destination.expect_refused),
    )


def way_to(config: Config, destination: Destination) -> Way:
    """How it is reached."""
    return Dimse(
        peer=caller_of(
            config,
            destination,
            connect_timeout=destination.connect_timeout.total_seconds(),
            timeout=destination.timeout.total_seconds(),
        ),
        as_scanner=destination.calling_ae == "scanner",
        commits_as_scanner=destination.commitment_ae == "scanner",
        learned=Learned(keep=destination.learned_for, now=now),
    )
