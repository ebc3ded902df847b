"""`gateway worklist profiles | capture | replay`: how scanners are answered, and how a profile is made and tried."""

from __future__ import annotations

import asyncio
import os
import secrets
import tempfile
from dataclasses import replace
from itertools import chain
from logging import CRITICAL
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from gateway.cli.failures import DOES_NOT_HOLD, CommandFailed
from gateway.cli.options import DEFAULT_CONFIG, AsJson, ConfigPath
from gateway.cli.profile import profile_named, profile_of
from gateway.cli.showing import console, say, show_json, show_table

if TYPE_CHECKING:
    from gateway.cli.opening import Reading
    from gateway.dicom.readable import Table
    from gateway.domain.profile import Profile
    from gateway.roles.worklist.capture import Capture
    from gateway.spool.query_log import LoggedQuery

QUESTIONS: Final = 50
"""Questions that are looked through for one that can be captured."""
_PRIVATE: Final = 0o600


def profiles(*, as_json: AsJson = False, config: ConfigPath = DEFAULT_CONFIG) -> None:
    """List the scanner profiles there are, and which scanners have them."""
    from gateway.config import load, load_profiles

    loaded = load(config)
    known = load_profiles(loaded.worklist.profiles)
    users = {name: [one.ae for one in loaded.scanner if one.profile == name] for name in known}
    if as_json:
        show_json({"profiles": [{"name": name, "scanners": users[name]} for name in sorted(known)]})
        return
    lines = (
        (name, ", ".join(one.character_sets), one.max_answers, one.above, ", ".join(users[name]) or "-")
        for name, one in sorted(known.items())
    )
    show_table(console(), "Profiles", ("Profile", "Reads", "Rows", "Above", "Scanners"), lines)
    say(console(), f"Files of the site: {loaded.worklist.profiles}")


def capture(
    *,
    aet: Annotated[str, typer.Option("--aet", metavar="AE", help="The scanner, by the AE title it calls with.")],
    out: Annotated[Path, typer.Option(help="The file to write; it must not exist.")],
    rows: Annotated[int, typer.Option(min=1, max=1000, help="The most rows to write.")] = 20,
    anonymous: Annotated[
        bool, typer.Option("--anonymous", help="Invent names, numbers and dates; read the file before it leaves.")
    ] = False,
    config: ConfigPath = DEFAULT_CONFIG,
) -> None:
    """Write a scanner's last query, the rows it finds and the answer it gets now into a file.

    The file is what a profile is written from and tested by (`gateway worklist replay`). Without --anonymous it
    holds patients' names: only its owner may read it.
    """
    from gateway.cli.opening import reading
    from gateway.roles.worklist.capture import written

    with reading(config) as books:
        found = _captured(books, aet.strip(), rows)
        profile = profile_named(books.config.worklist.profiles, found.profile)
    found = _anonymous(found) if anonymous else found
    found = _answered(found, profile)
    holds = "Names and numbers are invented." if anonymous else "Holds patients' data: it must not leave the site."
    _write(out, written(found, comment=[f"The last query of {found.calling}. {holds}"]))
    say(console(), f"{out}: {len(found.rows):,} rows, {len(found.answer):,} answered. {holds}")


def replay(
    file: Annotated[Path, typer.Argument(help="A file that `gateway worklist capture` wrote.")],
    *,
    profile: Annotated[str, typer.Option(help="Answer by this profile instead of the file's.")] = "",
    update: Annotated[bool, typer.Option("--update", help="Write the new answer into the file.")] = False,
    config: ConfigPath = DEFAULT_CONFIG,
) -> None:
    """Ask a captured query again and say what differs from the answer in the file.

    Nothing of the box is touched and no RIS is asked. Ends with status 0 only if nothing differs, or with --update.
    """
    from gateway.config import load
    from gateway.roles.worklist.capture import read, written

    try:
        text = file.read_text("utf-8")
        asked = read(text)
    except (OSError, ValueError) as error:
        raise CommandFailed(f"{file}: {getattr(error, 'strerror', None) or error}") from None
    name = profile or asked.profile
    answered = replace(
        _answered(asked, profile_named(load(config).worklist.profiles, name, key="--profile")), profile=name
    )
    if update:
        comment = [line.removeprefix("#").strip() for line in text.splitlines() if line.startswith("#")]
        file.write_text(written(answered, comment=comment), "utf-8")
        say(console(), f"{file}: {len(answered.answer):,} rows answered by {name}, written.")
        return
    differences = _differences(asked, answered)
    for line in differences:
        say(console(), line)
    say(console(), f"{len(answered.answer):,} rows answered by {name}: {len(differences) or 'no'} differences.")
    if differences:
        raise typer.Exit(DOES_NOT_HOLD)


def _captured(books: Reading, aet: str, most: int) -> Capture:
    from gateway.dicom import elements
    from gateway.dicom.readable import table
    from gateway.domain.matching import compile_query
    from gateway.roles.worklist.capture import Capture
    from gateway.roles.worklist.rows import decoder, look_up_keys, parsed
    from gateway.spool.worklist import candidates

    logged = _last_query(books, aet)
    profile = profile_of(books, aet)
    meant = elements.parse(logged.meant or logged.identifier, elements.EXPLICIT_LITTLE)
    query = compile_query(meant, decoder(meant), romanised=profile.romanised)
    rows: list[Table] = []
    for row in chain.from_iterable(candidates(books.c, look_up_keys(query.prefilter), batch=most)):
        dataset = parsed(row.dataset)
        if len(rows) < most and query.matches(dataset, decoder(dataset)):
            rows.append(table(dataset))
    return Capture(
        profile=profile.name,
        calling=logged.calling_ae,
        at=books.now.astimezone(books.config.site.timezone).replace(microsecond=0),
        status=0,
        question=table(elements.parse(logged.identifier, elements.EXPLICIT_LITTLE)),
        rows=tuple(rows),
        answer=(),
    )


def _last_query(books: Reading, aet: str) -> LoggedQuery:
    from gateway.spool.query_log import latest

    for query in latest(books.c, aet, limit=QUESTIONS):
        if query.identifier:
            return query
    remedy = "let it ask once, and compare its AE title with `gateway peers`"
    raise CommandFailed("worklist capture: no query of this AE title is kept; " + remedy, status=DOES_NOT_HOLD)


def _anonymous(found: Capture) -> Capture:
    from gateway.dicom.anonymous import Anonymous

    invent = Anonymous(secrets.choice)
    rows = tuple(map(invent.table, found.rows))
    return replace(found, rows=rows, question=invent.table(found.question))


def _answered(asked: Capture, profile: Profile) -> Capture:
    """The capture with the answer of this profile."""
    import structlog

    from gateway.roles.worklist.replay import replay as again

    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(CRITICAL))  # the answer is what counts
    try:
        with tempfile.TemporaryDirectory() as folder:
            answered = asyncio.run(again(asked, profile, folder=Path(folder) / "state"))
    finally:
        structlog.configure(**before)
    return replace(asked, status=answered.status, answer=answered.answer)


def _write(path: Path, text: str) -> None:
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _PRIVATE), "w", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise CommandFailed(f"{path}: can't be written ({error.strerror}); name a new file with --out") from None


def _differences(before: Capture, now: Capture) -> list[str]:
    lines = []
    if before.status != now.status:
        lines.append(f"status: {before.status:04X} in the file, {now.status:04X} now")
    if len(before.answer) != len(now.answer):
        lines.append(f"rows: {len(before.answer):,} in the file, {len(now.answer):,} now")
    for number, (old, new) in enumerate(zip(before.answer, now.answer, strict=False), 1):
        names = [name for name in {**old, **new} if old.get(name) != new.get(name)]
        lines += [f"row {number}: {name}: {_as(old, name)} in the file, {_as(new, name)} now" for name in names]
    return lines


def _as(table: Table, name: str) -> str:
    return repr(table[name]) if name in table else "absent"
