"""`gateway fleet rollout`: a configuration or a release through the fleet, ring by ring.

What is promised: all that is decided is in the fleet's books; this process may be ended at any moment and `carry` goes
on. Status 0: it is done, or what was asked holds; 1: it halted or was aborted; 2: the question could not be put.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.cli.failures import DOES_NOT_HOLD, HOLDS, CommandFailed
from gateway.cli.fleet_command import signing_key
from gateway.cli.fleet_options import DEFAULT_CONFIG, FleetPath, needs_extra, opened_books
from gateway.cli.options import MOST, AsJson

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from gateway.app.rollout import Draft
    from gateway.domain.rollout_model import Halt
    from gateway.fleet.carrying import Carrier, Look
    from gateway.fleet.database import Books

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="A change for the fleet, ring by ring.")
Number = Annotated[int, typer.Argument(min=1, max=MOST, metavar="NUMBER", help="Of the rollout, as `status` has it.")]
Keys = Annotated[list[Path], typer.Option("--key", metavar="FILE", help="Who signs: Ed25519, PEM. Twice: two sign.")]


@app.command("start")
def start(
    *,
    plan: Annotated[Path, typer.Option("--plan", metavar="FILE", help="What goes where: rollout.toml.")],
    key: Annotated[list[Path] | None, typer.Option("--key", metavar="FILE", help="Who signs. Twice: two sign.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the plan and end; nobody is asked.")] = False,
    as_json: AsJson = False,
    config: FleetPath = DEFAULT_CONFIG,
) -> None:
    """Begin a rollout and carry it until it is done or halts; --dry-run shows who would be in which ring."""
    needs_extra()
    if as_json and not dry_run:
        raise CommandFailed("--json shows a plan: add --dry-run; how a rollout stands shows status NUMBER --json")
    keys = [] if dry_run else _two(key or [])
    raise typer.Exit(_run(_start(config, plan, keys, dry_run=dry_run, as_json=as_json)))


@app.command("carry")
def carry(number: Number, *, key: Keys, config: FleetPath = DEFAULT_CONFIG) -> None:
    """Go on with a rollout whose process ended. One that halted stays halted: status 1."""
    needs_extra()
    raise typer.Exit(_run(_carry(config, number, _two(key))))


@app.command("resume")
def resume(number: Number, *, key: Keys, config: FleetPath = DEFAULT_CONFIG) -> None:
    """Go on after a halt, without the boxes that failed: who types this has seen them (`status`)."""
    needs_extra()
    raise typer.Exit(_run(_carry(config, number, _two(key), resuming=True)))


@app.command("halt")
def halt(number: Number, *, config: FleetPath = DEFAULT_CONFIG) -> None:
    """Ask nobody any more, and take back what no box has taken yet; `resume` goes on."""
    needs_extra()
    raise typer.Exit(_run(_stop(config, number, "halted")))


@app.command("abort")
def abort(number: Number, *, config: FleetPath = DEFAULT_CONFIG) -> None:
    """End a rollout for good. Boxes that have the change keep it; the others are free for another rollout."""
    needs_extra()
    raise typer.Exit(_run(_stop(config, number, "aborted")))


@app.command("status")
def status(
    number: Annotated[
        int | None, typer.Argument(min=1, max=MOST, metavar="NUMBER", help="One in full; else the latest.")
    ] = None,
    *,
    as_json: AsJson = False,
    config: FleetPath = DEFAULT_CONFIG,
) -> None:
    """Show rollouts, or one with its rings and the boxes that failed. Status 1 if it, or any of them, halted, or if
    nobody carries it."""
    needs_extra()
    raise typer.Exit(_run(_status(config, number, as_json=as_json)))


async def _start(
    config: Path, plan: Path, keys: Sequence[Ed25519PrivateKey], *, dry_run: bool, as_json: bool
) -> int:  # fmt: skip
    from gateway.app.rollout import drafted, enter
    from gateway.cli.showing import console, say, show_json

    async with opened_books(config) as books:
        draft = await drafted(plan, books)
        if as_json:
            show_json(_draft_as_json(draft))
        else:
            _show_draft(draft)
        if dry_run:
            return HOLDS
        number = await enter(books, draft, keys)
        say(console(), f"Rollout {number} begins. Should this end: gateway fleet rollout carry {number}")
        return await _carried(_carrier(config, books, number, keys))


async def _carry(config: Path, number: int, keys: Sequence[Ed25519PrivateKey], *, resuming: bool = False) -> int:
    from gateway.cli.showing import console, say

    async with opened_books(config) as books:
        carrier = _carrier(config, books, number, keys)
        if resuming:
            excused = await carrier.resume()
            say(console(), f"Rollout {number} goes on without {_boxes(len(excused))}.")
        return await _carried(carrier)


async def _carried(carrier: Carrier) -> int:
    """Tell each change in a line."""
    from gateway.cli.showing import console, say
    from gateway.domain.rollout_model import Stage

    last = ""

    def told(look: Look) -> None:
        nonlocal last
        line = _line(look)
        if line != last:
            say(console(), line)
        last = line

    look = await carrier.run(told)
    if look.rollout.halt is not None:
        _show_halt(look.rollout.halt)
    return HOLDS if look.rollout.stage is Stage.DONE else DOES_NOT_HOLD


async def _stop(config: Path, number: int, stage: str) -> int:
    from gateway.cli.showing import console, say
    from gateway.domain.rollout_model import Stage

    wanted = Stage(stage)
    async with opened_books(config) as books:
        look = await _carrier(config, books, number).stop(wanted)
    say(console(), f"Rollout {number}: {look.rollout.stage}")
    return HOLDS if look.rollout.stage is wanted else DOES_NOT_HOLD


async def _status(config: Path, number: int | None, *, as_json: bool) -> int:
    from datetime import UTC, datetime

    from gateway.cli.showing import console, show_json, show_table
    from gateway.domain.rollout_model import Stage
    from gateway.fleet import rollouts
    from gateway.fleet.carrying import seen

    stopped = {Stage.HALTED, Stage.ABORTED}
    async with opened_books(config) as books:
        if number is not None:
            look = await seen(books, number, now=datetime.now(UTC))
            if as_json:
                show_json(_look_as_json(look))
            else:
                _show_look(look)
            idle = look.rollout.stage is Stage.RUNNING and not look.carried
            return DOES_NOT_HOLD if idle or look.rollout.stage in stopped else HOLDS
        found = await rollouts.listed(books)
    rows = [(one, r.kind.value, r.version, r.stage.value, r.rings[r.ring], boxes) for one, r, boxes in found]
    columns = ("Number", "Kind", "Version", "Stage", "Ring", "Boxes")
    if as_json:
        names = [name.lower() for name in columns]
        show_json({"rollouts": [dict(zip(names, row, strict=True)) for row in rows]})
    else:
        show_table(console(), "Rollouts", columns, rows)
    return DOES_NOT_HOLD if any(rollout.stage is Stage.HALTED for _, rollout, _ in found) else HOLDS


def _carrier(config: Path, books: Books, number: int, keys: Sequence[Ed25519PrivateKey] = ()) -> Carrier:
    from gateway.app.rollout import carrier
    from gateway.config.fleet import load_fleet

    return carrier(load_fleet(config), books, number, keys)


def _run(asked: Coroutine[Any, Any, int]) -> int:
    try:
        return asyncio.run(asked)
    except KeyboardInterrupt:
        return DOES_NOT_HOLD


def _two(paths: Sequence[Path]) -> list[Ed25519PrivateKey]:
    """The keys of two people."""
    from gateway.domain.signature import key_id

    keys = [signing_key(path) for path in paths]
    if len(keys) != 2 or len({key_id(key.public_key()) for key in keys}) != 2:
        raise CommandFailed("--key: two people sign a rollout; name the key of each")
    return keys


def _line(look: Look) -> str:
    rollout = look.rollout
    counts = Counter(look.marks[key] for key, member in look.kept.members.items() if member.ring == rollout.ring)
    said = ", ".join(f"{number:,} {mark}" for mark, number in sorted(counts.items()))
    state = "soaks" if rollout.whole_at is not None and rollout.stage == "running" else rollout.stage.value
    heard = "" if look.listening else " (no collector listens: nothing is decided)"
    return f"ring {rollout.rings[rollout.ring]} ({rollout.ring + 1} of {len(rollout.rings)}) {state}: {said}{heard}"


def _boxes(count: int) -> str:
    return f"{count:,} box{'' if count == 1 else 'es'}"


def _show_halt(found: Halt) -> None:
    from gateway.cli.showing import console, say, show_table

    say(console(), f"Halted in ring {found.ring}: {found.cause}, {_boxes(found.boxes)}")
    rows = ((one.site, one.box, one.mark.value, ", ".join(one.words) or "-") for one in found.found)
    show_table(console(), "Failed", ("Site", "Box", "How", "What it says"), rows)


def _show_look(look: Look) -> None:
    from gateway.cli.showing import console, say, show_table
    from gateway.domain.rollout_model import Stage

    say(console(), _line(look))
    if look.rollout.stage is Stage.RUNNING and not look.carried:
        say(console(), f"Nobody carries it: gateway fleet rollout carry {look.kept.number} --key ... --key ...")
    rows = [
        (ring, mark.value, number)
        for place, ring in enumerate(look.rollout.rings)
        for mark, number in sorted(_counted(look, place).items())
    ]
    show_table(console(), "Rings", ("Ring", "How", "Boxes"), rows)
    if look.rollout.halt is not None:
        _show_halt(look.rollout.halt)


def _counted(look: Look, ring: int) -> Counter[Any]:
    return Counter(look.marks[key] for key, member in look.kept.members.items() if member.ring == ring)


def _look_as_json(look: Look) -> dict[str, object]:
    from dataclasses import asdict

    from gateway.domain.rollout_model import words

    rollout, kept = look.rollout, look.kept
    return {
        "number": kept.number,
        "kind": rollout.kind,
        "version": rollout.version,
        "stage": rollout.stage,
        "ring": rollout.rings[rollout.ring],
        "begun_at": rollout.begun_at,
        "whole_at": rollout.whole_at,
        "listening": look.listening,
        "carried": look.carried,
        "signers": kept.signers.split(),
        "halt": None if rollout.halt is None else asdict(rollout.halt),
        "boxes": [
            {
                "site": key[0],
                "box": key[1],
                "ring": rollout.rings[member.ring],
                "how": look.marks[key],
                "words": words(look.marks[key], member, kept.sights[key]),
                "excused": member.excused,
            }
            for key, member in kept.members.items()
        ],
    }


def _show_draft(draft: Draft) -> None:
    from gateway.cli.showing import console, say, show_table

    rollout, limits = draft.rollout, draft.rollout.limits
    say(console(), f"{rollout.kind} {rollout.version} for {_boxes(len(draft.entries))}, a ring soaks {limits.soak}")
    rows = []
    for number, name in enumerate(rollout.rings):
        keys = draft.of_ring(number)
        some = ", ".join("/".join(key) for key in keys[:3]) + (" ..." if len(keys) > 3 else "")
        rows.append((name, len(keys), len([key for key in keys if key in draft.away]), some))
    show_table(console(), "Rings", ("Ring", "Boxes", "Away now", "Which"), rows)
    left = Counter(draft.drawn.left.values())
    show_table(console(), "Left out", ("Why", "Boxes"), ((why.value, number) for why, number in left.items()))


def _draft_as_json(draft: Draft) -> dict[str, object]:
    rollout = draft.rollout
    return {
        "kind": rollout.kind,
        "version": rollout.version,
        "rings": [
            {"ring": name, "boxes": ["/".join(key) for key in draft.of_ring(number)]}
            for number, name in enumerate(rollout.rings)
        ],
        "away": ["/".join(key) for key in sorted(draft.away)],
        "left_out": {"/".join(key): why for key, why in draft.drawn.left.items()},
    }
