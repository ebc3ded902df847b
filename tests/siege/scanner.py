"""The honest scanner: C-ECHO on an association of its own again and again, and objects stored beside it.

Promise: `working` begins both and ends them on leaving; every failure is kept by its kind, none is tried away.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from gateway.dicom.dimse import CommandField, CommandSet
from gateway.dicom.negotiation import EXPLICIT_VR_LITTLE_ENDIAN, VERIFICATION, propose
from gateway.domain.model import GatewayError
from gateway.net.dicom_client import Peer, Requestor
from tests.safety.sender import Modality

AE = "CT1"
PATIENCE = 30.0
"""Seconds; the test judges long before."""
_SIZE = 200_000
_PER_ASSOCIATION = 5
_BREATH = 0.05


@dataclass(slots=True)
class Work:
    """What the scanner met."""

    echoes: list[float] = field(default_factory=list)
    """Seconds from the first SYN to the end of the release."""
    stored: list[str] = field(default_factory=list)
    stores: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)


@contextmanager
def working(port: int) -> Iterator[Work]:
    """Let the scanner work until the block ends."""
    work, over = Work(), threading.Event()
    peer = Peer(
        host="127.0.0.1", port=port, called_ae="GATEWAY", calling_ae=AE, connect_timeout=PATIENCE, timeout=PATIENCE
    )
    threads = [
        threading.Thread(target=_again, args=(over, work, lambda: _echo(peer, work)), name="echo"),
        threading.Thread(target=_again, args=(over, work, _Storing(peer, work)), name="store"),
    ]
    for thread in threads:
        thread.start()
    try:
        yield work
    finally:
        over.set()
        for thread in threads:
            thread.join()


def _again(over: threading.Event, work: Work, act: Callable[[], None]) -> None:
    while not over.wait(_BREATH):
        try:
            act()
        except GatewayError as error:
            work.failures.append(f"{threading.current_thread().name}: {error.code}: {error}")


def _echo(peer: Peer, work: Work) -> None:
    began = time.perf_counter()
    with Requestor.connect(peer, propose({VERIFICATION: []})) as association:
        status = association.echo()
    work.echoes.append(time.perf_counter() - began)
    if status:
        work.failures.append(f"echo: status {status:04X}")


class _Storing:
    """One association of a few objects."""

    def __init__(self, peer: Peer, work: Work) -> None:
        self._peer = peer
        self._work = work
        self._ct = Modality("CT", 1)
        self._made = 0

    def __call__(self) -> None:
        wanted = {self._ct.sop_class: [EXPLICIT_VR_LITTLE_ENDIAN]}
        with Requestor.connect(self._peer, propose(wanted)) as association:
            context = association.context_for(self._ct.sop_class, EXPLICIT_VR_LITTLE_ENDIAN)
            assert context is not None
            for _ in range(_PER_ASSOCIATION):
                self._made += 1
                made = self._ct.make(f"2.25.1{self._made:024d}", bytes(_SIZE))
                began = time.perf_counter()
                command = CommandSet(
                    CommandField=CommandField.C_STORE_RQ,
                    AffectedSOPClassUID=made.SOPClassUID,
                    AffectedSOPInstanceUID=made.SOPInstanceUID,
                    MessageID=association.next_message_id(),
                    Priority=0,
                    CommandDataSetType=1,
                )
                status = association.store(context, command, [made.content], -1).Status
                if status == 0:
                    self._work.stored.append(made.SOPInstanceUID)
                    self._work.stores.append(time.perf_counter() - began)
                else:
                    self._work.failures.append(f"store: status {status}")
