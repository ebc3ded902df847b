"""pynetdicom as storage, worklist, echo and commitment SCU; storage sends the files' bytes verbatim.

pynetdicom's sender may not notice that the peer aborted, so each answer has a time limit.
"""

import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from pydicom import Dataset
from pydicom.filereader import read_file_meta_info
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, generate_uid
from pynetdicom import AE, _config, build_context, evt
from pynetdicom.association import Association
from pynetdicom.sop_class import ModalityWorklistInformationFind, StorageCommitmentPushModel, Verification

from tests.peers.processes import HOST
from tests.peers.pynetdicom_scp import COMMITMENT_INSTANCE

_MOST_CONTEXTS = 128
_LITTLE = 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """The answer to one file: its DIMSE status, or None with the `problem` in words."""

    path: Path
    SOPInstanceUID: str
    status: int | None
    problem: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """Rows of a worklist query, the final status, and how many rows came after C-CANCEL was sent."""

    rows: tuple[Dataset, ...]
    status: int | None
    after_cancel: int


def echo(port: int, *, called: str, calling: str = "PYNETDICOM", limit: float = 60) -> int | None:
    """The C-ECHO status, or None when there was no association or no answer."""
    with associated(port, called=called, calling=calling, contexts=[build_context(Verification)], limit=limit) as assoc:
        if not assoc.is_established:
            return None
        return _status(assoc.send_c_echo())


def send_verbatim(
    port: int,
    files: Sequence[Path],
    *,
    called: str,
    calling: str = "PYNETDICOM",
    limit: float = 60,
    maximum_pdu: int = 65536,
) -> list[Sent]:
    """C-STORE `files` with their data set bytes as stored, one context per SOP class and transfer syntax.

    Associations are made as needed: 128 contexts each, and anew when the peer ended one. A file without an answer
    within `limit` seconds has status None.
    """
    wanted = {path: _meta(path) for path in files}
    send = partial(_send_batch, port, wanted=wanted, called=called, calling=calling, limit=limit, pdu=maximum_pdu)
    sent: list[Sent] = []
    batch: list[Path] = []
    kinds: set[tuple[str, str]] = set()
    for path in files:
        kind = wanted[path][:2]
        if kind not in kinds and len(kinds) == _MOST_CONTEXTS:
            sent += send(batch)
            batch, kinds = [], set()
        kinds.add(kind)
        batch.append(path)
    return sent + send(batch)


def find_worklist(
    port: int,
    query: Dataset,
    *,
    called: str,
    calling: str = "PYNETDICOM",
    cancel_after: int | None = None,
    transfer_syntax: str = ImplicitVRLittleEndian,
) -> Found:
    """Query the worklist; `cancel_after=n` sends C-CANCEL after the n-th row, of which few can be on their way."""
    contexts = [build_context(ModalityWorklistInformationFind, transfer_syntax)]
    with associated(port, called=called, calling=calling, contexts=contexts) as assoc:
        if not assoc.is_established:
            return Found(rows=(), status=None, after_cancel=0)
        if cancel_after is not None:
            _receive_little(assoc)
        rows: list[Dataset] = []
        status = None
        for answer, row in assoc.send_c_find(query, ModalityWorklistInformationFind, msg_id=1):
            status = _status(answer)
            if row is not None:
                rows.append(row)
                if len(rows) == cancel_after:
                    assoc.send_c_cancel(1, query_model=ModalityWorklistInformationFind)
        late = len(rows) - cancel_after if cancel_after is not None else 0
        return Found(rows=tuple(rows), status=status, after_cancel=late)


def _receive_little(assoc: Association) -> None:
    """Else the kernel grows its buffer and takes in megabytes of answer before a cancel is sent."""
    assert assoc.dul.socket is not None
    assert assoc.dul.socket.socket is not None
    assoc.dul.socket.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _LITTLE)


def worklist_query(**keys: object) -> Dataset:
    """A query asking for the usual return keys; `keys` of the scheduled step go into its sequence."""
    step = Dataset()
    for keyword in (
        "ScheduledStationAETitle",
        "ScheduledProcedureStepStartDate",
        "ScheduledProcedureStepStartTime",
        "Modality",
        "ScheduledPerformingPhysicianName",
        "ScheduledProcedureStepDescription",
        "ScheduledProcedureStepID",
    ):
        setattr(step, keyword, keys.pop(keyword, ""))
    query = Dataset()
    for keyword in ("PatientName", "PatientID", "AccessionNumber", "StudyInstanceUID", "RequestedProcedureID"):
        setattr(query, keyword, "")
    for keyword, value in keys.items():
        setattr(query, keyword, value)
    query.ScheduledProcedureStepSequence = [step]
    return query


def request_commitment(
    port: int,
    instances: Sequence[tuple[str, str]],
    *,
    called: str,
    calling: str = "PYNETDICOM",
    own_port: int | None = None,
    limit: float = 90,
) -> tuple[int | None, Dataset | None]:
    """N-ACTION for (class, instance) pairs; return its status and the N-EVENT-REPORT's content, None if none came.

    With `own_port` the association is released after the answer and the report awaited on a listener there, as many
    scanners do; otherwise the association is kept open for it.
    """
    reports: list[Dataset] = []
    answering, answered = threading.Event(), threading.Event()

    def on_report(event: evt.Event) -> tuple[int, None]:
        reports.append(event.event_information)
        return 0x0000, None

    def on_answer(event: evt.Event) -> None:
        if type(event.message).__name__ == "N_EVENT_REPORT_RSP":
            answering.set()

    def on_pdu(_: evt.Event) -> None:
        """Who releases before the answer to a report has gone takes it back."""
        if answering.is_set():
            answered.set()

    handlers: list[Any] = [
        (evt.EVT_N_EVENT_REPORT, on_report),
        (evt.EVT_DIMSE_SENT, on_answer),
        (evt.EVT_PDU_SENT, on_pdu),
    ]
    entity = AE(ae_title=calling)
    syntaxes = [ExplicitVRLittleEndian, ImplicitVRLittleEndian]
    entity.add_supported_context(StorageCommitmentPushModel, syntaxes, scu_role=True, scp_role=True)
    server = entity.start_server((HOST, own_port), block=False, evt_handlers=handlers) if own_port else None
    try:
        context = build_context(StorageCommitmentPushModel, syntaxes)
        with associated(port, called=called, calling=calling, contexts=[context], handlers=handlers) as assoc:
            if not assoc.is_established:
                return None, None
            answer, _ = assoc.send_n_action(
                _commitment_request(instances), 1, StorageCommitmentPushModel, COMMITMENT_INSTANCE
            )
            if not own_port:
                answered.wait(limit)
        if own_port:
            answered.wait(limit)
    finally:
        if server is not None:
            server.shutdown()
    return _status(answer), (reports[0] if reports else None)


def _commitment_request(instances: Sequence[tuple[str, str]]) -> Dataset:
    request = Dataset()
    request.TransactionUID = generate_uid()
    items = []
    for sop_class, instance in instances:
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class, instance
        items.append(item)
    request.ReferencedSOPSequence = items
    return request


@contextmanager
def associated(
    port: int,
    *,
    called: str,
    calling: str,
    contexts: list[Any],
    handlers: list[Any] | None = None,
    pdu: int = 65536,
    limit: float = 60,
) -> Iterator[Any]:
    entity = AE(ae_title=calling)
    entity.dimse_timeout = entity.network_timeout = entity.acse_timeout = limit
    entity.connection_timeout = 30
    assoc = entity.associate(HOST, port, contexts=contexts, ae_title=called, max_pdu=pdu, evt_handlers=handlers or [])
    if assoc.is_established:
        # pynetdicom never sets it, and then each C-STORE waits for the peer's delayed acknowledgement.
        assoc.dul.socket.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        yield assoc
    finally:
        if assoc.is_established:
            assoc.release()


def _send_batch(
    port: int,
    files: Sequence[Path],
    *,
    wanted: dict[Path, tuple[str, str, str]],
    called: str,
    calling: str,
    limit: float,
    pdu: int,
) -> list[Sent]:
    contexts = [build_context(*kind) for kind in sorted({wanted[path][:2] for path in files})]
    before, _config.STORE_SEND_CHUNKED_DATASET = _config.STORE_SEND_CHUNKED_DATASET, True
    sent: list[Sent] = []
    try:
        while len(sent) < len(files):
            with associated(port, called=called, calling=calling, contexts=contexts, pdu=pdu, limit=limit) as assoc:
                if not assoc.is_established:
                    return sent + [_unsent(path, wanted[path][2], "no association") for path in files[len(sent) :]]
                for path in files[len(sent) :]:
                    sent.append(_send_one(assoc, path, wanted[path][2]))
                    if not assoc.is_established:
                        break
    finally:
        _config.STORE_SEND_CHUNKED_DATASET = before
    return sent


def _send_one(assoc: Any, path: Path, instance: str) -> Sent:
    try:
        status = _status(assoc.send_c_store(path))
    except (ValueError, RuntimeError, AttributeError) as failure:
        return _unsent(path, instance, str(failure))
    return Sent(path=path, SOPInstanceUID=instance, status=status, problem=None if status is not None else "no answer")


def _unsent(path: Path, instance: str, problem: str) -> Sent:
    return Sent(path=path, SOPInstanceUID=instance, status=None, problem=problem)


def _meta(path: Path) -> tuple[str, str, str]:
    meta = read_file_meta_info(path)
    return str(meta.MediaStorageSOPClassUID), str(meta.TransferSyntaxUID), str(meta.MediaStorageSOPInstanceUID)


def _status(answer: Dataset) -> int | None:
    return int(answer.Status) if "Status" in answer else None
