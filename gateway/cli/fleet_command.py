"""`gateway fleet command`: sign a request to one box, send it, and show what the box answered.

What is promised: keys are read here and leave this machine in no form. Status 0 only if the box said that it was done;
1 if it refused, failed or did not answer; 2 if the question could not be put.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from gateway.cli.failures import DOES_NOT_HOLD, HOLDS, CommandFailed
from gateway.cli.options import AsJson

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from gateway.domain.command import Command, CommandName

BACKDATED: Final = timedelta(seconds=30)
"""A box whose clock is behind ours takes it all the same."""


def command(
    name: Annotated[str, typer.Argument(help="What is asked: ping, c_echo, ... (docs/operations/commands.md).")],
    *,
    site: Annotated[str, typer.Option(help="[site] name of the box.")],
    box: Annotated[str, typer.Option(help="[box] id.")],
    key: Annotated[list[Path], typer.Option("--key", metavar="FILE", help="Who signs: Ed25519, PEM. Twice for two.")],
    arguments: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="An argument; @FILE for a file's text.")
    ] = None,
    minutes: Annotated[float, typer.Option(min=0.1, help="How long it is valid.")] = 5.0,
    wait: Annotated[float, typer.Option(min=1, help="Seconds to wait for the answer.")] = 30.0,
    config: Annotated[
        Path, typer.Option("--config", envvar="GATEWAY_FLEET_CONFIG", metavar="PATH", help="The file fleet.toml.")
    ] = Path("/etc/gateway/fleet.toml"),
    as_json: AsJson = False,
) -> None:
    """Ask one box for something; it is carried out only if the box trusts who signed. Two sign what changes a box."""
    from gateway.app.fleet import broker_of
    from gateway.cli.showing import console, say, show_json
    from gateway.config.fleet import load_fleet
    from gateway.domain.command import CommandName, signed
    from gateway.domain.topics import Leaf, Topic
    from gateway.domain.update import REMEDIES, Objection
    from gateway.fleet.asking import ask

    if name not in set(CommandName):
        raise CommandFailed(f"there is no such command; there are: {', '.join(CommandName)}")
    asked = _command(CommandName(name), site, box, arguments or [], timedelta(minutes=minutes))
    wish = asked.name is CommandName.APPLY_CONFIG
    topic = Topic(site=site, box=box, leaf=Leaf.DESIRED if wish else Leaf.REQUEST)
    keys = [signing_key(path) for path in key]
    try:
        message = signed(asked, keys)
        str(topic)
    except ValueError as error:
        raise CommandFailed(f"fleet command: {error}") from None
    broker = broker_of(load_fleet(config).broker)
    found = ask(broker, topic, message, nonce=asked.nonce, retained=wish, wait=wait)
    if as_json:
        show_json({"nonce": asked.nonce, "answer": None if found is None else asdict(found)})
    elif found is None:
        say(console(), f"No answer within {wait:g} s. The box may be away; what it does not take in time expires.")
    else:
        counted = "" if found.count is None else f", {found.count:,}"
        remedy = f"; {REMEDIES[Objection(found.code)]}" if found.code in set(Objection) else ""
        say(console(), f"{found.outcome}: {found.code}{counted}{remedy}")
    raise typer.Exit(HOLDS if found is not None and found.outcome == "done" else DOES_NOT_HOLD)


def _command(name: CommandName, site: str, box: str, words: Sequence[str], valid: timedelta) -> Command:
    from gateway.domain.command import FORMS, Command, Number

    arguments: dict[str, str | int] = {}
    for word in words:
        key, parted, value = word.partition("=")
        if not parted:
            raise CommandFailed("--set: a name and a value are needed; write it as peer=pacs")
        if value.startswith("@"):
            value = _text(Path(value[1:]))
        shape = FORMS[name].arguments.get(key)
        arguments[key] = int(value) if isinstance(shape, Number) and value.isdecimal() else value
    now = datetime.now(UTC).replace(microsecond=0)
    return Command(
        name=name,
        arguments=arguments,
        site=site,
        box=box,
        nonce=secrets.token_urlsafe(18),
        not_before=now - BACKDATED,
        expires=now - BACKDATED + valid,
    )


def signing_key(path: Path) -> Ed25519PrivateKey:
    """The key of a person who signs. Raises CommandFailed."""
    from gateway.net.box_key import read_key

    try:
        key = read_key(path)
    except OSError as error:
        raise CommandFailed(f"--key: {path.name} can't be read ({type(error).__name__}); name a PEM file") from None
    if key is None:
        raise CommandFailed(f"--key: {path.name} holds no Ed25519 key in PEM without a password; make one")
    return key


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CommandFailed(f"--set: {path.name} can't be read ({type(error).__name__}); name a text file") from None
