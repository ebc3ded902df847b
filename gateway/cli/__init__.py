"""What a person types: `gateway` and its commands, one module per noun.

What is promised: exit status 0 only when what was asked holds; 1 when it does not; 2 when it could not be
asked (usage, configuration, spool). An expected error is one line on stderr that says what, where and the
remedy, never a traceback and never patient data. A reading command changes nothing and makes nothing.
JSON times are UTC ISO 8601; shown times are in the site's zone. A command imports what it runs when it runs.
"""

from __future__ import annotations

import typer

from gateway.cli import check_config, serve, simulate
from gateway.cli.failures import Commands

app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,  # its tracebacks show the values of variables
    rich_markup_mode=None,
    help="A box between scanners and the hospital: it keeps every image until its destinations hold it.",
)
app.command("serve")(serve.serve)
app.command("check-config")(check_config.check_config)
app.add_typer(simulate.app, name="simulate")


def main() -> None:
    """Run the command that was typed, and end the process with its exit status."""
    app(prog_name="gateway")
