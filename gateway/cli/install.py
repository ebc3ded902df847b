"""`gateway install`: what the stick shows that a box is made from.

What is promised: nothing is written before the release on the stick was believed and a person typed which disk may be
erased; two screens never write at once. When it is done the box switches itself off, so that the stick can be pulled
out before anything else starts from it.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import typer

from gateway.cli.failures import CommandFailed
from gateway.cli.panel import ask, guarded, run

RELEASE: Final = "/run/stick"
LOADER: Final = Path("/dev/disk/by-partlabel/stick-esp")
TABLE: Final = Path("/usr/lib/gateway-box/partitions")
WHICH: Final = "Number of the disk to erase"
LOCK: Final = Path("/run/gateway-install.lock")


def install() -> None:
    """Ask which disk of this box is to have the gateway, put it there from the stick, and switch the box off."""
    while True:
        typer.echo("\nModality gateway on a stick: it makes this machine a gateway.")
        guarded(_offer)
        ask("Press Enter to look again. ")


def _offer() -> None:
    from gateway.app import installing, updating
    from gateway.config.commands import read_keys
    from gateway.config.update import RELEASE_KEYS
    from gateway.net import disks
    from gateway.net.releases import Releases

    releases = Releases(RELEASE)
    trusted, _ = read_keys(RELEASE_KEYS)
    release = updating.check(releases, trusted, signatures=1)
    found = installing.offered(disks.disks(), disks.disk_of(LOADER))
    if not found:
        raise CommandFailed("install: there is no disk of 4 GB or more beside the stick; look for it in the firmware")
    typer.echo(f"Version {release[0].version}; the disks of this machine:")
    for number, one in enumerate(found, 1):
        typer.echo(f"  {number}  {one.path.name}  {one.size / 1e9:.0f} GB  {one.model}")
    typed = ask(f"{WHICH}: ")
    if not (typed.isdecimal() and 0 < int(typed) <= len(found)):
        raise CommandFailed("install: there is no such number, so nothing was written")
    with _alone():
        places = disks.divide(found[int(typed) - 1].path, TABLE)
        installing.install(releases, release, places, LOADER, told=typer.echo)
        ask("The gateway is on the disk. Press Enter: the machine switches itself off. Then pull out the stick. ")
        run("systemctl", "poweroff")
        raise typer.Exit


@contextmanager
def _alone() -> Iterator[None]:
    """The one screen that writes."""
    with LOCK.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise CommandFailed("install: another screen of this box is at it") from None
        yield
