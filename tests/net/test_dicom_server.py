"""The acceptor against foreign peers, rude ones and failing services, on real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import hashlib
import socket
import struct
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import structlog

from gateway.dicom.associate import ProposedContext, RoleSelection
from gateway.dicom.dimse import CommandField, CommandSet, Status
from gateway.dicom.negotiation import STORAGE_COMMITMENT, VERIFICATION
from gateway.dicom.pdu import Abort, AbortReason, ControlPdu, PduType, data_headers, fragment_message
from gateway.net.dicom_connection import MAX_OUTSTANDING
from gateway.net.dicom_gathering import FREE, MAX_IDENTIFIER, MAX_QUERY, PER_ADDRESS
from gateway.net.dicom_service import Exchange, Handler, StoreRefused
from tests.net.wire import (
    CT,
    HOST,
    MAX_PDU,
    PATIENCE,
    Box,
    Certificate,
    Opener,
    Raw,
    Received,
    Ward,
    cancel_rq,
    echo_rq,
    find_rq,
    request,
    store_command,
    store_rq,
)
from tests.peers import dcmtk, objects, pynetdicom_scu

NO_DATA = 0x0101
SLOW = 100.0
"""Seconds that a machine may take between two lines of a test while the clock of the loop goes on."""


# -- foreign peers --


@pytest.mark.slow
def test_echo_on_every_ae_from_dcmtk_and_pynetdicom(open_box: Opener) -> None:
    box = open_box(Ward(called=frozenset({"BOX", "OTHER"})))
    second = box.listen(Ward(called=frozenset({"THIRD"})))
    for port, called in ((box.port, "BOX"), (box.port, "OTHER"), (second, "THIRD")):
        assert dcmtk.echoscu(port, called=called).succeeded
        assert pynetdicom_scu.echo(port, called=called) == 0
    assert not dcmtk.echoscu(box.port, called="THIRD").succeeded


@pytest.mark.slow
def test_termscu_is_answered_by_no_and_the_box_stays_up(box: Box) -> None:
    dcmtk.termscu(box.port, called="BOX")
    assert dcmtk.echoscu(box.port, called="BOX").succeeded


@pytest.mark.slow
@pytest.mark.parametrize("program", ["storescu", "dcmsend"])
def test_dcmtk_sends_objects(program: str, box: Box, tmp_path: Path) -> None:
    files = [objects.write(tmp_path, objects.ct(seed, rows=256, columns=256)) for seed in range(3)]
    send = dcmtk.storescu if program == "storescu" else dcmtk.dcmsend
    assert send(box.port, files, called="BOX").succeeded
    assert [len(body) > 2 * 256 * 256 for body in box.ward.bodies()] == [True] * 3


@pytest.mark.slow
@pytest.mark.parametrize("max_pdu", [4096, 16384, 131072])
def test_dcmtk_sends_in_pdus_of_any_size(max_pdu: int, box: Box, tmp_path: Path) -> None:
    path = objects.write(tmp_path, objects.ct(1, rows=512, columns=512))
    assert dcmtk.storescu(box.port, [path], called="BOX", options=("-xs", "--max-send-pdu", str(max_pdu))).succeeded
    assert len(box.ward.objects) == 1


@pytest.mark.slow
def test_pynetdicom_sends_verbatim(box: Box, tmp_path: Path) -> None:
    files = [objects.write(tmp_path, make(7)) for make in (objects.ct, objects.mr, objects.dx, objects.sr)]
    assert [one.status for one in pynetdicom_scu.send_verbatim(box.port, files, called="BOX")] == [0] * 4
    for path, body in zip(files, box.ward.bodies(), strict=True):
        assert path.read_bytes().endswith(body)


def rows_of(count: int, done: Callable[[int], None] = lambda _: None, *, width: int = 4) -> Handler:
    """A C-FIND handler that answers `count` rows, one flush each."""

    row = b"\x10\0\x20\0" + struct.pack("<L", width) + b"ROW ".ljust(width)

    async def handler(exchange: Exchange) -> None:
        for number in range(count):
            if exchange.cancelled or exchange.closed:
                done(number)
                exchange.respond(Status.CANCEL)
                return
            exchange.respond(Status.PENDING, data_set=row)
            await exchange.flush()
        done(count)
        exchange.respond(Status.SUCCESS)

    return handler


@pytest.mark.slow
def test_findscu_gets_its_rows(open_box: Opener, tmp_path: Path) -> None:
    box = open_box(Ward(handlers={CommandField.C_FIND_RQ: rows_of(5)}))
    answer = dcmtk.findscu(box.port, ["PatientID="], folder=tmp_path, called="BOX")
    assert answer.succeeded
    assert len(answer.rows) == 5


@pytest.mark.slow
def test_pynetdicom_cancels(open_box: Opener) -> None:
    box = open_box(Ward(handlers={CommandField.C_FIND_RQ: rows_of(50_000, width=8192)}))
    found = pynetdicom_scu.find_worklist(box.port, pynetdicom_scu.worklist_query(), called="BOX", cancel_after=3)
    assert found.status == Status.CANCEL


# -- bytes in odd pieces --


@pytest.mark.slow
def test_one_byte_at_a_time(box: Box) -> None:
    with Raw(box.port) as raw:
        raw.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in request().encode():
            raw.send(bytes([byte]))
        assert raw.pdu()
        for byte in echo_rq() + store_rq(b"abcdefgh", 2):
            raw.send(bytes([byte]))
        assert [raw.message()[0].MessageIDBeingRespondedTo for _ in range(2)] == [1, 2]
        raw.release()
    assert box.ward.bodies() == [b"abcdefgh"]


def test_several_values_in_one_pdu(box: Box) -> None:
    command = CommandSet(
        CommandField=CommandField.C_STORE_RQ, MessageID=1, AffectedSOPInstanceUID="1.2", CommandDataSetType=0
    ).encode()
    values = [(command[:10], 1), (command[10:], 3), (b"", 0), (b"abc", 0), (b"", 0), (b"def", 0), (b"", 2)]
    pdvs = b"".join(struct.pack(">LBB", len(body) + 2, 3, flags) + body for body, flags in values)
    with Raw(box.port).associate() as raw:
        raw.send(struct.pack(">BxL", 4, len(pdvs)), pdvs)
        assert raw.message()[0].Status == 0
    assert box.ward.bodies() == [b"abcdef"]


def test_a_receiver_gets_no_more_views_at_once_than_writev_takes(box: Box) -> None:
    """IOV_MAX is 1,024: a peer of tiny fragments must not make a write fail."""
    body = bytes(range(256)) * 400
    with Raw(box.port).associate() as raw:
        raw.send(store_command())
        pieces = b"".join(struct.pack(">LBB", 4, 3, 0) + body[n : n + 2] for n in range(0, len(body), 2))
        pieces += struct.pack(">LBB", 2, 3, 2)
        raw.send(struct.pack(">BxL", 4, len(pieces)), pieces)
        assert raw.message()[0].Status == 0
    assert box.ward.bodies() == [body]
    assert max(box.ward.objects[0].views) <= 1024


@pytest.mark.parametrize(("announced", "longest"), [(16384, 16384), (128, 128), (0, 131072)])
def test_answers_are_cut_to_what_the_peer_takes(announced: int, longest: int, open_box: Opener) -> None:
    row = bytes(300_000)

    async def one_row(exchange: Exchange) -> None:
        exchange.respond(Status.PENDING, data_set=row)
        exchange.respond(Status.SUCCESS)

    box = open_box(Ward(handlers={CommandField.C_FIND_RQ: one_row}))
    with Raw(box.port).associate(max_pdu=announced) as raw:
        raw._reader.max_data = longest
        raw.send(find_rq())
        answer, body = raw.message()
        assert (answer.Status, body) == (Status.PENDING, row)
        assert raw.message()[0].Status == 0
        raw.release()


def test_a_big_object_arrives_whole(box: Box) -> None:
    body = objects.noise(20_000_001, "big")
    with Raw(box.port).associate() as raw:
        raw.send(store_rq(body, max_pdu=MAX_PDU))
        assert raw.message()[0].Status == 0
        raw.release()
    assert hashlib.sha256(box.ward.objects[0].body).digest() == hashlib.sha256(body).digest()


# -- operations --


def test_stores_are_answered_when_they_are_durable_in_any_order(open_box: Opener) -> None:
    box = open_box(Ward(on_complete=lambda _: None))
    with Raw(box.port).associate(asynchronous=(8, 1)) as raw:
        assert raw.accept is not None
        assert raw.accept.user.asynchronous == (8, 1)
        raw.send(*(store_rq(b"object %d" % n, n) for n in (1, 2, 3)), echo_rq(4))
        assert raw.message()[0].MessageIDBeingRespondedTo == 4
        held: list[Received] = box.ward.wait_for("complete", 3)
        for number in (2, 0, 1):
            held[number].answer.set_result((0xB000 + number, "kept"))
            answer, _ = raw.message()
            assert (answer.MessageIDBeingRespondedTo, answer.Status) == (number + 1, 0xB000 + number)
        raw.release()


def test_a_peer_with_many_answers_due_is_read_no_further(open_box: Opener) -> None:
    """And it is not its fault: no timer ends it, whatever part of a message it has sent."""
    box = open_box(Ward(on_complete=lambda _: None), message=60)
    with Raw(box.port).associate() as raw:
        whole = [store_rq(b"x" * 100, number) for number in range(1, MAX_OUTSTANDING + 1)]
        raw.send(*whole, store_command(99), data_headers(3, 4, command=False, last=False), b"half")
        held = box.ward.wait_for("complete", MAX_OUTSTANDING)
        box.ward.wait_for("begun", MAX_OUTSTANDING + 1)
        box.later(3600)
        box.later(7200)
        for one in held:
            one.answer.set_result((0, ""))
        assert {raw.message()[0].MessageIDBeingRespondedTo for _ in held} == set(range(1, MAX_OUTSTANDING + 1))
        raw.send(data_headers(3, 4, command=False, last=True), b"rest")
        box.ward.wait_for("complete", MAX_OUTSTANDING + 1)[-1].answer.set_result((0, ""))
        assert raw.message()[0].MessageIDBeingRespondedTo == 99
        raw.release()
    assert box.ward.bodies()[-1] == b"halfrest"


def test_cancel_is_effective_within_ten_responses(open_box: Opener) -> None:
    box = open_box(Ward())
    box.ward.handlers[CommandField.C_FIND_RQ] = rows_of(100_000, lambda count: box.ward.tell("rows", count))
    with Raw(box.port).associate() as raw:
        raw.send(find_rq(1), cancel_rq(1))
        while raw.message()[0].Status != Status.CANCEL:
            pass
        raw.release()
    assert box.ward.wait_for("rows")[0] <= 10


def test_cancel_of_nothing_and_cancel_with_a_data_set_are_survived(box: Box) -> None:
    with Raw(box.port).associate() as raw:
        raw.send(cancel_rq(77), cancel_rq(5, data_set=True))
        raw.send(*fragment_message(5, b"odd", command=False, max_pdu=MAX_PDU), echo_rq(2))
        assert raw.message()[0].MessageIDBeingRespondedTo == 2
        raw.release()


def test_release_waits_for_the_answer_that_is_due(open_box: Opener) -> None:
    box = open_box(Ward(on_complete=lambda _: None))
    with Raw(box.port).associate() as raw:
        raw.send(store_rq(b"object"), b"\5\0\0\0\0\4\0\0\0\0")
        (held,) = box.ward.wait_for("complete")
        held.answer.set_result((0, ""))
        assert raw.message()[0].Status == 0
        pdu = raw.pdu()
        assert isinstance(pdu, ControlPdu)
        assert pdu.type == PduType.RELEASE_RP
        assert raw.pdu() is None


@pytest.mark.parametrize(
    "behind", [Abort(0, 0).encode(), b"\x42\0\0\0\0\4abcd", echo_rq()], ids=["abort", "junk", "rq"]
)
def test_a_release_overtaken_in_the_same_segment(behind: bytes, open_box: Opener) -> None:
    box = open_box(Ward(on_complete=lambda _: None))
    with Raw(box.port).associate() as raw:
        raw.send(store_rq(b"object"))
        (held,) = box.ward.wait_for("complete")
        raw.send(b"\5\0\0\0\0\4\0\0\0\0" + behind)
        pdu = raw.pdu()
        assert pdu is None or (isinstance(pdu, ControlPdu) and pdu.type == PduType.ABORT)
    box.wait_until(lambda: box.empty)
    held.answer.set_result((0, ""))


def test_a_request_and_data_in_one_segment_is_aborted(box: Box) -> None:
    with Raw(box.port) as raw:
        raw.send(request().encode() + echo_rq())
        assert raw.aborted() == (2, AbortReason.UNEXPECTED_PDU)
    box.wait_until(lambda: box.empty)


def test_unknown_operations_and_stray_responses(box: Box) -> None:
    get = CommandSet(
        CommandField=CommandField.N_GET_RQ, MessageID=3, RequestedSOPClassUID=CT, CommandDataSetType=NO_DATA
    )
    stray = CommandSet(CommandField=CommandField.C_FIND_RSP, MessageIDBeingRespondedTo=9, CommandDataSetType=0)
    with Raw(box.port).associate() as raw:
        raw.send(*fragment_message(1, stray.encode(), command=True, max_pdu=MAX_PDU))
        raw.send(*fragment_message(1, b"data of it", command=False, max_pdu=MAX_PDU))
        raw.send(*fragment_message(1, get.encode(), command=True, max_pdu=MAX_PDU))
        answer, _ = raw.message()
        assert (answer.CommandField, answer.Status) == (CommandField.N_GET_RSP, Status.UNRECOGNIZED_OPERATION)
        raw.release()


def test_commitment_report_as_scp_on_its_own_association(open_box: Opener) -> None:
    async def report(exchange: Exchange) -> None:
        box.ward.tell("report", exchange.data_set)
        exchange.respond(Status.SUCCESS)

    box = open_box(Ward(handlers={CommandField.N_EVENT_REPORT_RQ: report}))
    event = CommandSet(
        CommandField=CommandField.N_EVENT_REPORT_RQ,
        MessageID=1,
        AffectedSOPClassUID=STORAGE_COMMITMENT,
        AffectedSOPInstanceUID="1.2.840.10008.1.20.1.1",
        EventTypeID=1,
        CommandDataSetType=0,
    )
    with Raw(box.port).associate(roles=(RoleSelection(STORAGE_COMMITMENT, False, True),)) as raw:
        assert raw.accept is not None
        assert raw.accept.user.roles == (RoleSelection(STORAGE_COMMITMENT, False, True),)
        raw.send(*fragment_message(7, event.encode(), command=True, max_pdu=MAX_PDU))
        raw.send(*fragment_message(7, b"transaction", command=False, max_pdu=MAX_PDU))
        answer, _ = raw.message()
        assert (answer.CommandField, answer.EventTypeID, answer.Status) == (CommandField.N_EVENT_REPORT_RSP, 1, 0)
        raw.release()
    assert box.ward.all("report") == [b"transaction"]


# -- services that fail --


class DiskFull(OSError):
    pass


@pytest.mark.parametrize("place", ["on_begin", "on_write", "on_complete"])
@pytest.mark.parametrize("error", [StoreRefused(0xA700, "full"), DiskFull(28, "SECRET^NAME"), KeyError("SECRET^NAME")])
def test_an_object_that_cannot_be_kept_is_answered_and_the_next_one_is(
    place: str, error: Exception, open_box: Opener
) -> None:
    ward = Ward()
    box = open_box(ward)

    def fail(_: object) -> None:
        setattr(ward, place, usual)
        raise error

    usual = getattr(ward, place)
    setattr(ward, place, fail)
    with Raw(box.port).associate() as raw:
        raw.send(store_rq(b"lost" * 100_000, 1), store_rq(b"kept", 2))
        answer, _ = raw.message()
        assert (answer.MessageIDBeingRespondedTo, answer.Status) == (1, Status.OUT_OF_RESOURCES)
        assert "SECRET" not in (answer.ErrorComment or "")
        answer, _ = raw.message()
        assert (answer.MessageIDBeingRespondedTo, answer.Status) == (2, 0)
        raw.release()
    assert ward.bodies()[-1] == b"kept"
    assert [one.abandoned for one in ward.objects] == ([1, 0] if place != "on_begin" else [0])


def test_a_commit_that_fails_or_is_given_up_is_answered(open_box: Opener) -> None:
    box = open_box(Ward(on_complete=lambda _: None))
    with Raw(box.port).associate() as raw:
        raw.send(store_rq(b"a", 1), store_rq(b"b", 2))
        first, second = box.ward.wait_for("complete", 2)
        first.answer.set_exception(DiskFull(28, "SECRET^NAME"))
        assert raw.message()[0].Status == Status.OUT_OF_RESOURCES
        second.answer.cancel()
        assert raw.message()[0].Status == Status.OUT_OF_RESOURCES
        raw.release()


def test_an_admission_that_fails_ends_that_association_alone(open_box: Opener) -> None:
    ward = Ward()
    box = open_box(ward)

    def fail(_: object) -> None:
        ward.on_admit = lambda _: None
        raise KeyError("SECRET^NAME")

    ward.on_admit = fail
    with Raw(box.port) as raw:
        raw.send(request().encode())
        assert raw.aborted() == (2, 0)
    with Raw(box.port).associate() as raw:
        raw.release()


def test_a_handler_that_fails_or_forgets_is_answered_once(open_box: Opener) -> None:
    async def fails(_exchange: Exchange) -> None:
        raise KeyError("SECRET^NAME")

    async def fails_late(exchange: Exchange) -> None:
        exchange.respond(Status.SUCCESS)
        raise KeyError("SECRET^NAME")

    async def forgets(_exchange: Exchange) -> None:
        pass

    box = open_box(Ward())
    with Raw(box.port).associate() as raw:
        for number, (handler, status) in enumerate(
            ((fails, Status.PROCESSING_FAILURE), (fails_late, Status.SUCCESS), (forgets, Status.PROCESSING_FAILURE)), 1
        ):
            box.ward.handlers[CommandField.C_FIND_RQ] = handler
            raw.send(find_rq(number))
            answer, _ = raw.message()
            assert (answer.MessageIDBeingRespondedTo, answer.Status) == (number, status)
        raw.send(echo_rq(9))
        assert raw.message()[0].MessageIDBeingRespondedTo == 9
        raw.release()


def test_abandon_that_fails_leaves_no_count_behind(open_box: Opener) -> None:
    def fail(_: Received) -> None:
        raise OSError(5, "SECRET^NAME")

    box = open_box(Ward(on_abandon=fail))
    with Raw(box.port).associate() as raw:
        raw.send(store_command(), data_headers(3, 9, command=False, last=False), b"x" * 9)
        box.ward.wait_for("begun")
        raw.reset()
    box.ward.wait_for("abandoned")
    box.wait_until(lambda: box.empty)


# -- rude ends --


@pytest.mark.parametrize("end", ["abort", "reset", "close", "junk"])
def test_an_object_cut_short_is_abandoned_and_earlier_ones_are_kept(end: str, box: Box) -> None:
    with Raw(box.port).associate() as raw:
        raw.send(store_rq(b"whole", 1))
        assert raw.message()[0].Status == 0
        part = data_headers(3, 50_000, command=False, last=False) + b"x" * 50_000
        raw.send(store_command(2), part)
        box.ward.wait_for("begun", 2)
        if end == "abort":
            raw.send(Abort(0, 0).encode())
        elif end == "junk":
            raw.send(b"\x42" * 100)
        elif end == "reset":
            raw.reset()
        else:
            raw.send(part[:1000])
            raw.socket.close()
        box.ward.wait_for("abandoned")
    box.wait_until(lambda: box.empty)
    assert [one.abandoned for one in box.ward.objects] == [0, 1]
    assert box.ward.bodies()[0] == b"whole"


@pytest.mark.parametrize(
    "head",
    [
        struct.pack(">BxL", 4, 0xFFFFFFFF),
        struct.pack(">BxL", 1, 0xFFFFFFFF),
        struct.pack(">BxL", 4, 0),
        struct.pack(">BxLLBB", 4, 10, 0xFFFFFFFF, 1, 2),
    ],
    ids=["p-data", "associate", "empty", "pdv"],
)
@pytest.mark.parametrize("before", ["nothing", "association"])
def test_a_declared_length_of_four_gigabytes_is_aborted(head: bytes, before: str, box: Box) -> None:
    with Raw(box.port) as raw:
        if before == "association":
            raw.associate()
        raw.send(head)
        assert raw.aborted() == (2, AbortReason.INVALID_PARAMETER)
    box.wait_until(lambda: box.empty)


def test_the_abort_reaches_a_peer_that_goes_on_sending(box: Box) -> None:
    """A socket closed with unread bytes is reset, and the reset overtakes the A-ABORT that says why."""
    with Raw(box.port).associate() as raw:
        raw.send(*fragment_message(99, bytes(100), command=True, max_pdu=MAX_PDU), bytes(3_000_000))
        assert raw.aborted() == (2, AbortReason.INVALID_PARAMETER)
        assert not raw.was_reset
    box.wait_until(lambda: box.empty)


def test_a_peer_that_goes_on_sending_behind_our_abort_is_closed(box: Box) -> None:
    with Raw(box.port).associate() as raw:
        raw.send(struct.pack(">BxL", 4, 0xFFFFFFFF))
        pdu = raw.pdu()
        assert isinstance(pdu, ControlPdu)
        assert pdu.type == PduType.ABORT
        raw.send(b"more")
        box.later(3600)
        box.wait_until(lambda: box.empty)


def test_a_peer_that_closes_inside_a_pdu(box: Box) -> None:
    for part in (b"\1", request().encode()[:50], request().encode()[:-1]):
        with Raw(box.port) as raw:
            raw.send(part)
    box.wait_until(lambda: box.empty)


@pytest.mark.slow
def test_connections_reset_before_they_are_looked_at(box: Box) -> None:
    for _ in range(100):
        Raw(box.port).reset()
    with Raw(box.port).associate() as raw:
        raw.release()
    box.wait_until(lambda: box.empty)


def begin_commitment(context: int = 7) -> bytes:
    """A storage commitment request whose data set is to come."""
    command = CommandSet(
        CommandField=CommandField.N_ACTION_RQ,
        MessageID=1,
        RequestedSOPClassUID=STORAGE_COMMITMENT,
        RequestedSOPInstanceUID="1.2.840.10008.1.20.1.1",
        ActionTypeID=1,
        CommandDataSetType=0,
    )
    return b"".join(fragment_message(context, command.encode(), command=True, max_pdu=MAX_PDU))


def data(context: int, content: bytes, *, last: bool) -> bytes:
    return data_headers(context, len(content), command=False, last=last) + content


def test_a_query_longer_than_any_is_aborted(open_box: Opener) -> None:
    box = open_box(Ward(handlers={CommandField.C_FIND_RQ: rows_of(0)}))
    with Raw(box.port).associate() as raw:
        raw.send(find_rq(identifier=bytes(MAX_QUERY)))
        assert raw.message()[0].Status == Status.SUCCESS
        raw.send(find_rq(identifier=bytes(MAX_QUERY + 2)))
        assert raw.aborted() == (2, 0)


def test_what_one_address_may_have_us_hold_is_bounded_and_small_requests_pass(open_box: Opener) -> None:
    async def answered(exchange: Exchange) -> None:
        exchange.respond(Status.SUCCESS)

    box = open_box(Ward(handlers={CommandField.N_ACTION_RQ: answered}))
    half = data(7, bytes(1 << 20), last=False) * (PER_ADDRESS // 2 // (1 << 20))
    with Raw(box.port).associate() as one, Raw(box.port).associate() as two, Raw(box.port).associate() as three:
        for raw in (one, two):
            raw.send(begin_commitment(), half)
        box.wait_until(lambda: len(box.server.memory) == PER_ADDRESS - 2 * FREE)
        three.send(begin_commitment(), half)
        assert three.aborted() == (2, 0)
        with Raw(box.port).associate() as small:
            small.send(begin_commitment(), data(7, bytes(FREE), last=True))
            assert small.message()[0].Status == Status.SUCCESS
        with Raw(box.port, source="127.0.0.2").associate() as other:
            other.send(begin_commitment(), half, data(7, b"", last=True))
            assert other.message()[0].Status == Status.SUCCESS
        box.wait_until(lambda: len(box.server.memory) == PER_ADDRESS - 2 * FREE)
        one.send(data(7, b"", last=True))
        assert one.message()[0].Status == Status.SUCCESS


def test_an_identifier_without_end_is_aborted(open_box: Opener) -> None:
    box = open_box(Ward())
    piece = data_headers(7, 1 << 20, command=False, last=False) + bytes(1 << 20)
    with Raw(box.port).associate() as raw:
        raw.send(begin_commitment())
        raw.send(piece * (MAX_IDENTIFIER // (1 << 20) + 1))
        assert raw.aborted() == (2, 0)
    box.wait_until(lambda: box.empty)


# -- limits and timers --


def assert_refused(port: int, source: str = HOST) -> None:
    with Raw(port, source=source) as raw:
        assert raw.pdu() is None


def test_silent_sockets_are_capped_per_address(open_box: Opener) -> None:
    box = open_box(sockets=8, sockets_per_address=5)
    silent = [Raw(box.port) for _ in range(5)]
    box.wait_until(lambda: box.server._waiting.of("127.0.0.1") == 5)
    assert_refused(box.port)
    assert box.server.refused_sockets == 1
    silent.pop().socket.close()
    box.wait_until(lambda: len(box.server._waiting) == 4)
    with Raw(box.port).associate() as raw:
        raw.release()
    for one in silent:
        one.socket.close()


def test_strangers_that_hold_every_place_keep_no_scanner_out(open_box: Opener) -> None:
    box = open_box(Ward(expected=frozenset({HOST})), sockets=6, sockets_per_address=3)
    strangers = [Raw(box.port, source=f"127.0.1.{number}") for number in range(1, 7)]
    box.wait_until(lambda: len(box.server._waiting) == 6)
    scanner = [Raw(box.port) for _ in range(3)]
    assert_displaced(strangers[:3])
    assert_refused(box.port)
    for one in scanner:
        one.associate()
    box.wait_until(lambda: len(box.server._waiting) == 3)
    for one in (*scanner, *strangers):
        one.socket.close()


def test_without_a_listed_address_the_oldest_of_the_biggest_crowd_makes_room(open_box: Opener) -> None:
    box = open_box(sockets=4, sockets_per_address=3)
    crowd = [Raw(box.port, source="127.0.0.2") for _ in range(3)]
    box.wait_until(lambda: len(box.server._waiting) == 3)
    with Raw(box.port, source="127.0.0.3") as other, Raw(box.port) as raw:
        raw.associate()
        assert_displaced(crowd[:1])
        other.associate()
    for one in crowd:
        one.socket.close()


def assert_displaced(peers: list[Raw]) -> None:
    for one in peers:
        assert one.pdu() is None


def test_a_tls_handshake_makes_room_too(open_box: Opener, certificate: Certificate) -> None:
    box = open_box(Ward(expected=frozenset({HOST})), tls=certificate.server, sockets=2)
    strangers = [Raw(box.port, source="127.0.0.2") for _ in range(2)]
    box.wait_until(lambda: len(box.server._waiting) == 2)
    with Raw(box.port, tls=certificate.client).associate() as raw:
        assert_displaced(strangers[:1])
        raw.release()
    for one in strangers:
        one.socket.close()


def test_an_ae_title_in_other_letters_gets_no_share_of_its_own(open_box: Opener) -> None:
    box = open_box(associations_per_peer=2)
    peers = [Raw(box.port).associate(calling=calling) for calling in ("CT1", "ct1")]
    with Raw(box.port) as third:
        third.send(request(calling="Ct1").encode())
        pdu = third.pdu()
        assert isinstance(pdu, ControlPdu)
        assert pdu.type == PduType.ASSOCIATE_RJ
    for one in peers:
        one.socket.close()


def test_a_flood_of_refusals_is_no_flood_of_lines(open_box: Opener) -> None:
    box = open_box(Ward(called=frozenset({"OTHER"})))
    with structlog.testing.capture_logs() as lines:
        for _ in range(60):
            with Raw(box.port) as raw:
                raw.send(request().encode())
                assert isinstance(raw.pdu(), ControlPdu)
        box.wait_until(lambda: any(line["event"] == "too many calls to log each" for line in lines))
    events = Counter(line["event"] for line in lines)
    assert 20 <= events["association refused"] < 60
    assert events["too many calls to log each"] == 1


def test_tls_sockets_are_capped_before_the_handshake(open_box: Opener, certificate: Certificate) -> None:
    box = open_box(tls=certificate.server, sockets_per_address=3)
    silent = [Raw(box.port) for _ in range(3)]
    box.wait_until(lambda: len(box.server._waiting) == 3)
    assert_refused(box.port)
    for one in silent:
        one.socket.close()
    box.wait_until(lambda: box.empty)
    with Raw(box.port, tls=certificate.client).associate() as raw:
        raw.release()


def test_a_tls_handshake_that_never_ends_is_closed_by_artim(open_box: Opener, certificate: Certificate) -> None:
    box = open_box(tls=certificate.server, artim=1)
    with Raw(box.port) as raw:
        raw.send(b"\x16\x03\x01\x02")
        assert raw.pdu() is None
    box.wait_until(lambda: box.empty)


def test_an_accepted_association_frees_its_place_among_the_silent(open_box: Opener) -> None:
    box = open_box(sockets_per_address=1)
    peers = [Raw(box.port).associate() for _ in range(5)]
    assert box.on_loop(lambda: box.server.associations) == 5
    for one in peers:
        one.release()
        one.socket.close()


def test_associations_are_capped_per_peer_and_in_total(open_box: Opener) -> None:
    box = open_box(associations=3, associations_per_peer=2)
    peers = [Raw(box.port).associate() for _ in range(2)]
    for calling, admitted in (("CT1", False), ("MR1", True), ("US1", False)):
        raw = Raw(box.port)
        raw.send(request(calling=calling).encode())
        pdu = raw.pdu()
        assert isinstance(pdu, ControlPdu)
        assert pdu.type == (PduType.ASSOCIATE_AC if admitted else PduType.ASSOCIATE_RJ)
        if not admitted:
            assert tuple(pdu.body[1:]) == (2, 3, 2)
        peers.append(raw)
    for one in peers:
        one.socket.close()
    box.wait_until(lambda: box.empty)


def test_artim_closes_a_silent_socket_and_one_that_trickles(open_box: Opener) -> None:
    box = open_box(artim=300)
    with Raw(box.port) as silent, Raw(box.port) as trickling:
        trickling.send(request().encode()[:40])
        box.wait_until(lambda: len(box.server._waiting) == 2)
        box.later(300 - SLOW)
        trickling.send(request().encode()[40:41])
        assert box.on_loop(lambda: len(box.server._waiting)) == 2
        box.later(301)
        assert silent.pdu() is None
        assert trickling.pdu() is None
    box.wait_until(lambda: box.empty)


def test_artim_closes_a_rejected_peer_that_stays(open_box: Opener) -> None:
    box = open_box(Ward(called=frozenset({"OTHER"})))
    with Raw(box.port) as raw:
        raw.send(request().encode())
        pdu = raw.pdu()
        assert isinstance(pdu, ControlPdu)
        assert pdu.type == PduType.ASSOCIATE_RJ
        box.later(31)
        assert raw.pdu() is None


def test_an_idle_association_is_aborted_and_a_busy_one_is_not(open_box: Opener) -> None:
    box = open_box(Ward(on_complete=lambda _: None), idle=900)
    with Raw(box.port).associate() as idle, Raw(box.port).associate() as busy:
        busy.send(store_rq(b"object"))
        (held,) = box.ward.wait_for("complete")
        box.later(901)
        assert idle.aborted() == (2, 0)
        held.answer.set_result((0, ""))
        assert busy.message()[0].Status == 0
        busy.release()


def test_a_message_that_stops_is_aborted(open_box: Opener) -> None:
    box = open_box(message=300)
    with Raw(box.port).associate() as raw:
        raw.send(store_command(), data_headers(3, 9, command=False, last=False), b"x")
        box.ward.wait_for("begun")
        box.later(300 - SLOW)
        assert not box.on_loop(lambda: next(iter(box.server._connections)).gone)
        raw.send(b"x")
        box.later(301)
        assert raw.aborted() == (2, 0)
        box.ward.wait_for("abandoned")


def test_a_message_that_trickles_is_aborted_however_long_it_keeps_moving(open_box: Opener) -> None:
    """A byte a minute would hold an association, and a place at the table, for ever."""
    box = open_box(message=60)
    (start, connection) = (0.0, None)
    with Raw(box.port).associate() as raw:
        raw.send(store_command(), data_headers(3, 100_000, command=False, last=False), b"x" * 10_000)
        box.ward.wait_for("begun")
        connection = box.on_loop(lambda: next(iter(box.server._connections)))
        start = box.on_loop(box.loop.time)
        box.on_loop(lambda: connection.check_timers(start + 50))
        # A real pause has bytes behind it: 10,000 of them carry the message over its first minute
        box.on_loop(lambda: connection.check_timers(start + 100))
        raw.send(b"x")
        box.on_loop(lambda: connection.check_timers(start + 111))
        assert raw.aborted() == (2, 0)
    box.wait_until(lambda: box.empty)


def test_a_peer_that_never_reads_its_answers_costs_no_memory_and_is_ended(open_box: Opener) -> None:
    box = open_box(message=60)
    with Raw(box.port).associate() as raw:
        raw.socket.setblocking(False)
        (connection,) = box.on_loop(lambda: list(box.server._connections))
        flood, sent = echo_rq() * 2000, 0
        while not connection._paused:  # some of it is with the kernel, on either side
            assert sent < 200_000_000
            with contextlib.suppress(BlockingIOError):
                sent += raw.socket.send(flood[sent % len(flood) :])
        assert not connection.gone
        assert box.on_loop(connection._transport.get_write_buffer_size) < 4_000_000
        box.later(61)
        box.wait_until(lambda: box.empty)


def test_a_peer_that_never_reads_stops_the_rows(open_box: Opener) -> None:
    box = open_box(Ward())
    box.ward.handlers[CommandField.C_FIND_RQ] = rows_of(1_000_000, lambda count: box.ward.tell("rows", count))
    with Raw(box.port).associate() as raw:
        raw.send(find_rq())
        assert raw.message()[0].Status == Status.PENDING
        box.wait_until(lambda: not next(iter(box.server._connections))._writable.is_set())
        box.later(61)
        (count,) = box.ward.wait_for("rows")
        assert count < 1_000_000
    box.wait_until(lambda: box.empty)


@pytest.mark.slow
def test_one_failing_connection_does_not_stop_the_timers_of_others(open_box: Opener) -> None:
    def fail(_: Received) -> None:
        raise OSError(5, "SECRET^NAME")

    box = open_box(Ward(on_abandon=fail), message=1)
    stalled = [Raw(box.port).associate() for _ in range(3)]
    box.server.artim = 1.0
    for raw in stalled:
        raw.send(store_command(), data_headers(3, 9, command=False, last=False), b"x")
    silent = Raw(box.port)
    for raw in stalled:
        assert raw.aborted() == (2, 0)
        raw.socket.close()
    assert silent.pdu() is None
    silent.socket.close()
    box.wait_until(lambda: box.empty)


def test_idle_sockets_cost_little(box: Box) -> None:
    process = psutil.Process()

    def rss() -> int:
        gc.collect()
        return process.memory_info().rss

    warm = [Raw(box.port) for _ in range(5)]
    before = rss()
    silent = [Raw(box.port) for _ in range(300)]
    box.wait_until(lambda: len(box.server._waiting) == 305)
    assert rss() - before < 10_000_000
    for one in (*warm, *silent):
        one.socket.close()
    box.wait_until(lambda: box.empty)


# -- the end --


def test_drain_lets_an_object_finish_and_takes_no_new_association(open_box: Opener) -> None:
    box = open_box(Ward(on_complete=lambda _: None))
    with Raw(box.port).associate() as raw, Raw(box.port) as late:
        box.wait_until(lambda: len(box.server._waiting) == 1)
        raw.send(store_rq(b"object"))
        (held,) = box.ward.wait_for("complete")
        draining = asyncio.run_coroutine_threadsafe(box.server.drain(PATIENCE), box.loop)
        box.wait_until(lambda: box.server._draining)
        late.send(request().encode())
        pdu = late.pdu()
        assert isinstance(pdu, ControlPdu)
        assert pdu.type == PduType.ASSOCIATE_RJ
        held.answer.set_result((0, ""))
        assert raw.message()[0].Status == 0
        draining.result(PATIENCE)
        assert raw.aborted() == (0, 0)


def test_tls_from_a_foreign_peer_and_not_without(open_box: Opener, certificate: Certificate) -> None:
    box = open_box(tls=certificate.server)
    tls = ("+tla", "--add-cert-file", str(certificate.path))
    answer = dcmtk.echoscu(box.port, called="BOX", options=tls)
    assert answer.succeeded, answer.output
    with Raw(box.port) as raw:
        raw.send(request().encode())
        assert raw.pdu() is None
    body = objects.noise(5_000_000, "tls")
    with Raw(box.port, tls=certificate.client).associate() as raw:
        raw.send(store_rq(body, max_pdu=MAX_PDU))
        assert raw.message()[0].Status == 0
        raw.release()
    assert box.ward.bodies() == [body]


def test_full_negotiation_is_quick_enough_for_the_loop(box: Box) -> None:
    syntaxes = tuple(f"1.2.840.10008.1.2.4.{n}" for n in range(50, 80))
    contexts = tuple(ProposedContext(2 * n + 1, VERIFICATION, (*syntaxes, "1.2.840.10008.1.2")) for n in range(128))
    with Raw(box.port).associate(contexts=contexts) as raw:
        assert raw.accept is not None
        assert [result.result for result in raw.accept.contexts] == [0] * 128
        raw.release()
