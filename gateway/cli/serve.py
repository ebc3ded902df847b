"""`gateway serve`: run roles until SIGTERM or Ctrl-C."""

from __future__ import annotations

from difflib import get_close_matches
from enum import StrEnum
from typing import Annotated

import typer

from gateway.cli.failures import CommandFailed
from gateway.cli.options import DEFAULT_CONFIG, ConfigPath


class LogLevel(StrEnum):
    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


def serve(
    roles: Annotated[
        list[str],
        typer.Argument(
            metavar="ROLE...", help='"all", or any of: worklist, storage, forward, health, reporting, console.'
        ),
    ],
    config: ConfigPath = DEFAULT_CONFIG,
    log_level: Annotated[
        LogLevel, typer.Option("--log-level", envvar="GATEWAY_LOG_LEVEL", help="The least that is logged, on stderr.")
    ] = LogLevel.INFO,
) -> None:
    """Run the gateway, or some of its roles, until it is stopped.

    Stop it with SIGTERM or Ctrl-C. It may be killed at any moment: nothing that was acknowledged is lost.
    """
    from gateway import app
    from gateway.app.syslog import shipping
    from gateway.cli.logs import log_to_stderr
    from gateway.config import load

    wanted = chosen(roles, known=frozenset(app.ROLES))
    loaded = load(config)
    try:
        shipped = shipping(loaded)
        log_to_stderr(log_level, also=shipped)
        try:
            status = app.serve(loaded, wanted, source=config)
        finally:
            if shipped is not None:
                shipped.close()
    except OSError as error:
        reason = error.strerror or type(error).__name__
        remedy = "look whether another process has the port, and at owner and mode of [box] state and runtime"
        raise CommandFailed(f"serve: can't start ({reason}); {remedy}") from None
    raise typer.Exit(status)


def chosen(words: list[str], *, known: frozenset[str]) -> frozenset[str]:
    """The roles that were named. Raises CommandFailed for a word that is none."""
    for word in words:
        if word not in known | {"all"}:
            near = get_close_matches(word, [*known, "all"], n=1)
            hint = f'did you mean "{near[0]}"? ' if near else ""
            raise CommandFailed(f'serve: there is no such role; {hint}name "all" or any of: {", ".join(sorted(known))}')
    return known if "all" in words else frozenset(words)
