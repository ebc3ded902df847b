"""`gateway selftest`: does the synthetic patient come through the running box, hop by hop?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli.failures import DOES_NOT_HOLD
from gateway.cli.options import DEFAULT_CONFIG, AsJson, ConfigPath
from gateway.cli.showing import console, say, show_json

if TYPE_CHECKING:
    from gateway.roles.health.round import Passed


def selftest(
    *,
    patience: Annotated[float, typer.Option(min=1, max=300, help="Seconds that each hop may take.")] = 20,
    as_json: AsJson = False,
    config: ConfigPath = DEFAULT_CONFIG,
) -> None:
    """Send a synthetic patient through the running gateway's own doors and say how long each hop took.

    An order, a worklist query, an image, its check, its delivery to a loop-back destination and the confirmation.
    Nothing of it is in the clinical books. Ends with status 0 only if every hop that this box has doors for holds,
    and an image came through; with 1 if one does not, with 2 if it could not be tried.
    """
    from gateway.app.selftest import came_through
    from gateway.app.selftest import selftest as round_of
    from gateway.cli.logs import log_to_stderr
    from gateway.cli.opening import told_plainly
    from gateway.config import load

    loaded = load(config)
    log_to_stderr("warning")
    passed: list[Passed] = []
    with told_plainly(loaded):
        for one in round_of(loaded, patience=patience):
            passed.append(one)
            if not as_json:
                say(console(), _line(one))
    holds = came_through(passed)
    if as_json:
        show_json({"holds": holds, "hops": [_as_json(one) for one in passed]})
    else:
        say(
            console(), "The synthetic patient came through." if holds else "The synthetic patient did not come through."
        )
    raise typer.Exit(0 if holds else DOES_NOT_HOLD)


def _line(one: Passed) -> str:
    mark = {True: "ok", False: "--", None: "  "}[one.holds]
    told = f"{one.latency_ms:,.0f} ms" if one.latency_ms is not None else one.said
    return f"  {mark}  {one.hop:<9} {told}"


def _as_json(one: Passed) -> dict[str, object]:
    return {"hop": one.hop, "holds": one.holds, "latency_ms": one.latency_ms, "said": one.said}
