"""One commissioning from beginning to end: the lines, the report, the watchdog and what comes after the restart.

What is promised: what was tested before a restart is on the disk before the box restarts, and `resume` completes that
very report, also where the box did not restart. A report is never written over by another commissioning.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from gateway.config import Config
from gateway.net.box_key import FILE as KEY
from gateway.net.box_key import box_key
from hwtests import host, watchdog
from hwtests.machine import Machine
from hwtests.outcome import Line, NotTested, State
from hwtests.plugin import Commissioning, Plan
from hwtests.profile import load_profile
from hwtests.report import Files, report_of, write
from hwtests.watchdog import Armed

FIRES: Final = "watchdog.fires"
_PENDING, _RECORD = "pending.json", "watchdog.json"
Tell = Callable[[Line], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a person asked for."""

    settings: Path
    """The configuration file."""
    profile: str
    operator: str = ""
    folder: Path
    """Where the report goes."""
    root: Path = Path("/")
    store: bool = True
    fires: bool = False
    only: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """A report, and where it is."""

    report: Mapping[str, Any]
    files: Files


def plan_of(config: Config, wanted: Wanted, *, armed: Armed | None = None, untried: str = "") -> Plan:
    """What to test. `untried`: why the watchdog could not be let fire. Raises ConfigError for a faulty profile."""
    return Plan(
        config=config,
        settings=wanted.settings,
        profile=load_profile(wanted.profile),
        machine=Machine(root=wanted.root, state=config.box.state),
        store=wanted.store,
        fires=wanted.fires and armed is None,
        untried=untried,
        armed=armed,
        record=wanted.folder / _RECORD,
        only=wanted.only,
    )


def commission(config: Config, wanted: Wanted, *, tell: Tell, restarting: Callable[[Armed], None]) -> Written:
    """Test, and write the report. Where the watchdog is let fire this returns only if the box did not restart, with
    the completed report. Raises ConfigError, Fault and OSError."""
    plan = plan_of(config, wanted)
    begun = datetime.now(UTC)
    files = _unused(wanted.folder, f"commission-{begun:%Y%m%dT%H%M%SZ}")
    run = Commissioning(plan=plan, tell=tell)
    run.run(files.junit)
    written = _write(config, wanted, plan, run.lines, files, begun=begun)
    present = any(one.name == "watchdog.present" and one.state is State.PASSED for one in run.lines)
    if not (wanted.fires and present):
        return written
    _keep(wanted, files, run.lines, begun)
    limits = plan.profile.watchdog
    timeout, margin = int(limits.timeout.total_seconds()), limits.margin.total_seconds()
    untried = ""
    try:
        watchdog.fire(plan.machine, timeout, plan.record, margin=margin, restarting=restarting)
    except NotTested as error:
        untried = str(error)
    return resume(config, wanted.folder, wanted.settings, tell=tell, untried=untried) or written


def resume(config: Config, folder: Path, settings: Path, *, tell: Tell, untried: str = "") -> Written | None:
    """Complete the report that waits for its watchdog; None if none waits. Raises as `commission`."""
    kept = _kept(folder, settings)
    if kept is None:
        return None
    wanted, files, lines, begun = kept
    armed = Armed.read(folder / _RECORD)
    plan = plan_of(config, replace(wanted, only=(FIRES,)), armed=armed, untried=untried)
    run = Commissioning(plan=plan, tell=tell)
    run.run(files.junit.with_suffix(".watchdog.xml"))
    found = {line.id: line for line in run.lines}
    completed = [found.get(line.id, line) for line in lines]
    written = _write(config, wanted, plan, completed, files, begun=begun)
    for name in (_PENDING, _RECORD):
        (folder / name).unlink(missing_ok=True)
    watchdog.signs(folder / _RECORD).unlink(missing_ok=True)
    return written


def _write(
    config: Config, wanted: Wanted, plan: Plan, lines: Sequence[Line], files: Files, *, begun: datetime
) -> Written:
    head = {
        "box": {"site": config.site.name, "id": config.box.id, **host.identity(plan.machine)},
        "gateway": version("modality-gateway"),
        "profile": {"name": Path(wanted.profile).stem, "description": plan.profile.description},
        "limits": json.loads(plan.profile.model_dump_json()),
        "operator": wanted.operator,
        "only": [*wanted.only],
        "described": plan.machine.described,
        "begun": begun.isoformat(timespec="seconds"),
        "ended": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    report = report_of(head, lines, files.junit)
    write(report, box_key(config.box.key or config.box.state / KEY), files)
    return Written(report=report, files=files)


def _unused(folder: Path, stem: str) -> Files:
    folder.mkdir(parents=True, exist_ok=True)
    names = (stem, *(f"{stem}-{number}" for number in range(2, 100)))
    found = (Files.at(folder, name) for name in names)
    return next(files for files in found if not files.json.exists())


def _keep(wanted: Wanted, files: Files, lines: Sequence[Line], begun: datetime) -> None:
    """What `resume` needs, forced to the disk."""
    raw = {
        "profile": str(Path(wanted.profile).absolute()) if Path(wanted.profile).exists() else wanted.profile,
        "operator": wanted.operator,
        "root": str(wanted.root),
        "only": [*wanted.only],
        "stem": files.json.stem,
        "begun": begun.isoformat(),
        "lines": [line.as_json() for line in lines],
    }
    part = wanted.folder / f"{_PENDING}.part"
    with part.open("w", encoding="utf-8") as file:
        json.dump(raw, file)
        file.flush()
        os.fsync(file.fileno())
    part.replace(wanted.folder / _PENDING)


def _kept(folder: Path, settings: Path) -> tuple[Wanted, Files, list[Line], datetime] | None:
    try:
        raw = json.loads((folder / _PENDING).read_text("utf-8"))
        lines = [Line.of_json(one) for one in raw["lines"]]
        wanted = Wanted(
            settings=settings,
            profile=raw["profile"],
            operator=raw["operator"],
            folder=folder,
            root=Path(raw["root"]),
            only=tuple(raw["only"]),
        )
        return wanted, Files.at(folder, raw["stem"]), lines, datetime.fromisoformat(raw["begun"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
