"""Expected errors, in one line each and with the exit status that tells what kind they are.

What is promised: a `GatewayError` that reaches the command line becomes "gateway: <message>" on stderr, a
faulty configuration a line for each of its problems; status 2 unless the error says otherwise. Anything
else is a fault of ours and keeps its traceback.
"""

from __future__ import annotations

from typing import Any, Final

import typer
from typer.core import TyperGroup

from gateway.domain.model import GatewayError

HOLDS: Final = 0
DOES_NOT_HOLD: Final = 1
NOT_ASKED: Final = 2
"""Usage, configuration or spool: the question could not be put."""
UNKNOWN: Final = 3
"""There is no such thing here."""


class CommandFailed(GatewayError):
    """A command can't do what was asked: the message says what, where and the remedy."""

    def __init__(self, message: str, *, status: int = NOT_ASKED) -> None:
        super().__init__(message)
        self.status = status


class Commands(TyperGroup):
    """The group of all commands: where expected errors end."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command; an expected error ends it with its status."""
        try:
            return super().invoke(ctx)
        except GatewayError as error:
            complain(error)
            raise typer.Exit(error.status if isinstance(error, CommandFailed) else NOT_ASKED) from None


def complain(error: GatewayError) -> None:
    """Say an error on stderr, a line for each problem."""
    for line in str(error).splitlines() or [type(error).__name__]:
        typer.echo(f"gateway: {line}", err=True)
