"""The test of a destination before the first image: each step by itself, up to the first that does not hold.

What is promised: nothing is stored there and no book of ours is changed; what is asked is what `forward` will ask, with
the same addresses, names, certificates and secrets. An image of no patient is sent by `gateway compression test`.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

from gateway.app.destinations import server_of
from gateway.app.peers import caller_of, tls_of
from gateway.config import Config, Destination, DicomDestination, FolderDestination, WebDestination
from gateway.dicom.associate import ProposedContext
from gateway.dicom.negotiation import NATIVE, STORAGE_COMMITMENT, STUDY_ROOT_FIND, VERIFICATION
from gateway.domain.model import Confirm, TemporaryFailure
from gateway.domain.retry import classify_stow
from gateway.domain.words import reason_of
from gateway.net.dicom_client import Peer, Requestor
from gateway.net.dicomweb import DicomWeb
from gateway.net.share import Share, prepare
from gateway.net.tls import Context


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One line of the answer."""

    name: str
    holds: bool
    said: str
    """What was found, or the cause and the remedy."""


def commission(config: Config, destination: Destination, *, prepared: bool = False) -> Iterator[Step]:
    """The steps for its kind. `prepared`: a folder is marked as this destination's first."""
    try:
        match destination:
            case DicomDestination():
                yield from _node(config, destination)
            case WebDestination():
                yield from _service(destination)
            case FolderDestination():
                yield from _folder(destination, prepared=prepared)
    except TemporaryFailure as error:
        yield Step(name=error.code, holds=False, said=f"{error}; {reason_of(error.code)}")


def _node(config: Config, destination: DicomDestination) -> Iterator[Step]:
    seconds = destination.connect_timeout.total_seconds()
    yield from _reached(destination.host, destination.port, seconds, tls_of(destination))
    peer = caller_of(config, destination, connect_timeout=seconds, timeout=destination.timeout.total_seconds())("")
    with Requestor.connect(peer, [ProposedContext(1, VERIFICATION, NATIVE)]) as requestor:
        yield Step(name="association", holds=True, said=f"accepted for {peer.calling_ae}")
        status = requestor.echo()
        yield Step(name="echo", holds=status == 0, said=f"answered {status:04X}")
    if destination.confirm is not Confirm.STATUS:
        yield _confirming(peer, destination.confirm)


def _confirming(peer: Peer, confirm: Confirm) -> Step:
    service = STORAGE_COMMITMENT if confirm is Confirm.COMMITMENT else STUDY_ROOT_FIND
    with Requestor.connect(peer, [ProposedContext(1, service, NATIVE)]) as requestor:
        holds = requestor.context_for(service) is not None
    refusal = "not accepted; allow it at the peer, or set another confirm"
    return Step(name=f"confirm: {confirm}", holds=holds, said="accepted" if holds else refusal)


def _service(destination: WebDestination) -> Iterator[Step]:
    url = urlsplit(destination.base)
    server = server_of(destination)
    encrypted = url.scheme == "https"
    port = url.port or (443 if encrypted else 80)
    yield from _reached(url.hostname or "", port, server.connect_timeout, server.tls if encrypted else None)
    with DicomWeb(server) as web:
        status = web.reachable()
    holds = status in (200, 204)
    reason = classify_stow(status, None, None, named=False).reason
    yield Step(name="query", holds=holds, said=f"answered {status}" + ("" if holds else f"; {reason}"))


def _folder(destination: FolderDestination, *, prepared: bool) -> Iterator[Step]:
    if prepared:
        prepare(destination.path, destination.name)
        yield Step(name="prepare", holds=True, said=f"marked as {destination.name}'s")
    with Share(destination.path, destination.name) as share:
        yield Step(name="folder", holds=True, said="it is the prepared one")
        share.try_out()
    yield Step(name="write", holds=True, said="a file was written, read back and removed")


def _reached(host: str, port: int, seconds: float, tls: Context | None) -> Iterator[Step]:
    """Name, connection and encryption, each by itself. Raises TemporaryFailure at the first that fails."""
    context = tls() if tls is not None else None
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise TemporaryFailure(f"the name is not known: {error.strerror}", code="resolve") from error
    yield Step(name="resolve", holds=True, said=", ".join(dict.fromkeys(str(one[4][0]) for one in found)))
    try:
        with socket.create_connection((host, port), seconds) as connection:
            yield Step(name="connect", holds=True, said=f"port {port} answers")
            if context is not None:
                with context.wrap_socket(connection, server_hostname=host) as encrypted:
                    yield Step(name="TLS", holds=True, said=encrypted.version() or "")
    except ssl.SSLError as error:
        raise TemporaryFailure(f"no encryption: {error.reason or type(error).__name__}", code="TLS") from error
    except OSError as error:
        raise TemporaryFailure(f"no connection: {error.strerror or type(error).__name__}", code="connect") from error
