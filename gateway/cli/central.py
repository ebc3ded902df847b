"""`gateway commands`: what central IT asked of this box, who signed it, and what became of it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from gateway.cli.options import DEFAULT_CONFIG, AsJson, ConfigPath
from gateway.cli.showing import console, moment, say, show_json, show_table


def commands(
    *,
    limit: Annotated[int, typer.Option("--limit", min=1, max=10_000, help="The latest so many.")] = 50,
    as_json: AsJson = False,
    config: ConfigPath = DEFAULT_CONFIG,
) -> None:
    """List the commands that came by MQTT, the latest first; how many were turned away, and whose keys are known."""
    from gateway.cli.opening import reading
    from gateway.config import read_keys
    from gateway.spool import commands as asked

    with reading(config) as books:
        latest = asked.latest(books.c, limit=limit)
        turned_away = asked.turned_away(books.c)
        keys = sorted(read_keys(books.config.commands.keys)[0])
        if as_json:
            show_json(
                {
                    "commands": [asdict(one) for one in latest],
                    "turned_away": [asdict(one) for one in turned_away],
                    "keys": keys,
                }
            )
            return
        screen, zone = console(), books.config.site.timezone
        rows = (
            (moment(one.received_at, zone), one.name or "-", one.state, one.code or "-", " ".join(one.signers))
            for one in latest
        )
        show_table(screen, "Commands", ("Came", "Command", "State", "Answer", "Signed by"), rows)
        show_table(
            screen,
            "Turned away without an answer",
            ("Why", "Times", "Last"),
            ((one.reason, one.count, moment(one.last_at, zone)) for one in turned_away),
        )
        say(screen, f"Keys that may sign: {', '.join(keys) or 'none, so nothing is carried out'}.")
