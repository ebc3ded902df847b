"""TLS for DICOM by the BCP 195 profile (PS3.15 B.12): TLS 1.2 or newer, authenticated ciphers, checked peers."""

from __future__ import annotations

import ssl
from pathlib import Path


def server_context(*, certificate: Path, key: Path, client_ca: Path | None) -> ssl.SSLContext:
    """For a listener. With `client_ca` a peer must show a certificate that it signed."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(certificate, key)
    if client_ca is not None:
        context.load_verify_locations(client_ca)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def client_context(*, ca: Path | None, certificate: Path | None, key: Path | None) -> ssl.SSLContext:
    """For calling a peer, whose certificate is always checked; with our own certificate if we have one."""
    context = ssl.create_default_context(cafile=ca)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if certificate is not None:
        context.load_cert_chain(certificate, key)
    return context


def own_context(*, certificate: Path | None, key: Path | None) -> ssl.SSLContext:
    """For calling our own listener: whom we call is known, and who calls is shown by its own certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if certificate is not None:
        context.load_cert_chain(certificate, key)
    return context
