"""TLS for DICOM by the BCP 195 profile (PS3.15 B.12): TLS 1.2 or newer, authenticated ciphers, checked peers."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from gateway.domain.model import TemporaryFailure

Context = Callable[[], ssl.SSLContext]
"""What a call is made with, asked for at each call. Raises TemporaryFailure "files" where one of ours can't be used."""


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


class ClientContext:
    """`client_context` for each call: the same one until a file is another, so that certificates are renewed while
    we run, and one that is away keeps nothing from starting."""

    def __init__(self, *, ca: Path | None, certificate: Path | None, key: Path | None) -> None:
        self._ca, self._certificate, self._key = ca, certificate, key
        self._made: tuple[object, ssl.SSLContext] | None = None

    def __call__(self) -> ssl.SSLContext:
        """Raises TemporaryFailure "files"."""
        with _our_files():
            files: Final = [path.stat() for path in (self._ca, self._certificate, self._key) if path is not None]
            state = [(file.st_ino, file.st_size, file.st_mtime_ns) for file in files]
            made = self._made
            if made is None or made[0] != state:
                context = client_context(ca=self._ca, certificate=self._certificate, key=self._key)
                made = self._made = state, context
            return made[1]


def own_context(*, certificate: Path | None, key: Path | None) -> ssl.SSLContext:
    """For calling our own listener: whom we call is known, and who calls is shown by its own certificate.
    Raises TemporaryFailure "files"."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if certificate is not None:
        with _our_files():
            context.load_cert_chain(certificate, key)
    return context


@contextmanager
def _our_files() -> Iterator[None]:
    """Our failure for those of a certificate, a key or a CA that is away, can't be read or is none."""
    try:
        yield
    except OSError as error:
        shape = error.strerror or type(error).__name__
        raise TemporaryFailure(f"ca, certificate or key can't be used ({shape})", code="files") from error
