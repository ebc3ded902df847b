"""One round of the synthetic patient: an order, the worklist, an image, its check, its way out and its confirmation.

Promises
- Every hop goes by the wire, the ports and the parts that patients go by; only the books are apart (`roles/doors`).
- A hop holds only if this round's own numbers came through: what an earlier one left proves nothing.
- Each hop is timed, and ends by its deadline. After one that does not hold the later ones are not tried. A hop whose
  door this box does not have is not tried either, and the round goes on without it.
- One round at a time goes through a box: a second one waits for it, as long as for a hop. What it leaves is purged by
  forward, and its rows are erased after an hour.
"""

from __future__ import annotations

import secrets
import tempfile
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final, TypeVar

from gateway.dicom.elements import DataSet
from gateway.domain.health import Hop
from gateway.domain.hl7 import Hl7Error, header_of
from gateway.domain.identity_model import Decision
from gateway.domain.model import UID, DeliveryState, GatewayError, TemporaryFailure
from gateway.domain.parts import Part
from gateway.domain.synthetic import SCANNER, SINK_AE, SINK_FILE, Visit
from gateway.net.mllp_client import MllpClient, Place
from gateway.net.tls import Context
from gateway.simulate.acceptor import hosted
from gateway.simulate.keywords import text
from gateway.simulate.pacs import PacsSimulator
from gateway.simulate.scanner import Scanner
from gateway.simulate.study import Modality, make_study
from gateway.spool import checks, deliveries
from gateway.spool.checks import StudyKey
from gateway.spool.claims import claim
from gateway.spool.db import Connection, open_reader

LOOK_SECONDS: Final = 0.02
PIXELS: Final = 64
_PROVEN: Final = frozenset({Decision.PASS, Decision.ENRICH, Decision.CORRECT})

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Entrance:
    """The doors of this box, as they are reached from the box itself."""

    host: str
    port: int
    """Of the DICOM port; 0: there is none that can be tried from here."""
    called_ae: str
    tls: Context | None
    orders: Place | None
    """The port for HL7; None: there is none."""
    worklist: bool
    """Whether that port offers a worklist, and"""
    storage: bool
    """takes images."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Passed:
    """What became of one hop."""

    hop: Hop
    holds: bool | None
    """None: it was not tried."""
    latency_ms: float | None = None
    said: str = ""
    """Why it does not hold, or was not tried; no peer's text."""


class HopFailed(TemporaryFailure):
    """The hop came to its end, and not to what it should have."""


def once(
    entrance: Entrance,
    books: Path,
    *,
    now: Callable[[], datetime],
    patience: float,
    monotonic: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Generator[Passed, None, None]:
    """One round; every hop is told as it ends. `books`: the folder of the synthetic books; `now`: in the site's zone;
    `patience`: seconds for each hop. Raises TemporaryFailure if another round does not end, PermanentFailure
    without books, OSError if they are not ours."""
    with ExitStack() as stack:
        c = stack.enter_context(closing(open_reader(books / "gateway.db")))
        _alone(stack, books, end=monotonic() + patience, monotonic=monotonic, sleep=sleep)
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gateway-selftest-")))
        sink = PacsSimulator(ae=SINK_AE)
        stack.enter_context(hosted(sink))
        _announce(books, sink.port)
        uid = f"2.25.{secrets.randbits(127)}"
        visit = Visit(number=secrets.token_hex(4).upper(), StudyInstanceUID=uid, at=now())
        way = _Way(entrance, visit, c, sink, folder, patience=patience, monotonic=monotonic, sleep=sleep)
        failed = False
        for hop, work, without in way.hops():
            if failed or without:
                yield Passed(hop=hop, holds=None, said=without or "an earlier hop does not hold")
                continue
            began = monotonic()
            try:
                work()
            except GatewayError as error:
                failed = True
                yield Passed(hop=hop, holds=False, said=_told(error))
            else:
                yield Passed(hop=hop, holds=True, latency_ms=(monotonic() - began) * 1000)


class _Way:
    """The hops of one round."""

    def __init__(
        self,
        entrance: Entrance,
        visit: Visit,
        c: Connection,
        sink: PacsSimulator,
        folder: Path,
        *,
        patience: float,
        monotonic: Callable[[], float],
        sleep: Callable[[float], None],
    ) -> None:
        self._entrance = entrance
        self._visit = visit
        self._c = c
        self._sink = sink
        self._folder = folder
        self._patience = patience
        self._monotonic = monotonic
        self._sleep = sleep
        self._ordered = False
        self._entry: DataSet = {}
        self._image = ""
        self._scanner = Scanner(
            host=entrance.host,
            port=entrance.port,
            called_ae=entrance.called_ae,
            calling_ae=SCANNER,
            connect_timeout=patience,
            timeout=patience,
            tls=entrance.tls,
        )

    def hops(self) -> Iterator[tuple[Hop, Callable[[], None], str]]:
        """Each with why it can't be tried here; empty if it can. To be asked one after the other."""
        place = self._entrance
        dicom = "" if place.port else "every DICOM port asks for a certificate of its callers"
        yield Hop.ORDER, self._order, "" if place.orders else "no port for HL7 messages, or no [[sender]]"
        yield Hop.WORKLIST, self._worklist, dicom or ("" if place.worklist else "no worklist is offered")
        stores = dicom or ("" if place.storage else "no storage is offered")
        yield Hop.STORE, self._store, stores
        yield Hop.CHECK, self._check, stores or ("" if self._entry else "there is no order")
        yield Hop.FORWARD, self._forward, stores
        yield Hop.CONFIRM, self._confirm, stores

    def _order(self) -> None:
        assert self._entrance.orders is not None
        with MllpClient(self._entrance.orders) as client:
            code = client.ask(self._visit.order(), self._acknowledged)
        if code != "AA":
            raise HopFailed("the order was not acknowledged with AA", code="refused")
        self._ordered = True

    def _acknowledged(self, answer: bytes) -> str | None:
        """MSA-1 of the answer to our message."""
        try:
            header = header_of(answer)
        except Hl7Error:
            return None
        msa = next((part.split(b"|") for part in answer.split(b"\r") if part.startswith(b"MSA|")), [])
        ours = header.get("9.1") == "ACK" and self._visit.AccessionNumber.encode() in msa[2:3]
        return msa[1].decode("ascii", "replace") if ours else None

    def _worklist(self) -> None:
        found = self._scanner.query(AccessionNumber=self._visit.AccessionNumber)
        if not self._ordered:
            return  # that the question was answered is what there is to see
        if [text(one, "StudyInstanceUID") for one in found] != [self._visit.StudyInstanceUID]:
            raise HopFailed(f"{len(found)} entries were answered, and not the one of the order", code="absent")
        self._entry = found[0]

    def _store(self) -> None:
        at = self._visit.at
        (path,) = make_study(
            self._entry, Modality.CT, self._folder, at=at, rows=PIXELS, columns=PIXELS, seed=at.microsecond
        )
        (sent,) = self._scanner.send([path])
        if sent.status != 0:
            status = "no answer" if sent.status is None else f"{sent.status:04X}"
            raise HopFailed(f"the image was not accepted ({status})", code="refused")
        self._image = sent.SOPInstanceUID

    def _check(self) -> None:
        check = self._until(lambda: checks.of_study(self._c, StudyKey(self._visit.StudyInstanceUID)))
        if check.verdict.decision not in _PROVEN or check.verdict.order is None:
            raise HopFailed(f"the image was not found to be its order's ({check.verdict.decision})", code="verdict")

    def _forward(self) -> None:
        self._until(lambda: self._sink.held.get(self._image))

    def _confirm(self) -> None:
        study = UID(text(self._entry, "StudyInstanceUID")) if self._entry else None
        self._until(lambda: self._confirmed(study) or None)

    def _confirmed(self, study: UID | None) -> bool:
        found = deliveries.of_study(self._c, study or UID(self._sink.held[self._image].StudyInstanceUID))
        return bool(found) and all(one.state is DeliveryState.CONFIRMED for one in found)

    def _until(self, look: Callable[[], T | None]) -> T:
        """What is found once there is something. Raises HopFailed when it is over with our patience."""
        end = self._monotonic() + self._patience
        while (found := look()) is None:
            if self._monotonic() >= end:
                raise HopFailed(f"nothing came of it in {self._patience:.0f} s", code="silence")
            self._sleep(LOOK_SECONDS)
        return found


def _alone(
    stack: ExitStack,
    books: Path,
    *,
    end: float,
    monotonic: Callable[[], float],
    sleep: Callable[[float], None],
) -> None:
    while True:
        try:
            stack.enter_context(claim(books, Part.ROUND))
            return
        except TemporaryFailure:
            if monotonic() >= end:
                raise
            sleep(LOOK_SECONDS)


def _announce(books: Path, port: int) -> None:
    part = books / f"{SINK_FILE}.part"
    part.write_text(str(port), "ascii")
    part.replace(books / SINK_FILE)


def _told(error: GatewayError) -> str:
    return f"{error} ({error.code})" if isinstance(error, TemporaryFailure) else str(error)
