"""What each part of the box does to prove that it works, for its watchdog (gateway/app/watchdog.py).

A proof fails of what a restart may cure: a thread that is stuck, a listener that is dead, a disk that takes nothing. A
spool that is too full to write to is none of these: a restart makes no room, and the worklist must stay up meanwhile
(docs/operations/disk.md). A listener that says it is full has answered.
"""

from __future__ import annotations

import asyncio
import http.client
import ssl
from collections.abc import Awaitable, Callable
from contextlib import closing
from datetime import datetime, timedelta
from functools import partial
from ipaddress import ip_address, ip_network
from typing import Final

from gateway.app.peers import HERE, now
from gateway.app.watchdog import Proof
from gateway.config import Listen
from gateway.dicom.associate import ProposedContext
from gateway.dicom.negotiation import NATIVE, VERIFICATION
from gateway.dicom.pdu import LOCAL_LIMIT
from gateway.domain.admission import KnownCaller
from gateway.domain.model import TemporaryFailure
from gateway.domain.parts import Part
from gateway.net.dicom_client import AssociationRefused, Peer, Requestor, TransportFailure
from gateway.net.http_server import HttpServer
from gateway.net.tls import own_context
from gateway.spool import Spool, audit, heartbeats
from gateway.spool.commit import GroupCommitter

ANSWER_SECONDS: Final = 10.0
"""For each wait of a call to ourselves."""
LOOKED_WITHIN: Final = timedelta(seconds=90)


def committing(spool: Spool, part: Part) -> Proof:
    """The writer of the books commits that this part lives, and the commit is on the disk."""

    async def done() -> None:
        await asyncio.wrap_future(spool.db.write(partial(heartbeats.beat, part=part, now=now())))

    return Proof(name="books", done=partial(_unless_full, spool, done))


def syncing(spool: Spool, committer: GroupCommitter | None) -> Proof:
    """A file is written and synced, by the thread that acknowledges objects where there is one."""

    async def done() -> None:
        if committer is not None:
            await asyncio.wrap_future(committer.prove())
        else:
            await asyncio.to_thread(spool.files.prove)

    return Proof(name="disk", done=partial(_unless_full, spool, done))


async def _unless_full(spool: Spool, done: Callable[[], Awaitable[None]]) -> None:
    try:
        await done()
    except TemporaryFailure as error:
        if error.code != "A700" or not spool.files.below_reserve():
            raise


def caller_at(listen: Listen, ae: str) -> KnownCaller:
    """Ourselves as this listener's caller: `ae` is a name that nobody else knows."""
    try:
        here = ip_address(HERE.get(listen.address, listen.address))
    except ValueError:
        return KnownCaller(ae=ae)
    return KnownCaller(ae=ae, networks=(ip_network(here),))


def answering(listen: Listen, port: int, ae: str) -> Proof:
    """A C-ECHO through our own listener is answered 0000 (PS3.7 9.1.5)."""
    peer = Peer(
        host=HERE.get(listen.address, listen.address),
        port=port,
        called_ae=listen.ae[0],
        calling_ae=ae,
        connect_timeout=ANSWER_SECONDS,
        timeout=ANSWER_SECONDS,
        tls=partial(own_context, certificate=listen.certificate, key=listen.key) if listen.tls else None,
    )
    return Proof(
        name=f"echo:{port}", done=partial(asyncio.to_thread, _echo, peer, known_to_us=listen.client_ca is None)
    )


def _echo(peer: Peer, *, known_to_us: bool) -> None:
    """Raises TemporaryFailure. A listener that wants certificates of its peers' authority may not want ours, and has
    answered by saying so (PS3.15 B.12)."""
    try:
        with Requestor.connect(peer, [ProposedContext(1, VERIFICATION, NATIVE)]) as requestor:
            status = requestor.echo()
    except AssociationRefused as error:
        if error.code != f"reject-{LOCAL_LIMIT.result}-{LOCAL_LIMIT.source}-{LOCAL_LIMIT.reason}":
            raise
    except TransportFailure as error:
        if known_to_us or not isinstance(error.__cause__, ssl.SSLError):
            raise
    else:
        if status != 0:
            raise TemporaryFailure(f"our own C-ECHO was answered {status:04X}", code="echo")


def moving(silent: Callable[[float], list[str]], seconds: float) -> Proof:
    """No thread of forward has been silent for longer than this; the longest wait that is none of its faults fits."""

    async def done() -> None:
        stuck = sorted(set(silent(seconds)))
        if stuck:
            raise TemporaryFailure(f"no sign of life of {', '.join(stuck)}", code=",".join(stuck))

    return Proof(name="lanes", done=done)


def looking(last: Callable[[], datetime]) -> Proof:
    """What is done again and again, at least every half a minute, was done of late."""

    async def done() -> None:
        if now() - last() > LOOKED_WITHIN:
            raise TemporaryFailure("it has not looked for long; a thread of it hangs", code="look")

    return Proof(name="looks", done=done)


def serving(name: str, server: HttpServer, *, address: str, page: str) -> Proof:
    """This page of ours is answered 200, which it is only if the index was read and the spool's disk asked. Not
    /healthz: what is wrong with other parts no restart of this one mends; nor does it give us a port that is taken."""
    here = HERE.get(address, address)

    async def done() -> None:
        if server.listens:
            await asyncio.to_thread(_get, here, server.port, page)

    return Proof(name=name, done=done)


def port_had(spool: Spool, section: str, had: bool) -> None:
    """Raise or clear the alarm that the web port of this section of the configuration can't be had."""
    change = audit.clear_alarm if had else audit.raise_alarm
    spool.db.write(lambda c: change(c, code="port-taken", subject=section, now=now()))


def _get(address: str, port: int, page: str) -> None:
    """Raises OSError, HTTPException or TemporaryFailure."""
    with closing(http.client.HTTPConnection(address, port, timeout=ANSWER_SECONDS)) as connection:
        connection.request("GET", page)
        status = connection.getresponse().status
    if status != http.HTTPStatus.OK:
        raise TemporaryFailure(f"our own page was answered {status}", code="page")
