"""One socket of the acceptor: bytes in through one buffer, events to the services, answers out.

Fragments of an object are handed on as views into the buffer: an object is copied once, by the kernel,
into its file. What a peer has not read of its answers is bounded too: we stop
reading until it does. Nothing that a service raises reaches the event loop; the association is aborted.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import cast

import structlog

from gateway.dicom.associate import AssociateAccept
from gateway.dicom.association import Association, Closing, Event, ReleaseRequested, Requested, State
from gateway.dicom.dimse import Command, CommandField, CommandSet, Data, Status, encoded_response, response_to
from gateway.dicom.pdu import LOCAL_LIMIT
from gateway.net.connection import prepare
from gateway.net.dicom_asking import OwnRequests
from gateway.net.dicom_buffer import ReceiveBuffer
from gateway.net.dicom_gathering import Gathering
from gateway.net.dicom_incoming import Incoming, outcome
from gateway.net.dicom_registry import Registry
from gateway.net.dicom_service import Caller, Exchange, Handler, Services
from gateway.net.dicom_timers import Timers

MAX_OUTSTANDING = 16
"""Requests of one association that may wait for their answer before we stop reading."""
MOST_EXCHANGES = 64
"""Requests other than C-STORE that one full buffer may start before they are answered "out of resources"."""

log = structlog.get_logger()


class Connection(asyncio.BufferedProtocol):
    """One TCP connection and the association on it."""

    def __init__(self, registry: Registry, services: Services) -> None:
        self._registry = registry
        self._services = services
        self._association = Association()
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._buffer = ReceiveBuffer()
        self._caller: Caller | None = None
        self._address = ""
        self._counted = False
        self._cut: Callable[[], None] | None = None
        self.gone = False
        """Nothing more is said or heard; the socket may still be on its way out."""
        self._timers = Timers(registry, self._loop.time())
        self._incoming: Incoming | None = None
        self._gathering: Gathering | None = None
        self._exchanges: dict[int, Exchange] = {}
        self._own_requests = OwnRequests(self._loop)
        self._outstanding = 0
        self._release_due = False
        self._paused = False
        self._writable = asyncio.Event()
        self._writable.set()

    def enter(self, address: str, cut: Callable[[], None] | None = None) -> bool:
        """Take a place among the sockets without an association; False if there is none. `cut` ends a TLS handshake."""
        self._address, self._cut = address, cut
        self._counted = self._registry.take_socket(self, address, expected=self._services.expects(address))
        self.gone = not self._counted
        return self._counted

    def displace(self) -> None:
        """Make room for another; only while there is no association."""
        self.gone, self._counted = True, False
        if self._transport is not None:
            self._transport.abort()
        elif self._cut is not None:
            self._cut()

    # -- asyncio's side --

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._socket: socket.socket = transport.get_extra_info("socket")
        peer = transport.get_extra_info("peername")  # None if the peer has already left
        if self.gone or (not self._counted and not self.enter(str(peer[0]) if peer else "")):
            self._transport.abort()
            return
        with contextlib.suppress(OSError):  # the peer has left: reading will tell
            prepare(self._socket)
            self._quick_ack()

    def connection_lost(self, exc: Exception | None) -> None:
        for event in self._association.transport_closed():
            if not self.gone and self._caller is not None and isinstance(event, Closing):
                log.info("association closed", association=self._caller.association, reason=event.reason)
        self.gone = True
        self._writable.set()
        self._end_work()
        if self._caller is not None:
            self._registry.leave_association(self._caller.calling_ae, self._address)
        elif self._counted:
            self._registry.leave_socket(self, self._address)
        self._registry.forget(self)

    def pause_writing(self) -> None:
        self._writable.clear()
        self._timers.blocked(self._loop.time())
        self._pace()

    def resume_writing(self) -> None:
        self._writable.set()
        self._pace()

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffer.spare() if self.gone else self._buffer.room()

    def buffer_updated(self, nbytes: int) -> None:
        if self.gone:
            return
        self._timers.received(nbytes, self._loop.time())
        try:
            self._read(self._buffer.received(nbytes))
            if not self.gone:
                self._quick_ack()
        except Exception as error:  # noqa: BLE001 -- the loop's own report would quote what the peer sent
            log.error("association failed", error=type(error).__name__)
            self._association.abort(provider=True)
            self._close("our own failure")

    def eof_received(self) -> bool:
        return False

    # -- timers, asked once a second --

    def check_timers(self, now: float) -> None:
        """Close what has waited too long."""
        if self._transport is None:
            return  # still in its TLS handshake, which has a time limit of its own
        if self.gone:
            if self._timers.artim(now):
                self._transport.abort()
        elif not self._writable.is_set():
            if self._timers.unread(now):
                self._close("the peer does not read its answers")
                self._transport.abort()
        elif self._timers.late(self._association, now, reading=not self._paused, due=bool(self._outstanding)):
            for event in self._association.timer_expired():
                self._event(event)

    @property
    def busy(self) -> bool:
        """Something was asked and not answered yet, or an object is coming in."""
        return bool(self._outstanding) or self._association.in_message

    def abort(self) -> None:
        """End the association from our side."""
        if self._transport is not None:
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
        return self._own_requests.next_message_id()

    async def ask(self, context_id: int, command: CommandSet, data_set: bytes | None) -> CommandSet | None:
        if self.gone or command.MessageID is None:
            return None
        self.send(context_id, command, data_set)
        self._write()
        return await self._own_requests.response(command.MessageID, self._registry.message)

    # -- reading --

    def _read(self, view: memoryview) -> None:
        events, consumed = self._association.receive(view)
        self._buffer.consume(consumed)
        for event in events:
            if self.gone:
                return
            self._event(event)
        self._write()
        if self._incoming is not None and self._incoming.holds_views:
            if self._buffer.has_room:
                return
            self._incoming.keep()
        if not self.gone:
            self._buffer.make_room(full=self._association.state is State.ESTABLISHED)

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
        if self._association.state is not State.DECIDING:
            return  # what came behind the request has already ended the association
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
                self._registry.leave_socket(self, self._address)
                self._association.accept(answer)
                log.info("association accepted", association=association, contexts=len(self._association.contexts))
                return
        self._association.reject(answer)
        self._timers.ended(self._loop.time())
        self._registry.refused(answer)

    def _command(self, event: Command) -> None:
        command = event.command
        assert self._caller is not None
        field = command.CommandField
        if field == CommandField.C_ECHO_RQ and not command.has_data_set:
            self.send(event.context_id, encoded_response(command, Status.SUCCESS), None)
        elif field == CommandField.C_STORE_RQ and command.has_data_set:
            context = self._association.contexts[event.context_id]
            self._incoming = Incoming(event, partial(self._services.begin_store, self._caller, context, command))
        else:
            handled = field in self._services.handlers
            self._gathering = Gathering(event, handled=handled, memory=self._registry.memory, address=self._address)
            if not command.has_data_set:
                self._whole(self._gathering)

    def _data(self, event: Data) -> None:
        if self._incoming is not None:
            self._incoming.add(event.data)
            if event.last:
                self._finish_store(self._incoming)
            return
        assert self._gathering is not None
        if not self._gathering.add(event.data):
            self._association.abort(provider=True)
            self._close("more outside C-STORE than we hold for one peer")
        elif event.last:
            self._whole(self._gathering)

    def _finish_store(self, incoming: Incoming) -> None:
        self._incoming = None
        self._begin_outstanding()

        def settled(future: Future[tuple[int, str]]) -> None:
            with contextlib.suppress(RuntimeError):  # the loop has gone: nobody is left to answer
                self._loop.call_soon_threadsafe(self._stored, incoming.command, future)

        incoming.finish().add_done_callback(settled)

    def _stored(self, command: Command, future: Future[tuple[int, str]]) -> None:
        status, comment = outcome(future)
        self._answer(command, status, comment)
        self._end_outstanding()

    def _answer(self, command: Command, status: int, comment: str = "") -> None:
        response = response_to(command.command, status, comment=comment) if comment else None
        self.send(command.context_id, response or encoded_response(command.command, status), None)

    def _whole(self, request: Gathering) -> None:
        """A message other than C-STORE is there with its data set."""
        event, command = request.message, request.message.command
        self._gathering = None
        assert self._caller is not None
        if command.CommandField == CommandField.C_CANCEL_RQ:
            exchange = self._exchanges.get(command.MessageIDBeingRespondedTo or 0)
            if exchange is not None:
                exchange.cancelled = True
        elif command.CommandField & 0x8000:
            self._own_requests.answered(command)
        elif (handler := self._services.handlers.get(command.CommandField)) is None:
            self._answer(event, Status.UNRECOGNIZED_OPERATION)
        elif self._outstanding >= MOST_EXCHANGES:
            self._answer(event, Status.OUT_OF_RESOURCES)
        else:
            self._exchange(handler, request, self._caller)
            return
        request.forget()

    def _exchange(self, handler: Handler, request: Gathering, caller: Caller) -> None:
        command = request.message.command
        context = self._association.contexts[request.message.context_id]
        exchange = Exchange(self, caller, context, command, request.content())
        message_id = command.MessageID or 0
        self._exchanges[message_id] = exchange
        self._begin_outstanding()

        def done() -> None:
            request.forget()
            if self._exchanges.get(message_id) is exchange:
                del self._exchanges[message_id]
            self._end_outstanding()

        self._registry.start(handler, exchange, done)

    # -- outstanding answers and the end --

    def _begin_outstanding(self) -> None:
        self._outstanding += 1
        self._pace()

    def _end_outstanding(self) -> None:
        self._outstanding -= 1
        if self.gone:
            return
        self._timers.answered(self._loop.time())
        self._release_if_done()
        self._write()
        self._pace()

    def _pace(self) -> None:
        """Read only while the peer reads, and few answers are due."""
        pause = not self.gone and (self._outstanding >= MAX_OUTSTANDING or not self._writable.is_set())
        if pause != self._paused and self._transport is not None and not self._transport.is_closing():
            self._paused = pause
            if pause:
                self._transport.pause_reading()
            else:
                self._transport.resume_reading()

    def _release_if_done(self) -> None:
        if self._release_due and not self._outstanding:
            self._release_due = False
            if self._association.owes_release_reply:
                self._association.release_reply()
                self._close("released")

    def _write(self) -> None:
        out = self._association.data_to_send()
        if out and self._transport is not None and not self._transport.is_closing():
            self._transport.write(out)

    def _quick_ack(self) -> None:
        # A sender under Nagle's algorithm waits for our acknowledgement before its last segment; the
        # kernel forgets this option, so it is set again after every read
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)

    def _close(self, reason: str) -> None:
        if self.gone or self._transport is None:
            return
        self._write()
        self.gone = True
        self._timers.ended(self._loop.time())
        self._writable.set()
        if self._caller is not None:
            log.info("association closed", association=self._caller.association, reason=reason)
        self._end_work()
        if self._association.closed or not self._transport.can_write_eof() or self._transport.is_closing():
            self._transport.close()
            return
        # A socket closed with unread bytes is reset, and the reset overtakes our last word: so we only stop
        # sending, discard what still comes, and close when the peer does or ARTIM ends (AA-8, AR-4)
        self._pace()
        self._transport.write_eof()

    def _end_work(self) -> None:
        self._own_requests.end()
        incoming, self._incoming = self._incoming, None
        if incoming is not None:
            incoming.abandon()
        if self._gathering is not None:
            self._gathering.forget()
