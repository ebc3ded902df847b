"""The state machine against PS3.8 table 9-10: every PDU in every state, collisions, timers, orderly and rude ends."""

from __future__ import annotations

import struct
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dicom.associate import (
    AssociateAccept,
    AssociateRequest,
    ContextResult,
    ProposedContext,
    UserInformation,
)
from gateway.dicom.association import (
    LARGEST_SENT_PDU,
    Accepted,
    Association,
    Closing,
    Event,
    LocalProtocolError,
    Rejected,
    ReleaseRequested,
    Requested,
    State,
    Timer,
)
from gateway.dicom.dimse import Command, CommandField, CommandSet, Data
from gateway.dicom.pdu import (
    CALLED_AE_UNKNOWN,
    RELEASE_RP,
    RELEASE_RQ,
    Abort,
    AbortReason,
    data_headers,
    fragment_message,
)

IMPLICIT = "1.2.840.10008.1.2"
VERIFICATION = "1.2.840.10008.1.1"
ECHO = CommandSet(CommandField=CommandField.C_ECHO_RQ, MessageID=1, AffectedSOPClassUID=VERIFICATION)
STORE = CommandSet(CommandField=CommandField.C_STORE_RQ, MessageID=2, CommandDataSetType=0)


def request(max_pdu: int = 16384) -> AssociateRequest:
    return AssociateRequest(
        called_ae="BOX",
        calling_ae="CT1",
        contexts=(ProposedContext(1, VERIFICATION, (IMPLICIT,)), ProposedContext(3, "1.2.3", (IMPLICIT,))),
        user=UserInformation(max_pdu=max_pdu, implementation_class_uid="1.2.3"),
    )


def accept(max_pdu: int = 16384, syntax: str = IMPLICIT) -> AssociateAccept:
    return AssociateAccept(
        called_ae="BOX",
        calling_ae="CT1",
        contexts=(ContextResult(1, 0, syntax), ContextResult(3, 3, IMPLICIT)),
        user=UserInformation(max_pdu=max_pdu, implementation_class_uid="1.2.3"),
    )


def message(command: CommandSet, context: int = 1) -> bytes:
    return b"".join(fragment_message(context, command.encode(), command=True, max_pdu=16384))


def feed(association: Association, data: bytes) -> list[Event]:
    events, consumed = association.receive(memoryview(data))
    assert consumed == len(data)
    return events


def awaiting_request() -> Association:
    return Association()


def deciding() -> Association:
    association = awaiting_request()
    feed(association, request().encode())
    return association


def established() -> Association:
    association = deciding()
    association.accept(accept())
    association.data_to_send()
    return association


def awaiting_accept() -> Association:
    association = Association.requestor(request())
    association.data_to_send()
    return association


def established_requestor() -> Association:
    association = awaiting_accept()
    feed(association, accept().encode())
    return association


def releasing() -> Association:
    association = established()
    association.release()
    association.data_to_send()
    return association


def release_asked() -> Association:
    association = established()
    feed(association, RELEASE_RQ)
    return association


def collision_requestor() -> Association:
    association = established_requestor()
    association.release()
    association.data_to_send()
    feed(association, RELEASE_RQ)
    return association


def collision_acceptor() -> Association:
    association = releasing()
    feed(association, RELEASE_RQ)
    return association


def collision_answered() -> Association:
    association = collision_requestor()
    association.release_reply()
    association.data_to_send()
    return association


def collision_confirmed() -> Association:
    association = collision_acceptor()
    feed(association, RELEASE_RP)
    return association


def awaiting_close() -> Association:
    association = release_asked()
    association.release_reply()
    association.data_to_send()
    return association


def closed() -> Association:
    association = established()
    feed(association, Abort(0, 0).encode())
    return association


IN_STATE: dict[State, Callable[[], Association]] = {
    State.CLOSED: closed,
    State.AWAIT_RQ: awaiting_request,
    State.DECIDING: deciding,
    State.AWAIT_AC: awaiting_accept,
    State.ESTABLISHED: established,
    State.RELEASING: releasing,
    State.RELEASE_ASKED: release_asked,
    State.COLLISION_REQUESTOR: collision_requestor,
    State.COLLISION_ACCEPTOR: collision_acceptor,
    State.COLLISION_ANSWERED: collision_answered,
    State.COLLISION_CONFIRMED: collision_confirmed,
    State.AWAIT_CLOSE: awaiting_close,
}
PDUS: dict[str, bytes] = {
    "RQ": request().encode(),
    "AC": accept().encode(),
    "RJ": CALLED_AE_UNKNOWN.encode(),
    "DATA": message(ECHO),
    "RELEASE-RQ": RELEASE_RQ,
    "RELEASE-RP": RELEASE_RP,
    "ABORT": Abort(0, 0).encode(),
}
# Table 9-10 for what a peer sends; a pair that is not here is AA-8 (AA-1 in Sta2): abort and wait for the close
EXPECTED: dict[tuple[State, str], State] = {
    (State.AWAIT_RQ, "RQ"): State.DECIDING,
    (State.AWAIT_AC, "AC"): State.ESTABLISHED,
    (State.AWAIT_AC, "RJ"): State.CLOSED,
    (State.ESTABLISHED, "DATA"): State.ESTABLISHED,
    (State.ESTABLISHED, "RELEASE-RQ"): State.RELEASE_ASKED,
    (State.RELEASING, "DATA"): State.RELEASING,
    (State.RELEASING, "RELEASE-RQ"): State.COLLISION_ACCEPTOR,
    (State.RELEASING, "RELEASE-RP"): State.CLOSED,
    (State.COLLISION_ACCEPTOR, "RELEASE-RP"): State.COLLISION_CONFIRMED,
    (State.COLLISION_ANSWERED, "RELEASE-RP"): State.CLOSED,
    **{(state, "ABORT"): State.CLOSED for state in State},
    **{(State.CLOSED, name): State.CLOSED for name in PDUS},
    # AA-6; an A-ASSOCIATE-RQ is AA-7, and as our A-ABORT or A-RELEASE-RP is said we say no more
    **{(State.AWAIT_CLOSE, name): State.AWAIT_CLOSE for name in PDUS if name != "ABORT"},
}


@pytest.mark.parametrize("state", State, ids=lambda state: state.name)
def test_the_states_are_reached(state: State) -> None:
    assert IN_STATE[state]().state is state


@pytest.mark.parametrize("name", PDUS)
@pytest.mark.parametrize("state", State, ids=lambda state: state.name)
def test_every_pdu_in_every_state(state: State, name: str) -> None:
    association = IN_STATE[state]()
    events = feed(association, PDUS[name])
    expected = EXPECTED.get((state, name))
    if expected is not None:
        assert association.state is expected
        assert association.data_to_send() == b""
        return
    assert association.state is State.AWAIT_CLOSE
    assert association.data_to_send() == Abort(2, AbortReason.UNEXPECTED_PDU).encode()
    assert [type(event) for event in events] == [Closing]


@pytest.mark.parametrize("state", [state for state in State if state is not State.CLOSED], ids=lambda s: s.name)
def test_an_unrecognized_pdu_in_every_state(state: State) -> None:
    association = IN_STATE[state]()
    events = feed(association, b"\x42\0\0\0\0\4abcd")
    assert association.state is State.AWAIT_CLOSE
    if state is State.AWAIT_CLOSE:
        assert (events, association.data_to_send()) == ([], b"")
    else:
        assert association.data_to_send() == Abort(2, AbortReason.UNRECOGNIZED_PDU).encode()
        assert [type(event) for event in events] == [Closing]


@pytest.mark.parametrize("state", State, ids=lambda state: state.name)
def test_what_a_state_does_not_allow_us_is_our_error(state: State) -> None:
    ours: dict[str, Callable[[Association], object]] = {
        "accept": lambda association: association.accept(accept()),
        "reject": lambda association: association.reject(CALLED_AE_UNKNOWN),
        "send": lambda association: association.send(1, ECHO),
        "release": lambda association: association.release(),
        "release_reply": lambda association: association.release_reply(),
    }
    allowed = {
        State.DECIDING: {"accept", "reject"},
        State.ESTABLISHED: {"send", "release"},
        State.RELEASE_ASKED: {"send", "release_reply"},
        State.COLLISION_REQUESTOR: {"release_reply"},
        State.COLLISION_ACCEPTOR: {"release_reply"},
        State.COLLISION_CONFIRMED: {"release_reply"},
    }.get(state, set())
    for name, act in ours.items():
        association = IN_STATE[state]()
        if name in allowed:
            act(association)
        else:
            with pytest.raises(LocalProtocolError):
                act(association)
            assert association.state is state


@pytest.mark.parametrize("state", State, ids=lambda state: state.name)
def test_our_abort_is_said_once(state: State) -> None:
    association = IN_STATE[state]()
    association.abort()
    association.abort()
    said = b"" if state in (State.CLOSED, State.AWAIT_CLOSE) else Abort(0, 0).encode()
    assert association.data_to_send() == said


@pytest.mark.parametrize("state", State, ids=lambda state: state.name)
def test_the_transport_closing_ends_every_state(state: State) -> None:
    association = IN_STATE[state]()
    events = association.transport_closed()
    assert association.state is State.CLOSED
    assert [type(event) for event in events] == ([] if state in (State.CLOSED, State.AWAIT_CLOSE) else [Closing])
    assert association.transport_closed() == []


@pytest.mark.parametrize("end", [b"\x08\0\0\0\0\0", RELEASE_RP], ids=["after our abort", "after a collision"])
def test_an_abort_behind_the_end_is_no_second_end(end: bytes) -> None:
    """Found by `make fuzz`: the peer's A-ABORT crossed with our own last word, and there were two `Closing`."""
    association = established()
    if end == RELEASE_RP:
        association.release()
        feed(association, RELEASE_RQ)
        association.release_reply()
    assert [type(event) for event in feed(association, end)] == [Closing]
    assert feed(association, Abort(2, 1).encode()) == []
    assert association.closed


def test_an_abort_behind_our_rejection_is_told() -> None:
    """Nobody has heard of an end yet, so the driver must."""
    association = IN_STATE[State.DECIDING]()
    association.reject(CALLED_AE_UNKNOWN)
    assert [type(event) for event in feed(association, Abort(0, 0).encode())] == [Closing]


@pytest.mark.parametrize(
    ("state", "timer", "said"),
    [
        (State.AWAIT_RQ, Timer.ARTIM, b""),
        (State.AWAIT_CLOSE, Timer.ARTIM, b""),
        (State.AWAIT_AC, Timer.REPLY, Abort(2, 0).encode()),
        (State.RELEASING, Timer.REPLY, Abort(2, 0).encode()),
        (State.COLLISION_ACCEPTOR, Timer.REPLY, Abort(2, 0).encode()),
        (State.COLLISION_ANSWERED, Timer.REPLY, Abort(2, 0).encode()),
        (State.ESTABLISHED, Timer.IDLE, Abort(2, 0).encode()),
        (State.DECIDING, Timer.NONE, Abort(2, 0).encode()),
        (State.RELEASE_ASKED, Timer.NONE, Abort(2, 0).encode()),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_the_timer_of_each_state(state: State, timer: Timer, said: bytes) -> None:
    association = IN_STATE[state]()
    assert association.timer is timer
    (event,) = association.timer_expired()
    assert isinstance(event, Closing)
    assert (event.released, event.by_peer) == (False, False)
    assert association.data_to_send() == said
    assert association.closed


def test_both_roles_come_out_of_a_release_collision() -> None:
    """PS3.8 9.2.2.6.3: the requestor answers first, the acceptor when that answer is there."""
    acceptor, requestor = established(), established_requestor()
    acceptor.release()
    requestor.release()
    to_requestor, to_acceptor = acceptor.data_to_send(), requestor.data_to_send()
    assert feed(requestor, to_requestor) == [ReleaseRequested()]
    assert feed(acceptor, to_acceptor) == [ReleaseRequested()]
    acceptor.release_reply()
    assert acceptor.data_to_send() == b""
    requestor.release_reply()
    (at_acceptor,) = feed(acceptor, requestor.data_to_send())
    (at_requestor,) = feed(requestor, acceptor.data_to_send())
    assert isinstance(at_acceptor, Closing)
    assert isinstance(at_requestor, Closing)
    assert at_acceptor.released
    assert at_requestor.released
    assert requestor.closed
    assert acceptor.state is State.AWAIT_CLOSE


@pytest.mark.parametrize("requestor", [False, True])
def test_a_message_may_still_come_while_we_wait_for_the_release(requestor: bool) -> None:
    association = established_requestor() if requestor else established()
    association.release()
    association.data_to_send()
    (event,) = feed(association, message(ECHO))
    assert event == Command(1, ECHO)
    (event,) = feed(association, RELEASE_RP)
    assert isinstance(event, Closing)
    assert event.released


def test_a_requestor_learns_of_acceptance_and_of_rejection() -> None:
    association = awaiting_accept()
    (event,) = feed(association, accept().encode())
    assert isinstance(event, Accepted)
    assert [context.id for context in association.contexts.values()] == [1]
    rejected = awaiting_accept()
    assert feed(rejected, CALLED_AE_UNKNOWN.encode()) == [Rejected(CALLED_AE_UNKNOWN)]
    assert rejected.closed


def test_an_acceptor_is_asked_before_it_answers() -> None:
    association = awaiting_request()
    (event,) = feed(association, request().encode())
    assert event == Requested(request())
    assert association.data_to_send() == b""
    association.reject(CALLED_AE_UNKNOWN)
    assert association.data_to_send() == CALLED_AE_UNKNOWN.encode()
    assert association.timer is Timer.ARTIM


@pytest.mark.parametrize("max_pdu", [1, 127])
def test_a_peer_that_takes_only_crumbs_is_refused(max_pdu: int) -> None:
    association = awaiting_request()
    (event,) = feed(association, request(max_pdu).encode())
    assert isinstance(event, Closing)
    assert association.data_to_send() == Abort(2, AbortReason.INVALID_PARAMETER).encode()


@pytest.mark.parametrize(("announced", "used"), [(0, LARGEST_SENT_PDU), (128, 128), (1 << 30, LARGEST_SENT_PDU)])
def test_no_pdu_is_longer_than_the_peer_takes(announced: int, used: int) -> None:
    association = awaiting_request()
    feed(association, request(announced).encode())
    association.accept(accept())
    association.data_to_send()
    assert association.peer_max_pdu == used
    association.send(1, STORE, bytes(300_000))
    out = association.data_to_send()
    position, longest = 0, 0
    while position < len(out):
        (length,) = struct.unpack_from(">L", out, position + 2)
        longest = max(longest, length)
        position += 6 + length
    assert longest == used


def test_an_accept_with_a_syntax_nobody_proposed_is_refused() -> None:
    association = awaiting_accept()
    (event,) = feed(association, accept(syntax="1.2.840.10008.1.2.1").encode())
    assert isinstance(event, Closing)
    assert association.state is State.AWAIT_CLOSE


def test_a_message_on_a_context_that_was_not_accepted_is_refused() -> None:
    association = established()
    (event,) = feed(association, message(ECHO, context=3))
    assert isinstance(event, Closing)
    assert association.data_to_send() == Abort(2, AbortReason.INVALID_PARAMETER).encode()


def test_a_release_inside_a_message_is_refused() -> None:
    association = established()
    feed(association, message(STORE))
    assert association.in_message
    (event,) = feed(association, RELEASE_RQ)
    assert isinstance(event, Closing)
    assert association.data_to_send() == Abort(2, AbortReason.UNEXPECTED_PDU).encode()


def test_what_came_whole_before_a_fault_is_not_lost() -> None:
    association = established()
    stored = message(STORE) + data_headers(1, 4, command=False, last=True) + b"data"
    events = feed(association, stored + struct.pack(">BxL", 4, 0xFFFFFFFF))
    assert [type(event) for event in events] == [Command, Data, Closing]


def test_nothing_counts_behind_an_abort() -> None:
    association = established()
    events = feed(association, Abort(0, 0).encode() + message(ECHO) + b"garbage")
    assert [type(event) for event in events] == [Closing]
    assert association.data_to_send() == b""


@pytest.mark.parametrize("behind", [Abort(0, 0).encode(), message(ECHO), b"\x42\0\0\0\0\4abcd"])
def test_a_release_that_is_overtaken_is_no_longer_owed_an_answer(behind: bytes) -> None:
    """Release and abort arrive in one segment: the driver sees both events and must not answer the first."""
    association = established()
    events = feed(association, RELEASE_RQ + behind)
    assert [type(event) for event in events] == [ReleaseRequested, Closing]
    assert not association.owes_release_reply


@given(st.lists(st.sampled_from(sorted(PDUS)), max_size=6), st.booleans())
def test_no_sequence_of_pdus_raises(names: list[str], requestor: bool) -> None:
    association = awaiting_accept() if requestor else awaiting_request()
    events = feed(association, b"".join(PDUS[name] for name in names))
    assert sum(isinstance(event, Closing) for event in events) <= 2
    assert association.data_to_send().count(Abort(2, AbortReason.UNEXPECTED_PDU).encode()) <= 1


@given(st.binary(max_size=300), st.sampled_from(sorted(IN_STATE)))
def test_garbage_in_any_state_never_raises(garbage: bytes, state: State) -> None:
    association = IN_STATE[state]()
    events, consumed = association.receive(memoryview(garbage))
    assert 0 <= consumed <= len(garbage)
    assert all(str(event) for event in events)
