"""The programs that send objects, and how long they took. The wall time of a DCMTK sender holds its start, about
20 ms; ours and pynetdicom's do not hold the start of Python, as they would run as services.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from bench.measure import CellFailed
from bench.places import environment, python
from bench.servers import DCMTK, SCANNER, Server
from gateway.dicom import part10
from gateway.dicom.convert import Extent
from gateway.dicom.dimse import CommandField, CommandSet
from gateway.dicom.negotiation import propose
from gateway.net.dicom_client import Peer, Requestor
from tests.peers.processes import HOST

LONGEST: Final = 900.0
"""Seconds a sender may take before its cell counts as failed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """Wall and CPU seconds of the sending side."""

    seconds: float
    cpu: float


Send = Callable[[Server, Sequence[Path], bool], Sent]
"""(server, files, tuned) -> what it took."""


def _dcmtk(command: tuple[str, ...], associations: int, server: Server, files: Sequence[Path], tuned: bool) -> Sent:
    """DCMTK's senders at once, each with its share of the files."""
    name, *options = command
    head = [str(DCMTK / name), *options, "-aet", SCANNER, "-aec", server.ae, HOST, str(server.port)]
    commands = [[*head, *map(str, files[first::associations])] for first in range(associations)]
    env = {**os.environ, **environment(tuned=tuned)}
    with tempfile.TemporaryFile() as output:
        began = time.monotonic()
        running = [subprocess.Popen(command, env=env, stdout=output, stderr=output) for command in commands]
        ended = [_wait(process) for process in running]
        seconds = time.monotonic() - began
        if any(status for status, _ in ended):
            output.seek(0)
            raise CellFailed(f"{name} ended with {[status for status, _ in ended]}: {output.read()[:2000]!r}")
    return Sent(seconds=seconds, cpu=sum(cpu for _, cpu in ended))


def _wait(process: subprocess.Popen[bytes]) -> tuple[int, float]:
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return process.returncode, usage.ru_utime + usage.ru_stime


dcmsend: Final[Send] = partial(_dcmtk, ("dcmsend",), 1)
four_dcmsend: Final[Send] = partial(_dcmtk, ("dcmsend",), 4)
storescu: Final[Send] = partial(_dcmtk, ("storescu",), 1)
storescu_tls: Final[Send] = partial(_dcmtk, ("storescu", "+tla", "-ic"), 1)


def pynetdicom_send(server: Server, files: Sequence[Path], tuned: bool) -> Sent:
    """pynetdicom's send_c_store of what dcmread read."""
    command = python("bench.pynetdicom_peer", "send", server.port, *files)
    env = {**os.environ, **environment(tuned=tuned)}
    ended = subprocess.run(command, env=env, capture_output=True, timeout=LONGEST, check=False)
    if ended.returncode:
        raise CellFailed(f"pynetdicom's sender ended with {ended.returncode}: {ended.stderr[-500:]!r}")
    said = json.loads(ended.stdout)
    return Sent(seconds=said["seconds"], cpu=said["cpu"])


# -- our own wire, as the sender --


def peer_of(server: Server) -> Peer:
    """How we call a server of the bench."""
    return Peer(
        host=HOST, port=server.port, called_ae=server.ae, calling_ae=SCANNER, connect_timeout=10.0, timeout=60.0
    )


def one_each(server: Server, files: Sequence[Path], _tuned: bool) -> Sent:
    """An association for each object, one after the other, as many a scanner does."""
    metas = [_meta(path) for path in files]
    began, worked = time.monotonic(), time.thread_time()
    for path, meta in zip(files, metas, strict=True):
        with Requestor.connect(peer_of(server), propose({meta.SOPClassUID: [meta.TransferSyntaxUID]})) as requestor:
            _store(requestor, path, meta)
    return Sent(seconds=time.monotonic() - began, cpu=time.thread_time() - worked)


def our_wire(server: Server, files: Sequence[Path], _tuned: bool) -> Sent:
    """`gateway.net.dicom_client` over files, without queue, hash check and journal."""
    metas = [_meta(path) for path in files]
    began, worked = time.monotonic(), time.thread_time()
    with Requestor.connect(
        peer_of(server), propose({meta.SOPClassUID: [meta.TransferSyntaxUID] for meta in metas})
    ) as (requestor):
        for path, meta in zip(files, metas, strict=True):
            _store(requestor, path, meta)
    return Sent(seconds=time.monotonic() - began, cpu=time.thread_time() - worked)


def _store(requestor: Requestor, path: Path, meta: part10.FileMetaRead) -> None:
    context = requestor.context_for(meta.SOPClassUID, meta.TransferSyntaxUID)
    if context is None:
        raise CellFailed("the server takes no Explicit VR Little Endian")
    command = CommandSet(
        CommandField=CommandField.C_STORE_RQ,
        AffectedSOPClassUID=meta.SOPClassUID,
        AffectedSOPInstanceUID=meta.SOPInstanceUID,
        MessageID=requestor.next_message_id(),
        Priority=0,
        CommandDataSetType=1,
    )
    source = os.open(path, os.O_RDONLY)
    try:
        extent = Extent(offset=meta.data_offset, length=os.fstat(source).st_size - meta.data_offset)
        status = requestor.store(context, command, [extent], source).Status
    finally:
        os.close(source)
    if status != 0:
        raise CellFailed(f"a C-STORE was answered {status}")


def _meta(path: Path) -> part10.FileMetaRead:
    with path.open("rb") as file:
        return part10.read(file.read(part10.LONGEST_HEADER))
