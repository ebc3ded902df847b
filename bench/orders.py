"""The table of orders: messages over MLLP, each acknowledged when it is durable, and a scanner that asks meanwhile."""

from __future__ import annotations

import json
import os
import random
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from bench import order_feed, servers, wire
from bench.entries import accession, query, state_with
from bench.latency import P50, P99, ask_each, percentiles
from bench.measure import Cell, CellFailed, Column, Sample, Table, Target
from bench.places import environment, python
from bench.sending import copy_spool
from bench.servers import Server, cpu_of
from bench.sizes import Size
from tests.peers.processes import free_port, program

SENDERS: Final = 8
RATE: Final = 1_000
"""Orders a second that are asked for."""
EVERY: Final = 0.05
"""Seconds between two questions of the scanner."""
_MS: Final = 1000.0


@contextmanager
def _feed(
    port: int, *, senders: int, count: int, rate: int = 0, kept: bool = True
) -> Iterator[subprocess.Popen[bytes]]:
    """The feed, from when it begins to send."""
    command = python("bench.order_feed", port, senders, count, rate, int(kept))
    env = {**os.environ, **environment(tuned=True)}
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            if process.stdout.readline() != b"sending\n":
                raise CellFailed("the feed did not begin")
            yield process
        finally:
            process.kill()


def _told(process: subprocess.Popen[bytes], count: int) -> Sample:
    """What the feed found, when it is over."""
    out, _ = process.communicate()
    if process.returncode:
        raise CellFailed("an order was not answered AA")
    found: Sample = json.loads(out)
    return {**found, "rate": count / found["seconds"]}


def _asked(process: subprocess.Popen[bytes], server: Server, entries: int) -> list[float]:
    """Seconds of single-match queries, an association each, for as long as the feed goes on."""
    draw = random.SystemRandom()
    taken: list[float] = []
    while process.poll() is None:
        began = time.perf_counter()
        message = wire.find(query(accession_number=accession(draw.randrange(entries))))
        taken += ask_each(server.port, server.ae, [message], 1)
        time.sleep(max(0.0, EVERY - (time.perf_counter() - began)))
    return taken


def _ours(size: Size, case: str, *, senders: int, count: int, rate: int = 0) -> Cell:
    entries = size.entries[0]

    def run(folder: Path) -> Sample:
        copy_spool(state_with(entries), folder / "state")
        port = free_port()
        with servers.gateway(folder, True, mllp=port) as server:
            worked = server.cpu()
            with _feed(port, senders=senders, count=count, rate=rate) as process:
                asked = _asked(process, server, entries)
                told = _told(process, count)
            worked = server.cpu() - worked
            last = wire.find(query(accession_number=order_feed.accession(count - 1)))
            ask_each(server.port, server.ae, [last], 1)  # it is on the worklist, or the cell has failed
        return {**told, **percentiles(asked, name="find_"), "cpu": worked / count * _MS}

    return Cell(case=case, variant="gateway", run=run, durability="message, order and worklist row")


def _theirs(case: str, name: str, count: int) -> Cell:
    def run(folder: Path) -> Sample:
        port = free_port()
        command = python("bench.hl7_peers", name, port)
        with program(command, port=port, folder=folder, env=environment(tuned=True)) as running:
            worked = cpu_of(running.process.pid)
            with _feed(port, senders=SENDERS, count=count, kept=name != "hl7apy") as process:
                told = _told(process, count)
            return {**told, "cpu": (cpu_of(running.process.pid) - worked) / count * _MS}

    return Cell(case=case, variant=name, run=run, durability="nothing")


def orders(size: Size) -> Table:
    """Ours with all that an order is, the libraries' own servers with an answer alone."""
    many, few = size.orders
    fast, steady, alone = f"{SENDERS} senders", f"{SENDERS} senders, {RATE:,} a second", "one sender"
    return Table(
        name="orders",
        environment="",
        title="Orders over MLLP",
        note=(
            f"New orders (ORM^O01, 1.5 KB), each sender waits for its acknowledgement: {many:,} from {SENDERS} senders "
            f"as fast as they are answered, {many // 3:,} at {RATE:,} a second, and {few:,} from one sender. The "
            f"libraries' servers get {few:,} and keep nothing: they parse and answer AA; hl7apy's takes one message a "
            "connection. "
            f"Meanwhile a scanner asks our worklist, of {size.entries[0]:,} entries and what is fed, every "
            f"{EVERY * _MS:.0f} ms for an accession number. Senders, scanner and server use the same cores."
        ),
        columns=(
            Column(metric="rate", title="orders/s"),
            Column(metric="seconds", title="seconds for all", digits=1),
            Column(metric="p50", title=f"ACK {P50.title}", digits=2),
            Column(metric="p99", title=f"ACK {P99.title}", digits=1),
            Column(metric="find_p99", title="C-FIND p99 ms", digits=1),
            Column(metric="cpu", title="CPU ms an order", digits=2),
        ),
        cells=[
            _ours(size, fast, senders=SENDERS, count=many),
            *(_theirs(fast, name, few) for name in ("hl7", "hl7apy")),
            _ours(size, steady, senders=SENDERS, count=many // 3, rate=RATE),
            _ours(size, alone, senders=1, count=few),
        ],
        targets=[
            Target(clause="orders", case=fast, metric="rate", at_least=RATE, unit="orders/s"),
            Target(clause="catch-up", case=fast, metric="seconds", at_most=30.0, unit="s"),
            Target(clause="worklist meanwhile", case=steady, metric="find_p99", at_most=100.0, unit="ms"),
        ],
    )
