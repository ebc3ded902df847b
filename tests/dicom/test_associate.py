"""A-ASSOCIATE-RQ and -AC against pynetdicom's codec, both directions, and against lies about lengths."""

from __future__ import annotations

import contextlib
import struct
import sys
from collections.abc import Callable
from types import FrameType

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pynetdicom.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RQ

from gateway.dicom.associate import (
    AssociateAccept,
    AssociateRequest,
    ContextResult,
    ExtendedNegotiation,
    ProposedContext,
    RoleSelection,
    UserInformation,
    decode_accept,
    decode_request,
)
from gateway.dicom.pdu import PduError

IMPLICIT = "1.2.840.10008.1.2"
uids = st.lists(st.integers(0, 99999), min_size=1, max_size=6).map(lambda parts: ".".join(map(str, ("1", *parts))))
titles = st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_- ", min_size=1, max_size=16).filter(
    lambda title: title == title.strip()
)
windows = st.none() | st.tuples(st.integers(0, 0xFFFF), st.integers(0, 0xFFFF))
users = st.builds(
    UserInformation,
    max_pdu=st.integers(0, 0xFFFFFFFF),
    implementation_class_uid=uids,
    implementation_version=st.text("ABCXYZ_019", min_size=1, max_size=16),
    asynchronous=windows,
    roles=st.lists(
        st.builds(RoleSelection, uids, st.booleans(), st.booleans()), max_size=3, unique_by=lambda role: role.sop_class
    ).map(tuple),
    extended=st.lists(
        st.builds(ExtendedNegotiation, uids, st.binary(min_size=1, max_size=8)),
        max_size=3,
        unique_by=lambda item: item.sop_class,
    ).map(tuple),
)
ids = st.lists(st.integers(0, 127).map(lambda n: 2 * n + 1), min_size=1, max_size=5, unique=True)


@st.composite
def requests(draw: st.DrawFn) -> AssociateRequest:
    contexts = tuple(
        ProposedContext(number, draw(uids), tuple(draw(st.lists(uids, min_size=1, max_size=3)))) for number in draw(ids)
    )
    return AssociateRequest(called_ae=draw(titles), calling_ae=draw(titles), contexts=contexts, user=draw(users))


@st.composite
def accepts(draw: st.DrawFn) -> AssociateAccept:
    results = tuple(ContextResult(number, draw(st.integers(0, 4)), draw(uids)) for number in draw(ids))
    return AssociateAccept(called_ae=draw(titles), calling_ae=draw(titles), contexts=results, user=draw(users))


@given(requests())
def test_requests_round_trip(request: AssociateRequest) -> None:
    assert decode_request(request.encode()[6:]) == request


@given(accepts())
def test_accepts_round_trip(accept: AssociateAccept) -> None:
    assert decode_accept(accept.encode()[6:]) == accept


def user_of_theirs(item: object) -> UserInformation:
    """pynetdicom's user information item as ours."""
    window = item.async_ops_window  # type: ignore[attr-defined]
    return UserInformation(
        max_pdu=item.maximum_length,  # type: ignore[attr-defined]
        implementation_class_uid=str(item.implementation_class_uid),  # type: ignore[attr-defined]
        implementation_version=item.implementation_version_name,  # type: ignore[attr-defined]
        asynchronous=(window.maximum_number_operations_invoked, window.maximum_number_operations_performed)
        if window
        else None,
        roles=tuple(
            RoleSelection(str(role.sop_class_uid), bool(role.scu_role), bool(role.scp_role))
            for role in item.role_selection.values()  # type: ignore[attr-defined]
        ),
        extended=tuple(
            ExtendedNegotiation(str(one.sop_class_uid), one.service_class_application_information)
            for one in item.ext_neg  # type: ignore[attr-defined]
        ),
    )


@given(requests())
def test_pynetdicom_reads_our_request_and_we_read_theirs(request: AssociateRequest) -> None:
    theirs = A_ASSOCIATE_RQ()
    theirs.decode(request.encode())
    assert (theirs.called_ae_title, theirs.calling_ae_title) == (request.called_ae, request.calling_ae)
    assert [
        (context.context_id, str(context.abstract_syntax), tuple(map(str, context.transfer_syntax)))
        for context in theirs.presentation_context
    ] == [(context.id, context.abstract_syntax, context.transfer_syntaxes) for context in request.contexts]
    assert user_of_theirs(theirs.user_information) == request.user
    assert decode_request(theirs.encode()[6:]) == request


@given(accepts())
def test_pynetdicom_reads_our_accept_and_we_read_theirs(accept: AssociateAccept) -> None:
    theirs = A_ASSOCIATE_AC()
    theirs.decode(accept.encode())
    assert [
        (context.context_id, context.result, str(context.transfer_syntax)) for context in theirs.presentation_context
    ] == [(result.id, result.result, result.transfer_syntax) for result in accept.contexts]
    assert user_of_theirs(theirs.user_information) == accept.user
    assert decode_accept(theirs.encode()[6:]) == accept


def minimal(*, called: bytes = b"CALLED".ljust(16), items: bytes | None = None) -> bytes:
    context = struct.pack(">BxHBxxx", 0x20, 4 + 4 + 9 + 4 + 17, 1)
    context += struct.pack(">BxH", 0x30, 9) + b"1.2.3.4.5" + struct.pack(">BxH", 0x40, 17) + IMPLICIT.encode()
    return struct.pack(">HH16s16s32x", 1, 0, called, b"CALLING".ljust(16)) + (context if items is None else items)


def test_titles_padded_with_nul_or_spaces_are_the_same() -> None:
    assert {
        decode_request(minimal(called=field)).called_ae
        for field in (b"CT1".ljust(16), b"CT1".ljust(16, b"\0"), b"  CT1\0\0 ".ljust(16), b"CT1\0 ".ljust(16))
    } == {"CT1"}


def test_bytes_outside_ascii_are_carried_and_never_fail() -> None:
    """What a peer names comes back to it in our answer: an answer that can't be encoded would be its weapon."""
    request = decode_request(minimal(called=b"\xc4\xff\x80".ljust(16)))
    name = "1.2.\xff\x80"
    answer = AssociateAccept(
        called_ae=request.called_ae,
        calling_ae=request.calling_ae,
        contexts=(ContextResult(1, 0, name),),
        user=UserInformation(
            max_pdu=0,
            implementation_class_uid=name,
            implementation_version=name,
            roles=(RoleSelection(name, True, True),),
            extended=(ExtendedNegotiation(name, b"\1"),),
        ),
    )
    assert decode_accept(answer.encode()[6:]) == answer


@pytest.mark.parametrize(
    "items",
    [
        pytest.param(b"", id="no context"),
        pytest.param(b"\x20\0", id="header cut short"),
        pytest.param(struct.pack(">BxH", 0x20, 0xFFFF) + b"\1\0\0\0", id="item longer than the PDU"),
        pytest.param(struct.pack(">BxH", 0x20, 3) + b"\1\0\0", id="context of three bytes"),
        pytest.param(struct.pack(">BxHBxxx", 0x20, 4, 2), id="even context ID"),
        pytest.param(struct.pack(">BxHBxxx", 0x20, 4, 1) * 2, id="context ID twice"),
        pytest.param(struct.pack(">BxHBxxxBxH", 0x20, 8, 1, 0x40, 90), id="sub-item longer than its item"),
        pytest.param(b"".join(struct.pack(">BxHBxxx", 0x20, 4, n % 128 * 2 + 1) for n in range(129)), id="129"),
        pytest.param(struct.pack(">BxHBxHH", 0x50, 6, 0x51, 2, 1), id="maximum length of two bytes"),
        pytest.param(struct.pack(">BxHBxHH", 0x50, 6, 0x53, 2, 1), id="window of two bytes"),
        pytest.param(struct.pack(">BxHBxHH", 0x50, 6, 0x54, 2, 40), id="role's UID longer than its item"),
        pytest.param(struct.pack(">BxHBxHHB", 0x50, 7, 0x54, 3, 0, 1), id="role of one byte"),
        pytest.param(struct.pack(">BxHBxHB", 0x50, 5, 0x56, 1, 1), id="extended negotiation of one byte"),
    ],
)
def test_a_request_that_lies_about_its_lengths_is_refused(items: bytes) -> None:
    with pytest.raises(PduError):
        decode_request(minimal(items=items))


@given(st.binary(max_size=200), st.booleans())
def test_garbage_is_refused_by_pdu_error_and_nothing_else(garbage: bytes, request: bool) -> None:
    decode: Callable[[bytes], object] = decode_request if request else decode_accept
    with contextlib.suppress(PduError):
        decode(minimal(items=garbage))


@given(requests(), st.data())
def test_a_damaged_request_is_read_or_refused_by_pdu_error(request: AssociateRequest, data: st.DataObject) -> None:
    body = bytearray(request.encode()[6:])
    for _ in range(data.draw(st.integers(1, 4))):
        body[data.draw(st.integers(68, len(body) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(PduError):
        decode_request(bytes(body[: data.draw(st.integers(68, len(body)))]))


@pytest.mark.parametrize("length", [0, 1, 67])
@pytest.mark.parametrize("decode", [decode_request, decode_accept])
def test_a_body_without_its_fixed_part_is_refused_by_pdu_error(decode: Callable[[bytes], object], length: int) -> None:
    """Found by `make fuzz`: struct.error for less than 68 bytes. `PduReader` lets none through; the promise is ours."""
    with pytest.raises(PduError, match="68"):
        decode(bytes(length))


def test_unknown_items_are_skipped() -> None:
    """PS3.8 9.3.1: items that are not defined are ignored."""
    assert decode_request(minimal() + struct.pack(">BxH", 0x99, 3) + b"abc") == decode_request(minimal())


def calls(work: Callable[[], object]) -> int:
    """Python function calls that `work` makes: a measure of work that a busy machine does not change."""
    count = 0

    def seen(_frame: FrameType, event: str, _argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(seen)
    try:
        work()
    finally:
        sys.setprofile(None)
    return count


def full_request(contexts: int, syntaxes: int = 4) -> bytes:
    return AssociateRequest(
        called_ae="A",
        calling_ae="B",
        contexts=tuple(
            ProposedContext(2 * n + 1, f"1.2.840.10008.5.1.4.1.1.{n}", (IMPLICIT,) * syntaxes) for n in range(contexts)
        ),
        user=UserInformation(max_pdu=0),
    ).encode()[6:]


def test_work_is_proportional_to_the_contexts() -> None:
    """128 contexts of four syntaxes are about 6,000 calls, half a millisecond; pynetdicom makes 100 times as many."""
    one, most = (calls(lambda size=size: decode_request(full_request(size))) for size in (1, 128))  # type: ignore[misc]
    assert most < 128 * one
    assert most < 20_000


def test_a_flood_of_contexts_is_refused_after_the_128th() -> None:
    flood = minimal(items=b"".join(struct.pack(">BxHBxxx", 0x20, 4, n % 128 * 2 + 1) for n in range(16_000)))

    def refused() -> None:
        with pytest.raises(PduError):
            decode_request(flood)

    assert calls(refused) < 5_000
