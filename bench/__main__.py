"""`python -m bench [--only ingest,tls] [--rounds 5] [--smoke]`, `python -m bench profile ingest [--case mr]`.

Exit status 0 if everything that was asked for was measured; a missed target is a finding, not a failure.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import time
from collections.abc import Callable
from typing import Final

from bench import (
    checking,
    compression,
    fleet,
    forwarding,
    ingest,
    latency,
    negotiation,
    orders,
    plot,
    polling,
    report,
    sending,
)
from bench.measure import Result, Table, measure, say
from bench.places import BUILD
from bench.profiling import profile_ingest
from bench.sizes import FULL, SMOKE, Size

Build = Callable[[Size], Table]
TABLES: Final[dict[str, tuple[Build, ...]]] = {
    "limit": (ingest.limit,),
    "ingest": (ingest.one_association, ingest.one_association_default),
    "four": (ingest.four_associations,),
    "single": (ingest.association_each,),
    "tls": (ingest.tls,),
    "sending": (sending.sending, sending.sending_default),
    "compression": (compression.compression,),
    "pipeline": (compression.pipeline,),
    "slow": (forwarding.slow,),
    "link": (forwarding.narrow,),
    "stat": (forwarding.stat,),
    "worklist": (latency.worklist, latency.worklist_default),
    "polling": (polling.polling,),
    "during": (latency.during,),
    "start": (latency.starting,),
    "orders": (orders.orders,),
    "check": (checking.checking,),
    "fleet": (fleet.fleet,),
    "collectors": (fleet.collectors,),
    "negotiation": (lambda _: negotiation.negotiation(),),
}


def main() -> int:
    asked = _arguments()
    size = SMOKE if asked.smoke else FULL
    if asked.what == "profile":
        profile_ingest(size, asked.case)
        return 0
    names = asked.only.split(",") if asked.only else list(TABLES)
    unknown = [name for name in names if name not in TABLES]
    if unknown:
        say(f"bench: no table is called {', '.join(unknown)}; there are: {', '.join(TABLES)}")
        return 2
    seed = asked.seed if asked.seed is not None else random.SystemRandom().getrandbits(32)
    rounds = 1 if asked.smoke else asked.rounds
    say(f"bench: {', '.join(names)}; {rounds} rounds, seed {seed}")
    try:
        tables = [build(size) for name in names for build in TABLES[name]]
        whole = [_one(table, rounds=rounds, seed=seed, smoke=asked.smoke) for table in tables]
    finally:
        for scrap in ("run", "filled", "worklist"):
            shutil.rmtree(BUILD / scrap, ignore_errors=True)
    if not asked.smoke:
        plot.draw([build(size) for builds in TABLES.values() for build in builds])
    return 0 if all(whole) else 1


def _one(table: Table, *, rounds: int, seed: int, smoke: bool) -> bool:
    """Measure and write one table; a smoke run prints it instead. Whether nothing failed."""
    began = time.monotonic()
    result: Result = measure(table, rounds=rounds, seed=seed, folder=BUILD / "run")
    if smoke:
        print("\n".join(report.lines(table, result)))
    else:
        report.write(table, result)
        print(f"\n{table.key}\n{report.said(table, result)}", flush=True)
    say(f"{table.key}: {(time.monotonic() - began) / 60:.1f} minutes")
    return not result.failures


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure, and write docs/performance.md.")
    parser.add_argument("what", nargs="?", choices=["measure", "profile"], default="measure")
    parser.add_argument("table", nargs="?", choices=["ingest"], help="what to profile")
    parser.add_argument("--only", default="", help=f"tables, with commas between: {', '.join(TABLES)}")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seed", type=int, help="of the order; drawn and shown if it is not given")
    parser.add_argument("--case", default="mr", choices=["ct", "mr", "dx", "multiframe"], help="of a profile")
    parser.add_argument("--smoke", action="store_true", help="one round of next to nothing; writes no results")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
