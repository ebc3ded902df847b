"""Where releases come from: a mirror on the site's network (https), a folder such as a stick, or one bundle.

What is promised: nothing is read beyond what is asked for, nothing is unpacked to a path, and a name inside a bundle is
compared, never used. A mirror is known by its certificate; what it says is believed for its signature alone. Faults of
the network or the stick are TemporaryFailure ("mirror"), a bundle in another form PermanentFailure ("bundle").
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import IO, Final

import httpx

from gateway.domain.model import PermanentFailure, TemporaryFailure
from gateway.domain.update import IMAGES, MANIFEST, MANIFEST_MAX, Manifest, Objection
from gateway.net.tls import client_context

CHUNK: Final = 1 << 20
_SECONDS: Final = 30.0
"""A mirror that says nothing for so long is no mirror."""


class _Stream:
    """The body of an answer as tarfile reads: so many bytes, fewer only at the end."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._kept = b""

    def read(self, size: int = CHUNK) -> bytes:
        while len(self._kept) < size and (chunk := next(self._chunks, b"")):
            self._kept += chunk
        taken, self._kept = self._kept[:size], self._kept[size:]
        return taken


class Releases:
    """A place that has releases."""

    def __init__(self, source: str, *, ca: Path | None = None) -> None:
        """`source`: https://host/folder/, the path of a folder, or that of one bundle. `ca`: who may have signed the
        mirror's certificate; None: the system's."""
        self._source = source
        self._web = source.startswith("https://")
        self._ca = ca

    def manifest(self) -> bytes:
        """The pointer: which release there is. To be believed after `update.read` alone."""
        path = Path(self._source)
        if not self._web and path.is_file():
            with self._opened("") as file, _bundle(file) as tar:
                member = _next(tar, MANIFEST, MANIFEST_MAX)
                return _body(tar, member).read(MANIFEST_MAX)
        with self._opened(MANIFEST) as file:
            return file.read(MANIFEST_MAX + 1)

    def images(self, manifest: Manifest, raw: bytes) -> Iterator[tuple[str, Iterator[bytes]]]:
        """The images of a bundle in their order, each as chunks to be used up before the next. `raw`: the manifest
        that was believed, which must be the bundle's."""
        with self._opened(manifest.bundle) as file, _bundle(file) as tar:
            member = _next(tar, MANIFEST, MANIFEST_MAX)
            if _body(tar, member).read(MANIFEST_MAX) != raw:
                raise _no_bundle("its manifest is another than the one beside it")
            for name in IMAGES:
                member = _next(tar, f"{name}.img", manifest.images[name].size)
                yield name, self._chunks(_body(tar, member))

    def _chunks(self, body: IO[bytes]) -> Iterator[bytes]:
        """Used up by who writes them, outside of the blocks in which the bundle was opened."""
        with self._faults("the bundle"), _whole():
            while chunk := body.read(CHUNK):
                yield chunk

    def _opened(self, name: str) -> AbstractContextManager[IO[bytes] | _Stream]:
        return self._fetched(name) if self._web else self._read(name)

    @contextmanager
    def _read(self, name: str) -> Iterator[IO[bytes]]:
        path = Path(self._source)
        path = path / name if path.is_dir() else path
        with self._faults(path.name), path.open("rb") as file:
            yield file

    @contextmanager
    def _fetched(self, name: str) -> Iterator[_Stream]:
        with (
            self._faults(name),
            httpx.Client(
                verify=client_context(ca=self._ca, certificate=None, key=None), timeout=_SECONDS, trust_env=False
            ) as client,
            client.stream("GET", f"{self._source.rstrip('/')}/{name}") as answer,
        ):
            if answer.status_code != httpx.codes.OK:
                raise TemporaryFailure(
                    f"the mirror answers {answer.status_code} for {name}: look whether it has it", code=Objection.MIRROR
                )
            yield _Stream(answer.iter_bytes(CHUNK))

    @contextmanager
    def _faults(self, name: str) -> Iterator[None]:
        try:
            yield
        except (httpx.HTTPError, httpx.InvalidURL, UnicodeError, OSError) as error:
            reason = (error.strerror if isinstance(error, OSError) else None) or type(error).__name__
            remedy = (
                "look at [update] source, ca, the network and the mirror's certificate"
                if self._web
                else "is the stick plugged in, and the release on it?"
            )
            raise TemporaryFailure(f"{name} can't be read ({reason}): {remedy}", code=Objection.MIRROR) from None


@contextmanager
def _bundle(file: IO[bytes] | _Stream) -> Iterator[tarfile.TarFile]:
    with _whole(), tarfile.open(fileobj=file, mode="r|") as tar:  # type: ignore[call-overload]
        yield tar


@contextmanager
def _whole() -> Iterator[None]:
    try:
        yield
    except tarfile.TarError as error:
        raise _no_bundle(f"it is no whole tar ({type(error).__name__})") from None


def _next(tar: tarfile.TarFile, name: str, most: int) -> tarfile.TarInfo:
    member = tar.next()
    if member is None or member.name != name or not member.isreg() or member.size > most:
        raise _no_bundle(f"{name} of at most {most} bytes does not come in its turn")
    return member


def _body(tar: tarfile.TarFile, member: tarfile.TarInfo) -> IO[bytes]:
    body = tar.extractfile(member)
    if body is None:
        raise _no_bundle(f"{member.name} is no file")
    return body


def _no_bundle(said: str) -> PermanentFailure:
    return PermanentFailure(f"this is no bundle of the release: {said}; fetch it again", code=Objection.BUNDLE)
