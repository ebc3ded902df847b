"""The table of sending: our forward role and our bare wire beside other senders, into a receiver that keeps nothing."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from bench import senders, servers
from bench.ingest import figures
from bench.measure import Cell, CellFailed, Column, Sample, Table, Target
from bench.places import BUILD, python
from bench.senders import Send
from bench.servers import Server, cpu_of
from bench.sizes import Size
from gateway.domain.model import DeliveryState, DestinationName, Lane
from gateway.domain.routing import Route
from gateway.spool import Connection, Spool, deliveries, instances
from gateway.spool.times import from_text
from tests.peers.orthanc import Modality
from tests.peers.processes import free_port

PACS: Final = DestinationName("pacs")
LOOK_SECONDS: Final = 0.05
COLUMNS: Final = (
    Column(metric="per_s", title="objects/s"),
    Column(metric="mb_s", title="MB/s"),
    Column(metric="objects", title="objects"),
    Column(metric="cpu", title="sender CPU s/GB", digits=1),
)
WHOLE: Final = "gateway, forward role"
WIRE: Final = "gateway, wire alone"


def sending(size: Size) -> Table:
    return _table(
        size,
        ("ct", "mr"),
        tuned=True,
        note=(
            "The forward role drains a filled spool: claims, content hash of every file, journal and settlement are "
            "in its time, the start of Python is not. The wire alone is gateway.net.dicom_client over the files. "
            "pynetdicom sends fewer MR."
        ),
        targets=[
            Target(clause="sending", case=case, metric="per_s", ours=ours, beside="dcmsend", at_least=ratio)
            for case, ratio in (("ct", 1.0), ("mr", 1.4))
            for ours in (WHOLE, WIRE)
        ],
    )


def sending_default(size: Size) -> Table:
    return _table(
        size, ("ct, default", "mr, default"), tuned=False, note="Short rows: the others stall here.", targets=[]
    )


def _table(size: Size, cases: Sequence[str], *, tuned: bool, note: str, targets: Sequence[Target]) -> Table:
    others: dict[str, Send] = {
        WIRE: senders.our_wire,
        "dcmsend": senders.dcmsend,
        "storescu": senders.storescu,
        "pynetdicom": senders.pynetdicom_send,
    }
    cells = [_plain(size, case, name, send, tuned=tuned) for case in cases for name, send in others.items()]
    return Table(
        name="sending",
        environment="tuned" if tuned else "default",
        title="Sending over one association into storescp --ignore -pdu 131072",
        note=note,
        columns=COLUMNS,
        cells=[
            *(_forward(size, case, tuned=tuned) for case in cases),
            *cells,
            *(_orthanc(size, case, tuned=tuned) for case in cases),
        ],
        targets=targets,
        ours=WHOLE,
    )


def _plain(size: Size, case: str, name: str, send: Send, *, tuned: bool) -> Cell:
    def run(folder: Path) -> Sample:
        files = size.files("mr, pynetdicom" if (case, name) == ("mr", "pynetdicom") else case)
        with servers.sink(folder, tuned) as server:
            sent = send(server, files, tuned)
        return figures(files, seconds=sent.seconds, cpu=sent.cpu)

    return Cell(case=case, variant=name, run=run)


# -- Orthanc --


def _orthanc(size: Size, case: str, *, tuned: bool) -> Cell:
    def run(folder: Path) -> Sample:
        files = size.files(case)
        (folder / "sink").mkdir()
        with servers.sink(folder / "sink", tuned) as server:
            modality = Modality(ae=server.ae, port=server.port)
            sinks = {"sink": [modality.ae, modality.host, modality.port]}
            with servers.orthanc_rest(folder, tuned, config={"DicomModalities": sinks}) as orthanc:
                pid = orthanc.program.process.pid
                own = Server(ae=orthanc.ae, port=orthanc.port, pid=pid, stored=int)
                senders.dcmsend(own, files, True)
                held = orthanc.instances()
                os.sync()
                before, began = cpu_of(pid), time.monotonic()
                orthanc.store("sink", held)
                seconds, cpu = time.monotonic() - began, cpu_of(pid) - before
        if len(held) != len(files):
            raise CellFailed(f"Orthanc held {len(held)} of {len(files)} objects")
        return figures(files, seconds=seconds, cpu=cpu)

    return Cell(case=case, variant="Orthanc", run=run)


# -- our forward role --


def _forward(size: Size, case: str, *, tuned: bool) -> Cell:
    def run(folder: Path) -> Sample:
        files = size.files(case)
        copy_spool(filled_spool(files, case), folder / "state")
        os.sync()
        (folder / "sink").mkdir()
        with servers.sink(folder / "sink", tuned) as server:
            config = servers.write_config(folder, port=free_port(), destination=server.port)
            command = python("gateway", "serve", "forward", "--config", config)
            with servers.background(command, folder, tuned=tuned) as process:
                cpu = _until_drained(folder / "state", process, len(files))
            return figures(files, seconds=_first_claim_to_last_answer(folder / "state", len(files)), cpu=cpu)

    return Cell(case=case, variant=WHOLE, run=run)


def filled_spool(files: Sequence[Path], case: str, *, destinations: Sequence[DestinationName] = (PACS,)) -> Path:
    """A state folder whose spool holds these files, routed to the destinations; made once in a run of the bench.

    Without destinations they stay as they were received: the gateway checks and routes them itself.
    """
    home = BUILD / "filled" / "-".join([*case.split(", "), *destinations, str(os.getpid())])
    if home.exists():
        return home / "state"
    home.mkdir(parents=True)
    with servers.gateway(home, True) as server:
        senders.dcmsend(server, files, True)
        servers.end(server)
    with _open(home / "state") as spool:
        waiting = instances.waiting(spool.db.read(), limit=len(files) + 1)
        if len(waiting) != len(files):
            raise CellFailed(f"the spool to send from holds {len(waiting)} of {len(files)} objects")

        def route(c: Connection) -> None:
            routes = [Route(destination=name, lane=Lane.ROUTINE) for name in destinations]
            for instance in waiting if routes else ():
                deliveries.prepare(c, instance.id, routes=routes, now=_now(), by="bench", why="bench")

        spool.db.write(route).result()
    return home / "state"


def copy_spool(source: Path, target: Path) -> None:
    """The same spool again. Objects are linked: they are never modified."""

    def copy(one: str, other: str) -> None:
        if one.endswith(".dcm"):
            os.link(one, other)
        else:
            shutil.copy2(one, other)

    shutil.copytree(source, target, copy_function=copy, ignore=shutil.ignore_patterns("*.sock", "*.lock"))


def _until_drained(state: Path, process: subprocess.Popen[bytes], count: int) -> float:
    """Wait until everything is confirmed; CPU seconds since everything was last seen to be waiting."""
    before = 0.0
    end = time.monotonic() + senders.LONGEST
    with _open(state) as spool:
        while backlog := deliveries.backlog(spool.db.read()):
            if sum(one.count for one in backlog if one.state is DeliveryState.QUEUED) == count:
                before = cpu_of(process.pid)
            if process.poll() is not None or time.monotonic() > end:
                raise CellFailed(f"the forward role left {sum(one.count for one in backlog)} objects")
            time.sleep(LOOK_SECONDS)
        return cpu_of(process.pid) - before


def _first_claim_to_last_answer(state: Path, expected: int) -> float:
    with _open(state) as spool:
        c = spool.db.read()
        first = c.execute("SELECT min(at) FROM journal WHERE kind = 'delivery' AND to_state = 'sending'").fetchone()[0]
        last, count = c.execute("SELECT max(confirmed_at), count(*) FROM delivery").fetchone()
    if count != expected or last is None:
        raise CellFailed(f"{count} deliveries instead of {expected}")
    seconds: float = (from_text(last) - from_text(first)).total_seconds()
    return seconds


@contextmanager
def _open(state: Path) -> Iterator[Spool]:
    with closing(Spool.open(state, now=_now)) as spool:
        yield spool


def _now() -> datetime:
    return datetime.now(UTC)
