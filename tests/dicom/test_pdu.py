"""The PDU reader: the same fragments however the stream is cut, and no declared length believed unchecked."""

from __future__ import annotations

import struct
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pynetdicom.pdu import A_ABORT_RQ, A_ASSOCIATE_RJ, P_DATA_TF

from gateway.dicom.pdu import (
    MAX_CONTROL_PDU,
    MAX_DATA_PDU,
    RELEASE_RP,
    RELEASE_RQ,
    Abort,
    AbortReason,
    ControlPdu,
    Fragment,
    PduError,
    PduReader,
    Reject,
    data_headers,
    decode_abort,
    decode_reject,
    fragment_message,
)


def pdv(context_id: int, flags: int, data: bytes) -> bytes:
    return struct.pack(">LBB", len(data) + 2, context_id, flags) + data


def p_data(*pdvs: bytes) -> bytes:
    return struct.pack(">BxL", 4, sum(map(len, pdvs))) + b"".join(pdvs)


values = st.tuples(st.sampled_from((1, 3, 255)), st.integers(0, 3), st.binary(max_size=40))
data_pdus = st.lists(values, min_size=1, max_size=4)
control_pdus = st.one_of(
    st.sampled_from((RELEASE_RQ, RELEASE_RP, Abort(2, 1).encode(), Reject(1, 2, 3).encode())),
    st.binary(min_size=68, max_size=90).map(lambda body: struct.pack(">BxL", 1, len(body)) + body),
)
streams = st.lists(st.one_of(data_pdus, control_pdus), max_size=6)


def encoded(stream: list[object]) -> bytes:
    return b"".join(
        pdu if isinstance(pdu, bytes) else p_data(*(pdv(*value) for value in pdu))  # type: ignore[attr-defined]
        for pdu in stream
    )


def read_in_pieces(reader: PduReader, data: bytes, cuts: list[int]) -> list[ControlPdu | Fragment]:
    """Feed `data` cut at `cuts`, as a driver does; fragments keep their bytes."""
    found: list[ControlPdu | Fragment] = []
    pending = b""
    for start, end in pairwise([0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]):
        pending += data[start:end]
        pieces, consumed = reader.read(memoryview(pending))
        found += [
            piece._replace(data=memoryview(bytes(piece.data))) if isinstance(piece, Fragment) else piece
            for piece in pieces
        ]
        pending = pending[consumed:]
    assert not pending
    return found


def joined(found: list[ControlPdu | Fragment]) -> list[tuple[object, ...]]:
    """Control PDUs and whole values: the pieces of one value put together again, empty ones left out."""
    whole: list[tuple[object, ...]] = []
    for piece in found:
        if isinstance(piece, ControlPdu):
            whole.append(("control", piece.type, piece.body))
        elif whole and whole[-1][0] == "open" and whole[-1][1:3] == (piece.context_id, piece.command):
            whole[-1] = ("open", piece.context_id, piece.command, bytes(whole[-1][3]) + bytes(piece.data))  # type: ignore[call-overload]
        else:
            whole.append(("open", piece.context_id, piece.command, bytes(piece.data)))
        if isinstance(piece, Fragment) and piece.last:
            whole[-1] = ("value", *whole[-1][1:])
    return [entry for entry in whole if entry[0] != "open" or entry[3]]


@given(streams, st.lists(st.integers(0, 2000), max_size=30))
def test_any_chunking_gives_the_same_values(stream: list[object], cuts: list[int]) -> None:
    data = encoded(stream)
    whole, consumed = PduReader().read(memoryview(data))
    assert consumed == len(data)
    assert joined(read_in_pieces(PduReader(), data, cuts)) == joined(list(whole))


@given(streams)
def test_one_byte_at_a_time_loses_nothing(stream: list[object]) -> None:
    data = encoded(stream)
    whole, _ = PduReader().read(memoryview(data))
    assert joined(read_in_pieces(PduReader(), data, list(range(len(data))))) == joined(list(whole))


@given(data_pdus)
def test_fragments_view_the_callers_buffer_and_carry_the_flags(values: list[tuple[int, int, bytes]]) -> None:
    data = p_data(*(pdv(*value) for value in values))
    view = memoryview(data)
    found, _ = PduReader().read(view)
    assert [(piece.context_id, piece.command, piece.last, bytes(piece.data)) for piece in found] == [  # type: ignore[union-attr]
        (context_id, bool(flags & 1), bool(flags & 2), body) for context_id, flags, body in values
    ]
    assert all(isinstance(piece, Fragment) and piece.data.obj is data for piece in found)


@pytest.mark.parametrize(
    ("head", "reason"),
    [
        (struct.pack(">BxL", 4, 0xFFFFFFFF), AbortReason.INVALID_PARAMETER),
        (struct.pack(">BxL", 4, 0), AbortReason.INVALID_PARAMETER),
        (struct.pack(">BxL", 4, 5), AbortReason.INVALID_PARAMETER),
        (struct.pack(">BxL", 4, MAX_DATA_PDU + 1), AbortReason.INVALID_PARAMETER),
        (struct.pack(">BxL", 1, 0xFFFFFFFF), AbortReason.INVALID_PARAMETER),
        (struct.pack(">BxL", 1, MAX_CONTROL_PDU + 1), AbortReason.INVALID_PARAMETER),
        (struct.pack(">BxL", 1, 67), AbortReason.INVALID_PARAMETER),
        (struct.pack(">BxL", 2, 0), AbortReason.INVALID_PARAMETER),
        *[(struct.pack(">BxL", kind, size), AbortReason.INVALID_PARAMETER) for kind in (3, 5, 6, 7) for size in (0, 5)],
        (struct.pack(">BxL", 0, 4), AbortReason.UNRECOGNIZED_PDU),
        (struct.pack(">BxL", 8, 4), AbortReason.UNRECOGNIZED_PDU),
        (b"GET / HTTP/1.1\r\n", AbortReason.UNRECOGNIZED_PDU),
        (b"\x16\x03\x01\x02\x00\x01", AbortReason.UNRECOGNIZED_PDU),
        (struct.pack(">BxLLBB", 4, 10, 0, 1, 2), AbortReason.INVALID_PARAMETER),
        (struct.pack(">BxLLBB", 4, 10, 1, 1, 2), AbortReason.INVALID_PARAMETER),
        (struct.pack(">BxLLBB", 4, 10, 7, 1, 2), AbortReason.INVALID_PARAMETER),
        (struct.pack(">BxLLBB", 4, 10, 0xFFFFFFFF, 1, 2), AbortReason.INVALID_PARAMETER),
        (struct.pack(">BxLLBB", 4, 15, 6, 1, 2), AbortReason.INVALID_PARAMETER),
    ],
)
def test_a_length_that_cannot_be_right_is_refused_at_its_header(head: bytes, reason: AbortReason) -> None:
    """No byte behind the header is waited for, so none is ever buffered."""
    with pytest.raises(PduError) as refused:
        PduReader().read(memoryview(head))
    assert refused.value.reason is reason


def test_the_longest_allowed_lengths_are_taken() -> None:
    found, consumed = PduReader().read(memoryview(struct.pack(">BxL", 4, MAX_DATA_PDU)))
    assert (found, consumed) == ([], 6)
    found, consumed = PduReader().read(memoryview(struct.pack(">BxL", 1, MAX_CONTROL_PDU)))
    assert (found, consumed) == ([], 0)


def test_a_fault_does_not_take_what_came_before_it() -> None:
    """However a stream is cut, the object in front of the fault arrives."""
    good = p_data(pdv(1, 2, b"whole"))
    bad = struct.pack(">BxL", 4, 0xFFFFFFFF)
    reader = PduReader()
    found, consumed = reader.read(memoryview(good + bad))
    assert [bytes(piece.data) for piece in found if isinstance(piece, Fragment)] == [b"whole"]
    with pytest.raises(PduError):
        reader.read(memoryview(good + bad)[consumed:])


def test_left_over_bytes_behind_a_value_are_refused_before_the_value_is_passed_on() -> None:
    with pytest.raises(PduError, match="left over"):
        PduReader().read(memoryview(struct.pack(">BxL", 4, 13) + pdv(1, 0, b"abcd") + b"xyz"))


@given(st.binary(max_size=600), st.integers(128, 300), st.booleans())
def test_messages_are_cut_to_the_peers_size_and_read_back(data: bytes, size: int, command: bool) -> None:
    pieces = fragment_message(5, data, command=command, max_pdu=size)
    found, _ = PduReader(max_data=size).read(memoryview(b"".join(pieces)))
    assert b"".join(bytes(piece.data) for piece in found if isinstance(piece, Fragment)) == data
    assert [piece.last for piece in found if isinstance(piece, Fragment)] == [False] * (len(found) - 1) + [True]
    assert {piece.command for piece in found if isinstance(piece, Fragment)} == {command}


@given(st.binary(max_size=200), st.booleans(), st.booleans())
def test_data_headers_are_what_pynetdicom_reads(data: bytes, command: bool, last: bool) -> None:
    pdu = P_DATA_TF()
    pdu.decode(data_headers(7, len(data), command=command, last=last) + data)
    (item,) = pdu.presentation_data_value_items
    assert item.context_id == 7
    assert item.presentation_data_value == bytes([command | last << 1]) + data


@pytest.mark.parametrize("reject", [Reject(1, 1, 7), Reject(2, 3, 2), Reject(1, 2, 2)])
def test_reject_round_trips_through_pynetdicom(reject: Reject) -> None:
    theirs = A_ASSOCIATE_RJ()
    theirs.decode(reject.encode())
    assert (theirs.result, theirs.source, theirs.reason_diagnostic) == reject
    assert decode_reject(theirs.encode()[6:]) == reject


@pytest.mark.parametrize("abort", [Abort(0, 0), Abort(2, 1), Abort(2, 6)])
def test_abort_round_trips_through_pynetdicom(abort: Abort) -> None:
    theirs = A_ABORT_RQ()
    theirs.decode(abort.encode())
    assert (theirs.source, theirs.reason_diagnostic) == abort
    assert decode_abort(theirs.encode()[6:]) == abort
