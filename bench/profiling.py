"""`python -m bench profile ingest`: where the time of our edge process goes while it accepts, thread by thread.

cProfile makes every call dearer: it shows where the calls are, not how long an object takes.
"""

from __future__ import annotations

import pstats
import signal
import time

from bench import senders, servers
from bench.measure import settle
from bench.places import BUILD, environment, python
from bench.servers import Server
from bench.sizes import Size
from tests.peers.processes import free_port, program

SHOWN = 25
SHORTEST = 0.01
"""Seconds a thread must have worked to be shown."""


def profile_ingest(size: Size, case: str) -> None:
    """Send the objects of a case to a profiled edge and print the functions that took most."""
    folder = BUILD / "profile"
    settle(folder)
    port = free_port()
    config = servers.write_config(folder, port=port)
    command = python("bench.profiled", folder, "serve", "worklist", "storage", "--config", config)
    with program(command, port=port, folder=folder, env=environment(tuned=True)) as running:
        pid = running.process.pid
        server = Server(ae="GATEWAY", port=port, pid=pid, stored=lambda: servers.objects_in(folder / "state"))
        files = size.files(case)
        before, began = server.cpu(), time.monotonic()
        senders.dcmsend(server, files, True)
        print(
            f"{server.stored()} objects, {time.monotonic() - began:.2f} s, {server.cpu() - before:.2f} CPU s, profiled"
        )
        running.process.send_signal(signal.SIGTERM)
        running.process.wait(timeout=30)
    for path in sorted(folder.glob("*.prof")):
        found = pstats.Stats(str(path)).strip_dirs()
        if found.total_tt > SHORTEST:  # type: ignore[attr-defined]
            print(f"\n=== thread {path.stem}")
            found.sort_stats("tottime").print_stats(SHOWN)
