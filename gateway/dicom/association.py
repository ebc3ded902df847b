"""The DICOM upper layer state machine (PS3.8 9.2), acceptor and requestor. No I/O, no clock.

Two house rules: everything that affects the state is in this file, and the state changes only
through the table below. A driver owns the socket and the timers:

    events, consumed = association.receive(view)    bytes that arrived -> what they mean
    association.accept(...), .send(...), ...        what we want -> bytes in data_to_send()
    association.timer                               which timer should run now
    association.timer_expired(), .transport_closed()

States carry the numbers of table 9-10: AWAIT_RQ Sta2, DECIDING Sta3, AWAIT_AC Sta5, ESTABLISHED
Sta6, RELEASING Sta7, RELEASE_ASKED Sta8, COLLISION_REQUESTOR Sta9, COLLISION_ACCEPTOR Sta10,
COLLISION_ANSWERED Sta11, COLLISION_CONFIRMED Sta12, AWAIT_CLOSE Sta13, CLOSED Sta1. A peer's error
never raises: it becomes a `Closing` event with our A-ABORT in `data_to_send()`. Calling a method
in a state that does not allow it is our own error and raises `LocalProtocolError`.
"""

from __future__ import annotations

from enum import Enum, IntEnum
from typing import NamedTuple

from gateway.dicom.associate import AssociateAccept, AssociateRequest, decode_accept, decode_request
from gateway.dicom.dimse import Command, CommandSet, Data, MessageReader
from gateway.dicom.pdu import (
    MAX_DATA_PDU,
    RELEASE_RP,
    RELEASE_RQ,
    Abort,
    AbortReason,
    ControlPdu,
    Fragment,
    PduError,
    PduReader,
    PduType,
    Reject,
    decode_abort,
    decode_reject,
    fragment_message,
)

LARGEST_SENT_PDU = 128 * 1024
"""We send no longer PDU even to a peer that would take one: beyond this nothing is gained."""
SMALLEST_PEER_PDU = 128
"""A peer that announces less cannot be sent a command set in a sane number of fragments."""


class State(IntEnum):
    CLOSED = 1
    AWAIT_RQ = 2
    DECIDING = 3
    AWAIT_AC = 5
    ESTABLISHED = 6
    RELEASING = 7
    RELEASE_ASKED = 8
    COLLISION_REQUESTOR = 9
    COLLISION_ACCEPTOR = 10
    COLLISION_ANSWERED = 11
    COLLISION_CONFIRMED = 12
    AWAIT_CLOSE = 13


class Timer(Enum):
    """The timer that should be running; its length is the driver's affair."""

    NONE = "none"
    ARTIM = "artim"
    """PS3.8 9.1.5: association request not yet received, or transport not yet closed."""
    REPLY = "reply"
    """A peer owes us an answer to an association or release request."""
    IDLE = "idle"
    """The association stands and nothing is due."""


class _Input(Enum):
    RQ = PduType.ASSOCIATE_RQ
    AC = PduType.ASSOCIATE_AC
    RJ = PduType.ASSOCIATE_RJ
    DATA = PduType.P_DATA
    RELEASE_RQ = PduType.RELEASE_RQ
    RELEASE_RP = PduType.RELEASE_RP
    ABORT = PduType.ABORT
    ACCEPT = "accept"
    REJECT = "reject"
    SEND = "send"
    RELEASE = "release"
    RELEASE_REPLY = "release reply"


class LocalProtocolError(Exception):
    """We asked the association for something that its state does not allow."""


class Requested(NamedTuple):
    """A peer asks for an association: answer with `accept` or `reject`."""

    request: AssociateRequest


class Accepted(NamedTuple):
    accept: AssociateAccept


class Rejected(NamedTuple):
    reject: Reject


class ReleaseRequested(NamedTuple):
    """The peer wants to end the association: answer with `release_reply` when nothing is due."""


class Closing(NamedTuple):
    """The association is over: close the transport once `data_to_send()` is out. `receive` tells it once."""

    released: bool
    """In good order, by A-RELEASE."""
    by_peer: bool
    reason: str
    """For logs and people; no patient data."""


Event = Requested | Accepted | Rejected | Command | Data | ReleaseRequested | Closing

_I, _S = _Input, State
_OPEN = (
    _S.DECIDING,
    _S.AWAIT_AC,
    _S.ESTABLISHED,
    _S.RELEASING,
    _S.RELEASE_ASKED,
    _S.COLLISION_REQUESTOR,
    _S.COLLISION_ACCEPTOR,
    _S.COLLISION_ANSWERED,
    _S.COLLISION_CONFIRMED,
)
# Table 9-10. What is not here is an unexpected PDU (AA-8: abort) if a peer caused it, or
# LocalProtocolError if we did. A release collision stands in two columns, as its sides differ.
_TABLE: dict[tuple[State, _Input], State] = {
    (_S.AWAIT_RQ, _I.RQ): _S.DECIDING,  # AE-6
    (_S.DECIDING, _I.ACCEPT): _S.ESTABLISHED,  # AE-7
    (_S.DECIDING, _I.REJECT): _S.AWAIT_CLOSE,  # AE-8
    (_S.AWAIT_AC, _I.AC): _S.ESTABLISHED,  # AE-3
    (_S.AWAIT_AC, _I.RJ): _S.CLOSED,  # AE-4
    (_S.ESTABLISHED, _I.DATA): _S.ESTABLISHED,  # DT-2
    (_S.ESTABLISHED, _I.SEND): _S.ESTABLISHED,  # DT-1
    (_S.ESTABLISHED, _I.RELEASE): _S.RELEASING,  # AR-1
    (_S.ESTABLISHED, _I.RELEASE_RQ): _S.RELEASE_ASKED,  # AR-2
    (_S.RELEASING, _I.DATA): _S.RELEASING,  # AR-6
    (_S.RELEASING, _I.RELEASE_RP): _S.CLOSED,  # AR-3
    (_S.RELEASE_ASKED, _I.SEND): _S.RELEASE_ASKED,  # AR-7
    (_S.RELEASE_ASKED, _I.RELEASE_REPLY): _S.AWAIT_CLOSE,  # AR-4
    (_S.COLLISION_REQUESTOR, _I.RELEASE_REPLY): _S.COLLISION_ANSWERED,  # AR-9
    (_S.COLLISION_ACCEPTOR, _I.RELEASE_RP): _S.COLLISION_CONFIRMED,  # AR-10
    (_S.COLLISION_ANSWERED, _I.RELEASE_RP): _S.CLOSED,  # AR-3
    (_S.COLLISION_CONFIRMED, _I.RELEASE_REPLY): _S.AWAIT_CLOSE,  # AR-4
    **{(state, _I.ABORT): _S.CLOSED for state in (_S.AWAIT_RQ, *_OPEN, _S.AWAIT_CLOSE)},  # AA-2, AA-3
    **{
        (_S.AWAIT_CLOSE, late): _S.AWAIT_CLOSE for late in (_I.AC, _I.RJ, _I.DATA, _I.RELEASE_RQ, _I.RELEASE_RP)
    },  # AA-6
}
_TIMERS = {
    _S.AWAIT_RQ: Timer.ARTIM,
    _S.AWAIT_CLOSE: Timer.ARTIM,
    _S.AWAIT_AC: Timer.REPLY,
    _S.RELEASING: Timer.REPLY,
    _S.COLLISION_ACCEPTOR: Timer.REPLY,
    _S.COLLISION_ANSWERED: Timer.REPLY,
    _S.ESTABLISHED: Timer.IDLE,
}


class AcceptedContext(NamedTuple):
    """What an accepted presentation context carries."""

    id: int
    abstract_syntax: str
    transfer_syntax: str


class Association:
    """One association, as acceptor (`Association()`) or as requestor (`Association.requestor(rq)`)."""

    def __init__(self, *, max_data_pdu: int = MAX_DATA_PDU) -> None:
        self.state = State.AWAIT_RQ
        self.request: AssociateRequest | None = None
        self.contexts: dict[int, AcceptedContext] = {}
        self._requestor = False
        self._reader = PduReader(max_data=max_data_pdu)
        self._messages = MessageReader()
        self._out: list[bytes] = []
        self._peer_max_pdu = LARGEST_SENT_PDU
        self._reply_when_confirmed = False
        self._end_told = False

    @classmethod
    def requestor(cls, request: AssociateRequest) -> Association:
        """An association that asks a peer: the A-ASSOCIATE-RQ waits in `data_to_send()`."""
        association = cls()
        association._requestor = True
        association.state = State.AWAIT_AC
        association.request = request
        association._out.append(request.encode())
        return association

    @property
    def closed(self) -> bool:
        """The association is over and nothing more is to be said: close the transport."""
        return self.state is State.CLOSED

    @property
    def owes_release_reply(self) -> bool:
        """The peer asked for release and `release_reply` may answer it."""
        return (self.state, _I.RELEASE_REPLY) in _TABLE or (
            self.state is State.COLLISION_ACCEPTOR and not self._reply_when_confirmed
        )

    @property
    def timer(self) -> Timer:
        return _TIMERS.get(self.state, Timer.NONE)

    @property
    def peer_max_pdu(self) -> int:
        """Longest P-DATA-TF we send: what the peer announced, at most `LARGEST_SENT_PDU`."""
        return self._peer_max_pdu

    @property
    def in_message(self) -> bool:
        """The peer has begun a message and not finished it."""
        return self._messages.in_message

    def data_to_send(self) -> bytes:
        """Bytes for the transport, once."""
        out = b"".join(self._out)
        self._out.clear()
        return out

    def receive(self, view: memoryview) -> tuple[list[Event], int]:
        """What the bytes in `view` mean, and how many were consumed (see `PduReader.read`).

        `Data` events view the caller's buffer: use them before it is filled again.
        """
        events: list[Event] = []
        if self.state is State.CLOSED:
            return events, len(view)
        consumed = 0
        try:
            while not self.closed:  # behind an A-ABORT or A-ASSOCIATE-RJ nothing counts
                found, taken = self._reader.read(view[consumed:])
                consumed += taken
                if not found:
                    return events, consumed
                for pdu in found:
                    if not self.closed:
                        self._pdu(pdu, events)
        except PduError as error:
            self._invalid(error, events)
        return events, len(view)

    def accept(self, accept: AssociateAccept) -> None:
        """Accept what was requested; contexts with result 0 can be used from now on."""
        self._local(_I.ACCEPT)
        self._establish(accept)
        self._out.append(accept.encode())

    def reject(self, reject: Reject) -> None:
        self._local(_I.REJECT)
        self._out.append(reject.encode())

    def send(self, context_id: int, command: CommandSet | bytes, data_set: bytes | None = None) -> None:
        """One message, its command set as value or encoded; it goes out in one piece with whatever else waits."""
        self._local(_I.SEND)
        encoded = command if isinstance(command, bytes) else command.encode()
        self._out += fragment_message(context_id, encoded, command=True, max_pdu=self._peer_max_pdu)
        if data_set is not None:
            self._out += fragment_message(context_id, data_set, command=False, max_pdu=self._peer_max_pdu)

    def release(self) -> None:
        """Ask for an orderly end; `Closing` follows."""
        self._local(_I.RELEASE)
        self._out.append(RELEASE_RQ)

    def release_reply(self) -> None:
        """Grant the release that `ReleaseRequested` told of."""
        if self.state is State.COLLISION_ACCEPTOR:
            self._reply_when_confirmed = True  # AR-10 comes first: the peer still owes its A-RELEASE-RP
            return
        self._local(_I.RELEASE_REPLY)
        self._out.append(RELEASE_RP)

    def abort(self, *, provider: bool = False, reason: AbortReason = AbortReason.NOT_SPECIFIED) -> None:
        """End the association at once, from any state; close the transport afterwards."""
        if self.state not in (State.CLOSED, State.AWAIT_CLOSE):
            self._out.append(Abort(2 if provider else 0, reason if provider else 0).encode())
            self.state = State.AWAIT_CLOSE

    def timer_expired(self) -> list[Event]:
        """The timer that `timer` asked for ran out: whatever it was, the association is over."""
        expired = self.timer
        if self.state is not State.AWAIT_RQ:
            self.abort(provider=True)
        self.state = State.CLOSED
        return [Closing(False, False, f"{expired.value} timer expired")]

    def transport_closed(self) -> list[Event]:
        """The connection is gone."""
        was, self.state = self.state, State.CLOSED
        if was in (State.CLOSED, State.AWAIT_CLOSE):
            return []
        return [Closing(False, True, "the peer closed the connection")]

    def _local(self, cause: _Input) -> None:
        if (target := _TABLE.get((self.state, cause))) is None:
            raise LocalProtocolError(f"{cause.value} is not possible in state {self.state.name}")
        self.state = target

    def _peer_input(self, cause: _Input) -> None:
        """Move by a peer's PDU; an unexpected one ends the association."""
        if (target := _TABLE.get((self.state, cause))) is None:
            raise PduError(f"PDU {cause.name} is not expected in state {self.state.name}", AbortReason.UNEXPECTED_PDU)
        self.state = target

    def _invalid(self, error: PduError, events: list[Event]) -> None:
        # AA-8 (AA-1 in Sta2, AA-7 in Sta13): say why, then wait for the transport to close
        if self.state is not State.AWAIT_CLOSE:
            self._out.append(Abort(2, error.reason).encode())
            self._tell_end(events, Closing(False, False, str(error)))
        self.state = State.AWAIT_CLOSE

    def _tell_end(self, events: list[Event], closing: Closing) -> None:
        if not self._end_told:  # a peer's A-ABORT may cross with our own last word
            self._end_told = True
            events.append(closing)

    def _pdu(self, pdu: ControlPdu | Fragment, events: list[Event]) -> None:
        if isinstance(pdu, ControlPdu):
            self._control(pdu, events)
            return
        self._peer_input(_I.DATA)
        if self.state is State.AWAIT_CLOSE:
            return
        message = self._messages.read(pdu)
        if message is not None:
            if message.context_id not in self.contexts:
                raise PduError(f"presentation context {message.context_id} was not accepted")
            events.append(message)

    def _control(self, pdu: ControlPdu, events: list[Event]) -> None:
        was = self.state
        if was is State.AWAIT_CLOSE and pdu.type != PduType.ABORT:
            return  # AA-6, AA-7: the association is over, and our last word is said
        cause = _Input(PduType(pdu.type))
        if was is State.RELEASING and cause is _I.RELEASE_RQ:  # AR-8
            self.state = State.COLLISION_REQUESTOR if self._requestor else State.COLLISION_ACCEPTOR
            events.append(ReleaseRequested())
            return
        self._peer_input(cause)
        if cause is _I.RQ:
            self.request = decode_request(pdu.body)
            self._announced(self.request.user.max_pdu)
            events.append(Requested(self.request))
        elif cause is _I.AC:
            accept = decode_accept(pdu.body)
            self._announced(accept.user.max_pdu)
            self._establish(accept)
            events.append(Accepted(accept))
        elif cause is _I.RJ:
            events.append(Rejected(decode_reject(pdu.body)))
        elif cause is _I.RELEASE_RQ:
            if self._messages.in_message:
                raise PduError("the peer asked for release inside a message", AbortReason.UNEXPECTED_PDU)
            events.append(ReleaseRequested())
        elif cause is _I.RELEASE_RP:
            self._release_confirmed(events)
        else:
            abort = decode_abort(pdu.body)
            by = "service user" if abort.source == 0 else f"service provider, reason {abort.reason}"
            self._tell_end(events, Closing(False, True, f"A-ABORT by the peer's {by}"))

    def _release_confirmed(self, events: list[Event]) -> None:
        if self.state is State.CLOSED:
            events.append(Closing(True, False, "released"))
        elif self._reply_when_confirmed:
            self.release_reply()
            self._tell_end(events, Closing(True, False, "released after a collision"))

    def _announced(self, max_pdu: int) -> None:
        if 0 < max_pdu < SMALLEST_PEER_PDU:
            raise PduError(f"the peer announces PDUs of at most {max_pdu} bytes; {SMALLEST_PEER_PDU} are needed")
        self._peer_max_pdu = min(max_pdu or LARGEST_SENT_PDU, LARGEST_SENT_PDU)

    def _establish(self, accept: AssociateAccept) -> None:
        assert self.request is not None
        proposed = {context.id: context for context in self.request.contexts}
        for result in accept.contexts:
            context = proposed.get(result.id)
            if context is not None and result.result == 0:
                if result.transfer_syntax not in context.transfer_syntaxes:
                    raise PduError(f"context {result.id} was accepted with a transfer syntax nobody proposed")
                self.contexts[result.id] = AcceptedContext(result.id, context.abstract_syntax, result.transfer_syntax)
