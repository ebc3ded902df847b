"""All commands put together: names, order and help as an operator meets them (promises: see the package)."""

from __future__ import annotations

import typer

from gateway.cli import (
    central,
    check,
    check_config,
    commission,
    compression,
    desk,
    destinations,
    diagnose,
    fleet,
    install,
    messages,
    mpps,
    orders,
    panel,
    peers,
    queue,
    retry,
    route,
    selftest,
    send,
    serve,
    simulate,
    status,
    study,
    tasks,
    update,
    worklist,
)
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
check.app.command("summary")(tasks.summary)
check.app.command("resume")(tasks.resume)
app.add_typer(check.app, name="check")
app.command("status")(status.status)
app.command("selftest")(selftest.selftest)
app.command("queue")(queue.queue)
app.command("study")(study.study)
app.add_typer(worklist.app, name="worklist")
app.add_typer(desk.app, name="desk")
app.add_typer(orders.app, name="orders")
app.add_typer(messages.app, name="messages")
app.add_typer(mpps.app, name="mpps")
app.add_typer(peers.app, name="peers")
app.add_typer(destinations.app, name="destinations")
app.add_typer(commission.app, name="commission")
app.add_typer(compression.app, name="compression")
app.add_typer(route.app, name="route")
app.command("send")(send.send)
app.command("retry")(retry.retry)
app.add_typer(tasks.app, name="tasks")
app.command("decide")(tasks.decide)
app.command("hold")(tasks.hold)
app.command("release")(retry.release)
app.command("reject")(tasks.reject)
app.command("undo")(tasks.undo)
app.add_typer(update.app, name="update")
app.command("setup", hidden=True)(panel.setup)
app.command("panel", hidden=True)(panel.panel)
app.command("install", hidden=True)(install.install)
app.add_typer(fleet.app, name="fleet")
app.command("commands")(central.commands)
app.command("diagnose")(diagnose.diagnose)
app.add_typer(simulate.app, name="simulate")


def main() -> None:
    """Run the command that was typed, and end the process with its exit status."""
    app(prog_name="gateway")
