"""Command sets against pynetdicom's encoding, and messages from fragments in whatever order a peer dares."""

from __future__ import annotations

import contextlib
import struct
from io import BytesIO
from typing import Any

import pynetdicom.dimse_messages as theirs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pynetdicom.dimse_primitives import C_CANCEL, C_ECHO, C_FIND, C_STORE, N_ACTION, N_EVENT_REPORT
from pynetdicom.dsutils import encode

from gateway.dicom.dimse import (
    MAX_COMMAND,
    Command,
    CommandField,
    CommandSet,
    Data,
    MessageReader,
    Status,
    decode_command,
    encoded_response,
    response_to,
)
from gateway.dicom.pdu import AbortReason, Fragment, PduError

CLASS, INSTANCE = "1.2.840.10008.5.1.4.1.1.2", "1.2.3.4.5.67"

uids = st.from_regex(r"1(\.(0|[1-9][0-9]{0,8})){1,6}", fullmatch=True)
shorts = st.integers(0, 0xFFFF)
titles = st.text("ABCDEFGHIJ_0123", min_size=1, max_size=16)
commands = st.builds(
    CommandSet,
    CommandField=st.sampled_from(list(CommandField)),
    AffectedSOPClassUID=st.none() | uids,
    RequestedSOPClassUID=st.none() | uids,
    MessageID=st.none() | shorts,
    MessageIDBeingRespondedTo=st.none() | shorts,
    MoveDestination=st.none() | titles,
    Priority=st.none() | st.integers(0, 2),
    CommandDataSetType=st.sampled_from((0x0000, 0x0001, 0x0101, 0x0102)),
    Status=st.none() | shorts,
    OffendingElement=st.none() | st.binary(min_size=4, max_size=4),
    ErrorComment=st.none() | titles,
    ErrorID=st.none() | shorts,
    AffectedSOPInstanceUID=st.none() | uids,
    RequestedSOPInstanceUID=st.none() | uids,
    EventTypeID=st.none() | shorts,
    ActionTypeID=st.none() | shorts,
    NumberOfRemainingSuboperations=st.none() | shorts,
    NumberOfCompletedSuboperations=st.none() | shorts,
    NumberOfFailedSuboperations=st.none() | shorts,
    NumberOfWarningSuboperations=st.none() | shorts,
    MoveOriginatorApplicationEntityTitle=st.none() | titles,
    MoveOriginatorMessageID=st.none() | shorts,
)


@given(commands)
def test_command_sets_round_trip(command: CommandSet) -> None:
    assert decode_command(command.encode()) == command


def encoded_by_pynetdicom(primitive: Any, message: Any) -> bytes:
    message.primitive_to_message(primitive)
    done = encode(message.command_set, True, True)
    assert done is not None
    return done


def primitive(kind: Any, **values: object) -> Any:
    made = kind()
    for name, value in values.items():
        setattr(made, name, value)
    return made


@pytest.mark.parametrize(
    ("kind", "message", "values"),
    [
        (C_ECHO, theirs.C_ECHO_RQ, {"MessageID": 7, "AffectedSOPClassUID": "1.2.840.10008.1.1"}),
        (
            C_ECHO,
            theirs.C_ECHO_RSP,
            {"MessageIDBeingRespondedTo": 7, "AffectedSOPClassUID": "1.2.840.10008.1.1", "Status": 0},
        ),
        (
            C_STORE,
            theirs.C_STORE_RQ,
            {
                "MessageID": 1,
                "AffectedSOPClassUID": CLASS,
                "AffectedSOPInstanceUID": INSTANCE,
                "Priority": 2,
                "MoveOriginatorApplicationEntityTitle": "ORIGIN1",
                "MoveOriginatorMessageID": 9,
                "DataSet": BytesIO(b"\0\0"),
            },
        ),
        (
            C_STORE,
            theirs.C_STORE_RSP,
            {
                "MessageIDBeingRespondedTo": 65535,
                "AffectedSOPClassUID": CLASS,
                "AffectedSOPInstanceUID": INSTANCE,
                "Status": 0xA700,
                "ErrorComment": "no room",
            },
        ),
        (
            C_FIND,
            theirs.C_FIND_RQ,
            {"MessageID": 3, "AffectedSOPClassUID": CLASS, "Priority": 0, "Identifier": BytesIO(b"\0\0")},
        ),
        (
            C_FIND,
            theirs.C_FIND_RSP,
            {
                "MessageIDBeingRespondedTo": 3,
                "AffectedSOPClassUID": CLASS,
                "Status": 0xFF00,
                "Identifier": BytesIO(b"\0\0"),
            },
        ),
        (C_CANCEL, theirs.C_CANCEL_RQ, {"MessageIDBeingRespondedTo": 3}),
        (
            N_ACTION,
            theirs.N_ACTION_RQ,
            {
                "MessageID": 4,
                "RequestedSOPClassUID": CLASS,
                "RequestedSOPInstanceUID": INSTANCE,
                "ActionTypeID": 1,
                "ActionInformation": BytesIO(b"\0\0"),
            },
        ),
        (
            N_EVENT_REPORT,
            theirs.N_EVENT_REPORT_RQ,
            {
                "MessageID": 5,
                "AffectedSOPClassUID": CLASS,
                "AffectedSOPInstanceUID": INSTANCE,
                "EventTypeID": 2,
                "EventInformation": BytesIO(b"\0\0"),
            },
        ),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_pynetdicom_encodes_the_same_bytes(kind: Any, message: Any, values: dict[str, object]) -> None:
    bytes_of_theirs = encoded_by_pynetdicom(primitive(kind, **values), message())
    command = decode_command(bytes_of_theirs)
    carried = {name: value for name, value in values.items() if not isinstance(value, BytesIO)}
    assert {name: getattr(command, name) for name in carried} == carried
    assert command.has_data_set == (len(carried) < len(values))
    assert command.encode() == bytes_of_theirs


def element(number: int, value: bytes, group: int = 0) -> bytes:
    return struct.pack("<HHL", group, number, len(value)) + value


FIELD = element(0x0100, b"\x30\0")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "no Command Field"),
        (element(0x0110, b"\1\0"), "no Command Field"),
        (FIELD[:7], "inside an element header"),
        (FIELD + struct.pack("<HHL", 0, 0x0110, 0xFFFFFFFF), "4294967295 bytes, 0 are left"),
        (FIELD + struct.pack("<HHL", 0, 0x0110, 3) + b"\1\0", "3 bytes, 2 are left"),
        (FIELD + element(0x0110, b"\1\0\0\0"), "4 bytes; a US has 2"),
        (FIELD + element(0x0110, b""), "0 bytes; a US has 2"),
        (FIELD + element(0x0010, b"SECRET^NAME ", group=0x10), "group 0010"),
    ],
)
def test_a_command_set_that_lies_is_refused_without_its_contents(body: bytes, said: str) -> None:
    with pytest.raises(PduError, match=said) as refused:
        decode_command(body)
    assert "SECRET" not in str(refused.value)


@given(st.binary(max_size=80))
def test_garbage_is_refused_by_pdu_error_and_nothing_else(garbage: bytes) -> None:
    with contextlib.suppress(PduError):
        decode_command(FIELD + garbage)


@given(st.binary(max_size=40), st.binary(max_size=40))
def test_whatever_a_peer_names_its_answer_can_be_encoded(name: bytes, instance: bytes) -> None:
    request = decode_command(FIELD + element(0x0002, name) + element(0x1000, instance) + element(0x0110, b"\5\0"))
    answer = decode_command(response_to(request, Status.SUCCESS).encode())
    assert answer.MessageIDBeingRespondedTo == 5
    assert answer.AffectedSOPInstanceUID == (request.AffectedSOPInstanceUID or None)


def test_both_ways_to_a_response_leave_out_an_empty_instance() -> None:
    """Found by `make fuzz`: one of the two answered an empty UID with an empty UID."""
    request = CommandSet(CommandField=CommandField.N_ACTION_RQ, MessageID=1, RequestedSOPInstanceUID="")
    assert response_to(request, 0).AffectedSOPInstanceUID is None
    assert encoded_response(request, 0) == response_to(request, 0).encode()


def test_unknown_and_retired_elements_are_skipped() -> None:
    known = CommandSet(CommandField=0x20, MessageID=3)
    assert decode_command(known.encode() + element(0x4000, b"x" * 30) + element(0x0010, b"TITLE ")) == known


def test_a_response_mirrors_its_request_and_cuts_the_comment() -> None:
    request = CommandSet(
        CommandField=CommandField.N_ACTION_RQ,
        RequestedSOPClassUID=CLASS,
        RequestedSOPInstanceUID=INSTANCE,
        MessageID=12,
        ActionTypeID=1,
        CommandDataSetType=1,
    )
    response = response_to(request, 0x0110, comment="x" * 100)
    assert response.CommandField == CommandField.N_ACTION_RSP
    assert (response.AffectedSOPClassUID, response.AffectedSOPInstanceUID) == (CLASS, INSTANCE)
    assert (response.MessageIDBeingRespondedTo, response.ActionTypeID) == (12, 1)
    assert response.ErrorComment == "x" * 64
    assert not response.has_data_set
    assert response_to(request, 0, data_set=True).has_data_set


ECHO = CommandSet(CommandField=CommandField.C_ECHO_RQ, MessageID=1).encode()
STORE = CommandSet(CommandField=CommandField.C_STORE_RQ, MessageID=1, CommandDataSetType=0).encode()


def fragment(data: bytes, *, command: bool, last: bool = True, context: int = 1) -> Fragment:
    return Fragment(context, command, last, memoryview(data))


@given(st.lists(st.integers(0, len(STORE)), max_size=6))
def test_a_command_set_in_any_pieces_is_the_same(cuts: list[int]) -> None:
    borders = [0, *sorted(cuts), len(STORE)]
    reader = MessageReader()
    found = [
        reader.read(fragment(STORE[borders[n] : borders[n + 1]], command=True, last=n == len(borders) - 2))
        for n in range(len(borders) - 1)
    ]
    assert found[:-1] == [None] * (len(found) - 1)
    assert found[-1] == Command(1, decode_command(STORE))
    assert reader.in_message
    assert reader.read(fragment(b"ab", command=False, last=False)) == Data(1, memoryview(b"ab"), False)
    assert reader.in_message
    assert reader.read(fragment(b"", command=False)) == Data(1, memoryview(b""), True)
    assert not reader.in_message


@pytest.mark.parametrize(
    ("before", "then", "reason"),
    [
        ([], fragment(b"x", command=False), AbortReason.UNEXPECTED_PDU),
        ([fragment(ECHO, command=True)], fragment(b"x", command=False), AbortReason.UNEXPECTED_PDU),
        ([fragment(STORE, command=True)], fragment(ECHO, command=True), AbortReason.UNEXPECTED_PDU),
        ([fragment(STORE, command=True)], fragment(b"x", command=False, context=3), AbortReason.INVALID_PARAMETER),
        (
            [fragment(STORE, command=True), fragment(b"x", command=False, last=False)],
            fragment(ECHO, command=True),
            AbortReason.UNEXPECTED_PDU,
        ),
        (
            [fragment(STORE[:9], command=True, last=False)],
            fragment(STORE[9:], command=True, context=3),
            AbortReason.INVALID_PARAMETER,
        ),
        (
            [fragment(STORE[:9], command=True, last=False)],
            fragment(b"x", command=False),
            AbortReason.UNEXPECTED_PDU,
        ),
    ],
    ids=["data alone", "data unannounced", "command in data", "other context", "command later", "mixed", "cut"],
)
def test_messages_that_interleave_are_refused(before: list[Fragment], then: Fragment, reason: AbortReason) -> None:
    reader = MessageReader()
    for piece in before:
        reader.read(piece)
    with pytest.raises(PduError) as refused:
        reader.read(then)
    assert refused.value.reason is reason


def test_an_endless_command_set_is_refused_at_its_bound() -> None:
    reader = MessageReader()
    for _ in range(MAX_COMMAND // 1024):
        reader.read(fragment(bytes(1024), command=True, last=False))
    with pytest.raises(PduError, match="longer"):
        reader.read(fragment(b"x", command=True, last=False))
