"""`gateway route test`: where an image goes, which rule says so, and why the others do not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer
from rich.console import Console

from gateway.cli.failures import UNKNOWN, CommandFailed
from gateway.cli.options import DEFAULT_CONFIG, AsJson, ConfigPath
from gateway.cli.showing import console, say, show_json, show_table
from gateway.domain.model import UID, AETitle, Instance, InstanceId, Origin
from gateway.domain.routing import Looked, Missed, Route
from gateway.domain.words import images

if TYPE_CHECKING:
    from gateway.cli.opening import Reading

app = typer.Typer(no_args_is_help=True, help="The rules that say where images go.")

LISTED: Final = 20
"""Groups of images of one study that are routed alike."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tested:
    """What the rules make of one image."""

    routes: tuple[Route, ...]
    looked: tuple[Looked, ...]


@app.command("test")
def rehearse(
    what: Annotated[
        str, typer.Argument(metavar="STUDY|ID|FILE", help="A Study Instance UID, an instance's id, or a Part 10 file.")
    ],
    *,
    calling: Annotated[str, typer.Option("--calling", metavar="AE", help="FILE: as if this scanner sent it.")] = "",
    called: Annotated[str, typer.Option("--called", metavar="AE", help="FILE: as if it called us so.")] = "",
    as_json: AsJson = False,
    config: ConfigPath = DEFAULT_CONFIG,
) -> None:
    """Say where an image would go now, which rule fired, and why the others did not.

    Nothing is sent. Images that were routed before stay as they were routed: `gateway study` shows that.
    """
    from gateway.cli.opening import reading

    with reading(config) as books:
        images_of = list(_images(books, what.strip(), calling, called))
        groups: dict[Tested, list[Instance]] = {}
        for instance, path in images_of:
            groups.setdefault(_tested(books, instance, path), []).append(instance)
    if as_json:
        show_json({"groups": [_as_json(tested, found) for tested, found in groups.items()]})
        return
    screen = console()
    for tested, found in list(groups.items())[:LISTED]:
        _show(screen, tested, found)
    if len(groups) > LISTED:
        say(screen, f"{len(groups) - LISTED:,} more groups: see --json.")


def _images(books: Reading, what: str, calling: str, called: str) -> Iterator[tuple[Instance, Path]]:
    """The images that are meant, with their files."""
    from gateway.spool import instances
    from gateway.spool.files import INSTANCE_ID, object_path

    file = Path(what)
    if file.is_file():
        yield _of_file(file, calling, called, books.now), file
        return
    named = instances.get(books.c, InstanceId(what)) if INSTANCE_ID.fullmatch(what) else None
    found = [named] if named is not None else list(instances.in_study(books.c, UID(what)))
    if not found:
        remedy = "name a study that came here, the id of an instance, or a file that can be read"
        raise CommandFailed(f"route test: there is no such study, instance or file; {remedy}", status=UNKNOWN)
    for instance in found:
        yield instance, object_path(books.config.box.state, instance.id)


def _of_file(path: Path, calling: str, called: str, now: datetime) -> Instance:
    """The file as an image that has just been received."""
    from gateway.dicom import part10
    from gateway.dicom.elements import ElementError
    from gateway.roles.forward.routing import header_of

    try:
        with path.open("rb") as file:
            meta = part10.read(file.read(part10.LONGEST_HEADER))
        header = header_of(path, ("StudyInstanceUID", "SeriesInstanceUID"))
    except (OSError, ElementError, ValueError) as error:
        raise CommandFailed(f"route test: the file can't be read as Part 10 ({type(error).__name__})") from None
    return Instance(
        id=InstanceId(""),
        SOPClassUID=UID(meta.SOPClassUID),
        SOPInstanceUID=UID(meta.SOPInstanceUID),
        TransferSyntaxUID=UID(meta.TransferSyntaxUID),
        StudyInstanceUID=UID(header.get("StudyInstanceUID", ("",))[0]),
        SeriesInstanceUID=UID(header.get("SeriesInstanceUID", ("",))[0]),
        content_hash="",
        size=path.stat().st_size - meta.data_offset,
        origin=Origin(
            calling_ae=AETitle(calling or meta.calling_ae),
            called_ae=AETitle(called or meta.called_ae),
            address=meta.address,
            association="",
            received_at=now.astimezone(UTC),
            priority=meta.priority,
        ),
    )


def _tested(books: Reading, instance: Instance, path: Path) -> Tested:
    from gateway.app.forward import routing_policy
    from gateway.dicom.elements import ElementError
    from gateway.domain.routing import explain, route
    from gateway.roles.forward.routing import Around, facts_of, lane_of, read_header

    policy = routing_policy(books.config)
    try:
        header = read_header(path, policy.keys)
    except (OSError, ElementError) as error:
        raise CommandFailed(
            f"route test: the file of {instance.id} can't be read ({type(error).__name__}); it is gone once purged,"
            " and what was routed stays as it was"
        ) from None
    facts = facts_of(Around(books.c), instance, header, policy.keys)
    routed = route(policy.rules, facts, lane=lane_of(policy, instance, facts), default=policy.default)
    return Tested(routes=tuple(map(policy.with_lane, routed.routes)), looked=explain(policy.rules, facts))


def _as_json(tested: Tested, found: Sequence[Instance]) -> dict[str, object]:
    return {
        "images": len(found),
        "SOPInstanceUIDs": [one.SOPInstanceUID for one in found],
        "routes": [asdict(one) for one in tested.routes],
        "rules": [asdict(one) for one in tested.looked],
    }


def _show(screen: Console, tested: Tested, found: Sequence[Instance]) -> None:
    say(screen, f"{images(len(found))}:")
    routes = (
        (one.destination, one.lane, one.compression or "as the destination says", one.rule or "default")
        for one in tested.routes
    )
    show_table(screen, "Goes to", ("Destination", "Priority", "Compression", "By rule"), routes)
    rules = ((one.rule, "fired" if one.fired else "did not fire", _why(one)) for one in tested.looked)
    show_table(screen, "Rules", ("Rule", "", "Why"), rules)
    if not tested.looked:
        say(screen, "There are no rules: images go to [routing] default.")


def _why(looked: Looked) -> str:
    if looked.stopped_by:
        return f"{looked.stopped_by} ended the look"
    return "; ".join(map(_missed, looked.missed)) or "-"


def _missed(one: Missed) -> str:
    wanted = " or ".join(f'"{text}"' for text in one.wanted)
    found = ", ".join(f'"{text}"' for text in one.found if text) or "nothing"
    return f"{one.key} is {found}, {'which is excluded by' if one.unwanted else 'wanted is'} {wanted}"
