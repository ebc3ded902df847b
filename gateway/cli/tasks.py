"""`gateway tasks`: images and orders that don't agree, and what persons decided about them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from gateway.cli.failures import DOES_NOT_HOLD, UNKNOWN, CommandFailed
from gateway.cli.options import DEFAULT_CONFIG, MOST, AsJson, ConfigPath
from gateway.cli.showing import console, moment, say, show_json, show_table

if TYPE_CHECKING:
    from gateway.cli.opening import Reading, Writing
    from gateway.domain.task import Choice
    from gateway.spool import Connection
    from gateway.spool.checks import StudyKey
    from gateway.spool.reconciliation import Case
    from gateway.spool.tasks import Remembered

LISTED: Final = 200
app = typer.Typer(
    rich_markup_mode=None, invoke_without_command=True, help="Studies that wait for a person, and what was decided."
)
StudyArgument = Annotated[
    str, typer.Argument(metavar="TASK|STUDY", help="A task's number, a Study Instance UID, or an instance id.")
]
Why = Annotated[str, typer.Option("--why", metavar="TEXT", help="For whoever looks at it later; no patient.")]
Remember = Annotated[
    bool, typer.Option("--remember", help="For every later study with exactly the same evidence, too.")
]


@app.callback()
def tasks_(
    ctx: typer.Context,
    *,
    every: Annotated[bool, typer.Option("--all", help="Decided ones too.")] = False,
    as_json: AsJson = False,
    config: ConfigPath = DEFAULT_CONFIG,
) -> None:
    """Show the tasks that are open, those that hold images first. Status 1 if one holds images."""
    if ctx.invoked_subcommand is not None:
        return
    from gateway.cli.opening import reading
    from gateway.spool import tasks

    with reading(config) as books:
        found = tasks.latest(books.c, every=every, limit=LISTED)
    if as_json:
        show_json({"tasks": [asdict(one) for one in found]})
    else:
        zone = books.config.site.timezone
        lines = (
            (
                one.id,
                one.state,
                one.kind,
                one.code,
                "yes" if one.blocks else "-",
                moment(one.opened_at, zone),
                one.study,
            )
            for one in found
        )
        show_table(console(), "Tasks", ("Task", "State", "Kind", "Why", "Holds", "Since", "Study"), lines)
        say(console(), "Look at one with `gateway tasks show TASK`." if found else "Nobody is asked anything.")
    raise typer.Exit(DOES_NOT_HOLD if any(one.blocks and one.state == "open" for one in found) else 0)


@app.command()
def show(study: StudyArgument, *, as_json: AsJson = False, config: ConfigPath = DEFAULT_CONFIG) -> None:
    """Show what was found about a study and the orders that may be meant, with patients: only where nobody looks."""
    from gateway.cli.opening import reading
    from gateway.spool import reconciliation

    with reading(config) as books:
        case = reconciliation.case_of(books.c, _named(books.c, study), zone=books.config.site.timezone, now=books.now)
        if as_json:
            show_json(case_as_json(case))
        else:
            _show_case(books, case)


@app.command()
def rules(
    *,
    every: Annotated[bool, typer.Option("--all", help="Revoked ones too.")] = False,
    as_json: AsJson = False,
    config: ConfigPath = DEFAULT_CONFIG,
) -> None:
    """Show the decisions that hold for other studies with the same evidence."""
    from gateway.cli.opening import reading
    from gateway.spool import tasks

    with reading(config) as books:
        found = tasks.rules(books.c, every=every)
    if as_json:
        show_json({"rules": [asdict(one) for one in found]})
        return
    zone = books.config.site.timezone
    columns = ("Rule", "Decision", "Of study", "By", "Since", "Used", "Last", "Revoked")
    show_table(console(), "Remembered decisions", columns, (_rule_line(one, zone) for one in found))
    if not found:
        say(console(), "No decision holds for other studies.")


@app.command()
def revoke(
    rule: Annotated[int, typer.Argument(max=MOST, metavar="RULE", help="Its number, from `gateway tasks rules`.")],
    *,
    config: ConfigPath = DEFAULT_CONFIG,
) -> None:
    """End a remembered decision; what it led to stays."""
    from gateway.cli.opening import writing
    from gateway.spool import tasks

    with writing(config) as books:
        ended = books.write(partial(tasks.revoke, rule=rule, by=books.by, now=books.now))
    if not ended:
        raise CommandFailed("tasks: no such rule stands; `gateway tasks rules` lists them", status=UNKNOWN)
    typer.echo(f"Rule {rule} holds no more.")


@app.command()
def done(task: StudyArgument, *, why: Why = "", config: ConfigPath = DEFAULT_CONFIG) -> None:
    """Say that a task needs nothing more; no image is changed or moved by it."""
    from gateway.domain.task import Choice
    from gateway.spool import tasks

    def kind(c: Connection, _study: StudyKey, _books: Writing) -> dict[str, str]:
        found = tasks.named(c, task.strip())
        return {"kind": found.kind} if found is not None else {}

    decided(task, Choice.SEEN, config, why=why, target=kind)


def summary(
    *,
    days: Annotated[int, typer.Option("--days", min=1, max=90, help="Of so many days until now.")] = 1,
    as_json: AsJson = False,
    config: ConfigPath = DEFAULT_CONFIG,
) -> None:
    """Count what the check decided, applied or, in shadow mode, would have."""
    from gateway.cli.opening import reading
    from gateway.spool import corrections

    with reading(config) as books:
        counted = corrections.tallies(books.c, since=books.now - timedelta(days=days), until=books.now)
    if as_json:
        show_json({"since": books.now - timedelta(days=days), "verdicts": [asdict(one) for one in counted]})
        return
    lines = (
        (one.verdict, "applied" if one.applied else "shadow", one.by, "yes" if one.blocks else "-", one.studies)
        for one in counted
    )
    show_table(
        console(), f"Studies of {days} day{'s'[: days - 1]}", ("Verdict", "Mode", "By", "Holds", "Studies"), lines
    )
    if not counted:
        say(console(), "No study was checked.")


def resume(*, config: ConfigPath = DEFAULT_CONFIG) -> None:
    """Let the check correct again, now that the cause of its stop is known."""
    from gateway.cli.opening import writing
    from gateway.spool import corrections

    with writing(config) as books:
        ended = books.write(partial(corrections.resume, by=books.by, now=books.now))
        books.wake_forward()
    if not ended:
        raise CommandFailed(
            "check: corrections are not stopped by anything that waits for a person", status=DOES_NOT_HOLD
        )
    typer.echo("The check corrects again.")


# -- decisions --


def decide(
    study: StudyArgument,
    *,
    order: Annotated[str, typer.Option("--order", metavar="ACCESSION", help="The order it belongs to.")] = "",
    order_study: Annotated[
        str, typer.Option("--order-study", metavar="UID", help="Which of several orders with that accession number.")
    ] = "",
    suggested: Annotated[bool, typer.Option("--suggested", help="The order that the task names.")] = False,
    remember: Remember = False,
    why: Why = "",
    config: ConfigPath = DEFAULT_CONFIG,
) -> None:
    """Give a study to an order: it is corrected to that, with what comes of it later."""
    from gateway.domain.task import Choice
    from gateway.spool import reconciliation

    def target(c: Connection, found: StudyKey, books: Writing) -> dict[str, str]:
        return reconciliation.target_of(
            c,
            found,
            AccessionNumber=order,
            StudyInstanceUID=order_study,
            suggested=suggested,
            zone=books.config.site.timezone,
            now=books.now,
        )

    decided(study, Choice.ASSIGN, config, why=why, target=target, remember=remember)


def hold(study: StudyArgument, *, why: Why = "", config: ConfigPath = DEFAULT_CONFIG) -> None:
    """Keep a study here: what a destination does not have yet waits until somebody decides."""
    from gateway.domain.task import Choice

    decided(study, Choice.HOLD, config, why=why)


def reject(
    study: StudyArgument,
    *,
    why: Annotated[str, typer.Option("--why", metavar="TEXT", help="For whoever looks at it later; no patient.")],
    config: ConfigPath = DEFAULT_CONFIG,
) -> None:
    """Let a study go nowhere: purged after the retention of confirmed images; `gateway undo` takes it back."""
    from gateway.domain.task import Choice

    decided(study, Choice.REJECT, config, why=why)


def undo(study: StudyArgument, *, why: Why = "", config: ConfigPath = DEFAULT_CONFIG) -> None:
    """Take back what was corrected, or what a person decided last."""
    from gateway.domain.task import Choice

    decided(study, Choice.UNDO, config, why=why)


def decided(
    key: str,
    choice: Choice,
    config: Path,
    *,
    why: str,
    target: Callable[[Connection, StudyKey, Writing], dict[str, str]] | None = None,
    remember: bool = False,
) -> None:
    """Write a person's decision down and wake forward, which carries it out."""
    from gateway.cli.opening import writing
    from gateway.spool import reconciliation
    from gateway.spool.reconciliation import DecisionRefused

    with writing(config) as books:

        def write(c: Connection) -> int:
            study = _named(c, key)
            meant = {} if target is None else target(c, study, books)
            return reconciliation.decide(
                c, study, choice, target=meant, remember=remember, why=why, by=books.by, now=books.now
            )

        try:
            number = books.write(write)
        except DecisionRefused as error:
            raise CommandFailed(f"{choice}: {error}", status=DOES_NOT_HOLD) from None
        books.wake_forward()
    typer.echo(f"Decision {number} ({choice}) is written down; forward carries it out.")


def _named(c: Connection, key: str) -> StudyKey:
    from gateway.spool import reconciliation

    study = reconciliation.study_named(c, key)
    if study is None:
        raise CommandFailed("tasks: there is no such task or study; `gateway tasks --all` lists them", status=UNKNOWN)
    return study


# -- showing --


def case_as_json(case: Case) -> dict[str, object]:
    """The case for programs."""
    from gateway.domain.checks import sentence_of

    verdict = case.check.verdict if case.check is not None else None
    return {
        "study": case.study,
        "images": case.images,
        "way": case.check.way if case.check is not None else None,
        "verdict": None
        if verdict is None
        else {
            "decision": verdict.decision,
            "because": verdict.because,
            "blocks": verdict.blocks,
            "rules": verdict.rules,
            "version": verdict.version,
            "findings": [asdict(one) | {"sentence": sentence_of(one.code)} for one in verdict.findings],
            "changes": [asdict(one) for one in verdict.changes],
            "order": verdict.order.id if verdict.order is not None else None,
        },
        "orders": [
            {
                "id": one.id,
                "source": one.source,
                "AccessionNumber": one.procedure.accession.value,
                "StudyInstanceUID": one.procedure.StudyInstanceUID,
                "PatientID": one.key.PatientID,
                "PatientName": one.patient.PatientName,
                "status": one.status,
            }
            for one in case.orders
        ],
        "tasks": [asdict(one) for one in case.tasks],
        "decisions": [asdict(one) for one in case.decisions],
        "read_backs": [asdict(one) for one in case.read_backs],
    }


def _show_case(books: Reading, case: Case) -> None:
    from gateway.domain.checks import sentence_of

    screen, zone = console(), books.config.site.timezone
    if case.check is None:
        say(screen, f"Study {case.study}: {case.images} images, not checked.")
        return
    verdict = case.check.verdict
    say(screen, f"Study {case.study}: {verdict.decision} ({verdict.because}), {case.images} images, {case.check.way}.")
    findings = ((one.code, one.severity, one.attribute, one.has, one.expected) for one in verdict.findings)
    show_table(screen, "Findings", ("Code", "Weight", "Attribute", "Images", "Order"), findings)
    for code in dict.fromkeys(one.code for one in verdict.findings):
        say(screen, f"  {code}: {sentence_of(code)}")
    show_table(
        screen,
        "Changes",
        ("Attribute", "New value", "Reason", "Rule"),
        ((one.attribute, one.value, one.reason, one.rule) for one in verdict.changes),
    )
    columns = ("Accession", "Patient ID", "Name", "Born", "Status", "From", "Study")
    show_table(screen, "Orders that share a number with it", columns, _order_lines(case))
    decisions = (
        (one.id, one.choice, one.decided_by, moment(one.decided_at, zone), one.outcome) for one in case.decisions
    )
    show_table(screen, "Decisions", ("Decision", "What", "By", "When", "Came to"), decisions)
    say(screen, "Decide with `gateway decide`, `gateway release`, `gateway reject`, `gateway undo`.")


def _order_lines(case: Case) -> Iterator[tuple[object, ...]]:
    for one in case.orders:
        yield (
            one.procedure.accession.value,
            one.key.PatientID,
            one.patient.PatientName,
            one.patient.PatientBirthDate,
            one.status,
            one.source,
            one.procedure.StudyInstanceUID,
        )


def _rule_line(one: Remembered, zone: object) -> tuple[object, ...]:
    from datetime import tzinfo

    assert isinstance(zone, tzinfo)
    said = one.decision
    return (
        one.rule,
        said.choice,
        said.study,
        said.decided_by,
        moment(said.decided_at, zone),
        one.used,
        moment(one.last_used, zone),
        moment(one.revoked_at, zone),
    )
