"""Doors: every caller comes in by the same port and the same code; the synthetic patient's bring things to books apart.

What is promised: what says that it is the synthetic patient's scanner or sender reaches nothing but the services of the
second set, whatever it asks and from wherever it calls; everybody else reaches nothing but the first. So nothing of it
is ever in a worklist answer, a count or an export: it is not in the clinical books at all.
"""

from __future__ import annotations

from collections.abc import Awaitable, Mapping

from gateway.dicom.associate import AssociateAccept, AssociateRequest
from gateway.dicom.association import AcceptedContext
from gateway.dicom.dimse import CommandSet, Status
from gateway.dicom.pdu import Reject
from gateway.domain.admission import same_ae
from gateway.domain.hl7 import Hl7Error, header_of
from gateway.domain.synthetic import SCANNER, SENDER
from gateway.net.dicom_service import Caller, Exchange, Handler, Services, StoreReceiver
from gateway.net.mllp_server import Receiver


class Doors:
    """The `Services` of one port."""

    def __init__(self, clinical: Services, synthetic: Services) -> None:
        self._clinical = clinical
        self._synthetic = synthetic
        self._handlers = {
            field: _either(clinical.handlers.get(field), synthetic.handlers.get(field))
            for field in {*clinical.handlers, *synthetic.handlers}
        }

    @property
    def handlers(self) -> Mapping[int, Handler]:
        return self._handlers

    def expects(self, address: str) -> bool:
        """Whether a scanner may come from there: the synthetic patient's has no place kept for it."""
        return self._clinical.expects(address)

    def admit(self, request: AssociateRequest, address: str) -> AssociateAccept | Reject:
        """By the services that the caller belongs to."""
        return self._of(request.calling_ae).admit(request, address)

    def begin_store(self, caller: Caller, context: AcceptedContext, command: CommandSet) -> StoreReceiver:
        """By the services that the caller belongs to. May raise `StoreRefused`."""
        return self._of(caller.calling_ae).begin_store(caller, context, command)

    def _of(self, calling_ae: str) -> Services:
        return self._synthetic if same_ae(calling_ae, SCANNER) else self._clinical


def _either(clinical: Handler | None, synthetic: Handler | None) -> Handler:
    async def handle(exchange: Exchange) -> None:
        handler = synthetic if same_ae(exchange.caller.calling_ae, SCANNER) else clinical
        if handler is None:
            exchange.respond(Status.SOP_CLASS_NOT_SUPPORTED)
        else:
            await handler(exchange)

    return handle


class MessageDoors:
    """The `Receiver` of the port for HL7. Messages are told apart by MSH-3, each of a connection by itself."""

    def __init__(self, clinical: Receiver, synthetic: Receiver) -> None:
        self._clinical = clinical
        self._synthetic = synthetic

    def knows(self, address: str) -> bool:
        """Whether anybody may call from there."""
        return self._clinical.knows(address) or self._synthetic.knows(address)

    def receive(self, message: bytes, address: str) -> Awaitable[bytes]:
        """By the receiver that the message is for."""
        return (self._synthetic if self._is_synthetic(message, address) else self._clinical).receive(message, address)

    def too_long(self) -> bytes:
        """What to write back for a message that is not read."""
        return self._clinical.too_long()

    def _is_synthetic(self, message: bytes, address: str) -> bool:
        """From this machine, and under the reserved name."""
        if SENDER.encode() not in message[:64] or not self._synthetic.knows(address):
            return False
        try:
            return header_of(message).get("3").strip().upper() == SENDER
        except Hl7Error:
            return False
