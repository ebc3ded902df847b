"""`gateway check --dry-run STUDY|FOLDER`: what the site's rules would change in headers, and what these lack."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, NamedTuple

import typer

from gateway.cli.failures import UNKNOWN, CommandFailed
from gateway.cli.options import DEFAULT_CONFIG, AsJson, ConfigPath
from gateway.cli.showing import console, say, show_json, show_table
from gateway.domain.words import images

if TYPE_CHECKING:
    from gateway.config import Config
    from gateway.dicom.part10 import FileMetaRead
    from gateway.domain.conformance import Deviation, Iods
    from gateway.domain.edits import Edit, Patch
    from gateway.domain.identity_model import Verdict
    from gateway.domain.worklist import DataSet

app = typer.Typer(help="Headers against the site's rules and their IODs.", invoke_without_command=True)

MOST_FILES: Final = 100_000
"""Files of a folder that are looked at."""


class Looked(NamedTuple):
    """A file to look at."""

    path: Path
    calling: str
    """Who sent it; empty: what it says of itself."""
    verdict: Verdict | None = None
    """What was decided of its study."""


class Change(NamedTuple):
    """What would change alike in several images."""

    attribute: str
    before: str | None
    after: str | None
    reason: str
    rule: str


@dataclass(slots=True)
class Report:
    """What was found in the headers, and in how many images each."""

    images: int = 0
    unchanged: int = 0
    changes: Counter[Change] = field(default_factory=Counter)
    deviations: Counter[Deviation] = field(default_factory=Counter)
    left_alone: Counter[str] = field(default_factory=Counter)
    """Images that can't be patched, by why."""


@app.callback()
def check(
    context: typer.Context,
    *,
    dry_run: Annotated[
        str,
        typer.Option("--dry-run", metavar="STUDY|FOLDER", help="A Study Instance UID, or a folder of Part 10 files."),
    ] = "",
    calling: Annotated[str, typer.Option("--calling", metavar="AE", help="FOLDER: as if this scanner sent it.")] = "",
    as_json: AsJson = False,
    config: ConfigPath = DEFAULT_CONFIG,
) -> None:
    """Show what would change in images, before and after, and what their headers lack.

    Of a folder: what the site's rules change. Of a study in the spool: what the verdict on it changes too, and the
    rules as they are now, whatever was sent before. Nothing is changed or sent.
    """
    if context.invoked_subcommand is not None:
        return
    if not dry_run:
        raise CommandFailed("check: say what to look at with --dry-run STUDY|FOLDER")
    from gateway.config import load, shipped_iods

    loaded = load(config)
    folder = Path(dry_run)
    found = _in_folder(folder, calling) if folder.is_dir() else _in_study(config, dry_run.strip())
    report = _looked_at(found, loaded, shipped_iods())
    if not report.images:
        raise CommandFailed(f"check: no Part 10 file that can be read in {dry_run}", status=UNKNOWN)
    if as_json:
        show_json(_as_json(report))
    else:
        _show(report)


def _in_folder(folder: Path, calling: str) -> Iterator[Looked]:
    """The files under a folder."""
    for number, path in enumerate(sorted(folder.rglob("*"))):
        if number == MOST_FILES:
            raise CommandFailed(f"check: more than {MOST_FILES:,} files; name a smaller folder")
        if path.is_file():
            yield Looked(path, calling)


def _in_study(config: Path, uid: str) -> Iterator[Looked]:
    """The files of a study in the spool that are still here."""
    from gateway.cli.opening import reading
    from gateway.domain.model import UID, InstanceState
    from gateway.spool import checks, instances
    from gateway.spool.files import object_path

    with reading(config) as books:
        found = [one for one in instances.in_study(books.c, UID(uid)) if one.state is not InstanceState.PURGED]
        known = checks.of_study(books.c, checks.StudyKey(uid))
    if not found:
        remedy = "name a study whose images are still here, or a folder"
        raise CommandFailed(f"check: there is no such study and no such folder; {remedy}", status=UNKNOWN)
    for one in found:
        path = object_path(books.config.box.state, one.id)
        yield Looked(path, one.origin.calling_ae, known.verdict if known is not None else None)


def _looked_at(found: Iterable[Looked], config: Config, iods: Iods) -> Report:
    from gateway.config import load_check_rules
    from gateway.dicom import charset, part10
    from gateway.dicom.elements import ElementError
    from gateway.dicom.patching import Head
    from gateway.domain.check_rules import normalised
    from gateway.domain.conformance import deviations
    from gateway.spool.mapping import mapped

    rules = load_check_rules(config.check.rules)
    report = Report()
    for one in found:
        try:
            with mapped(one.path) as view:
                meta = _meta(bytes(view[: part10.LONGEST_HEADER]))
                if meta is None:
                    continue
                report.images += 1
                with view[meta.data_offset :] as dataset:
                    with Head(dataset, meta.TransferSyntaxUID) as head:
                        patch = _decided(one.verdict, head, config)
                        sender = one.calling or meta.calling_ae
                        patch = normalised(patch, one.verdict, head, charset, rules=rules, calling=sender)
                        report.deviations.update(deviations(head, iods))
                    _tried(dataset, meta.TransferSyntaxUID, patch, report)
        except ElementError as error:
            report.left_alone[str(error)] += 1
        except (OSError, ValueError):  # it is gone, is not ours to read, or is empty
            continue
    return report


def _meta(first: bytes) -> FileMetaRead | None:
    """The file meta; None if it is no Part 10 file."""
    from gateway.dicom import part10
    from gateway.dicom.elements import ElementError

    try:
        return part10.read(first)
    except ElementError:
        return None


def _decided(verdict: Verdict | None, head: DataSet, config: Config) -> Patch:
    """What the verdict writes, if there is one."""
    from gateway.dicom import charset
    from gateway.domain.coercion import edits_for
    from gateway.domain.edits import Patch

    now, system = datetime.now(config.site.timezone), config.box.ae
    if verdict is None:
        return Patch(edits=(), at=now, system=system)
    return edits_for(verdict, head, charset, at=now, system=system)


def _tried(dataset: memoryview, syntax: str, patch: Patch, report: Report) -> None:
    """Count what the patch changes, if it can be applied."""
    from gateway.roles.forward.patching import Unpatchable, attempt

    try:
        attempt(dataset, syntax, patch)
    except Unpatchable as error:
        report.left_alone[str(error)] += 1
        return
    report.changes.update(map(_change, patch.edits))
    report.unchanged += not patch.edits


def _change(edit: Edit) -> Change:
    return Change(edit.name, edit.before, edit.value, edit.reason, edit.rule)


def _as_json(report: Report) -> dict[str, object]:
    return {
        "images": report.images,
        "unchanged": report.unchanged,
        "changes": [{**change._asdict(), "images": count} for change, count in report.changes.most_common()],
        "left_alone": [{"why": why, "images": count} for why, count in report.left_alone.most_common()],
        "deviations": [
            {
                "code": one.code,
                "attribute": one.attribute,
                "module": one.module,
                "shape": one.shape,
                "images": count,
            }
            for one, count in report.deviations.most_common()
        ],
    }


def _show(report: Report) -> None:
    screen = console()
    say(screen, f"{images(report.images)}; {report.unchanged:,} would leave as they came.")
    changes = (
        (one.attribute, _shown(one.before), _shown(one.after), one.rule, count)
        for one, count in report.changes.most_common()
    )
    show_table(screen, "Would change", ("Attribute", "Before", "After", "By rule", "Images"), changes)
    show_table(screen, "Can't be changed", ("Why", "Images"), report.left_alone.most_common())
    lacking = (
        (one.code, one.attribute, one.module or "-", one.shape or "-", count)
        for one, count in report.deviations.most_common()
    )
    show_table(screen, "Not as the standard has it", ("Code", "Attribute", "Module", "Form", "Images"), lacking)


def _shown(text: str | None) -> str:
    return "(absent)" if text is None else text or "(empty)"
