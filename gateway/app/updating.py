"""The update agent: look for a release, install it beside the running one, and decide about the one that was started.

What is promised, in this order: the manifest is believed, the release admitted, nothing starts the other slot any more,
its images are written and proven, and only then it is offered to the next start. A box that loses power anywhere in
this starts what it started before. `commit` is what ends a trial well; no commit, and the next start goes back. Nothing
here touches the data: the version before must find it as the one after leaves it (`Manifest.least_migrations`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from gateway.domain import boot, update
from gateway.domain.boot import BootState, Slot, Standing
from gateway.domain.model import PermanentFailure
from gateway.domain.signature import KeyId
from gateway.domain.update import Manifest, Objection, Running
from gateway.net.releases import Releases
from gateway.net.slots import Slots

_SLOT: Final = re.compile(r"(?:^|\s)gateway\.slot=([ab])(?:\s|$)")
_MACHINE: Final = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """Where an appliance keeps what the agent works on. A box that was not made from an image has none of it."""

    partitions: Path = Path("/dev/disk/by-partlabel")
    environment: Path = Path("/efi/grubenv")
    release: Path = Path("/usr/lib/gateway-box/release.json")
    command_line: Path = Path("/proc/cmdline")

    def slots(self) -> Slots:
        return Slots(partitions=self.partitions, environment=self.environment)

    def booted(self) -> Slot:
        """The slot that runs. Raises PermanentFailure where there are no slots."""
        found = _SLOT.search(self.command_line.read_text(encoding="utf-8", errors="replace"))
        if found is None or not self.release.exists():
            raise PermanentFailure(
                "this machine was not made from an image of the gateway: update its package instead",
                code=Objection.NO_SLOTS,
            )
        return Slot(found[1])


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """How an appliance stands."""

    running: Running
    booted: Slot
    standing: Standing
    state: BootState

    @property
    def waits_for_restart(self) -> bool:
        """A release is installed and was not yet started."""
        return self.state.trial not in {None, self.booted} and self.state.tries > 0

    def came_back_from(self, sequence: int) -> bool:
        """Whether this release was the last to be tried here, and the box runs the one before it again: it did not
        hold, did not come up any more, or a person went back."""
        over = self.standing is not Standing.TRIAL and not self.waits_for_restart
        return over and self.state.tried == sequence > self.running.sequence


def running(box: Box, *, migrations: int) -> Running:
    """What runs; everybody may know. `migrations`: those that this gateway knows. Raises PermanentFailure where there
    are no slots."""
    box.booted()
    said = json.loads(box.release.read_text(encoding="utf-8"))
    return Running(version=said["version"], sequence=said["sequence"], arch=said["arch"], migrations=migrations)


def survey(box: Box, *, migrations: int) -> Survey:
    """What runs, from where, and what the next start would do."""
    booted, state = box.booted(), box.slots().state()
    return Survey(
        running=running(box, migrations=migrations), booted=booted, standing=boot.standing(state, booted), state=state
    )


def check(releases: Releases, trusted: Mapping[KeyId, Ed25519PublicKey], *, signatures: int) -> tuple[Manifest, bytes]:
    """The release that there is, believed but not yet admitted; and its manifest as it came."""
    raw = releases.manifest()
    return update.read(raw, trusted=trusted, signatures=signatures), raw


def install(
    box: Box,
    found: Survey,
    releases: Releases,
    release: tuple[Manifest, bytes],
    *,
    told: Callable[[str], None] = lambda _: None,
) -> None:
    """Put a believed release into the other slot and offer it to the next start. `told`: what is being done."""
    manifest, raw = release
    slots, target = box.slots(), found.booted.other
    update.admit(manifest, found.running)
    update.fit(manifest, slots.room(target))
    slots.keep(boot.emptied(found.state, found.booted))
    for name, chunks in releases.images(manifest, raw):
        told(f"writing {name} into slot {target}")
        slots.write(target, name, chunks, manifest.images[name])
    slots.keep(boot.offered(slots.state(), found.booted, sequence=manifest.sequence))


def commit(box: Box, found: Survey, *, selftest: Callable[[], bool]) -> bool:
    """After a start: whether the running version is now known to be good. On trial that is what `selftest` says."""
    slots = box.slots()
    if found.standing in {Standing.TRIAL, Standing.STAND_IN}:
        if not selftest():
            return False
        slots.keep(boot.committed(slots.state(), found.booted))
    elif (after := boot.arrived(found.state, found.booted)) != found.state:
        slots.keep(after)
    return True


def rollback(box: Box, found: Survey) -> Slot:
    """Let the next start go back to the version before; its slot."""
    slots = box.slots()
    slots.keep(boot.rolled_back(slots.state(), found.booted))
    return found.booted.other


def remember_machine(box: Box, machine: str) -> None:
    """Keep the machine-id(5) that this start made up, for all starts to come. Raises PermanentFailure if it is none."""
    if not _MACHINE.fullmatch(machine):
        raise PermanentFailure("the machine id is not 32 hexadecimal digits: look at /etc/machine-id")
    slots = box.slots()
    slots.keep(replace(slots.state(), machine=machine))
