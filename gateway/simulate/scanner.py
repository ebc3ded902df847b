"""A scanner: asks for its worklist, tells of its steps, sends what it made until it is accepted, asks for commitment.

What is promised: a file's data set leaves as it is in the file, by `sendfile`; an instance counts as accepted
only by the status of its own C-STORE response (0000, or a warning, PS3.4 B.2.3). Blocking: for a thread.
Failure: `gateway.domain.model.TemporaryFailure` of the client, except where an argument says to go on.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Final

from gateway.dicom.convert import Extent
from gateway.dicom.dimse import CommandField, CommandSet, response_to
from gateway.dicom.elements import DataSet, leading, parse
from gateway.dicom.negotiation import (
    EXPLICIT_VR_LITTLE_ENDIAN,
    MODALITY_WORKLIST,
    MPPS,
    STORAGE_COMMITMENT,
    STORAGE_COMMITMENT_INSTANCE,
    VERIFICATION,
    propose,
)
from gateway.domain.model import GatewayError, TemporaryFailure
from gateway.net.dicom_client import Message, Peer, Requestor
from gateway.net.tls import Context
from gateway.simulate import commitment, performed
from gateway.simulate.archive import read_file_meta
from gateway.simulate.commitment import Reference
from gateway.simulate.keywords import Values, data_set, encoded

_KEYS: Final = (
    "AccessionNumber",
    "ReferringPhysicianName",
    "ReferencedStudySequence",
    "PatientName",
    "PatientID",
    "IssuerOfPatientID",
    "PatientBirthDate",
    "PatientSex",
    "PatientWeight",
    "StudyInstanceUID",
    "RequestingPhysician",
    "RequestedProcedureDescription",
    "RequestedProcedureCodeSequence",
    "AdmissionID",
    "RequestedProcedureID",
    "RequestedProcedurePriority",
)
_STEP_KEYS: Final = (
    "Modality",
    "ScheduledStationAETitle",
    "ScheduledProcedureStepStartDate",
    "ScheduledProcedureStepStartTime",
    "ScheduledPerformingPhysicianName",
    "ScheduledProcedureStepDescription",
    "ScheduledProtocolCodeSequence",
    "ScheduledProcedureStepID",
    "ScheduledStationName",
    "ScheduledProcedureStepStatus",
)
SERIES_INSTANCE_UID: Final = 0x0020000E
LOOK: Final = 64 * 1024
PENDING: Final = frozenset({0xFF00, 0xFF01})
_WARNING: Final = range(0xB000, 0xC000)


class QueryFailed(TemporaryFailure):
    """The worklist query ended with a status of failure."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """What became of one file."""

    path: Path
    SOPClassUID: str
    SOPInstanceUID: str
    status: int | None
    """The status of the C-STORE response; None if none came."""
    reason: str = ""
    """Why there was none."""

    @property
    def accepted(self) -> bool:
        return self.status is not None and (self.status == 0 or self.status in _WARNING)

    @property
    def reference(self) -> Reference:
        return Reference(self.SOPClassUID, self.SOPInstanceUID)


class Scanner:
    """The requestor, with one association for each thing it does."""

    def __init__(
        self,
        *,
        host: str,
        port: int,
        called_ae: str,
        calling_ae: str,
        worklist_ae: str = "",
        connect_timeout: float = 5.0,
        timeout: float = 30.0,
        tls: Context | None = None,
    ) -> None:
        """`worklist_ae` is called for queries, `called_ae` for all else and if it is empty; times in seconds."""
        self._peer = Peer(
            host=host,
            port=port,
            called_ae=called_ae,
            calling_ae=calling_ae,
            connect_timeout=connect_timeout,
            timeout=timeout,
            tls=tls,
        )
        self._worklist_ae = worklist_ae or called_ae

    def echo(self) -> int:
        """C-ECHO: the status."""
        with Requestor.connect(self._peer, propose({VERIFICATION: []})) as association:
            return association.echo()

    def query(self, *, limit: int | None = None, **keys: str) -> list[DataSet]:
        """The worklist entries that match `keys`, such as `Modality="CT"` or `PatientName="TEST*"`.

        A key of the Scheduled Procedure Step goes into its sequence. After `limit` entries the query is
        cancelled. Raises QueryFailed if the final status is neither success nor our own cancel.
        """
        peer = replace(self._peer, called_ae=self._worklist_ae)
        found: list[DataSet] = []
        with Requestor.connect(peer, propose({MODALITY_WORKLIST: [EXPLICIT_VR_LITTLE_ENDIAN]})) as association:
            context = association.context_for(MODALITY_WORKLIST)
            if context is None:
                raise QueryFailed("the peer offers no worklist; check its AE title and services", code="context")
            answers = association.find(context, encoded(_identifier(keys), context.transfer_syntax))
            for answer in answers:
                if answer.command.Status in PENDING:
                    found.append(parse(bytes(answer.data_set), context.transfer_syntax))
                elif answer.command.Status != 0:
                    status = answer.command.Status or 0
                    raise QueryFailed(f"the query ended with status {status:04X}", code=f"{status:04X}")
                if limit is not None and len(found) >= limit:
                    answers.close()
                    break
        return found

    def send(self, files: Sequence[Path], *, acknowledged: Callable[[Sent], None] | None = None) -> list[Sent]:
        """Send files over one association; one result a file, in their order.

        A broken association leaves the rest without a status instead of raising; so does one that
        could not be made. `acknowledged` is called as each accepted response arrives.
        """
        metas = [(path, read_file_meta(path)) for path in files]
        wanted: dict[str, dict[str, None]] = {}
        for _, meta in metas:
            wanted.setdefault(meta.SOPClassUID, {})[meta.TransferSyntaxUID] = None
        results: list[Sent] = []
        reason = ""
        try:
            with Requestor.connect(self._peer, propose(wanted)) as association:
                for path, meta in metas:
                    results.append(
                        _send_one(association, path, meta.SOPClassUID, meta.SOPInstanceUID, meta.TransferSyntaxUID)
                    )
                    if acknowledged is not None and results[-1].accepted:
                        acknowledged(results[-1])
        except GatewayError as error:
            reason = str(error)
        return results + [
            Sent(
                path=path,
                SOPClassUID=meta.SOPClassUID,
                SOPInstanceUID=meta.SOPInstanceUID,
                status=None,
                reason=reason,
            )
            for path, meta in metas[len(results) :]
        ]

    def send_until_accepted(
        self,
        files: Sequence[Path],
        *,
        give_up_after: float,
        pause: float = 0.5,
        acknowledged: Callable[[Sent], None] | None = None,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> list[Sent]:
        """As `send`, and again what was not accepted, `pause` seconds between, as a scanner's queue does.

        After `give_up_after` seconds the last results are returned as they are.
        """
        end = monotonic() + give_up_after
        results: dict[Path, Sent] = {}
        while True:
            left = [path for path in files if path not in results or not results[path].accepted]
            results |= {sent.path: sent for sent in self.send(left, acknowledged=acknowledged)}
            if all(sent.accepted for sent in results.values()) or monotonic() >= end:
                return [results[path] for path in files]
            sleep(pause)

    def begin_step(self, entry: DataSet, *, at: datetime) -> str:
        """N-CREATE of a performed procedure step for a worklist entry, in progress; its SOP Instance UID.

        Raises TemporaryFailure if it is refused or the association breaks.
        """
        uid = f"2.25.{secrets.randbits(127)}"
        self._tell(CommandField.N_CREATE_RQ, uid, performed.begun(entry, at=at))
        return uid

    def end_step(self, uid: str, sent: Sequence[Sent], *, at: datetime, completed: bool = True) -> None:
        """N-SET: the step is completed, or discontinued, with what was sent. Raises as `begin_step`."""
        made: dict[str, list[Reference]] = {}
        for one in sent:
            made.setdefault(_series_of(one.path), []).append(one.reference)
        self._tell(CommandField.N_SET_RQ, uid, performed.ended(made, at=at, completed=completed))

    def _tell(self, request: CommandField, uid: str, attributes: DataSet) -> None:
        creates = request is CommandField.N_CREATE_RQ
        with Requestor.connect(self._peer, propose({MPPS: [EXPLICIT_VR_LITTLE_ENDIAN]})) as association:
            context = association.context_for(MPPS)
            if context is None:
                raise TemporaryFailure(
                    "the peer takes no performed procedure steps; check its services", code="context"
                )
            command = CommandSet(
                CommandField=request,
                MessageID=association.next_message_id(),
                AffectedSOPClassUID=MPPS if creates else None,
                AffectedSOPInstanceUID=uid if creates else None,
                RequestedSOPClassUID=None if creates else MPPS,
                RequestedSOPInstanceUID=None if creates else uid,
                CommandDataSetType=1,
            )
            body = encoded(attributes, context.transfer_syntax)
            status = association.request(context, command, body).command.Status or 0
            if status:
                raise TemporaryFailure(f"the performed step ended with status {status:04X}", code=f"{status:04X}")

    def commit(self, references: Iterable[Reference], *, wait: float) -> commitment.Result | None:
        """Ask for storage commitment; the result if it comes on this association within `wait` seconds.

        Raises TemporaryFailure if the request is refused or the association breaks.
        """
        transaction = f"2.25.{secrets.randbits(127)}"
        with Requestor.connect(self._peer, propose({STORAGE_COMMITMENT: [EXPLICIT_VR_LITTLE_ENDIAN]})) as association:
            context = association.context_for(STORAGE_COMMITMENT)
            if context is None:
                raise TemporaryFailure("the peer offers no storage commitment; check its services", code="context")
            command = CommandSet(
                CommandField=CommandField.N_ACTION_RQ,
                MessageID=association.next_message_id(),
                RequestedSOPClassUID=STORAGE_COMMITMENT,
                RequestedSOPInstanceUID=STORAGE_COMMITMENT_INSTANCE,
                ActionTypeID=commitment.REQUEST_ACTION,
                CommandDataSetType=1,
            )
            body = commitment.request(transaction, list(references), context.transfer_syntax)
            status = association.request(context, command, body).command.Status or 0
            if status:
                raise TemporaryFailure(f"the commitment request ended with status {status:04X}", code=f"{status:04X}")
            return _result(association, transaction, context.transfer_syntax, wait)


def _series_of(path: Path) -> str:
    """The Series Instance UID in a file, near its beginning."""
    meta = read_file_meta(path)
    with path.open("rb") as file:
        file.seek(meta.data_offset)
        found = leading(file.read(LOOK), meta.TransferSyntaxUID, frozenset({SERIES_INSTANCE_UID}))
    return found.get(SERIES_INSTANCE_UID, b"").decode("latin-1").strip("\0 ")


def _identifier(keys: dict[str, str]) -> DataSet:
    step = _universal(_STEP_KEYS) | {key: value for key, value in keys.items() if key in _STEP_KEYS}
    root = _universal(_KEYS) | {key: value for key, value in keys.items() if key not in _STEP_KEYS}
    foreign = not all(value.isascii() for value in keys.values())
    return data_set({**root, "ScheduledProcedureStepSequence": [step]}, "ISO_IR 192" if foreign else "")


def _universal(keywords: Iterable[str]) -> dict[str, str | Sequence[Values]]:
    return {keyword: [] if keyword.endswith("Sequence") else "" for keyword in keywords}


def _send_one(association: Requestor, path: Path, sop_class: str, instance: str, syntax: str) -> Sent:
    context = association.context_for(sop_class, syntax)
    status = None
    if context is not None:
        offset = read_file_meta(path).data_offset
        command = CommandSet(
            CommandField=CommandField.C_STORE_RQ,
            MessageID=association.next_message_id(),
            AffectedSOPClassUID=sop_class,
            AffectedSOPInstanceUID=instance,
            Priority=0,
            CommandDataSetType=1,
        )
        with path.open("rb") as source:
            whole = Extent(offset=offset, length=path.stat().st_size - offset)
            status = association.store(context, command, [whole], source.fileno()).Status
    reason = "" if context else "the peer does not take this class in this transfer syntax"
    return Sent(path=path, SOPClassUID=sop_class, SOPInstanceUID=instance, status=status, reason=reason)


def _result(association: Requestor, transaction: str, syntax: str, wait: float) -> commitment.Result | None:
    """The result of this transaction, if it comes in time; others are answered and passed over."""
    end = time.monotonic() + wait
    while (left := end - time.monotonic()) > 0:
        message: Message | None = association.await_message(left)
        if message is None:
            return None
        if message.command.CommandField == CommandField.N_EVENT_REPORT_RQ:
            association.reply(message, response_to(message.command, 0))
            result = commitment.read_report(bytes(message.data_set), syntax)
            if result.TransactionUID == transaction:
                return result
    return None
