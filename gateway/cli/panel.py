"""`gateway setup` and `gateway panel`: what an appliance shows on its own screen and serial port.

What is promised: there is no shell here, and nothing that becomes one. The panel shows how the box is; with the service
code it takes the commands of `gateway` and a few of its own, each written to the journal by its name alone. After too
many wrong codes it waits. A form that is broken off changes nothing.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated, Final

import typer

from gateway.cli.failures import CommandFailed, complain
from gateway.cli.options import DEFAULT_CONFIG
from gateway.domain.model import GatewayError

BOX: Final = Path("/var/lib/gateway-box")
RUN: Final = Path("/run/gateway-box")
DATA: Final = "/usr/lib/gateway-box/data"
GATEWAY: Final = "/usr/bin/gateway"
"""The command as a person runs it, which gives up root: nothing in the spool may be root's."""
END_OF_KEY: Final = "The last four characters of the recovery key"
PATIENCE: Final = "60"
"""Seconds for each hop of the first self-test: all of the gateway has only just begun."""
WRONG_CODES: Final = 5
WAIT_SECONDS: Final = 60
OWN: Final = {
    "restart": ("restart the box when the room is free", ("update", "restart")),
    "power-off": ("switch the box off", ()),
    "factory-reset": ("forget every image, order and setting, for good", ()),
    "help": ("this list, and the commands of the gateway", ()),
    "exit": ("leave service mode", ()),
}
BARRED: Final = frozenset({"serve", "simulate", "panel", "setup", "install"})
"""Commands that have no place beside a running gateway."""


def panel(*, code: Annotated[Path, typer.Option("--code", hidden=True)] = BOX / "service.json") -> None:
    """Show this box on its own screen: the form at the first start, then how it is; service mode with the code."""
    wrong = 0
    while True:
        if not DEFAULT_CONFIG.exists() or not code.exists():
            guarded(setup)
            continue
        _page()
        typed = ask("Service code, or Enter to look again: ")
        if not typed:
            continue
        from gateway.app.first_start import opens

        if opens(typed, code.read_text(encoding="utf-8")):
            wrong = 0
            _service_mode()
            continue
        wrong += 1
        typer.echo("That is not the code.")
        if wrong >= WRONG_CODES:
            typer.echo(f"Too many wrong codes: wait {WAIT_SECONDS} seconds.")
            time.sleep(WAIT_SECONDS)


def setup() -> None:
    """Ask what a first start needs, check it, show the recovery key, and write the configuration."""
    from gateway.app import first_start

    serial = _line(BOX / "serial")
    typer.echo(f"\nModality gateway, box {serial}: first start. Enter takes what is in brackets.")
    answers = {one.name: _answer(one) for one in first_start.QUESTIONS}
    text = first_start.configuration(answers, box=serial, key=str(BOX / "box.key"), base=DEFAULT_CONFIG.parent)
    code = first_start.service_code()
    key = _line(RUN / "recovery-key")
    if not key:
        raise CommandFailed("setup: there is no recovery key of this start; restart the box and begin again")
    typer.echo(f"\nWrite both down and keep them away from the box:\n  recovery key  {key}\n  service code  {code}")
    while ask(f"{END_OF_KEY}: ").lower() != key[-4:]:
        typer.echo("Those are others.")
    first_start.write(Path("/var/etc/network/50-site.network"), first_start.network(answers), mode=0o644)
    first_start.write(Path("/var/etc/chrony/site.conf"), first_start.clock(answers), mode=0o644)
    first_start.write(BOX / "service.json", first_start.hidden(code), mode=0o600)
    first_start.write(DEFAULT_CONFIG, text, mode=0o644)
    run(DATA, "keep")  # last: what was begun before is made anew by the next start, and the form comes again
    (RUN / "recovery-key").unlink()
    run("systemctl", "restart", "box-identity.service", "systemd-networkd.service", "chrony.service")
    run("systemctl", "start", "gateway.target")
    typer.echo("Done. The gateway runs. Now a patient that does not exist goes through it:")
    _gateway("selftest", "--patience", PATIENCE)


def _answer(question: object) -> str:
    from gateway.app.first_start import Question

    assert isinstance(question, Question)
    shown = f" [{question.default}]" if question.default else ""
    while True:
        typed = ask(f"{question.text}{shown}: ") or question.default
        if question.fits(typed):
            return typed
        typer.echo(f"  not like that; {question.remedy}")


def _page() -> None:
    typer.echo("\n" + "-" * 72)
    typer.echo(f"Modality gateway, box {_line(BOX / 'serial')}")
    _gateway("update", "status")
    _gateway("status")


def _service_mode() -> None:
    typer.echo('Service mode. "help" lists what there is, "exit" leaves.')
    while (typed := ask("gateway> ")) != "exit":
        try:
            words = shlex.split(typed)
        except ValueError:
            typer.echo("A quotation mark is missing.")
            continue
        if words and words[0] == "gateway":
            words = words[1:]
        if words:
            guarded(_carry_out, words)


def _carry_out(words: list[str]) -> None:
    name = words[0]
    run(
        "logger", "--tag", "panel", "--", f"service mode: {name if name.replace('-', '').isalpha() else 'another word'}"
    )
    if name == "help":
        for own, (says, _) in OWN.items():
            typer.echo(f"  {own:14} {says}")
        _gateway("--help")
    elif name == "power-off":
        run("systemctl", "poweroff")
    elif name == "factory-reset":
        if ask("Everything on this box will be gone. Type its serial number: ") == _line(BOX / "serial"):
            run(DATA, "erase")
            run("systemctl", "reboot")
        else:
            typer.echo("That is another. Nothing was changed.")
    elif name in BARRED:
        typer.echo("That has no place here.")
    else:
        _gateway(*(OWN[name][1] if name in OWN else words))


def guarded(step: object, *arguments: object) -> None:
    """Do a step; what goes wrong is said on the screen, which stays."""
    try:
        step(*arguments)  # type: ignore[operator]
    except GatewayError as error:
        complain(error)
    except (OSError, subprocess.CalledProcessError) as error:
        typer.echo(f"That did not work ({type(error).__name__}).")


def _gateway(*words: str) -> None:
    """A command as anybody would run it; what it says is on the screen, its status is not ours."""
    subprocess.run([GATEWAY, *words], check=False)  # noqa: S603  words of a person who has the service code


def run(*words: str) -> None:
    """A program of the system. Raises CalledProcessError."""
    subprocess.run(words, check=True, env={**os.environ, "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"})  # noqa: S603


def ask(text: str) -> str:
    """What a person types in one line. Ends the program where there is nobody any more."""
    sys.stdout.write(text)
    sys.stdout.flush()
    line = sys.stdin.readline()
    if not line:
        raise typer.Exit
    return line.strip()


def _line(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:
        return ""
