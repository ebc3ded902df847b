"""docs/performance.png: each table that was measured as bars, median and range. Needs matplotlib (extra `bench`)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final

from bench.measure import Result, Table, say
from bench.places import PLOT, RESULTS
from bench.verdict import Spread, spread, values

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PANELS: Final = (
    ("ingest/tuned", "ct"),
    ("ingest/tuned", "mr"),
    ("ingest/tuned", "dx"),
    ("ingest/tuned", "multiframe"),
    ("four/tuned", "ct"),
    ("four/tuned", "mr"),
    ("sending/tuned", "ct"),
    ("sending/tuned", "mr"),
    ("worklist/tuned", "1 of 1,000"),
    ("worklist/tuned", "200 of 1,000"),
    ("ingest/default", "ct, default"),
    ("single/tuned", "ct, single"),
)
_COLUMNS: Final = 4
_OURS, _THEIRS = "#0b6e4f", "#9aa5b1"


def draw(tables: Sequence[Table]) -> None:
    """Draw what docs/performance.json holds; without matplotlib say so and leave the old picture."""
    if find_spec("matplotlib") is None:
        say("no plot: matplotlib is not installed (make setup installs it)")
        return
    import matplotlib as mpl  # noqa: PLC0415
    from matplotlib.figure import Figure  # noqa: PLC0415

    mpl.rcParams["svg.hashsalt"] = "bench"
    known = json.loads(RESULTS.read_text("utf-8"))
    by_key = {table.key: table for table in tables}
    panels = [(by_key[key], case) for key, case in PANELS if key in known and key in by_key]
    if not panels:
        return
    rows = -(-len(panels) // _COLUMNS)
    figure = Figure(figsize=(16, 2.6 * rows), layout="constrained")
    for place, (table, case) in enumerate(panels):
        stored = {name: value for name, value in known[table.key].items() if name != "machine"}
        _panel(figure.add_subplot(rows, _COLUMNS, place + 1), table, case, Result.from_json(stored))
    figure.savefig(PLOT, dpi=110)


def _panel(axes: Axes, table: Table, case: str, result: Result) -> None:
    bars: list[tuple[str, Spread]] = []
    column = table.columns[0]
    for cell in table.cells:
        found = spread(one for one in values(result, cell.case, cell.variant, column.metric) if one is not None)
        if cell.case == case and found is not None:
            bars.append((cell.variant, found))
    names, spreads = [name for name, _ in bars], [one for _, one in bars]
    medians = [one.median for one in spreads]
    ranges = [[one.median - one.least for one in spreads], [one.most - one.median for one in spreads]]
    colours = [_OURS if name.startswith("gateway") else _THEIRS for name in names]
    axes.barh(names, medians, xerr=ranges, color=colours, ecolor="#333333", capsize=3)
    axes.invert_yaxis()
    if table.lower_is_better:
        axes.set_xscale("log")
    better = "less is better" if table.lower_is_better else "more is better"
    axes.set_title(f"{table.name}, {case}", fontsize=10)
    axes.set_xlabel(f"{column.title} ({better})", fontsize=8)
    axes.tick_params(labelsize=8)
