"""The wiring of destinations: the section of each kind becomes its way, and the policy that all kinds share."""

from __future__ import annotations

from datetime import timedelta

from gateway.app.peers import caller_of, now
from gateway.app.synthetic import KEPT, books_of
from gateway.config import Config, Destination, DicomDestination, FolderDestination, WebDestination
from gateway.domain.compression import SYNTAXES
from gateway.domain.model import Confirm, DestinationName, Lane, TemporaryFailure
from gateway.domain.synthetic import SINK, SINK_AE, SINK_FILE
from gateway.domain.window import parse_window
from gateway.net.dicom_client import Peer
from gateway.net.dicomweb import Server
from gateway.net.flow import Flow
from gateway.net.tls import ClientContext
from gateway.roles.forward import Target
from gateway.roles.forward.dimse import Dimse
from gateway.roles.forward.folder import Folder
from gateway.roles.forward.learned import Learned
from gateway.roles.forward.stow import Stow
from gateway.roles.forward.target import Way


def target_of(config: Config, destination: Destination) -> Target:
    """A destination as `forward` knows it."""
    wait, timeout = timedelta(0), timedelta(0)
    if isinstance(destination, DicomDestination):
        wait = destination.commitment_wait if destination.commitment_return == "any" else wait
        timeout = destination.commitment_timeout
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
        commitment_wait=wait,
        commitment_timeout=timeout,
        expect_refused=frozenset(destination.expect_refused),
        lossless=destination.compression == "lossless",
        failover=tuple(map(DestinationName, destination.failover)),
        failover_after=destination.failover_after,
    )


def sink_target(config: Config) -> Target:
    """The loop-back destination of the synthetic patient: there while a round goes through the box (roles/health)."""
    announced = books_of(config) / SINK_FILE

    def peer(_: str) -> Peer:
        try:
            port = int(announced.read_text("ascii"))
        except (OSError, ValueError) as error:
            raise TemporaryFailure("no round of the synthetic patient goes on", code="connect") from error
        return Peer(
            host="127.0.0.1", port=port, called_ae=SINK_AE, calling_ae=config.box.ae, connect_timeout=2.0, timeout=5.0
        )

    return Target(
        name=SINK,
        way=Dimse(peer=peer, as_scanner=False, commits_as_scanner=False, learned=Learned(keep=KEPT, now=now)),
        confirm=Confirm.QUERY,
        lanes=(Lane.ROUTINE,),
        flow=Flow(rate=0),
        window=parse_window("always"),
        zone=config.site.timezone,
        stat_ignores_window=False,
        concurrency=1,
        batch=10,
        retry_base=timedelta(seconds=1),
        retry_cap=timedelta(seconds=2),
        commitment_wait=timedelta(0),
        commitment_timeout=timedelta(0),
        expect_refused=frozenset(),
        lossless=False,
    )


def way_to(config: Config, destination: Destination) -> Way:
    """How it is reached."""
    match destination:
        case DicomDestination():
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
        case WebDestination():
            return Stow(server=server_of(destination), accepts=_accepted(destination))
        case FolderDestination():
            return Folder(
                path=destination.path,
                owner=destination.name,
                confirm=destination.confirm,
                accepts=_accepted(destination),
            )


def _accepted(destination: WebDestination | FolderDestination) -> frozenset[str]:
    return frozenset[str]().union(*(SYNTAXES[one] for one in destination.accepts))


def server_of(destination: WebDestination) -> Server:
    """The service behind the section, and who we are to it."""
    return Server(
        url=destination.base,
        connect_timeout=destination.connect_timeout.total_seconds(),
        timeout=destination.timeout.total_seconds(),
        tls=ClientContext(ca=destination.ca, certificate=destination.certificate, key=destination.key),
        token=destination.token,
        user=destination.user,
        password=destination.password,
    )
