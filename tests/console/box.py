"""A console over a real spool, on a real loopback port, and a browser's view of it."""

from __future__ import annotations

import asyncio
import http.client
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any
from zoneinfo import ZoneInfo

from gateway.config import Desk
from gateway.config.mappings import order_mapping
from gateway.domain.model import UID, AETitle, Instance, SourceName
from gateway.domain.orders import Sender
from gateway.domain.overview import Configured
from gateway.domain.parts import Part
from gateway.roles.console import ConfiguredScanner, Console, Place, ServedBy
from gateway.spool import deliveries, peers, worklist
from gateway.spool.order_entry import API
from gateway.spool.worklist import WorklistRow
from tests.cli.site import Site
from tests.spool.objects import receive

NAME = "Quillfeather^Isolde"
PATIENT = "PID-774411"
STUDY = "1.2.826.0.1.774411.5"
MERGE = ServedBy(
    mode="merge",
    fresh_for=timedelta(seconds=20),
    max_stale=timedelta(hours=24),
    hide_performed=timedelta(hours=12),
    romanised=frozenset(),
)
STRANGER = "<b>'x;#"
CONFIGURED = Configured(
    parts=(Part.EDGE, Part.FORWARD, Part.HEALTH),
    destinations=["pacs"],
    refresh={"main": timedelta(seconds=30)},
    mpps_peers=["main"],
    order_receivers=["main"],
)


class Served:
    """A running console."""

    def __init__(self, port: int) -> None:
        self.port = port

    def ask(
        self, path: str, *, method: str = "GET", host: str | None = None, accept: str = "*/*"
    ) -> tuple[int, dict[str, str], bytes]:
        """Status, headers (names in lower case) and body of one answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.putrequest(method, path, skip_host=host is not None, skip_accept_encoding=True)
            if host is not None:
                connection.putheader("Host", host)
            connection.putheader("Accept", accept)
            connection.endheaders()
            answer = connection.getresponse()
            return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()
        finally:
            connection.close()

    def post(self, path: str, asked: object = None, **headers: str) -> tuple[int, Any]:
        """Status and JSON of the answer to a decision; headers by name, `_` for `-`."""
        body = b"" if asked is None else json.dumps(asked).encode()
        return self.post_raw(path, body, {"Content-Type": "application/json"} | headers)

    def post_raw(self, path: str, body: bytes | Iterator[bytes], headers: dict[str, str]) -> tuple[int, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request("POST", path, body, {k.replace("_", "-"): v for k, v in headers.items()})
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        finally:
            connection.close()

    def text(self, path: str) -> str:
        status, _, body = self.ask(path)
        assert status == 200, (path, status, body)
        return body.decode()

    def json(self, path: str) -> Any:
        return json.loads(self.text(path))


def made(
    site: Site, *, address: str = "127.0.0.1", port: int = 0, port_had: Callable[[bool], None] = lambda had: None
) -> Console:
    """A console of this site; port 0 is any, as only a test may ask."""
    return Console(
        site.spool,
        address=address,
        port=port or free_port(),
        place=Place(site="north", box="ct1-room", zone=ZoneInfo("Asia/Tokyo")),
        configured=CONFIGURED,
        scanners=[ConfiguredScanner(ae="CT1", addresses=("10.1.1.20/32",), profile="generic", worklist=MERGE)],
        added=lambda _: MERGE,
        desk=Desk().policy,
        orders=Sender(
            name=API,
            mapping=order_mapping("generic", site.state),
            zone=ZoneInfo("Asia/Tokyo"),
            scanners=("CT1",),
            refuse_conflicts=True,
            refuse_faults=True,
        ),
        port_had=port_had,
        woken=lambda: None,
        now=site.clock,
    )


@contextmanager
def serving(console: Console) -> Iterator[Served]:
    """Run it on a thread of its own, as the gateway runs it on its loop."""
    loops: list[asyncio.AbstractEventLoop] = []
    stop = asyncio.Event()
    ready = threading.Event()
    ended: list[BaseException | None] = []

    async def life() -> None:
        loops.append(asyncio.get_running_loop())
        ready.set()
        await console.run(stop)

    def run() -> None:
        try:
            asyncio.run(life())
            ended.append(None)
        except BaseException as error:  # noqa: BLE001  told to the test
            ended.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    ready.wait()
    try:
        yield Served(console.server.port)
    finally:
        loops[0].call_soon_threadsafe(stop.set)
        thread.join()
    assert ended == [None]


def free_port() -> int:
    from tests.peers.processes import free_port as free

    return free()


# -- what may stand --


def images(site: Site, *bodies: bytes, study: str = STUDY, ae: str = "CT1") -> list[Instance]:
    """Images of one study, received now."""
    site.receive()  # starts the committer
    assert site._committer is not None
    futures = []
    for body in bodies:
        came = receive(site.spool.files, f"2.25.8.{study[-3:].replace('.', '')}{body.hex()}", body, at=site.clock())
        origin = replace(came.origin, calling_ae=AETitle(ae))
        futures.append(site._committer.submit(replace(came, StudyInstanceUID=UID(study), origin=origin)))
    return [future.result().instance for future in futures]


def scheduled(site: Site, *, source: str = "main") -> None:
    """The RIS answered now, with a row that names a patient."""
    row = WorklistRow(
        source=SourceName(source),
        key="k1",
        PatientID=PATIENT,
        PatientName=NAME,
        AccessionNumber="ACC-774411",
        StudyInstanceUID=STUDY,
        RequestedProcedureID="RP1",
        ScheduledProcedureStepID="SPS1",
        start_date="20260301",
        start_time="0800",
        Modality="CT",
        ScheduledStationAETitle="CT1",
        status="SCHEDULED",
        dataset=NAME.encode(),
    )
    site.write(partial(worklist.replace_source, source=SourceName(source), rows=[row], now=site.clock(), window=None))


def unanswered(site: Site, *, source: str = "main") -> None:
    site.write(partial(worklist.record_failure, source=SourceName(source), error="connect", now=site.clock()))


def stranger(site: Site, ae: str = STRANGER) -> None:
    site.write(
        partial(
            peers.record_caller,
            calling_ae=AETitle(ae),
            called_ae=AETitle("GATEWAY"),
            address="10.9.9.9",
            reason="calling-ae-unknown",
            now=site.clock(),
        )
    )


def deferred(site: Site, status: str = "connect") -> None:
    """What waits was tried, and will be tried again."""
    for one in site.claim():
        later = partial(deliveries.defer, claimed=one, not_before=site.clock(), status=status)
        site.write(partial(later, now=site.clock(), by="pacs"))


def bad_night(site: Site) -> None:
    """Something of everything: a safe study, one under way, one refused, a differing copy, an old list, strangers."""
    site.clock.pass_(hours=-5)
    scheduled(site)
    site.route(*images(site, b"a", b"b", b"c", study="2.25.300"))
    site.send_all(confirm=True)
    site.clock.pass_(hours=1)
    site.route(*images(site, b"d", study="2.25.301", ae="MR1"))
    site.refuse_all("0122")
    site.clock.pass_(hours=1)
    site.route(*images(site, *(b"n%d" % n for n in range(40)), study=STUDY))
    deferred(site)
    site.alarm("delivery-late", "pacs")
    site.receive(b"one", b"other", uid="2.25.5")
    site.clock.pass_(hours=3)
    unanswered(site)
    stranger(site)
    stranger(site, "MR7")
