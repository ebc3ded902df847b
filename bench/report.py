"""docs/performance.md and docs/performance.json: each table is written by itself, what people wrote stays.

In the page a table stands between `<!-- bench:NAME -->` and `<!-- /bench:NAME -->`; everything outside such a
pair is prose and never touched. A table without a place is added at the end. The JSON holds every sample.
"""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from bench.measure import MOST_FOREIGN, MOST_SPREAD, Result, Table, noise
from bench.places import PAGE, RESULTS, ROOT
from bench.verdict import ratio, spread, values, verdicts


def write(table: Table, result: Result) -> None:
    """Put a result into the JSON and its table into the page."""
    known: dict[str, Any] = json.loads(RESULTS.read_text("utf-8")) if RESULTS.exists() else {}
    known[table.key] = {**result.as_json(), "machine": machine()}
    RESULTS.write_text(json.dumps(dict(sorted(known.items())), indent=1) + "\n", "utf-8")
    text = PAGE.read_text("utf-8") if PAGE.exists() else "# Performance\n"
    PAGE.write_text(placed(text, table.key, "\n".join(lines(table, result))), "utf-8")


def placed(text: str, name: str, block: str) -> str:
    """The page with the block in its place."""
    begin, end = f"<!-- bench:{name} -->", f"<!-- /bench:{name} -->"
    whole = f"{begin}\n{block}\n{end}"
    pattern = re.compile(re.escape(begin) + ".*?" + re.escape(end), re.DOTALL)
    if pattern.search(text):
        return pattern.sub(lambda _: whole, text, count=1)
    return f"{text.rstrip()}\n\n{whole}\n"


def lines(table: Table, result: Result) -> list[str]:
    """The table as Markdown."""
    return [
        f"### {table.title}",
        "",
        f"{table.note} {_conditions(table, result)}",
        "",
        *_rows(table, result),
        "",
        *_closing(table, result),
    ]


def said(table: Table, result: Result) -> str:
    """The verdicts as they are printed."""
    return "\n".join(_closing(table, result)).replace("**", "")


def _conditions(table: Table, result: Result) -> str:
    found = noise(result.references)
    environment = f"Environment: {table.environment}. " if table.environment else ""
    return (
        f"{environment}Medians of {result.rounds} rounds [least\N{EN DASH}most], {result.made[:10]}; load average "
        f"{found.load[0]:.1f}\N{EN DASH}{found.load[1]:.1f}; reference loop, median over best: calculating "
        f"{found.calculating:.2f}, syncing {found.syncing:.2f}; other programs {found.foreign:.2f} cores."
    )


def _rows(table: Table, result: Result) -> list[str]:
    durable = any(cell.durability for cell in table.cells)
    better = "gateway is better by" if table.lower_is_better else "gateway \N{DIVISION SIGN} this"
    titles = ["task", "program", *["on disk at success"] * durable, *[column.title for column in table.columns]]
    titles += [better] * table.compared
    body = ["| " + " | ".join(titles) + " |", "|" + "---|" * len(titles)]
    for cell in sorted(table.cells, key=lambda cell: _case_place(table, cell.case)):
        first, *others = table.columns
        main = spread(one for one in values(result, cell.case, cell.variant, first.metric) if one is not None)
        figures = [main.text(first.digits) if main else "failed"]
        for column in others:
            found = spread(one for one in values(result, cell.case, cell.variant, column.metric) if one is not None)
            figures.append(f"{found.median:,.{column.digits}f}" if found else "")
        if table.compared:
            figures.append("")
        if table.compared and cell.variant != table.ours:
            times = ratio(
                result,
                metric=first.metric,
                ours=(cell.case, table.ours),
                theirs=(cell.case, cell.variant),
                lower_is_better=table.lower_is_better,
            )
            figures[-1] = times.text(2) if times else ""
        names = [cell.case, cell.variant, *[cell.durability] * durable]
        body.append("| " + " | ".join([*names, *figures]) + " |")
    return body


def _case_place(table: Table, case: str) -> int:
    return list(dict.fromkeys(cell.case for cell in table.cells)).index(case)


def _closing(table: Table, result: Result) -> list[str]:
    failed = [f"- failed: {name} ({_count_failed(result, name)} of {result.rounds})" for name in result.failures]
    found = noise(result.references)
    if found.too_much:
        limits = f"{MOST_SPREAD:g} and {MOST_FOREIGN:g} cores"
        return [f"**Too noisy for a verdict**: the reference loop or other programs were beyond {limits}.", *failed]
    return [*(f"- {verdict.text()}" for verdict in verdicts(table, result)), *failed]


def _count_failed(result: Result, name: str) -> int:
    return sum(sample is None for sample in result.samples.get(name, []))


def machine() -> dict[str, str]:
    """What a figure depends on, without a name of this machine."""
    model = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text("utf-8", "replace"))
    return {
        "cores": str(os.cpu_count()),
        "processor": model[1] if model else platform.machine(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "commit": _first_line(["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"]),
        **{name: _first_line(["dpkg-query", "-W", "-f", "${Version}", name]) for name in ("dcmtk", "orthanc")},
    }


def _first_line(command: Iterable[str]) -> str:
    try:
        return subprocess.run([*command], capture_output=True, text=True, check=True).stdout.strip().split("\n")[0]
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
