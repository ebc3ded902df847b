"""`gateway check-config`: every fault of the configuration at once, each with its remedy."""

from __future__ import annotations

import typer

from gateway.cli.failures import DOES_NOT_HOLD
from gateway.cli.options import DEFAULT_CONFIG, ConfigPath


def check_config(config: ConfigPath = DEFAULT_CONFIG) -> None:
    """Check the configuration file without starting anything.

    Lists every fault on a line with its remedy and ends with status 1, or says what the file sets up.
    """
    from gateway.config import ConfigError, load

    try:
        loaded = load(config)
    except ConfigError as error:
        for problem in error.problems:
            typer.echo(str(problem))
        raise typer.Exit(DOES_NOT_HOLD) from None
    counted = {
        "listener": len(loaded.listen),
        "scanner": len(loaded.scanner),
        "RIS": len(loaded.ris),
        "destination": len(loaded.destination),
    }
    parts = [f"{n} {noun if n == 1 or noun == 'RIS' else noun + 's'}" for noun, n in counted.items()]
    typer.echo(f"configuration holds: {', '.join(parts)}")
