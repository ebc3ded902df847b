"""`gateway update`: the releases of a box that was made from an image, and which of its two slots starts.

Exit status: 0 what was asked holds, 1 it does not (nothing newer, the room is not free, the self-test failed), 2 it
could not be asked.
"""

from __future__ import annotations

import subprocess
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from gateway.cli.failures import DOES_NOT_HOLD, NOT_ASKED, CommandFailed
from gateway.cli.options import DEFAULT_CONFIG, AsJson, ConfigPath
from gateway.cli.showing import console, say, show_json

if TYPE_CHECKING:
    from gateway.app.updating import Box, Survey
    from gateway.config.update import UpdateSection
    from gateway.domain.command import Phase
    from gateway.domain.update import Manifest, Objection
    from gateway.net.releases import Releases
    from gateway.spool.releases import ReleaseWish

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Releases of the box, signed and reversible.")

HOP_SECONDS: Final = 60
SELFTEST_SECONDS: Final = 600
Source = Annotated[
    str, typer.Option("--source", metavar="PLACE", help="A mirror's https folder, a stick's folder, or a bundle.")
]


@app.command("status")
def status(*, as_json: AsJson = False, config: ConfigPath = DEFAULT_CONFIG) -> None:
    """Say which version runs, from which slot, what the next start does, and what central wishes for."""
    found, wish = _survey(_box()), _wish(config)
    if as_json:
        show_json(
            {
                "version": found.running.version,
                "sequence": found.running.sequence,
                "slot": found.booted,
                "standing": found.standing,
                "waits_for_restart": found.waits_for_restart,
                "boot": asdict(found.state),
                "wish": None if wish is None else asdict(wish),
            }
        )
        return
    say(console(), f"{found.running.version} runs from slot {found.booted}: {found.standing}")
    if found.waits_for_restart:
        say(console(), f"slot {found.booted.other} is tried at the next start: gateway update restart")
    elif found.state.spare:
        say(console(), f"slot {found.booted.other} has the version before: gateway update rollback")
    if wish is not None:
        why = "" if wish.fault is None else f" ({wish.fault})"
        say(console(), f"central wished for {wish.version}: {wish.phase}{why}")


@app.command("check")
def check(*, source: Source = "", as_json: AsJson = False, config: ConfigPath = DEFAULT_CONFIG) -> None:
    """Look which release there is, and whether it is newer; status 1 if it is not."""
    from gateway.domain.update import is_newer

    box = _box()
    found, (manifest, _) = _survey(box), _release(config, source)
    newer = is_newer(manifest, found.running)
    if as_json:
        show_json({"version": manifest.version, "sequence": manifest.sequence, "newer": newer})
    else:
        say(console(), f"{manifest.version} is {'newer than' if newer else 'not newer than'} {found.running.version}")
    raise typer.Exit(0 if newer else DOES_NOT_HOLD)


@app.command("install")
def install(*, source: Source = "", config: ConfigPath = DEFAULT_CONFIG) -> None:
    """Verify a release, write it into the slot that does not run, and have the next start try it."""
    from gateway.app import updating

    box = _box()
    settings = _settings(config)
    release = _release(config, source)
    updating.install(
        box, _survey(box), _releases(settings, source), release, told=lambda line: say(console(), line)
    )  # fmt: skip
    say(console(), f"{release[0].version} is installed; it is tried at the next start: gateway update restart")


@app.command("commit")
def commit(*, config: ConfigPath = DEFAULT_CONFIG) -> None:
    """After a start: if the version is on trial, keep it for good if `gateway selftest` holds; status 1 if not, for the
    next start goes back then. Status 2 where no start would mend anything."""
    from gateway.app import updating
    from gateway.domain.boot import Standing
    from gateway.domain.model import TemporaryFailure

    box = _box()
    found = _survey(box)
    on_trial = found.standing is Standing.TRIAL
    status = DOES_NOT_HOLD if on_trial else NOT_ASKED
    try:
        held = updating.commit(box, found, selftest=lambda: _selftest(config))
    except TemporaryFailure as error:
        raise CommandFailed(str(error), status=status) from None
    if not held:
        then = "goes back" if on_trial else "starts it again, for the other slot did not come up"
        raise CommandFailed(
            f"update: the self-test of {found.running.version} does not hold; the next start {then}", status=status
        )
    say(console(), f"{found.running.version} in slot {found.booted} is known to be good")


@app.command("rollback")
def rollback() -> None:
    """Have the next start go back to the version before; images and orders stay."""
    from gateway.app import updating

    box = _box()
    slot = updating.rollback(box, _survey(box))
    say(console(), f"slot {slot} starts next: gateway update restart")


@app.command("restart")
def restart(
    *,
    now: Annotated[bool, typer.Option("--now", help="Though an association is open or an examination is due.")] = False,
    config: ConfigPath = DEFAULT_CONFIG,
) -> None:
    """Restart the box if the room is free: no association open, no examination due; status 1 if it is not."""
    reason = "" if now else _reason_to_wait(config)
    if reason:
        raise CommandFailed(f"update: not now, {reason}; later, or with --now", status=DOES_NOT_HOLD)
    _systemctl("reboot")


@app.command("follow", hidden=True)
def follow(*, config: ConfigPath = DEFAULT_CONFIG) -> None:
    """What the timer does: install what central wished for, or with [update] install whatever appears at `source`; tell
    what became of the wish; restart into it when the room is free."""
    from gateway.app.wished_release import became

    settings, box, wish = _settings(config), _box(), _wish(config)
    found = _survey(box)
    if settings.source and not found.waits_for_restart and (settings.install or (wish is not None and wish.is_due)):
        found = _followed(config, box, found, wish)
    if wish is not None and (phase := became(wish, found)) is not wish.phase:
        _move(config, wish, phase)
    if found.waits_for_restart:
        if reason := _reason_to_wait(config):
            say(console(), f"installed, waits: {reason}")
        else:
            _systemctl("reboot")


def _followed(config: Path, box: Box, found: Survey, wish: ReleaseWish | None) -> Survey:
    """How the box stands after what is newer was installed; a wish that can't be is rejected."""
    from gateway.app import updating
    from gateway.app.wished_release import compare
    from gateway.domain.command import Phase
    from gateway.domain.model import PermanentFailure
    from gateway.domain.update import Objection, is_newer

    settings = _settings(config)
    try:
        release = _release(config, "")
        compare(wish, *release)
        if is_newer(release[0], found.running) and not found.came_back_from(release[0].sequence):
            updating.install(box, found, _releases(settings, ""), release, told=lambda line: say(console(), line))
    except PermanentFailure as error:
        if wish is not None and wish.is_due and error.code in set(Objection):
            _move(config, wish, Phase.REJECTED, fault=Objection(error.code))
        raise
    return _survey(box)


@app.command("remember-machine", hidden=True)
def remember_machine(machine: Annotated[str, typer.Argument(metavar="ID")]) -> None:
    """What the first start does: keep the machine-id where the loader finds it."""
    from gateway.app import updating

    updating.remember_machine(_box(), machine)


def _box() -> Box:
    from gateway.app.updating import Box

    return Box()


def _survey(box: Box) -> Survey:
    from gateway.app import updating
    from gateway.spool import migrations

    return updating.survey(box, migrations=len(migrations.scripts()))


def _settings(config: Path) -> UpdateSection:
    from gateway.config import load
    from gateway.config.update import UpdateSection

    return load(config).update if config.exists() else UpdateSection()


def _release(config: Path, source: str) -> tuple[Manifest, bytes]:
    from gateway.app import updating
    from gateway.config.commands import read_keys
    from gateway.config.update import RELEASE_KEYS

    settings = _settings(config)
    trusted, _ = read_keys(RELEASE_KEYS)
    return updating.check(_releases(settings, source), trusted, signatures=settings.signatures)


def _wish(config: Path) -> ReleaseWish | None:
    """What central wished for; a box whose books can't be read is updated all the same."""
    from gateway.cli.opening import reading
    from gateway.domain.model import GatewayError
    from gateway.spool import releases

    try:
        with reading(config) as books:
            return releases.latest(books.c)
    except GatewayError:
        return None


def _move(config: Path, wish: ReleaseWish, phase: Phase, *, fault: Objection | None = None) -> None:
    from gateway.cli.opening import writing
    from gateway.spool import releases

    with writing(config) as books:
        books.write(partial(releases.move, found=wish, phase=phase, fault=fault, now=books.now))


def _releases(settings: UpdateSection, source: str) -> Releases:
    from gateway.net.releases import Releases

    if not (place := source or settings.source):
        raise CommandFailed("update: no place to look: write [update] source, or name one with --source")
    return Releases(place, ca=settings.ca)


def _selftest(config: Path) -> bool:
    """A process of its own, as a person would run it."""
    command = ["/usr/bin/gateway", "selftest", "--patience", str(HOP_SECONDS), "--config", str(config)]
    try:
        return subprocess.run(command, check=False, timeout=SELFTEST_SECONDS).returncode == 0  # noqa: S603  our own
    except subprocess.TimeoutExpired:
        return False


def _reason_to_wait(config: Path) -> str:
    from gateway.cli.opening import reading
    from gateway.spool.commands import room

    with reading(config) as books:
        commands = books.config.commands
        standing = room(
            books.c,
            now=books.now,
            zone=books.config.site.timezone,
            behind=commands.exam_behind,
            ahead=commands.exam_ahead,
        )
    if standing.association_open:
        return "an association is open"
    return "an examination is due" if standing.exam_due else ""


def _systemctl(verb: str) -> None:
    subprocess.run(["/usr/bin/systemctl", verb], check=True)  # noqa: S603  two words of ours
