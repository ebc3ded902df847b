"""The release that central IT wished for: taken up by a command, installed by the agent, told with what the box is.

Promises
- A wish is taken up only for what lies at the mirror of this box ([update] source): signed by its release keys, the
  very manifest that central named by its hash, and one that this machine may take.
- The wish is all that passes from the part that talks to central to the agent, who has the rights to install. The agent
  believes nothing of it and proves all of it again (`gateway.app.updating`).
- Every failure has a word of `gateway.domain.update.Objection`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from gateway.app import updating
from gateway.app.peers import now
from gateway.app.updating import Box, Survey
from gateway.config import Config, read_keys
from gateway.config.update import RELEASE_KEYS
from gateway.domain import update
from gateway.domain.boot import Standing
from gateway.domain.command import Code, Command, Done, Outcome, Phase
from gateway.domain.model import PermanentFailure, TemporaryFailure
from gateway.domain.update import Manifest, Objection
from gateway.net.releases import Releases
from gateway.spool import Connection, Spool, migrations, releases
from gateway.spool.releases import ReleaseWish


def ask(config: Config, spool: Spool, command: Command, *, box: Box, keys: Path = RELEASE_KEYS) -> Done:
    """The deed of `update`."""
    try:
        fault = _examined(config, command, box, keys)
    except (PermanentFailure, TemporaryFailure) as error:
        fault = Objection(error.code)
    if fault is None:
        wish = partial(
            releases.wish,
            sequence=command.number("sequence"),
            version=command.text("version"),
            ring=command.text("ring"),
            sha256=command.text("sha256"),
            now=now(),
        )
        fault = spool.db.write(wish).result()
    return Done(outcome=Outcome.DONE, code=Code.STAGED) if fault is None else Done(outcome=Outcome.FAILED, code=fault)


def _examined(config: Config, command: Command, box: Box, keys: Path) -> Objection | None:
    """What speaks against it. Raises PermanentFailure or TemporaryFailure with the code of an Objection."""
    running = updating.running(box, migrations=len(migrations.scripts()))
    settings = config.update
    if not settings.source:
        return Objection.NO_SOURCE
    mirror = Releases(settings.source, ca=settings.ca)
    manifest, raw = updating.check(mirror, read_keys(keys)[0], signatures=settings.signatures)
    if not _is_it(manifest, raw, command.number("sequence"), command.text("sha256")):
        return Objection.OTHER_RELEASE
    update.admit(manifest, running)
    return None


def compare(wish: ReleaseWish | None, manifest: Manifest, raw: bytes) -> None:
    """Look at what is to be installed. Raises PermanentFailure "other-release" if a wish waits for another."""
    if wish is not None and wish.is_due and not _is_it(manifest, raw, wish.sequence, wish.sha256):
        raise PermanentFailure(
            f"the mirror has release {manifest.sequence}, not {wish.sequence} as it was wished for: publish that one",
            code=Objection.OTHER_RELEASE,
        )


def became(wish: ReleaseWish, found: Survey) -> Phase:
    """How far the release is by what runs now."""
    if found.running.sequence >= wish.sequence and found.standing is not Standing.TRIAL:
        return Phase.CONFIRMED
    if found.came_back_from(wish.sequence) and wish.phase is not Phase.REJECTED:
        return Phase.ROLLED_BACK
    if found.waits_for_restart and found.state.tried == wish.sequence:
        return Phase.APPLIED
    return wish.phase


def runs(box: Box) -> int | None:
    """The number of the release that runs; None where there are no slots."""
    try:
        return updating.running(box, migrations=0).sequence
    except PermanentFailure:
        return None


def facts(running: int | None, c: Connection) -> Mapping[str, Any]:
    """What central is told of releases: fields of `Info`; none where there are no slots. `running`: as `runs` says."""
    if running is None:
        return {}
    wish = releases.latest(c)
    if wish is None:
        return {"sw_seq": running}
    fault = {} if wish.fault is None else {"release_fault": wish.fault.value}
    return {"sw_seq": running, "release": wish.sequence, "release_phase": wish.phase, **fault}


def _is_it(manifest: Manifest, raw: bytes, sequence: int, sha256: str) -> bool:
    return manifest.sequence == sequence and hashlib.sha256(raw).hexdigest() == sha256
