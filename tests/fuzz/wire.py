"""Targets on the wire: PDUs in any pieces, associations of both sides, A-ASSOCIATE items, command sets."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from random import Random

from gateway.dicom import dimse, negotiation
from gateway.dicom.associate import AssociateRequest, UserInformation, decode_accept, decode_request
from gateway.dicom.association import (
    Accepted,
    Association,
    Closing,
    Event,
    LocalProtocolError,
    Rejected,
    State,
    Timer,
)
from gateway.dicom.dimse import Command, CommandField, CommandSet, Data, MessageReader
from gateway.dicom.pdu import CALLED_AE_UNKNOWN, MAX_CONTROL_PDU, ControlPdu, Fragment, PduError, PduReader
from tests.fuzz.mutate import CALLS, pieces_of

US = UserInformation(
    max_pdu=131072, implementation_class_uid="1.2.3", implementation_version="FUZZ", asynchronous=(8, 1)
)
ECHO = CommandSet(CommandField=CommandField.C_ECHO_RQ, MessageID=1, AffectedSOPClassUID=negotiation.VERIFICATION)
PROPOSED = AssociateRequest(
    called_ae="PACS",
    calling_ae="BOX",
    contexts=negotiation.propose({negotiation.VERIFICATION: (), "1.2.840.10008.5.1.4.1.1.2": negotiation.NATIVE}),
    user=US,
)
_HEADER = 6


def choose(abstract_syntax: str) -> Callable[[Iterable[str]], str | None] | None:
    """As our reception does for a scanner."""
    if abstract_syntax in {negotiation.VERIFICATION, negotiation.MODALITY_WORKLIST, negotiation.STORAGE_COMMITMENT}:
        return negotiation.choose_native
    if negotiation.is_storage(abstract_syntax, standard_only=False):
        return negotiation.choose_transfer_syntax
    return None


def shape(error: Exception) -> str:
    """What an error says, without its numbers: the kind of refusal."""
    return type(error).__name__ + "".join(character for character in str(error) if not character.isdigit())[:60]


def _all_of(reader: PduReader, pieces: list[bytes]) -> list[object]:
    """Everything that arrives in these pieces, the fragments of a value joined, and the error at the end."""
    told: list[object] = []
    value: list[object] = []
    pending = b""
    try:
        for piece in pieces:
            pending += piece
            found: list[ControlPdu | Fragment] = [Fragment(0, False, False, memoryview(b""))]
            while found:
                found, consumed = reader.read(memoryview(pending))
                assert 0 <= consumed <= len(pending)
                for one in found:
                    _tell(one, told, value)
                pending = pending[consumed:]
            assert len(pending) < MAX_CONTROL_PDU + _HEADER, "more than one control PDU is held"
    except PduError as error:
        told.append(shape(error))
    return told


def _tell(one: ControlPdu | Fragment, told: list[object], value: list[object]) -> None:
    if isinstance(one, ControlPdu):
        told.append(one)
        return
    if value and value[:2] == [one.context_id, one.command]:
        value[2] = bytes(value[2]) + bytes(one.data)  # type: ignore[call-overload]
    else:
        value[:] = [one.context_id, one.command, bytes(one.data)]
        told.append(value)
    if one.last:
        told[-1] = (*value, "last")
        value.clear()
    else:
        told[-1] = list(value)


def pdus(data: bytes) -> str:
    """In whatever pieces the bytes come, they mean the same."""
    random = Random(data[:1])
    stream = data[1:]
    pieces = []
    position = 0
    while position < len(stream):
        size = random.choice((1, 2, 5, 6, 7, 12, 100, 4096))
        pieces.append(stream[position : position + size])
        position += size
    whole = _all_of(PduReader(), [stream])
    assert _all_of(PduReader(), pieces) == whole
    return " ".join(one if isinstance(one, str) else type(one).__name__ for one in whole[-4:])


def messages(data: bytes) -> str:
    """Fragments of any size and kind: commands, data, or `PduError`, and few bytes held."""
    random = Random(data[:1])
    reader = MessageReader()
    told = []
    position = 1
    try:
        while position < len(data):
            size = random.choice((1, 8, 60, 200, 5000, 40000))
            flags = random.choice((0, 1, 1, 1, 2, 3, 3, 3))
            view = memoryview(data)[position : position + size]
            position += size
            got = reader.read(Fragment(random.choice((1, 1, 1, 3)), bool(flags & 1), bool(flags & 2), view))
            assert len(reader._command) <= dimse.MAX_COMMAND
            told.append(type(got).__name__)
    except PduError as error:
        told.append(shape(error))
    return " ".join(told[-3:])


def commands(data: bytes) -> str:
    """A command set is refused by `PduError`, or read, answered, and the same after another turn."""
    try:
        command = dimse.decode_command(data)
    except PduError as error:
        return shape(error)
    assert dimse.decode_command(command.encode()).CommandField == command.CommandField
    again = dimse.decode_command(command.encode())
    assert dimse.decode_command(again.encode()) == again
    response = dimse.response_to(command, 0xFF00, comment=command.ErrorComment or "", data_set=True)
    assert dimse.decode_command(response.encode()).Status == 0xFF00
    plain = dimse.decode_command(dimse.response_to(command, 0).encode())
    assert dimse.decode_command(dimse.encoded_response(command, 0)) == plain
    return " ".join(sorted(name for name in command.__slots__ if getattr(command, name) is not None))


def requests(data: bytes) -> str:
    """A request is refused by `PduError`, or answered: every context once and in order, in a PDU that can be read."""
    try:
        request = decode_request(data)
    except PduError as error:
        return shape(error)
    answer = negotiation.answer(request, choose, us=US)
    assert [result.id for result in answer.contexts] == [context.id for context in request.contexts]
    read = decode_accept(answer.encode()[_HEADER:])
    assert [(one.id, one.result) for one in read.contexts] == [(one.id, one.result) for one in answer.contexts]
    return (
        f"{len(request.contexts)} {bool(request.user.roles)} {bool(request.user.extended)} {request.user.max_pdu > 0}"
    )


def accepts(data: bytes) -> str:
    try:
        accept = decode_accept(data)
    except PduError as error:
        return shape(error)
    return f"{[result.result for result in accept.contexts[:4]]} {bool(accept.user.roles)}"


class _Driver:
    """An association and what its driver would hold; every call is checked."""

    def __init__(self, association: Association) -> None:
        self.association = association
        self.pending = b""
        self.told: list[str] = []
        self.over = False

    def feed(self, data: bytes) -> None:
        self.pending += data
        events, consumed = self.association.receive(memoryview(self.pending))
        assert 0 <= consumed <= len(self.pending)
        for event in events:
            self._event(event)
        self.pending = self.pending[consumed:]
        assert len(self.pending) < MAX_CONTROL_PDU + _HEADER, "more than one control PDU is held"
        assert len(self.association._messages._command) <= dimse.MAX_COMMAND

    def _event(self, event: Event) -> None:
        assert not self.over, f"{type(event).__name__} after the end"
        self.told.append(type(event).__name__)
        if isinstance(event, Closing | Rejected):
            self.over = True
            assert self.association.state in {State.CLOSED, State.AWAIT_CLOSE}
        elif isinstance(event, Command | Data):
            assert event.context_id in self.association.contexts

    def call(self, kind: int, given: bytes) -> None:
        """One call of ours; it may be refused, and then nothing is said."""
        association = self.association
        calls: tuple[Callable[[], object], ...] = (
            self.accept,
            lambda: association.reject(CALLED_AE_UNKNOWN),
            lambda: association.send(given[0] if given else 1, ECHO),
            lambda: association.send(1, ECHO.encode(), given),
            association.release,
            association.release_reply,
            association.abort,
            self.expire,
            self.close,
        )
        try:
            calls[kind % len(calls)]()
        except LocalProtocolError:
            self.told.append("refused")

    def accept(self) -> None:
        request = self.association.request
        if request is None:
            raise LocalProtocolError
        self.association.accept(negotiation.answer(request, choose, us=US))

    def expire(self) -> None:
        if self.association.timer is not Timer.NONE:
            assert any(isinstance(event, Closing) for event in self.association.timer_expired())
            assert self.association.closed
            self.over = True

    def close(self) -> None:
        for event in self.association.transport_closed():
            self._event(event)
        self.over = True
        assert self.association.closed


def association(data: bytes) -> str:
    """Whatever a peer and we do in whatever order: no error of a peer raises, and after the end is silence."""
    driver = _Driver(Association.requestor(PROPOSED) if data[:1] > b"\x7f" else Association())
    calls, rest = pieces_of(data[1:], CALLS)
    for call in calls:
        over = driver.over
        kind = call.head[0]
        if kind == 0:
            driver.feed(call.body)
        elif kind == 1:
            for at in range(0, min(len(call.body), 2000), 3):
                driver.feed(call.body[at : at + 3])
        else:
            driver.call(kind - 2, call.body)
        said = driver.association.data_to_send()
        assert not (over and said), "something is said after the end"
    driver.feed(rest)
    told = [name for name in driver.told if name != Accepted.__name__]
    return f"{driver.association.state.name} {' '.join(dict.fromkeys(told))}"
