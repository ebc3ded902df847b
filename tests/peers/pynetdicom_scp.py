"""pynetdicom as storage, storage commitment and worklist SCP, recording what really came over the wire.

In process: no readiness to wait for. `StorageSCP.received` holds data set bytes verbatim with their transfer syntax.
"""

import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Literal

from pydicom import Dataset
from pydicom.uid import AllTransferSyntaxes, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE, AllStoragePresentationContexts, build_role, evt, register_uid
from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.presentation import NonPatientObjectPresentationContexts
from pynetdicom.service_class import StorageServiceClass
from pynetdicom.sop_class import ModalityWorklistInformationFind, StorageCommitmentPushModel, Verification
from pynetdicom.transport import AssociationSocket, ThreadedAssociationServer

from tests.peers.processes import HOST, free_port

COMMITMENT_INSTANCE = "1.2.840.10008.1.20.1.1"
_NO_SUCH_OBJECT = 0x0112
_PEER_LIMIT = 60.0
STANDARD_STORAGE = tuple(
    str(cx.abstract_syntax) for cx in (*AllStoragePresentationContexts, *NonPatientObjectPresentationContexts)
)
_NATIVE = (ExplicitVRLittleEndian, ImplicitVRLittleEndian)


def _close_whatever_happened(wire: AssociationSocket) -> None:
    if wire.socket is not None:
        with suppress(OSError):
            wire.socket.shutdown(socket.SHUT_RDWR)
        wire.socket.close()


# pynetdicom 3.0.4 leaves the socket open when shutdown() fails, as on every refused connection; the ResourceWarning
# then fails whichever test runs next.
AssociationSocket._shutdown_socket = _close_whatever_happened

_next_message = DIMSEServiceProvider.get_msg


def _leave_answers_to_who_asked(dimse: DIMSEServiceProvider, block: bool = False) -> Any:
    found = _next_message(dimse, block)
    if block or found == (None, None) or dimse.assoc._reactor_checkpoint.is_set():
        return found
    with dimse.msg_queue.mutex:
        dimse.msg_queue.queue.appendleft(found)
        dimse.msg_queue.not_empty.notify()
    return None, None


# pynetdicom's own thread says that it is paused before it is: on a busy machine it takes the answer that somebody
# waits for off the queue, drops it ("unexpected"), and he waits for his whole limit.
DIMSEServiceProvider.get_msg = _leave_answers_to_who_asked  # type: ignore[method-assign]


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """One C-STORE as it came: `dataset` are the fragments joined, never parsed."""

    SOPClassUID: str
    SOPInstanceUID: str
    TransferSyntaxUID: str
    dataset: bytes
    calling_ae: str
    called_ae: str
    originator: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportTo:
    """Where a commitment report on a new association goes: the requester's own listener."""

    ae: str
    port: int


@dataclass(slots=True, kw_only=True)
class StorageSCP:
    """A running PACS. `not_stored` holds UIDs whose commitment fails; change it while it runs."""

    ae: str
    port: int
    received: list[Received] = field(default_factory=list)
    commitments: list[Dataset] = field(default_factory=list)
    report_statuses: list[int | None] = field(default_factory=list)
    not_stored: set[str] = field(default_factory=set)
    associations: list[str] = field(default_factory=list)
    reports: list[threading.Thread] = field(default_factory=list)
    changed: threading.Condition = field(default_factory=threading.Condition)

    def stored(self, SOPInstanceUID: str) -> list[Received]:
        return [one for one in self.received if one.SOPInstanceUID == SOPInstanceUID]

    def wait_for(self, condition: Callable[["StorageSCP"], bool], *, limit: float = 90) -> None:
        """Return once `condition` holds, looked at after every store and report; TimeoutError after `limit` s."""
        with self.changed:
            if not self.changed.wait_for(lambda: condition(self), timeout=limit):
                msg = f"PACS has {len(self.received)} objects and {len(self.report_statuses)} reports after {limit} s"
                raise TimeoutError(msg)

    def note(self, change: Callable[[], None]) -> None:
        with self.changed:
            change()
            self.changed.notify_all()


def _accepted(_: str) -> int:
    return 0x0000


@contextmanager
def storage_scp(
    port: int | None = None,
    *,
    ae: str = "PACS",
    transfer_syntaxes: Sequence[str] = tuple(AllTransferSyntaxes),
    sop_classes: Sequence[str] = STANDARD_STORAGE,
    private: Sequence[str] = (),
    answer: Callable[[str], int] = _accepted,
    commitment: Literal["same", "new"] | None = None,
    report_to: ReportTo | None = None,
    not_stored: Sequence[str] = (),
    maximum_pdu: int = 65536,
) -> Iterator[StorageSCP]:
    """A PACS taking `transfer_syntaxes` (the first that it and the caller have in common wins, per context).

    `private` are SOP classes taken besides `sop_classes`. (pynetdicom's own "unrestricted" mode is not used: it
    accepts the first proposed syntax of every context and ignores `transfer_syntaxes`.) `answer` gives the status for
    a SOP Instance UID; it may block to model a slow PACS. `commitment` sends the N-EVENT-REPORT on the same
    association (after the N-ACTION answer) or on a new one to `report_to`; what was never received, or is in
    `not_stored`, fails.
    """
    listen = port or free_port()
    scp = StorageSCP(ae=ae, port=listen, not_stored=set(not_stored))
    entity = AE(ae_title=ae)
    entity.maximum_pdu_size, entity.maximum_associations, entity.network_timeout = maximum_pdu, 64, None
    for number, private_class in enumerate(private):
        register_uid(private_class, f"TestPrivateStorage{number}", StorageServiceClass)
    for sop_class in (*sop_classes, *private):
        entity.add_supported_context(sop_class, list(transfer_syntaxes))
    entity.add_supported_context(Verification)
    if commitment:
        entity.add_supported_context(StorageCommitmentPushModel, list(_NATIVE))
    handlers: list[Any] = [
        (evt.EVT_C_STORE, _store, [scp, answer]),
        (evt.EVT_ACCEPTED, _accept, [scp]),
        (evt.EVT_N_ACTION, _action, [scp, commitment, report_to]),
        (evt.EVT_DIMSE_SENT, _sent, [scp]),
    ]
    with serving(entity, listen, handlers):
        yield scp
        for report in scp.reports:
            report.join(timeout=_PEER_LIMIT)


def _accept(event: evt.Event, scp: StorageSCP) -> None:
    scp.note(lambda: scp.associations.append(str(event.assoc.requestor.ae_title)))


def _store(event: evt.Event, scp: StorageSCP, answer: Callable[[str], int]) -> int:
    request = event.request
    status = answer(str(request.AffectedSOPInstanceUID))
    if status == 0x0000 or 0xB000 <= status <= 0xBFFF:
        one = Received(
            SOPClassUID=str(request.AffectedSOPClassUID),
            SOPInstanceUID=str(request.AffectedSOPInstanceUID),
            TransferSyntaxUID=str(event.context.transfer_syntax),
            dataset=request.DataSet.getvalue(),
            calling_ae=str(event.assoc.requestor.ae_title),
            called_ae=str(event.assoc.requestor.primitive.called_ae_title),
            originator=request.MoveOriginatorApplicationEntityTitle,
        )
        scp.note(lambda: scp.received.append(one))
    return status


def _action(
    event: evt.Event, scp: StorageSCP, mode: Literal["same", "new"] | None, report_to: ReportTo | None
) -> tuple[int, None]:
    asked = event.action_information
    scp.note(lambda: scp.commitments.append(asked))
    answered = threading.Event()
    event.assoc._commitment_answered = answered
    if mode == "same":
        work, arguments = _report_same, (event.assoc, answered, scp, asked)
    else:
        if report_to is None:
            msg = 'commitment="new" needs report_to'
            raise ValueError(msg)
        work, arguments = _report_new, (report_to, answered, scp, asked)
    report = threading.Thread(target=work, args=arguments, daemon=True)
    scp.reports.append(report)
    report.start()
    return 0x0000, None


def _sent(event: evt.Event, scp: StorageSCP) -> None:
    answered = getattr(event.assoc, "_commitment_answered", None)
    if answered is not None and type(event.message).__name__ == "N_ACTION_RSP":
        answered.set()


def commitment_report(asked: Dataset, *, stored: set[str]) -> tuple[int, Dataset]:
    """Event type (1 all stored, 2 failures exist) and Event Information for a commitment request (PS3.4 J.3.3)."""
    kept, failed = [], []
    for item in asked.ReferencedSOPSequence:
        reference = Dataset()
        reference.ReferencedSOPClassUID = item.ReferencedSOPClassUID
        reference.ReferencedSOPInstanceUID = item.ReferencedSOPInstanceUID
        if str(item.ReferencedSOPInstanceUID) in stored:
            kept.append(reference)
        else:
            reference.FailureReason = _NO_SUCH_OBJECT
            failed.append(reference)
    report = Dataset()
    report.TransactionUID = asked.TransactionUID
    if kept:
        report.ReferencedSOPSequence = kept
    if failed:
        report.FailedSOPSequence = failed
    return (2 if failed else 1), report


def _report(assoc: Any, scp: StorageSCP, asked: Dataset) -> None:
    stored = {one.SOPInstanceUID for one in scp.received} - scp.not_stored
    kind, report = commitment_report(asked, stored=stored)
    status, _ = assoc.send_n_event_report(report, kind, StorageCommitmentPushModel, COMMITMENT_INSTANCE)
    scp.note(lambda: scp.report_statuses.append(int(status.Status) if "Status" in status else None))


def _report_same(assoc: Any, answered: threading.Event, scp: StorageSCP, asked: Dataset) -> None:
    if answered.wait(_PEER_LIMIT):
        _report(assoc, scp, asked)


def _report_new(to: ReportTo, answered: threading.Event, scp: StorageSCP, asked: Dataset) -> None:
    if not answered.wait(_PEER_LIMIT):
        return
    entity = AE(ae_title=scp.ae)
    entity.add_requested_context(StorageCommitmentPushModel, list(_NATIVE))
    role = build_role(StorageCommitmentPushModel, scp_role=True)
    assoc = entity.associate(HOST, to.port, ae_title=to.ae, ext_neg=[role])
    if not assoc.is_established:
        scp.note(lambda: scp.report_statuses.append(None))
        return
    _report(assoc, scp, asked)
    assoc.release()


@dataclass(slots=True, kw_only=True)
class WorklistSCP:
    """A running RIS. `rows` may be replaced while it runs; `queries` are (calling AE, identifier) as they came."""

    ae: str
    port: int
    rows: list[Dataset]
    queries: list[tuple[str, Dataset]] = field(default_factory=list)
    asked_to_cancel: threading.Event = field(default_factory=threading.Event)
    """A C-CANCEL has come."""
    cancelled: threading.Event = field(default_factory=threading.Event)
    """And a query was ended by it."""
    status: int = 0x0000


@contextmanager
def worklist_scp(
    port: int | None = None,
    *,
    ae: str = "RIS",
    rows: Sequence[Dataset] = (),
    before_row: Callable[[int], None] = lambda _: None,
) -> Iterator[WorklistSCP]:
    """A RIS that answers every query with all its `rows` whatever the keys (so matching must be the asker's).

    `before_row(n)` runs before row n and may block. A failing answer: set `.status` to 0xA700 or 0xC001.
    """
    listen = port or free_port()
    scp = WorklistSCP(ae=ae, port=listen, rows=list(rows))
    entity = AE(ae_title=ae)
    entity.maximum_associations = 64
    entity.add_supported_context(ModalityWorklistInformationFind, list(_NATIVE))
    entity.add_supported_context(Verification)
    with serving(entity, listen, [(evt.EVT_C_FIND, _find, [scp, before_row]), (evt.EVT_DIMSE_RECV, _heard, [scp])]):
        yield scp


@contextmanager
def serving(entity: AE, port: int, handlers: list[Any]) -> Iterator[None]:
    # Not `start_server`: its listener looks for its end every half second only, which each test would pay.
    server = entity.make_server((HOST, port), evt_handlers=handlers, server_class=ThreadedAssociationServer)
    entity._servers.append(server)
    listener = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    listener.start()
    try:
        yield
    finally:
        entity.shutdown()
        listener.join(timeout=_PEER_LIMIT)


def _heard(event: evt.Event, scp: WorklistSCP) -> None:
    if type(event.message).__name__ == "C_CANCEL_RQ":
        scp.asked_to_cancel.set()


def _find(
    event: evt.Event, scp: WorklistSCP, before_row: Callable[[int], None]
) -> Iterator[tuple[int, Dataset | None]]:
    scp.queries.append((str(event.assoc.requestor.ae_title), event.identifier))
    if scp.status:
        yield scp.status, None
        return
    for number, row in enumerate(list(scp.rows)):
        before_row(number)
        if event.is_cancelled:
            scp.cancelled.set()
            yield 0xFE00, None
            return
        yield 0xFF00, row
