"""A real server on uvloop in a thread, and a raw peer that sends whatever bytes a test wants."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
import subprocess
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import uvloop

from gateway.dicom.associate import (
    AssociateAccept,
    AssociateRequest,
    ProposedContext,
    RoleSelection,
    UserInformation,
    decode_accept,
)
from gateway.dicom.association import AcceptedContext
from gateway.dicom.dimse import Command, CommandField, CommandSet, Data, MessageReader
from gateway.dicom.negotiation import (
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
    MODALITY_WORKLIST,
    STORAGE_COMMITMENT,
    VERIFICATION,
    answer,
    choose_native,
    choose_transfer_syntax,
    is_storage,
)
from gateway.dicom.pdu import CALLED_AE_UNKNOWN, ControlPdu, Fragment, PduReader, PduType, Reject, fragment_message
from gateway.net.dicom_server import DicomServer, Limits
from gateway.net.dicom_service import Caller, Handler

HOST = "127.0.0.1"
PATIENCE = 60.0
"""Seconds that nothing on loopback takes; a wait this long has failed."""
CT = "1.2.840.10008.5.1.4.1.1.2"
MAX_PDU = 131072
_T = TypeVar("_T")


class Received:
    """One object as it came in. `settle` answers it; the ward does so at once unless told to hold."""

    def __init__(self, ward: Ward, command: CommandSet) -> None:
        self.ward = ward
        self.command = command
        self.body = bytearray()
        self.views: list[int] = []
        self.answer: Future[tuple[int, str]] = Future()
        self.abandoned = 0

    def write(self, views: list[memoryview]) -> None:
        self.views.append(len(views))
        for view in views:
            self.body += view
        self.ward.on_write(self)

    def complete(self) -> Future[tuple[int, str]]:
        self.ward.on_complete(self)
        self.ward.tell("complete", self)
        return self.answer

    def abandon(self) -> None:
        self.abandoned += 1
        self.ward.tell("abandoned", self)
        self.ward.on_abandon(self)


def _nothing(_: Received) -> None:
    pass


def _success(receiver: Received) -> None:
    receiver.answer.set_result((0, ""))


@dataclass(slots=True, kw_only=True)
class Ward:
    """The services of a listener, with a hook at each place where a role could fail."""

    asynchronous: tuple[int, int] | None = (16, 1)
    max_pdu: int = MAX_PDU
    called: frozenset[str] | None = None
    expected: frozenset[str] = frozenset()
    handlers: dict[int, Handler] = field(default_factory=dict)
    on_admit: Callable[[AssociateRequest], None] = lambda _: None
    on_begin: Callable[[CommandSet], None] = lambda _: None
    on_write: Callable[[Received], None] = _nothing
    on_complete: Callable[[Received], None] = _success
    on_abandon: Callable[[Received], None] = _nothing
    objects: list[Received] = field(default_factory=list)
    told: list[tuple[str, Any]] = field(default_factory=list)
    changed: threading.Condition = field(default_factory=threading.Condition)

    def expects(self, address: str) -> bool:
        return address in self.expected

    def admit(self, request: AssociateRequest, address: str) -> AssociateAccept | Reject:
        self.on_admit(request)
        if self.called is not None and request.called_ae not in self.called:
            return CALLED_AE_UNKNOWN
        us = UserInformation(
            max_pdu=self.max_pdu,
            implementation_class_uid="1.2.3",
            implementation_version="TEST",
            asynchronous=self.asynchronous,
        )

        def choose(abstract: str) -> Any:
            if abstract in (VERIFICATION, MODALITY_WORKLIST, STORAGE_COMMITMENT):
                return choose_native
            return choose_transfer_syntax if is_storage(abstract, standard_only=False) else None

        return answer(request, choose, us=us)

    def begin_store(self, caller: Caller, context: AcceptedContext, command: CommandSet) -> Received:
        self.on_begin(command)
        receiver = Received(self, command)
        self.objects.append(receiver)
        self.tell("begun", receiver)
        return receiver

    def tell(self, what: str, value: Any) -> None:
        with self.changed:
            self.told.append((what, value))
            self.changed.notify_all()

    def wait_for(self, what: str, count: int = 1) -> list[Any]:
        """The values told under `what`, once there are `count` of them."""
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.all(what)) >= count, PATIENCE), f"{what}: {self.told}"
            return self.all(what)

    def all(self, what: str) -> list[Any]:
        return [value for name, value in self.told if name == what]

    def bodies(self) -> list[bytes]:
        return [bytes(one.body) for one in self.objects]


@dataclass(slots=True, kw_only=True)
class Box:
    """A server in its thread."""

    loop: asyncio.AbstractEventLoop
    server: DicomServer
    ward: Ward
    port: int

    def on_loop(self, work: Callable[[], _T]) -> _T:
        """Run `work` on the server's loop."""

        async def call() -> _T:
            return work()

        return asyncio.run_coroutine_threadsafe(call(), self.loop).result(PATIENCE)

    def wait_until(self, condition: Callable[[], bool]) -> None:
        """Until `condition` holds on the server's loop."""

        async def poll() -> None:
            async with asyncio.timeout(PATIENCE):
                while not condition():  # noqa: ASYNC110 -- what is waited for is any state of the server
                    await asyncio.sleep(0.005)

        asyncio.run_coroutine_threadsafe(poll(), self.loop).result(PATIENCE + 5)

    def later(self, seconds: float) -> None:
        """Let every connection look at its timers as if `seconds` had passed."""

        def look() -> None:
            for connection in list(self.server._connections):
                connection.check_timers(self.loop.time() + seconds)

        self.on_loop(look)

    @property
    def empty(self) -> bool:
        """Nobody is connected and nothing is counted."""
        server = self.server
        counted = (server._connections, server._waiting, server._associations, server._tasks, server.memory)
        return not any(map(len, counted))

    def listen(self, ward: Ward, tls: ssl.SSLContext | None = None) -> int:
        opened = self.server.listen(ward, HOST, 0, tls=tls)
        return asyncio.run_coroutine_threadsafe(opened, self.loop).result(PATIENCE)

    def drain(self, grace: float = 0.0) -> None:
        asyncio.run_coroutine_threadsafe(self.server.drain(grace), self.loop).result(PATIENCE + grace)


def limits(**changed: float) -> Limits:
    usual: dict[str, Any] = {
        "sockets": 400,
        "sockets_per_address": 400,
        "associations": 50,
        "associations_per_peer": 20,
        "artim": 30.0,
        "idle": 900.0,
        "message": 60.0,
    }
    return Limits(**{**usual, **changed})


class Opener:
    """Opens boxes and, at the end of the test, finds every count back at nothing."""

    def __init__(self) -> None:
        self.boxes: list[Box] = []
        self.faults: list[str] = []
        self.threads: list[threading.Thread] = []

    def __call__(self, ward: Ward | None = None, *, tls: ssl.SSLContext | None = None, **changed: float) -> Box:
        loop = uvloop.new_event_loop()
        loop.set_exception_handler(lambda _, context: self.faults.append(str(context)))
        thread = threading.Thread(target=loop.run_forever, daemon=True)
        thread.start()
        ward = ward or Ward()
        box = Box(loop=loop, server=DicomServer(limits(**changed)), ward=ward, port=0)
        box.port = box.listen(ward, tls)
        self.boxes.append(box)
        self.threads.append(thread)
        return box

    def close(self) -> None:
        for box, thread in zip(self.boxes, self.threads, strict=True):
            box.drain()
            try:
                box.wait_until(lambda box=box: box.empty)  # type: ignore[misc]
            finally:
                box.loop.call_soon_threadsafe(box.loop.stop)
                thread.join(PATIENCE)
                box.loop.close()
        assert self.faults == [], "an exception reached the event loop"


class Raw:
    """A peer that says exactly what a test tells it to."""

    def __init__(self, port: int, *, source: str = HOST, tls: ssl.SSLContext | None = None) -> None:
        self.socket = socket.create_connection((HOST, port), PATIENCE, source_address=(source, 0))
        if tls is not None:
            self.socket = tls.wrap_socket(self.socket, server_hostname="localhost")
        self.accept: AssociateAccept | None = None
        self.was_reset = False
        self._reader = PduReader()
        self._messages = MessageReader()
        self._pending = b""
        self._found: list[ControlPdu | Fragment] = []

    def __enter__(self) -> Raw:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, *pieces: bytes) -> None:
        self.socket.sendall(b"".join(pieces))

    def reset(self) -> None:
        """Close with a TCP RST."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def associate(self, **changed: Any) -> Raw:
        self.send(request(**changed).encode())
        pdu = self.pdu()
        assert isinstance(pdu, ControlPdu)
        assert pdu.type == PduType.ASSOCIATE_AC, pdu
        self.accept = decode_accept(pdu.body)
        return self

    def pdu(self) -> ControlPdu | Fragment | None:
        """The next control PDU or value; None when the peer closed."""
        while not self._found:
            try:
                data = self.socket.recv(65536)
            except ConnectionResetError:
                self.was_reset = True
                return None
            if not data:
                return None
            self._pending += data
            found, consumed = self._reader.read(memoryview(self._pending))
            self._found = list(found)
            self._pending = self._pending[consumed:]
        return self._found.pop(0)

    def message(self) -> tuple[CommandSet, bytes]:
        """The next whole message."""
        command: CommandSet | None = None
        body = b""
        while True:
            pdu = self.pdu()
            assert isinstance(pdu, Fragment), pdu
            got = self._messages.read(pdu)
            if isinstance(got, Command):
                command = got.command
                if not command.has_data_set:
                    return command, b""
            elif isinstance(got, Data):
                body += got.data
                if got.last:
                    assert command is not None
                    return command, body

    def aborted(self) -> tuple[int, int]:
        """Source and reason of the A-ABORT that must be next; then the connection must close."""
        pdu = self.pdu()
        assert isinstance(pdu, ControlPdu), pdu
        assert pdu.type == PduType.ABORT
        assert self.pdu() is None
        return pdu.body[2], pdu.body[3]

    def release(self) -> None:
        self.send(b"\5\0\0\0\0\4\0\0\0\0")
        pdu = self.pdu()
        assert isinstance(pdu, ControlPdu), pdu
        assert pdu.type == PduType.RELEASE_RP


CONTEXTS = (
    ProposedContext(1, VERIFICATION, (IMPLICIT_VR_LITTLE_ENDIAN,)),
    ProposedContext(3, CT, (EXPLICIT_VR_LITTLE_ENDIAN,)),
    ProposedContext(5, MODALITY_WORKLIST, (IMPLICIT_VR_LITTLE_ENDIAN,)),
    ProposedContext(7, STORAGE_COMMITMENT, (IMPLICIT_VR_LITTLE_ENDIAN,)),
)


def request(
    *,
    max_pdu: int = 65536,
    called: str = "BOX",
    calling: str = "CT1",
    asynchronous: tuple[int, int] | None = None,
    roles: tuple[RoleSelection, ...] = (),
    contexts: tuple[ProposedContext, ...] = CONTEXTS,
) -> AssociateRequest:
    return AssociateRequest(
        called_ae=called,
        calling_ae=calling,
        contexts=contexts,
        user=UserInformation(max_pdu=max_pdu, implementation_class_uid="1.2.3", asynchronous=asynchronous, roles=roles),
    )


def echo_rq(message_id: int = 1) -> bytes:
    command = CommandSet(CommandField=CommandField.C_ECHO_RQ, MessageID=message_id, AffectedSOPClassUID=VERIFICATION)
    return b"".join(fragment_message(1, command.encode(), command=True, max_pdu=MAX_PDU))


def store_command(message_id: int = 1, instance: str = "1.2.3") -> bytes:
    command = CommandSet(
        CommandField=CommandField.C_STORE_RQ,
        MessageID=message_id,
        AffectedSOPClassUID=CT,
        AffectedSOPInstanceUID=instance,
        Priority=0,
        CommandDataSetType=0,
    )
    return b"".join(fragment_message(3, command.encode(), command=True, max_pdu=MAX_PDU))


def store_rq(body: bytes, message_id: int = 1, instance: str = "1.2.3", *, max_pdu: int = 16384) -> bytes:
    data = fragment_message(3, body, command=False, max_pdu=max_pdu)
    return store_command(message_id, instance) + b"".join(data)


def find_rq(message_id: int = 1, identifier: bytes = b"\x08\0\x05\0\0\0\0\0") -> bytes:
    command = CommandSet(
        CommandField=CommandField.C_FIND_RQ,
        MessageID=message_id,
        AffectedSOPClassUID=MODALITY_WORKLIST,
        Priority=0,
        CommandDataSetType=0,
    )
    return b"".join(
        fragment_message(5, command.encode(), command=True, max_pdu=MAX_PDU)
        + fragment_message(5, identifier, command=False, max_pdu=MAX_PDU)
    )


def cancel_rq(message_id: int, *, data_set: bool = False) -> bytes:
    command = CommandSet(
        CommandField=CommandField.C_CANCEL_RQ,
        MessageIDBeingRespondedTo=message_id,
        CommandDataSetType=0 if data_set else 0x0101,
    )
    return b"".join(fragment_message(5, command.encode(), command=True, max_pdu=MAX_PDU))


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    server: ssl.SSLContext
    client: ssl.SSLContext
    path: Path
    key: Path


def self_signed(folder: Path, *, days: int = 2) -> Certificate:
    """A certificate for localhost that nobody signed; its `client` context trusts it alone. It ends in `days`."""
    key, path = folder / "key.pem", folder / "certificate.pem"
    command = [
        "/usr/bin/openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        str(days),
        "-subj",
        "/CN=localhost",
    ]
    names = ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", str(key), "-out", str(path)]
    subprocess.run([*command, *names], check=True, capture_output=True, timeout=180)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(path, key)
    client = ssl.create_default_context(cafile=str(path))
    return Certificate(server=server, client=client, path=path, key=key)
