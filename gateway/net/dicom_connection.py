"""One socket of the acceptor: bytes in through one buffer, events to the services, answers out.

The buffer is small until an association is accepted (a thousand idle sockets cost megabytes, not
hundreds of them), and fragments of an object are handed on as views into it: an object is copied
once, by the kernel, into its file.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable
from concurrent.futures import Future
from typing import Protocol, cast

import structlog

from gateway.dicom.associate import AssociateAccept
from gateway.dicom.association import Association, Closing, Event, ReleaseRequested, Requested, State, Timer
from gateway.dicom.dimse import Command, CommandField, CommandSet, Data, Status, encoded_response, response_to
from gateway.dicom.pdu import LOCAL_LIMIT
from gateway.net.dicom_service import Caller, Exchange, Handler, Services, StoreReceiver, StoreRefused

FIRST_BUFFER = 4 * 1024
RECEIVE_BUFFER = 160 * 1024
"""Bytes; more costs cache misses and less costs system calls (docs/performance.md)."""
LEAST_ROOM = 16 * 1024
MAX_IDENTIFIER = 16 * 1024 * 1024
"""Bytes of the longest data set held in memory: a commitment request for 100,000 instances fits."""
MAX_OUTSTANDING = 16
"""Requests of one association that may wait for their answer before we stop reading."""

log = structlog.get_logger()


class Registry(Protocol):
    """Counts sockets and associations for all connections of a process."""

    artim: float
    idle: float
    message: float

    def take_socket(self, connection: Connection, address: str) -> bool: ...
    def leave_socket(self, address: str) -> None: ...
    def take_association(self, calling_ae: str, address: str) -> str | None: ...
    def leave_association(self, calling_ae: str, address: str) -> None: ...
    def forget(self, connection: Connection) -> None: ...
    def start(self, handler: Handler, exchange: Exchange, done: Callable[[], None]) -> None: ...


class Connection(asyncio.BufferedProtocol):
    """One TCP connection and the association on it."""

    def __init__(self, registry: Registry, services: Services) -> None:
        self._registry = registry
        self._services = services
        self._association = Association()
        self._loop = asyncio.get_running_loop()
        self._view = memoryview(bytearray(FIRST_BUFFER))
        self._start = self._have = 0
        self._caller: Caller | None = None
        self._address = ""
        self._counted = False
        self.gone = False
        self._since = self._last_byte = self._loop.time()
        self._store: StoreReceiver | None = None
        self._store_command: Command | None = None
        self._refused: StoreRefused | None = None
        self._views: list[memoryview] = []
        self._identifier = bytearray()
        self._awaiting: Command | None = None
        self._exchanges: dict[int, Exchange] = {}
        self._asked: dict[int, asyncio.Future[CommandSet | None]] = {}
        self._message_id = 0
        self._outstanding = 0
        self._release_due = False
        self._paused = False
        self._writable = asyncio.Event()
        self._writable.set()

    # -- asyncio's side --

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._socket: socket.socket = transport.get_extra_info("socket")
        self._address = str(transport.get_extra_info("peername")[0])
        if not self._registry.take_socket(self, self._address):
            self.gone = True
            self._transport.abort()
            return
        self._counted = True
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        self._quick_ack()

    def connection_lost(self, exc: Exception | None) -> None:
        self.gone = True
        self._writable.set()
        for event in self._association.transport_closed():
            self._event(event)
        self._end_store()
        self._end_asked()
        if self._counted:
            self._leave()
        self._registry.forget(self)

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._view[self._have :]

    def buffer_updated(self, nbytes: int) -> None:
        if self.gone:
            return
        self._have += nbytes
        self._last_byte = self._loop.time()
        self._read()
        if not self.gone:
            self._quick_ack()

    def eof_received(self) -> bool:
        return False

    # -- timers, asked once a second --

    def check_timers(self, now: float) -> None:
        """Close what has waited too long."""
        timer = self._association.timer
        if timer is Timer.ARTIM:
            late = now - self._since > self._registry.artim
        elif self._association.in_message:
            late = now - self._last_byte > self._registry.message
        elif timer is Timer.IDLE and not self._outstanding:
            late = now - self._last_byte > self._registry.idle
        else:
            late = timer is Timer.REPLY and now - self._since > self._registry.artim
        if late:
            for event in self._association.timer_expired():
                self._event(event)

    @property
    def busy(self) -> bool:
        """Something was asked and not answered yet, or an object is coming in."""
        return bool(self._outstanding) or self._association.in_message

    def abort(self) -> None:
        """End the association from our side."""
        self._association.abort()
        self._close("aborted by us")

    # -- the exchanges' side (`Line`) --

    def send(self, context_id: int, command: CommandSet | bytes, data_set: bytes | None) -> None:
        if self._association.state in (State.ESTABLISHED, State.RELEASE_ASKED):
            self._association.send(context_id, command, data_set)

    async def flush(self) -> None:
        self._write()
        await asyncio.sleep(0)
        await self._writable.wait()

    @property
    def releasing(self) -> bool:
        return self._release_due

    def next_message_id(self) -> int:
        self._message_id = self._message_id % 0xFFFF + 1
        return self._message_id

    async def ask(self, context_id: int, command: CommandSet, data_set: bytes | None) -> CommandSet | None:
        if self.gone or command.MessageID is None:
            return None
        answer: asyncio.Future[CommandSet | None] = self._loop.create_future()
        self._asked[command.MessageID] = answer
        self.send(context_id, command, data_set)
        self._write()
        try:
            return await asyncio.wait_for(answer, self._registry.message)
        except TimeoutError:
            return None
        finally:
            self._asked.pop(command.MessageID, None)

    # -- reading --

    def _read(self) -> None:
        events, consumed = self._association.receive(self._view[self._start : self._have])
        self._start += consumed
        for event in events:
            self._event(event)
        self._write()
        if not self.gone:
            self._make_room()

    def _make_room(self) -> None:
        """Have room for the next bytes: behind the views of an open object while there is some, else in front."""
        if self._views and len(self._view) - self._have >= LEAST_ROOM:
            return
        self._keep_views()
        rest = self._have - self._start
        size = len(self._view)
        if self._association.state is State.ESTABLISHED:
            size = max(size, RECEIVE_BUFFER)
        while rest >= size:
            size *= 2  # at most one control PDU, which the reader bounds
        if size != len(self._view):
            grown = memoryview(bytearray(size))
            grown[:rest] = self._view[self._start : self._have]
            self._view = grown
        elif rest and self._start:
            self._view[:rest] = bytes(self._view[self._start : self._have])
        self._start, self._have = 0, rest

    def _keep_views(self) -> None:
        views, self._views = self._views, []
        if self._store is None or self._refused is not None:
            return
        try:
            self._store.write(views)
        except StoreRefused as refused:
            self._store.abandon()
            self._refused = refused

    # -- events --

    def _event(self, event: Event) -> None:
        match event:
            case Data():
                self._data(event)
            case Command():
                self._command(event)
            case Requested():
                self._requested(event)
            case ReleaseRequested():
                self._release_due = True
                self._release_if_done()
            case Closing():
                self._write()
                self._close(event.reason)
            case _:
                raise AssertionError(f"an acceptor was given {type(event).__name__}")

    def _requested(self, event: Requested) -> None:
        request = event.request
        answer = self._services.admit(request, self._address)
        if isinstance(answer, AssociateAccept):
            association = self._registry.take_association(request.calling_ae, self._address)
            if association is None:
                answer = LOCAL_LIMIT
            else:
                self._caller = Caller(
                    calling_ae=request.calling_ae,
                    called_ae=request.called_ae,
                    address=self._address,
                    association=association,
                )
                self._leave_waiting()
                self._association.accept(answer)
                log.info("association accepted", association=association, contexts=len(self._association.contexts))
                return
        self._association.reject(answer)
        self._since = self._loop.time()
        log.info("association refused", result=answer.result, source=answer.source, reason=answer.reason)

    def _command(self, event: Command) -> None:
        command = event.command
        assert self._caller is not None
        field = command.CommandField
        if field == CommandField.C_ECHO_RQ and not command.has_data_set:
            self.send(event.context_id, encoded_response(command, Status.SUCCESS), None)
        elif field == CommandField.C_CANCEL_RQ:
            exchange = self._exchanges.get(command.MessageIDBeingRespondedTo or 0)
            if exchange is not None:
                exchange.cancelled = True
        elif field & 0x8000:
            asked = self._asked.pop(command.MessageIDBeingRespondedTo or 0, None)
            if asked is not None and not asked.done():
                asked.set_result(command)
            self._awaiting = event if command.has_data_set else None
        elif field == CommandField.C_STORE_RQ and command.has_data_set:
            self._begin_store(event)
        elif command.has_data_set:
            self._awaiting = event
        else:
            self._exchange(event, b"")

    def _begin_store(self, event: Command) -> None:
        assert self._caller is not None
        self._store_command, self._refused, self._store = event, None, None
        try:
            context = self._association.contexts[event.context_id]
            self._store = self._services.begin_store(self._caller, context, event.command)
        except StoreRefused as refused:
            self._refused = refused

    def _data(self, event: Data) -> None:
        if self._store_command is not None:
            if self._refused is None:
                self._views.append(event.data)
            if event.last:
                self._keep_views()
                self._finish_store()
            return
        assert self._awaiting is not None
        if len(self._identifier) + len(event.data) > MAX_IDENTIFIER:
            self._association.abort(provider=True)
            self._write()
            self._close(f"a data set longer than {MAX_IDENTIFIER} bytes outside C-STORE")
            return
        self._identifier += event.data
        if event.last:
            command, data_set = self._awaiting, bytes(self._identifier)
            self._awaiting, self._identifier = None, bytearray()
            if not command.command.CommandField & 0x8000:
                self._exchange(command, data_set)

    def _finish_store(self) -> None:
        command, store, refused = self._store_command, self._store, self._refused
        self._store_command = self._store = self._refused = None
        assert command is not None
        if refused is not None or store is None:
            status, comment = (refused.status, refused.comment) if refused else (Status.PROCESSING_FAILURE, "")
            self._answer(command, status, comment)
            return
        self._begin_outstanding()

        def settled(future: Future[tuple[int, str]]) -> None:
            with contextlib.suppress(RuntimeError):  # the loop has gone: nobody is left to answer
                self._loop.call_soon_threadsafe(self._stored, command, future)

        store.complete().add_done_callback(settled)

    def _stored(self, command: Command, future: Future[tuple[int, str]]) -> None:
        error = future.exception()
        status, comment = future.result() if error is None else (int(Status.OUT_OF_RESOURCES), "not stored, send again")
        if error is not None:
            log.error("object not stored", error=type(error).__name__)
        self._answer(command, status, comment)
        self._end_outstanding()

    def _answer(self, command: Command, status: int, comment: str = "") -> None:
        response = response_to(command.command, status, comment=comment) if comment else None
        self.send(command.context_id, response or encoded_response(command.command, status), None)

    def _exchange(self, event: Command, data_set: bytes) -> None:
        command = event.command
        handler = self._services.handlers.get(command.CommandField)
        if handler is None:
            self._answer(event, Status.UNRECOGNIZED_OPERATION)
            return
        assert self._caller is not None
        context = self._association.contexts[event.context_id]
        exchange = Exchange(self, self._caller, context, command, data_set)
        message_id = command.MessageID or 0
        self._exchanges[message_id] = exchange
        self._begin_outstanding()

        def done() -> None:
            if self._exchanges.get(message_id) is exchange:
                del self._exchanges[message_id]
            self._end_outstanding()

        self._registry.start(handler, exchange, done)

    # -- outstanding answers and the end --

    def _begin_outstanding(self) -> None:
        self._outstanding += 1
        if self._outstanding >= MAX_OUTSTANDING and not self._paused:
            self._paused = True
            self._transport.pause_reading()

    def _end_outstanding(self) -> None:
        self._outstanding -= 1
        if self.gone:
            return
        self._last_byte = self._loop.time()
        self._release_if_done()
        self._write()
        if self._paused and self._outstanding < MAX_OUTSTANDING and not self.gone:
            self._paused = False
            self._transport.resume_reading()

    def _release_if_done(self) -> None:
        if self._release_due and not self._outstanding:
            self._release_due = False
            self._association.release_reply()
            self._write()
            self._close("released")

    def _write(self) -> None:
        out = self._association.data_to_send()
        if out and not self._transport.is_closing():
            self._transport.write(out)

    def _quick_ack(self) -> None:
        # A sender under Nagle's algorithm waits for our acknowledgement before its last segment; the
        # kernel forgets this option, so it is set again after every read
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)

    def _close(self, reason: str) -> None:
        if self.gone:
            return
        self._write()
        self.gone = True
        if self._caller is not None:
            log.info("association closed", association=self._caller.association, reason=reason)
        self._end_store()
        self._end_asked()
        self._transport.close()

    def _end_asked(self) -> None:
        for asked in self._asked.values():
            if not asked.done():
                asked.set_result(None)

    def _end_store(self) -> None:
        self._views.clear()
        if self._store is not None and self._refused is None:
            self._store.abandon()
        self._store = self._store_command = None

    def _leave_waiting(self) -> None:
        self._registry.leave_socket(self._address)

    def _leave(self) -> None:
        self._counted = False
        if self._caller is None:
            self._leave_waiting()
        else:
            self._registry.leave_association(self._caller.calling_ae, self._address)
