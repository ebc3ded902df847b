"""`python -m tests.fuzz`: every target in processes of its own, figures and findings, exit status 0 only without any.

make fuzz                                   60,000 inputs
make fuzz LONG=1                            1,000,000 inputs
python -m tests.fuzz --replay FILE          one input again, with its traceback
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import SystemRandom

from tests.fuzz import engine
from tests.fuzz.targets import TARGETS
from tests.fuzz.trial import HANG_SECONDS, Finding, Outcome, under_trial

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "build" / "fuzz"
INPUTS, MANY = 100_000, 1_000_000
STUCK_SECONDS = 60.0
"""Without a report for so long, a process hangs where no signal reaches it."""
_SHARE = {"association": 3, "walker": 2, "conversion": 2, "query": 2}
_EDGES = re.compile(r"cov: (\d+)")


def main() -> int:
    options = _options()
    if options.replay:
        return _replay(Path(options.replay))
    return _campaign(options)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="Fuzz what reads bytes of others.")
    parser.add_argument("--long", action="store_true", help=f"{MANY:,} inputs instead of {INPUTS:,}")
    parser.add_argument("--inputs", type=int, default=0, help="so many inputs, over all targets")
    parser.add_argument("--target", action="append", choices=sorted(TARGETS), help="only this one")
    parser.add_argument("--seed", type=int, default=None, help="for the same inputs again; printed by every run")
    parser.add_argument("--plain", action="store_true", help="without libFuzzer, even if atheris is installed")
    parser.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--replay", metavar="FILE", help="one saved input; its folder names the target")
    parser.add_argument("--folder", default=str(FOLDER), help=argparse.SUPPRESS)
    return parser.parse_args()


def _replay(path: Path) -> int:
    begun = time.perf_counter()
    answer = TARGETS[path.parent.name].check(path.read_bytes())
    print(f"{path.parent.name}: {answer} ({time.perf_counter() - begun:.3f} s)")
    return 0


def _campaign(options: argparse.Namespace) -> int:
    seed = SystemRandom().randrange(1 << 31) if options.seed is None else options.seed
    names = options.target or list(TARGETS)
    ways = ["plain"] if options.plain or not engine.guided_available() else ["plain", "guided"]
    total = options.inputs or (MANY if options.long else INPUTS)
    parts = sum(_SHARE.get(name, 1) for name in names) * len(ways)
    folder = Path(options.folder)
    shutil.rmtree(folder, ignore_errors=True)
    print(f"fuzz: {total:,} inputs, seed {seed}, {' and '.join(ways)}, {options.jobs} at a time", flush=True)
    begun = time.monotonic()
    with ThreadPoolExecutor(options.jobs) as threads:
        runs = [
            threads.submit(_run, name, way, -(-total * _SHARE.get(name, 1) // parts), seed, folder / way)
            for name in names
            for way in ways
        ]
        outcomes = [run.result() for run in runs]
    seconds = time.monotonic() - begun
    tried = sum(one.tried for one in outcomes)
    findings = [finding for one in outcomes for finding in one.findings]
    print(f"fuzz: {tried:,} inputs in {seconds:.0f} s, {tried / seconds:,.0f} inputs/s, {len(findings)} findings")
    for finding in findings:
        path = Path(finding.path)
        shown = path.relative_to(ROOT) if path.is_relative_to(ROOT) else path
        print(f"  {finding.target}: {finding.kind} at {finding.where}")
        print(f"    .venv/bin/python -m tests.fuzz --replay {shown}")
    return 1 if findings or tried < total else 0


def _run(name: str, way: str, inputs: int, seed: int, folder: Path) -> Outcome:
    """One target in a process of its own, watched from here."""
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / f"{name}.log"
    command = [sys.executable, "-m", "tests.fuzz.worker", way, name, str(inputs), str(seed), str(folder)]
    with log.open("wb") as file:
        process = subprocess.Popen(command, cwd=ROOT, stdout=file, stderr=file)
        report, stuck = folder / f"{name}.json", False
        moved = time.monotonic()
        seen = 0.0
        while not stuck:
            try:
                process.wait(HANG_SECONDS)
                break
            except subprocess.TimeoutExpired:
                changed = report.stat().st_mtime if report.exists() else 0.0
                moved = time.monotonic() if changed != seen else moved
                seen = changed
                stuck = time.monotonic() - moved > STUCK_SECONDS
        process.kill()
        status = process.wait()
    outcome = Outcome.read(report) if report.exists() else Outcome(target=name)
    if status or stuck:
        outcome.findings.append(_died(name, folder, "hang" if stuck else f"exit status {status}"))
    edges = _EDGES.findall(log.read_text("utf-8", "replace"))
    reach = f"{edges[-1]} edges, " if edges else ""
    print(
        f"  {name:<12} {way:<7} {outcome.tried:>8,} inputs {outcome.tried / max(outcome.seconds, 0.001):>7,.0f}/s, "
        f"{reach}{outcome.coverage} kinds of answers, slowest {outcome.slowest * 1000:.0f} ms, "
        f"{len(outcome.findings)} findings",
        flush=True,
    )
    return outcome


def _died(name: str, folder: Path, how: str) -> Finding:
    """The process itself ended: its last input is the finding."""
    path = folder / "findings" / name / "last"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(under_trial(folder, name))
    return Finding(target=name, kind=how, where=f"the process; see {folder.name}/{name}.log", path=str(path))


if __name__ == "__main__":
    sys.exit(main())
