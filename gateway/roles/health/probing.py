"""What is asked of a DICOM peer to know that it works: an association, a C-ECHO, and what it is there for.

Promises
- Each way to fail has its own code (domain/issues_health.py), told by what happened on the wire and not by how long it
  took: no address for its name, no sign from its address, a refusal, no encryption, a connection that is taken without
  a word, a rejected association, a failure at what was asked.
- A peer whose line is held is asked on the association that stood since the last time, first, and then on a new one:
  that new ones come about does not prove that one which stands still works. A peer that ended it in order did nothing
  wrong.
- A probe ends within a few times its patience. It asks for no patient and stores nothing, but for the box's one test
  image where the site allows that.
"""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final

from gateway.dicom.associate import ProposedContext
from gateway.dicom.elements import DataSet, encode
from gateway.dicom.negotiation import MODALITY_WORKLIST, NATIVE, VERIFICATION
from gateway.domain.health import WELL, Hop
from gateway.domain.model import GatewayError, TemporaryFailure
from gateway.net.dicom_client import PENDING, AssociationRefused, Peer, Requestor

STORE_SECONDS: Final = 3600.0
"""Between two test images that a peer took."""
NOBODY: Final = "GW-HEALTH-PROBE"
"""The patient id that a worklist is asked for: nobody's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What one probe came to."""

    code: str
    """Of the issue; empty: it works."""
    latency_ms: dict[Hop, float] = field(default_factory=dict)
    """Of each hop that went well."""
    failed: Hop = Hop.ECHO
    """The hop that did not, where one did not."""


@dataclass(slots=True, kw_only=True)
class DicomProbe:
    """One peer, for one thread at a time."""

    name: str
    peer: Peer
    question: DataSet | None = None
    """A worklist query for nobody, where it has a worklist."""
    test_store: Callable[[], bool] | None = None
    """Stores the test image there; whether it was taken. None: the site does not allow it."""
    hold: bool = False
    """Whether its association stays open until the next time."""
    monotonic: Callable[[], float] = time.monotonic
    _line: Requestor | None = None
    _stored_at: float | None = None
    """When the test image was taken last."""

    def ask(self, *, patience: float) -> Asked:
        """Ask it, with so many seconds for each wait."""
        peer = replace(
            self.peer,
            connect_timeout=min(self.peer.connect_timeout, patience),
            timeout=min(self.peer.timeout, patience),
        )
        held = self._still_answers()
        found: dict[Hop, float] = {}
        hop = Hop.ECHO
        try:
            began = self.monotonic()
            line = Requestor.connect(peer, self._contexts())
            try:
                _echo(line)
                found[hop] = (self.monotonic() - began) * 1000
                if self.question is not None:
                    hop, began = Hop.FIND, self.monotonic()
                    _find(line, self.question)
                    found[hop] = (self.monotonic() - began) * 1000
            except BaseException:
                line.abort()
                raise
            if self.hold:
                self._line = line
            else:
                line.release()
        except GatewayError as error:
            return Asked(code=code_of(error), latency_ms=found, failed=hop)
        if not held:
            return Asked(code="peer-half-open", latency_ms=found)
        return self._stored(found)

    def hang_up(self) -> None:
        """Let go of the association that stands."""
        line, self._line = self._line, None
        if line is not None:
            line.abort()

    def _stored(self, found: dict[Hop, float]) -> Asked:
        began = self.monotonic()
        if self.test_store is None or (self._stored_at is not None and began - self._stored_at < STORE_SECONDS):
            return Asked(code=WELL, latency_ms=found)
        if not self.test_store():
            self._stored_at = None
            return Asked(code="peer-test-store", latency_ms=found, failed=Hop.TEST_STORE)
        self._stored_at = began
        return Asked(code=WELL, latency_ms=found | {Hop.TEST_STORE: (self.monotonic() - began) * 1000})

    def _still_answers(self) -> bool:
        """Whether the association that stood does, or was ended in order; none stood: nothing speaks against it."""
        line, self._line = self._line, None
        if line is None:
            return True
        try:
            _echo(line)
            line.release()
        except TemporaryFailure as error:
            line.abort()
            return error.code != "silence"
        return True

    def _contexts(self) -> list[ProposedContext]:
        wanted = [VERIFICATION] if self.question is None else [VERIFICATION, MODALITY_WORKLIST]
        return [ProposedContext(2 * number + 1, uid, NATIVE) for number, uid in enumerate(wanted)]


def code_of(error: GatewayError) -> str:
    """The issue behind a failure to call a peer."""
    cause = error.__cause__
    if isinstance(error, AssociationRefused):
        return "peer-rejects"
    if not isinstance(error, TemporaryFailure):
        return "peer-fails"
    if error.code == "silence":
        return "peer-silent"
    if error.code == "files":
        return "peer-encryption"
    if error.code != "connect":
        return "peer-fails"
    if isinstance(cause, ssl.SSLError):
        return "peer-encryption"
    if isinstance(cause, socket.gaierror):
        return "peer-unresolved"
    if isinstance(cause, ConnectionError):  # refused, or reset in the middle of TLS
        return "peer-not-listening"
    if isinstance(cause, TimeoutError) and "handshake" in str(cause):  # it took the connection, and says nothing
        return "peer-silent"
    return "peer-black-hole"


def _echo(line: Requestor) -> None:
    """Raises TemporaryFailure."""
    if line.context_for(VERIFICATION) is None and line.context_for(MODALITY_WORKLIST) is not None:
        return  # some worklists take no C-ECHO; that it has the other context shows as much
    status = line.echo()
    if status != 0:
        raise TemporaryFailure(f"the C-ECHO was answered {status:04X}", code="echo")


def _find(line: Requestor, question: DataSet) -> None:
    """Raises TemporaryFailure."""
    context = line.context_for(MODALITY_WORKLIST)
    if context is None:
        raise TemporaryFailure("no worklist is offered", code="context")
    status = next(
        (
            message.command.Status
            for message in line.find(context, encode(question, context.transfer_syntax))
            if message.command.Status not in PENDING
        ),
        None,
    )
    if status != 0:
        raise TemporaryFailure("the query was not answered with success", code="find")
