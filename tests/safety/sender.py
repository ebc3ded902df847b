"""Scanners that never stop sending, and write down what was answered: python -m tests.safety.sender --help

Promises: a line "uid hash" is in the ledger for each instance answered 0000, written after the answer; another status
is a line in the ledger of refusals, a broken association one in that of breaks. What got no answer is sent again, same
UID and bytes, until it gets one. Asked to end (SIGTERM, or `--count` reached), it first sees through what has no answer
yet. Once in a while an instance that was answered is sent again, and storage commitment is asked for the latest ones:
the transactions that were answered 0000 are in a ledger too. Status 0 if all that was sent was answered 0000.
"""

import argparse
import random
import signal
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import xxhash
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset

from gateway.dicom.dimse import CommandField, CommandSet
from gateway.dicom.negotiation import (
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
    STORAGE_COMMITMENT,
    STORAGE_COMMITMENT_INSTANCE,
    propose,
)
from gateway.domain.model import GatewayError
from gateway.net.dicom_client import Peer, Requestor
from gateway.simulate import commitment
from tests.peers import objects
from tests.powercut.ledger import Ledger

SENDER_AE: Final = "CT1"
_PLACE: Final = "2.25.1" + "9" * 24
"""Stands for the SOP Instance UID of an object that is not made yet."""
_SYNTAX: Final = {"MR": IMPLICIT_VR_LITTLE_ENDIAN}
_PIXEL_DATA: Final = b"\xe0\x7f\x10\x00"
_RECONNECT_SECONDS: Final = 0.03
_REFUSED_SECONDS: Final = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """One object, ready for the wire."""

    SOPClassUID: str
    SOPInstanceUID: str
    TransferSyntaxUID: str
    content: bytes

    @property
    def hash(self) -> str:
        return xxhash.xxh3_128(self.TransferSyntaxUID.encode() + self.content).hexdigest()


class Modality:
    """Makes objects of one kind: the head by pydicom once, then new identifiers and new pixels."""

    def __init__(self, kind: str, seed: int) -> None:
        ds = objects.KINDS[kind](seed)
        self.pixels = "PixelData" in ds
        if self.pixels:
            del ds.PixelData
        ds.SOPInstanceUID = _PLACE
        self.sop_class = str(ds.SOPClassUID)
        self.syntax = _SYNTAX.get(kind, EXPLICIT_VR_LITTLE_ENDIAN)
        sink = DicomBytesIO()
        sink.is_little_endian, sink.is_implicit_VR = True, self.syntax == IMPLICIT_VR_LITTLE_ENDIAN
        write_dataset(sink, ds)
        self.head = sink.getvalue()
        assert self.head.count(_PLACE.encode()) == 1

    def make(self, uid: str, pixels: bytes) -> Made:
        assert len(uid) == len(_PLACE)
        content = self.head.replace(_PLACE.encode(), uid.encode())
        if self.pixels:
            vr = b"" if self.syntax == IMPLICIT_VR_LITTLE_ENDIAN else b"OW\0\0"
            content += _PIXEL_DATA + vr + len(pixels).to_bytes(4, "little") + pixels
        return Made(SOPClassUID=self.sop_class, SOPInstanceUID=uid, TransferSyntaxUID=self.syntax, content=content)


class Books:
    """The ledgers of one sender, outside the spool; their names are those of the class's attributes."""

    def __init__(self, folder: Path) -> None:
        self.stored = Ledger(folder / "stored")
        self.refused = Ledger(folder / "refused")
        self.committing = Ledger(folder / "committing")
        self.broken = Ledger(folder / "broken")


class Lane(threading.Thread):
    """One association after another, until there is nothing more to see through."""

    def __init__(self, number: int, options: argparse.Namespace, books: Books, stop: threading.Event) -> None:
        super().__init__(name=f"lane-{number}")
        self._number = number
        self._options = options
        self._books = books
        self._stop_asked = stop
        self._chance = random.Random(f"{options.seed}/{number}")
        self._modalities = [Modality(kind, options.seed * 10 + number) for kind in objects.KINDS]
        self._noise = self._chance.randbytes(2 * options.largest)
        self._made = 0
        self._unanswered: Made | None = None
        self._answered: list[Made] = []
        self.deadline = float("inf")
        self.peer = Peer(
            host="127.0.0.1",
            port=options.port,
            called_ae="GATEWAY",
            calling_ae=SENDER_AE,
            connect_timeout=30.0,
            timeout=options.timeout,
        )

    @property
    def finished(self) -> bool:
        """Nothing is owed to it, and nothing more is to be sent."""
        enough = 0 < self._options.count <= self._made
        return self._unanswered is None and (enough or self._stop_asked.is_set())

    def run(self) -> None:
        while not self.finished and time.monotonic() < self.deadline:
            try:
                self._associate(self._chance.randint(1, 30))
            except GatewayError:
                self._books.broken.promised(self.name, "association")
                time.sleep(_RECONNECT_SECONDS)

    def _associate(self, instances: int) -> None:
        wanted: dict[str, list[str]] = {one.sop_class: [one.syntax] for one in self._modalities}
        with Requestor.connect(self.peer, propose({**wanted, STORAGE_COMMITMENT: []})) as association:
            for _ in range(instances):
                if self.finished:
                    break
                self._send(association, self._unanswered or self._next())
                if self._options.pause:
                    time.sleep(self._chance.uniform(0, 2 * self._options.pause))
            if self._answered and self._chance.random() < self._options.commit:
                self._ask_commitment(association)

    def _next(self) -> Made:
        if self._answered and self._chance.random() < 0.05:
            return self._chance.choice(self._answered)
        self._made += 1
        small, large = self._options.smallest, self._options.largest
        size = int(small * (large / small) ** (self._chance.random() ** 2)) & ~1
        start = self._chance.randrange(len(self._noise) - size)
        uid = f"2.25.1{self._options.seed:09d}{self._number:03d}{self._made:012d}"
        return self._chance.choice(self._modalities).make(uid, self._noise[start : start + size])

    def _send(self, association: Requestor, made: Made) -> None:
        self._unanswered = made
        context = association.context_for(made.SOPClassUID, made.TransferSyntaxUID)
        assert context is not None
        command = CommandSet(
            CommandField=CommandField.C_STORE_RQ,
            AffectedSOPClassUID=made.SOPClassUID,
            AffectedSOPInstanceUID=made.SOPInstanceUID,
            MessageID=association.next_message_id(),
            Priority=self._chance.choice((0, 0, 1, 2)),
            CommandDataSetType=1,
        )
        status = association.store(context, command, [made.content], -1).Status
        if status == 0:
            self._books.stored.promised(made.SOPInstanceUID, made.hash)
            self._unanswered = None
            self._answered = [*self._answered[-200:], made]
        else:
            self._books.refused.promised(made.SOPInstanceUID, "none" if status is None else f"{status:04X}")
            time.sleep(_REFUSED_SECONDS)

    def _ask_commitment(self, association: Requestor) -> None:
        context = association.context_for(STORAGE_COMMITMENT)
        assert context is not None
        transaction = f"2.25.{self._chance.getrandbits(120)}"
        references = [commitment.Reference(one.SOPClassUID, one.SOPInstanceUID) for one in self._answered]
        command = CommandSet(
            CommandField=CommandField.N_ACTION_RQ,
            MessageID=association.next_message_id(),
            RequestedSOPClassUID=STORAGE_COMMITMENT,
            RequestedSOPInstanceUID=STORAGE_COMMITMENT_INSTANCE,
            ActionTypeID=commitment.REQUEST_ACTION,
            CommandDataSetType=1,
        )
        body = commitment.request(transaction, list(dict.fromkeys(references)), context.transfer_syntax)
        status = association.request(context, command, body).command.Status
        if status == 0:
            self._books.committing.promised(transaction, str(len(set(references))))


def main() -> int:
    options = _options()
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    books = Books(options.ledgers)
    lanes = [Lane(number, options, books, stop) for number in range(options.associations)]
    for lane in lanes:
        lane.start()
    while any(lane.is_alive() for lane in lanes) and not stop.wait(0.05):
        pass
    for lane in lanes:
        lane.deadline = time.monotonic() + options.patience
    for lane in lanes:
        lane.join()
    return 0 if all(lane.finished for lane in lanes) else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--ledgers", type=Path, required=True, help="folder of the ledgers")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--associations", type=int, default=4)
    parser.add_argument("--count", type=int, default=0, help="objects of each association; 0: until SIGTERM")
    parser.add_argument("--smallest", type=int, default=20_000)
    parser.add_argument("--largest", type=int, default=2_000_000)
    parser.add_argument("--pause", type=float, default=0.0, help="mean seconds between two objects")
    parser.add_argument("--timeout", type=float, default=30.0)
    parser.add_argument("--patience", type=float, default=60.0, help="seconds for what is owed, once asked to end")
    parser.add_argument("--commit", type=float, default=0.0, help="share of associations that ask for commitment")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
