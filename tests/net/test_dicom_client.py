"""The requestor against foreign peers, and against peers that reject, hang, lie and leave."""

from __future__ import annotations

import socket
import struct
import tempfile
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from pydicom import dcmread

from gateway.dicom.associate import AssociateAccept, ContextResult, RoleSelection, UserInformation, decode_request
from gateway.dicom.convert import Extent
from gateway.dicom.dimse import Command, CommandField, CommandSet, Data, MessageReader, response_to
from gateway.dicom.negotiation import (
    EXPLICIT_VR_LITTLE_ENDIAN,
    MODALITY_WORKLIST,
    STORAGE_COMMITMENT,
    STORAGE_COMMITMENT_INSTANCE,
    VERIFICATION,
    propose,
)
from gateway.dicom.pdu import (
    RELEASE_RP,
    RELEASE_RQ,
    Abort,
    ControlPdu,
    Fragment,
    PduReader,
    PduType,
    Reject,
    fragment_message,
)
from gateway.domain.model import GatewayError
from gateway.net.dicom_client import AssociationRefused, Message, Peer, Requestor, TransportFailure
from tests.net.wire import CT, HOST, PATIENCE, Box, Certificate, Opener
from tests.peers import dcmtk, objects, pynetdicom_scp
from tests.peers.objects import noise

WANTED = propose({VERIFICATION: [], CT: [EXPLICIT_VR_LITTLE_ENDIAN], MODALITY_WORKLIST: [], STORAGE_COMMITMENT: []})


def peer(port: int, *, called: str = "PACS", timeout: float = PATIENCE, **changed: object) -> Peer:
    return Peer(
        host=HOST,
        port=port,
        called_ae=called,
        calling_ae="BOX",
        connect_timeout=PATIENCE,
        timeout=timeout,
        **changed,  # type: ignore[arg-type]
    )


def store(requestor: Requestor, body: bytes, *, head: int = 0, declared: int | None = None) -> int:
    """Store `body`, its first `head` bytes from memory and the rest from a file."""
    context = requestor.context_for(CT, EXPLICIT_VR_LITTLE_ENDIAN)
    assert context is not None
    command = CommandSet(
        CommandField=CommandField.C_STORE_RQ,
        MessageID=requestor.next_message_id(),
        AffectedSOPClassUID=CT,
        AffectedSOPInstanceUID="1.2.3",
        Priority=0,
        CommandDataSetType=0,
    )
    with tempfile.TemporaryFile() as source:
        source.write(body)
        source.flush()
        rest = Extent(offset=head, length=(declared or len(body)) - head)
        status = requestor.store(context, command, [body[:head], rest] if head else [rest], source.fileno()).Status
    assert status is not None
    return status


def find(requestor: Requestor) -> Generator[Message, None, None]:
    context = requestor.context_for(MODALITY_WORKLIST)
    assert context is not None
    return requestor.find(context, b"\x10\0\x20\0\0\0\0\0")


# -- foreign peers --


@pytest.mark.slow
@pytest.mark.parametrize("max_pdu", [16384, 128 * 1024])
def test_dcmtk_stores_what_we_send(max_pdu: int, tmp_path: Path) -> None:
    path = objects.write(tmp_path, objects.ct(3, rows=512, columns=512))
    body = path.read_bytes()[_data_offset(path) :]
    with (
        dcmtk.storescp(tmp_path / "scp", options=("--max-pdu", str(max_pdu))) as scp,
        Requestor.connect(peer(scp.port, called="STORESCP"), WANTED) as requestor,
    ):
        assert requestor.echo() == 0
        assert store(requestor, body, head=100) == 0
        assert store(requestor, body) == 0
    (received,) = dcmtk.received_files(tmp_path / "scp")
    assert received.read_bytes().endswith(body)


def _data_offset(path: Path) -> int:
    return 132 + 12 + int(dcmread(path, stop_before_pixels=True).file_meta.FileMetaInformationGroupLength)


@pytest.mark.slow
@pytest.mark.parametrize("maximum_pdu", [0, 128, 16384])
def test_pynetdicom_receives_every_byte_whatever_pdu_it_takes(maximum_pdu: int) -> None:
    body = noise(100_001, "object") + b"\0"
    with (
        pynetdicom_scp.storage_scp(maximum_pdu=maximum_pdu) as scp,
        Requestor.connect(peer(scp.port), WANTED) as requestor,
    ):
        assert [store(requestor, body, head=head) for head in (0, 7, 50_001)] == [0] * 3
    assert [one.dataset for one in scp.received] == [body] * 3


@pytest.mark.slow
def test_commitment_on_the_same_association() -> None:
    with (
        pynetdicom_scp.storage_scp(commitment="same") as scp,
        Requestor.connect(peer(scp.port), WANTED, roles=(RoleSelection(STORAGE_COMMITMENT, True, False),)) as requestor,
    ):
        context = requestor.context_for(STORAGE_COMMITMENT)
        assert context is not None
        item = _element(0x0008, 0x1150, CT.encode()) + _element(0x0008, 0x1155, b"1.2.3")
        body = _element(0x0008, 0x1195, b"1.2.9") + struct.pack("<HHL", 8, 0x1199, len(item) + 8)
        command = CommandSet(
            CommandField=CommandField.N_ACTION_RQ,
            MessageID=requestor.next_message_id(),
            RequestedSOPClassUID=STORAGE_COMMITMENT,
            RequestedSOPInstanceUID=STORAGE_COMMITMENT_INSTANCE,
            ActionTypeID=1,
            CommandDataSetType=0,
        )
        body += struct.pack("<HHL", 0xFFFE, 0xE000, len(item)) + item
        assert requestor.request(context, command, body).command.Status == 0
        report = requestor.await_message(PATIENCE)
        assert report is not None
        assert (report.command.CommandField, report.command.EventTypeID) == (CommandField.N_EVENT_REPORT_RQ, 2)
        requestor.reply(report, response_to(report.command, 0))
        scp.wait_for(lambda scp: bool(scp.report_statuses))
    assert scp.report_statuses == [0]


def _element(group: int, element: int, value: bytes) -> bytes:
    value += b"\0" * (len(value) % 2)
    return struct.pack("<HHL", group, element, len(value)) + value


@pytest.mark.slow
def test_closing_a_query_early_cancels_it_at_the_peer() -> None:
    rows = [objects.ct(seed, rows=1, columns=1) for seed in range(200)]

    def before(number: int) -> None:
        if number == 20:
            ris.asked_to_cancel.wait(PATIENCE)

    with (
        pynetdicom_scp.worklist_scp(rows=rows, before_row=before) as ris,
        Requestor.connect(peer(ris.port, called="RIS"), WANTED) as requestor,
    ):
        answers = find(requestor)
        assert next(answers).command.Status == 0xFF00
        answers.close()
        assert ris.cancelled.is_set()
        assert requestor.echo() == 0


# -- our own acceptor --


def test_tls_both_sides(open_box: Opener, certificate: Certificate) -> None:
    box = open_box(tls=certificate.server)
    body = noise(3_000_001, "tls")
    called = Peer(
        host="localhost",
        port=box.port,
        called_ae="BOX",
        calling_ae="CT1",
        connect_timeout=PATIENCE,
        timeout=PATIENCE,
        tls=lambda: certificate.client,
    )
    with Requestor.connect(called, WANTED) as requestor:
        assert requestor.echo() == 0
        assert store(requestor, body, head=1000) == 0
        assert requestor.await_message(0) is None
        assert requestor.echo() == 0
    assert box.ward.bodies() == [body]


def test_an_untrusted_certificate_is_no_connection(open_box: Opener, certificate: Certificate) -> None:
    import ssl

    box = open_box(tls=certificate.server)
    with pytest.raises(TransportFailure) as failed:
        Requestor.connect(peer(box.port, tls=ssl.create_default_context), WANTED)
    assert failed.value.code == "connect"


def test_many_objects_on_one_association(box: Box) -> None:
    bodies = [noise(size, size) for size in (2, 1000, 131_066, 131_067, 1_000_000)]
    with Requestor.connect(peer(box.port), WANTED) as requestor:
        assert [store(requestor, body) for body in bodies] == [0] * len(bodies)
    assert box.ward.bodies() == bodies


def test_a_message_id_is_never_zero_and_comes_round(box: Box) -> None:
    with Requestor.connect(peer(box.port), WANTED) as requestor:
        ids = {requestor.next_message_id() for _ in range(0xFFFF)}
        assert ids == set(range(1, 0x10000))
        assert requestor.next_message_id() == 1


def test_a_spool_file_shorter_than_its_object_never_completes_at_the_peer(box: Box) -> None:
    """Ten bytes short: an A-ABORT is ten bytes, and sent here it would be the end of the object."""
    requestor = Requestor.connect(peer(box.port), WANTED)
    with pytest.raises(TransportFailure) as failed:
        store(requestor, b"x" * 1000, declared=1010)
    assert failed.value.code == "spool"
    requestor.abort()
    box.ward.wait_for("abandoned")
    assert box.ward.all("complete") == []


# -- peers as they should not be --


class Rude:
    """The acceptor's side of one connection, in a thread of the test's."""

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock
        self._reader = PduReader()
        self._messages = MessageReader()
        self._pending = b""
        self._found: list[ControlPdu | Fragment] = []

    def pdu(self) -> ControlPdu | Fragment | None:
        while not self._found:
            try:
                data = self.socket.recv(65536)
            except ConnectionResetError:
                return None
            if not data:
                return None
            self._pending += data
            found, consumed = self._reader.read(memoryview(self._pending))
            self._found, self._pending = list(found), self._pending[consumed:]
        return self._found.pop(0)

    def message(self) -> tuple[int, CommandSet]:
        command: Command | None = None
        while True:
            pdu = self.pdu()
            assert isinstance(pdu, Fragment)
            got = self._messages.read(pdu)
            if isinstance(got, Command):
                command = got
            done = isinstance(got, Command) and not got.command.has_data_set
            if command is not None and (done or (isinstance(got, Data) and got.last)):
                return command.context_id, command.command

    def accept(self, behind: bytes = b"") -> None:
        asked = self.pdu()
        assert isinstance(asked, ControlPdu)
        request = decode_request(asked.body)
        results = tuple(ContextResult(one.id, 0, one.transfer_syntaxes[0]) for one in request.contexts)
        user = UserInformation(max_pdu=16384, implementation_class_uid="1.2")
        accept = AssociateAccept(called_ae="PACS", calling_ae="BOX", contexts=results, user=user)
        self.socket.sendall(accept.encode() + behind)

    def answer(self, context: int, command: CommandSet, status: int, *, behind: bytes = b"", **changed: int) -> None:
        response = response_to(command, status)
        if "message_id" in changed:
            response = CommandSet(
                CommandField=response.CommandField, MessageIDBeingRespondedTo=changed["message_id"], Status=status
            )
        self.socket.sendall(say(context, response) + behind)

    def reset(self) -> None:
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()


def say(context: int, command: CommandSet, data: bytes | None = None) -> bytes:
    pieces = fragment_message(context, command.encode(), command=True, max_pdu=16384)
    if data is not None:
        pieces += fragment_message(context, data, command=False, max_pdu=16384)
    return b"".join(pieces)


@contextmanager
def acceptor(play: Callable[[Rude], None]) -> Iterator[int]:
    """A listener that plays `play` on its one connection; what it raises fails the test."""
    faults: list[BaseException] = []
    with socket.create_server((HOST, 0)) as listening:
        listening.settimeout(PATIENCE)

        def run() -> None:
            try:
                sock, _ = listening.accept()
                sock.settimeout(PATIENCE)
                with sock:
                    play(Rude(sock))
            except BaseException as fault:  # noqa: BLE001 -- handed to the test
                faults.append(fault)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        yield listening.getsockname()[1]
        thread.join(PATIENCE)
        assert not thread.is_alive()
    assert faults == []


def until_closed(rude: Rude) -> None:
    while rude.pdu() is not None:
        pass


def test_nobody_listens() -> None:
    with socket.socket() as bound:
        bound.bind((HOST, 0))
        with pytest.raises(TransportFailure) as failed:
            Requestor.connect(peer(bound.getsockname()[1]), WANTED)
    assert failed.value.code == "connect"
    assert HOST not in str(failed.value)


@pytest.mark.parametrize("reject", [Reject(1, 1, 7), Reject(2, 3, 2)])
def test_a_rejection_is_temporary_and_says_why(reject: Reject) -> None:
    def play(rude: Rude) -> None:
        rude.pdu()
        rude.socket.sendall(reject.encode())
        assert rude.pdu() is None

    with acceptor(play) as port, pytest.raises(AssociationRefused) as refused:
        Requestor.connect(peer(port), WANTED)
    assert refused.value.code == "reject-{}-{}-{}".format(*reject)


@pytest.mark.parametrize(
    ("said", "code"),
    [
        (Abort(2, 1).encode(), "abort"),
        (b"", "abort"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "protocol"),
        (struct.pack(">BxL", 2, 0xFFFFFFFF), "protocol"),
        (RELEASE_RQ, "protocol"),
    ],
    ids=["abort", "close", "http", "4 GB", "release"],
)
def test_no_answer_to_the_association_request(said: bytes, code: str) -> None:
    def play(rude: Rude) -> None:
        rude.pdu()
        rude.socket.sendall(said)

    with acceptor(play) as port, pytest.raises(TransportFailure) as failed:
        Requestor.connect(peer(port), WANTED)
    assert failed.value.code == code


@pytest.mark.parametrize("when", ["associate", "echo", "find", "send"])
def test_a_peer_that_hangs_ends_in_silence(when: str) -> None:
    done = threading.Event()

    def play(rude: Rude) -> None:
        if when != "associate":
            rude.accept()
        done.wait(PATIENCE)

    def call(port: int) -> None:
        requestor = Requestor.connect(peer(port, timeout=0.2 if when == "associate" else PATIENCE), WANTED)
        requestor._socket.set_timeout(0.2)
        try:
            if when == "echo":
                requestor.echo()
            elif when == "find":
                list(find(requestor))
            else:
                store(requestor, bytes(50_000_000))
        finally:
            requestor.abort()

    with acceptor(play) as port:
        with pytest.raises(TransportFailure) as failed:
            call(port)
        done.set()
    assert failed.value.code == "silence"


@pytest.mark.parametrize("way", ["abort", "reset"])
def test_a_peer_that_leaves_in_the_middle_of_an_object(way: str) -> None:
    def play(rude: Rude) -> None:
        rude.accept()
        rude.socket.recv(1000)
        if way == "abort":
            rude.socket.sendall(Abort(2, 0).encode())
        else:
            rude.reset()

    with acceptor(play) as port:
        requestor = Requestor.connect(peer(port), WANTED)
        with pytest.raises(TransportFailure) as failed:
            store(requestor, bytes(100_000_000))
        with pytest.raises(TransportFailure):
            requestor.echo()
        requestor.release()
    assert failed.value.code in ("abort", "send", "receive")


def test_an_answer_right_before_an_abort_counts() -> None:
    def play(rude: Rude) -> None:
        rude.accept()
        rude.answer(*rude.message(), 0, behind=Abort(0, 0).encode())

    with acceptor(play) as port:
        requestor = Requestor.connect(peer(port), WANTED)
        assert store(requestor, b"stored") == 0
        with pytest.raises(TransportFailure) as failed:
            requestor.echo()
        assert failed.value.code in ("abort", "send")
        requestor.release()


def asked_of_the_worklist(requestor: Requestor) -> list[Message]:
    context = requestor.context_for(MODALITY_WORKLIST)
    assert context is not None
    return list(requestor.find(context, b""))


@pytest.mark.parametrize(
    "ask",
    [lambda one: store(one, b"stored"), Requestor.echo, asked_of_the_worklist],
    ids=["store", "echo", "find"],
)
def test_a_response_without_a_status_is_no_success(ask: Callable[[Requestor], object]) -> None:
    """Status (0000,0900) is required (PS3.7 9.3): without it nobody said that the image is stored, and to a destination
    with confirm = "status" it is what lets ours be purged."""

    def play(rude: Rude) -> None:
        rude.accept()
        context, command = rude.message()
        rude.socket.sendall(say(context, replace(response_to(command, 0), Status=None)))
        until_closed(rude)

    with acceptor(play) as port:
        requestor = Requestor.connect(peer(port), WANTED)
        with pytest.raises(TransportFailure) as failed:
            ask(requestor)
        requestor.abort()
    assert failed.value.code == "protocol"


def test_a_release_by_the_peer_ends_what_we_do_next() -> None:
    def play(rude: Rude) -> None:
        rude.accept()
        rude.answer(*rude.message(), 0, behind=RELEASE_RQ)
        pdu = rude.pdu()
        assert isinstance(pdu, ControlPdu)
        assert pdu.type == PduType.RELEASE_RP

    with acceptor(play) as port, Requestor.connect(peer(port), WANTED) as requestor:
        assert requestor.echo() == 0
        with pytest.raises(TransportFailure):
            requestor.echo()


def test_a_release_by_the_peer_instead_of_an_answer() -> None:
    def play(rude: Rude) -> None:
        rude.accept()
        rude.message()
        rude.socket.sendall(RELEASE_RQ)
        rude.pdu()

    with acceptor(play) as port, Requestor.connect(peer(port), WANTED) as requestor:
        with pytest.raises(TransportFailure) as failed:
            requestor.echo()
        assert failed.value.code == "closed"


@pytest.mark.parametrize("behind", [Abort(0, 0).encode(), b"\x42\0\0\0\0\4abcd"])
def test_a_release_overtaken_by_worse(behind: bytes) -> None:
    def play(rude: Rude) -> None:
        rude.accept()
        rude.message()
        rude.socket.sendall(RELEASE_RQ + behind)
        until_closed(rude)

    with acceptor(play) as port:
        requestor = Requestor.connect(peer(port), WANTED)
        with pytest.raises(TransportFailure):
            requestor.echo()
        requestor.release()


def test_both_release_at_once() -> None:
    def play(rude: Rude) -> None:
        rude.accept()
        pdu = rude.pdu()
        assert isinstance(pdu, ControlPdu)
        assert pdu.type == PduType.RELEASE_RQ
        rude.socket.sendall(RELEASE_RQ)
        pdu = rude.pdu()
        assert isinstance(pdu, ControlPdu)
        assert pdu.type == PduType.RELEASE_RP
        rude.socket.sendall(RELEASE_RP)
        assert rude.pdu() is None

    with acceptor(play) as port:
        Requestor.connect(peer(port), WANTED).release()


def test_answers_to_what_nobody_asked_are_skipped_but_not_for_ever() -> None:
    def play(rude: Rude) -> None:
        rude.accept()
        context, command = rude.message()
        rude.answer(context, command, 0x0110, message_id=4711)
        rude.answer(context, command, 0)
        context, command = rude.message()
        with_wrong_id = CommandSet(CommandField=0x8030, MessageIDBeingRespondedTo=4711, Status=0)
        try:
            while True:
                rude.socket.sendall(say(context, with_wrong_id) * 100)
        except OSError:
            pass

    with acceptor(play) as port:
        requestor = Requestor.connect(peer(port), WANTED)
        assert requestor.echo() == 0
        with pytest.raises(TransportFailure) as failed:
            requestor.echo()
        requestor.abort()
    assert failed.value.code == "protocol"


def test_a_flood_of_requests_instead_of_an_answer() -> None:
    def play(rude: Rude) -> None:
        rude.accept()
        context, _ = rude.message()
        report = CommandSet(CommandField=CommandField.N_EVENT_REPORT_RQ, MessageID=1)
        try:
            while True:
                rude.socket.sendall(say(context, report) * 100)
        except OSError:
            pass

    with acceptor(play) as port:
        requestor = Requestor.connect(peer(port), WANTED)
        with pytest.raises(TransportFailure) as failed:
            requestor.echo()
        requestor.abort()
    assert failed.value.code == "protocol"


def test_a_report_behind_the_acceptance_is_not_lost() -> None:
    """An archive with results waiting sends them as soon as the association stands."""
    report = CommandSet(CommandField=CommandField.N_EVENT_REPORT_RQ, MessageID=1, EventTypeID=1, CommandDataSetType=0)

    def play(rude: Rude) -> None:
        rude.accept(behind=say(1, report, b"result"))
        rude.answer(*rude.message(), 0)
        rude.pdu()
        rude.socket.sendall(RELEASE_RP)

    with acceptor(play) as port, Requestor.connect(peer(port), WANTED) as requestor:
        assert requestor.echo() == 0
        message = requestor.await_message(PATIENCE)
        assert message is not None
        assert bytes(message.data_set) == b"result"
        assert requestor.await_message(0) is None


def test_a_late_answer_is_no_request_of_the_peer() -> None:
    def play(rude: Rude) -> None:
        rude.accept()
        stray = CommandSet(CommandField=CommandField.C_ECHO_RSP, MessageIDBeingRespondedTo=9, Status=0)
        rude.socket.sendall(say(1, stray))
        rude.pdu()
        rude.socket.sendall(RELEASE_RP)

    with acceptor(play) as port, Requestor.connect(peer(port), WANTED) as requestor:
        assert requestor.await_message(0.2) is None


def test_a_query_closed_early_sends_one_cancel_and_drops_the_rest() -> None:
    def play(rude: Rude) -> None:
        rude.accept()
        context, query = rude.message()
        rude.answer(context, query, 0xFF00)
        _, cancel = rude.message()
        assert cancel.CommandField == CommandField.C_CANCEL_RQ
        assert cancel.MessageIDBeingRespondedTo == query.MessageID
        for status in (0xFF00, 0xFF00, 0xFE00):
            rude.answer(context, query, status)
        rude.answer(*rude.message(), 0)
        rude.pdu()
        rude.socket.sendall(RELEASE_RP)

    with acceptor(play) as port, Requestor.connect(peer(port), WANTED) as requestor:
        answers = find(requestor)
        next(answers)
        answers.close()
        assert requestor.echo() == 0


def test_a_peer_deaf_to_cancel_is_aborted() -> None:
    def play(rude: Rude) -> None:
        rude.accept()
        context, query = rude.message()
        try:
            while True:
                rude.socket.sendall(say(context, response_to(query, 0xFF00)) * 100)
        except OSError:
            pass

    with acceptor(play) as port:
        requestor = Requestor.connect(peer(port), WANTED)
        answers = find(requestor)
        next(answers)
        answers.close()
        with pytest.raises(TransportFailure):
            requestor.echo()


def test_a_peer_that_never_ends_its_last_messages_does_not_hold_the_release() -> None:
    def play(rude: Rude) -> None:
        rude.accept()
        rude.pdu()
        late = say(1, CommandSet(CommandField=CommandField.N_EVENT_REPORT_RQ, MessageID=1))
        try:
            while True:
                rude.socket.sendall(late * 100)
        except OSError:
            pass

    with acceptor(play) as port:
        requestor = Requestor.connect(peer(port), WANTED)
        requestor._timeout = 0.5
        requestor.release()


def test_no_error_quotes_what_a_peer_sent() -> None:
    secret = "SECRET^NAME"
    wrong = struct.pack("<HHL", 0x10, 0x10, len(secret)) + secret.encode()

    def play(rude: Rude) -> None:
        rude.accept()
        rude.message()
        rude.socket.sendall(b"".join(fragment_message(1, wrong, command=True, max_pdu=16384)))
        until_closed(rude)

    with acceptor(play) as port:
        requestor = Requestor.connect(peer(port), WANTED)
        with pytest.raises(GatewayError) as failed:
            requestor.echo()
        requestor.abort()
    assert secret not in str(failed.value)
    assert failed.value.code == "protocol"  # type: ignore[attr-defined]
