"""The peers of the site's configuration, called as the gateway will call them: by its own code, names and secrets.

What is promised: nothing is stored at a peer but images of no patient, and only where that was asked for; no row of a
worklist is kept or told of, only how many there were.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from pydicom.uid import generate_uid

from gateway.app.commissioning import commission
from gateway.app.destinations import way_to
from gateway.app.peers import caller_of
from gateway.config import Config, Destination, DicomDestination, Ris, WebDestination
from gateway.dicom.associate import ProposedContext
from gateway.dicom.negotiation import NATIVE, VERIFICATION
from gateway.domain.model import GatewayError, PermanentFailure, TemporaryFailure
from gateway.domain.words import reason_of
from gateway.net import worklist_query
from gateway.net.dicom_client import Peer, Requestor
from gateway.roles.forward.sending import Opened
from gateway.simulate.keywords import data_set
from gateway.simulate.test_image import write_test_image
from hwtests.outcome import Fault, Measured

_RIS, _DESTINATION = "ris/", "destination/"
MOST_ROWS: Final = 500
PURPOSE: Final = "COMMISSIONING"


@dataclass(frozen=True, slots=True, kw_only=True)
class Peers:
    """Those of one configuration, each under a name of its own: "ris/main", "destination/pacs"."""

    config: Config

    @property
    def rises(self) -> dict[str, Ris]:
        return {_RIS + one.name: one for one in self.config.ris}

    @property
    def destinations(self) -> dict[str, Destination]:
        return {_DESTINATION + one.name: one for one in self.config.destination}

    @property
    def hosts(self) -> dict[str, str]:
        """Those that are reached over a network, and where."""
        found = {name: one.host for name, one in self.rises.items()}
        for name, one in self.destinations.items():
            if isinstance(one, DicomDestination):
                found[name] = one.host
            elif isinstance(one, WebDestination):
                found[name] = urlsplit(one.base).hostname or ""
        return found

    def reach(self, name: str, measured: Measured) -> None:
        """Each step up to an answer: name, connection, TLS, association and C-ECHO, or its like. Raises Fault."""
        ris = self.rises.get(name)
        if ris is not None:
            _echo(self._caller(ris), measured)
            return
        for step in commission(self.config, self.destinations[name]):
            measured.tell(step.name, step.said)
            if not step.holds:
                raise Fault(f"{step.name}: {step.said}")

    def worklist(self, name: str, measured: Measured) -> None:
        """One query for all that is scheduled today. An empty answer is an answer. Raises Fault."""
        keys = {"ScheduledProcedureStepStartDate": f"{datetime.now(self.config.site.timezone):%Y%m%d}"}
        identifier = data_set({"PatientName": "", "ScheduledProcedureStepSequence": [keys]}, "")
        rows: list[None] = []
        answer = worklist_query.ask(
            self._caller(self.rises[name]), identifier, limit=MOST_ROWS, take=lambda _: rows.append(None)
        )
        if answer.failure:
            raise Fault(f"the query ended with {answer.failure}: {reason_of(answer.failure)}")
        if not answer.complete and not answer.limited:
            raise Fault("rows of the answer can't be read; look at the RIS's log, and capture them with the gateway")
        measured.tell("steps scheduled today", len(rows))

    def store(self, name: str, count: int, measured: Measured) -> float:
        """Store so many images of no patient, on one association; their rate in MB/s. Raises Fault."""
        with tempfile.TemporaryDirectory(prefix="gateway-commission-") as folder:
            try:
                stored, seconds = _store(self.config, self.destinations[name], Path(folder), count)
            except GatewayError as error:
                code = error.code if isinstance(error, TemporaryFailure | PermanentFailure) else ""
                raise Fault(f"{code or 'no line'}: {reason_of(code)}") from None
        measured.tell("images stored", count)
        measured.tell("stored", stored / 1e6, "MB")
        return stored / 1e6 / seconds

    def _caller(self, ris: Ris) -> Peer:
        seconds = ris.timeout.total_seconds()
        return caller_of(self.config, ris, connect_timeout=seconds, timeout=seconds)("")


def _echo(peer: Peer, measured: Measured) -> None:
    began = time.perf_counter()
    try:
        with Requestor.connect(peer, [ProposedContext(1, VERIFICATION, NATIVE)]) as requestor:
            status = requestor.echo()
    except TemporaryFailure as error:
        raise Fault(f"{error.code}: {reason_of(error.code)}") from None
    measured.tell("echo", (time.perf_counter() - began) * 1000, "ms")
    if status:
        raise Fault(f"it answered the C-ECHO with {status:04X}; look at its log")


def _store(config: Config, destination: Destination, folder: Path, count: int) -> tuple[int, float]:
    """Bytes stored, and the seconds that took. Raises GatewayError, and Fault for a status that is none of success."""
    study, at = str(generate_uid(prefix=None)), datetime.now(UTC)
    images = [
        write_test_image(path, form="as it is", study=study, colour=False, at=at, number=number, purpose=PURPOSE)
        for number, path in enumerate(_paths(folder, count), 1)
    ]
    line = way_to(config, destination).open(images, allow=lambda many: many, offered=frozenset())
    began = time.perf_counter()
    try:
        for image, path in zip(images, _paths(folder, count), strict=True):
            opened = Opened(image, path)
            outcome = line.store(image, lambda _, opened=opened: opened, attempts=0, meanwhile=lambda: None)  # type: ignore[misc]
            if not outcome.is_stored:
                raise Fault(f"it answered {outcome.code}: {outcome.reason}")
    finally:
        line.release()
    return sum(image.size for image in images), time.perf_counter() - began


def _paths(folder: Path, count: int) -> Iterator[Path]:
    return (folder / f"{number}.dcm" for number in range(1, count + 1))
