"""Small objects as a scanner would send them, and what the tests of the spool have in common."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import xxhash
from pysqlite3 import dbapi2 as sqlite

from gateway.dicom import part10
from gateway.dicom.elements import ElementError
from gateway.domain.model import UID, AETitle, Instance, InstanceId, Origin
from gateway.spool import Received, Spool, SpoolFiles
from gateway.spool.recovery import Unfinished

CT = UID("1.2.840.10008.5.1.4.1.1.2")
EXPLICIT = UID("1.2.840.10008.1.2.1")
START = datetime(2026, 3, 1, 8, 0, tzinfo=UTC)


@dataclass(slots=True)
class Clock:
    """A clock that stands until it is moved."""

    at: datetime = START

    def __call__(self) -> datetime:
        return self.at

    def pass_(self, **amount: float) -> None:
        self.at += timedelta(**amount)


def origin(*, at: datetime = START, calling_ae: str = "CT1") -> Origin:
    return Origin(
        calling_ae=AETitle(calling_ae),
        called_ae=AETitle("GATEWAY"),
        address="10.1.1.20",
        association="a1",
        received_at=at,
    )


def receive(files: SpoolFiles, uid: str, body: bytes, *, at: datetime = START) -> Received:
    """An object that came in whole: header, then the data set in two pieces."""
    sender = origin(at=at)
    meta = part10.build(
        SOPClassUID=CT,
        SOPInstanceUID=uid,
        TransferSyntaxUID=EXPLICIT,
        calling_ae=sender.calling_ae,
        called_ae=sender.called_ae,
        address=sender.address,
        association=sender.association,
        received_at=sender.received_at,
    )
    incoming = files.begin(seed=EXPLICIT.encode())
    incoming.write([meta.header], content=False)
    incoming.write([body[:1], memoryview(body)[1:]])
    return Received(
        incoming=incoming,
        hash_offset=meta.hash_offset,
        SOPClassUID=CT,
        SOPInstanceUID=UID(uid),
        TransferSyntaxUID=EXPLICIT,
        StudyInstanceUID=UID("2.25.1"),
        SeriesInstanceUID=UID("2.25.2"),
        origin=sender,
    )


def read_origin(path: Path) -> Instance | Unfinished | None:
    """What the file meta tells, if the data set is whole: its hash is counted again."""
    content = path.read_bytes()
    if not content:
        return Unfinished()
    try:
        meta = part10.read(content)
    except ElementError:
        return None
    if meta.ours and not meta.content_hash:
        return Unfinished()
    body = content[meta.data_offset :]
    found = xxhash.xxh3_128_hexdigest(meta.TransferSyntaxUID.encode() + body)
    if not meta.ours or meta.received_at is None or found != meta.content_hash:
        return None
    return Instance(
        id=InstanceId(path.stem),
        SOPClassUID=UID(meta.SOPClassUID),
        SOPInstanceUID=UID(meta.SOPInstanceUID),
        TransferSyntaxUID=UID(meta.TransferSyntaxUID),
        StudyInstanceUID=UID("2.25.1"),
        SeriesInstanceUID=UID("2.25.2"),
        content_hash=meta.content_hash,
        size=len(body),
        origin=origin(at=meta.received_at, calling_ae=meta.calling_ae),
    )


def stored_body(spool: Spool, instance_id: InstanceId) -> bytes:
    """The data set of a stored file."""
    content = spool.files.path_of(instance_id).read_bytes()
    return content[part10.read(content).data_offset :]


def open_spool(state: Path, clock: Clock | None = None) -> Spool:
    """A spool on a real disk with no reserve."""
    return Spool.open(state, now=clock or Clock(), reserve=lambda _total: 0)


@contextmanager
def held(state: Path) -> Iterator[None]:
    """Another process holds the books of that spool, so that they take nothing."""
    with closing(sqlite.connect(state / "gateway.db", isolation_level=None, check_same_thread=False)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
