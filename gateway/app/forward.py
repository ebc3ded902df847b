"""The wiring of forward: what leaves the box, and where to."""

from __future__ import annotations

import asyncio
import random
from datetime import timedelta

from gateway.app.peers import caller_of, now
from gateway.config import Backoff, Config, DicomDestination, Ris
from gateway.domain.model import DestinationName
from gateway.net.dicom_client import Peer
from gateway.net.wake import Wake
from gateway.roles.forward import Forward, MppsTarget, Target
from gateway.spool import Spool


async def start_forward(config: Config, spool: Spool, stop: asyncio.Event) -> asyncio.Task[None]:
    returns = {scanner.ae.casefold(): scanner for scanner in config.scanner}

    def scanner_peer(ae: str) -> Peer | None:
        """Where a scanner takes storage commitment reports."""
        scanner = returns.get(ae.strip().casefold())
        if scanner is None or not scanner.port or not scanner.address:
            return None
        host = str(scanner.address[0].network_address)
        return Peer(
            host=host,
            port=scanner.port,
            called_ae=scanner.ae,
            calling_ae=config.listen[0].ae[0],
            connect_timeout=10.0,
            timeout=30.0,
        )

    forward = Forward(
        spool,
        [_target(config, destination) for destination in config.destination],
        mpps_targets=[
            *(_mpps_target(config, ris, Backoff(), ris.timeout, ris.timeout) for ris in config.ris if ris.mpps),
            *(
                _mpps_target(config, one, one.retry, one.connect_timeout, one.timeout)
                for one in config.destination
                if one.mpps
            ),
        ],
        routes=[DestinationName(name) for name in config.routing.default],
        retention=max(map(config.retention_of, config.destination), default=config.retention.confirmed),
        mpps_retention=config.retention.mpps,
        scanners=scanner_peer,
        now=now,
        random=random.random,
    )
    wake = await Wake.bind(config.box.runtime_folder / "forward.sock")
    return asyncio.create_task(forward.run(stop, wake))


def _target(config: Config, destination: DicomDestination) -> Target:
    return Target(
        name=DestinationName(destination.name),
        peer=caller_of(
            config,
            destination,
            connect_timeout=destination.connect_timeout.total_seconds(),
            timeout=destination.timeout.total_seconds(),
        ),
        as_scanner=destination.calling_ae == "scanner",
        confirm=destination.confirm,
        lanes=destination.lanes,
        batch=destination.batch,
        retry_base=destination.retry.base,
        retry_cap=destination.retry.cap,
        commitment_wait=destination.commitment_wait,
        commitment_timeout=destination.commitment_timeout,
        expect_refused=frozenset(destination.expect_refused),
    )


def _mpps_target(
    config: Config, peer: Ris | DicomDestination, retry: Backoff, connect_timeout: timedelta, timeout: timedelta
) -> MppsTarget:
    return MppsTarget(
        name=peer.name,
        peer=caller_of(config, peer, connect_timeout=connect_timeout.total_seconds(), timeout=timeout.total_seconds()),
        as_scanner=peer.calling_ae == "scanner",
        retry_base=retry.base,
        retry_cap=retry.cap,
    )
