"""How the parts of the wiring call a peer, and the clock they share."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

from gateway.config import Config, DicomDestination, Ris, Tls
from gateway.net.dicom_client import Peer
from gateway.net.tls import ClientContext

HERE: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  how a listener on every address is reached from here


def caller_of(
    config: Config, peer: Ris | DicomDestination, *, connect_timeout: float, timeout: float
) -> Callable[[str], Peer]:
    """How to call a peer on behalf of a scanner's AE title; "" where there is no scanner."""
    tls = tls_of(peer)

    def call(scanner: str) -> Peer:
        as_scanner = peer.calling_ae == "scanner" and scanner
        return Peer(
            host=peer.host,
            port=peer.port,
            called_ae=peer.ae,
            calling_ae=scanner if as_scanner else config.box.ae,
            connect_timeout=connect_timeout,
            timeout=timeout,
            tls=tls,
        )

    return call


def tls_of(peer: Tls) -> ClientContext | None:
    """For calling a peer whose section this is; None if it is not encrypted."""
    return ClientContext(ca=peer.ca, certificate=peer.certificate, key=peer.key) if peer.tls else None


def now() -> datetime:
    return datetime.now(UTC)
