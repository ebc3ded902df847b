"""`gateway worklist explain`: why an order is not on a scanner's worklist, and what to do about it."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli.failures import DOES_NOT_HOLD, CommandFailed
from gateway.cli.options import DEFAULT_CONFIG, AsJson, ConfigPath
from gateway.cli.showing import console, moment, say, show_json, show_table

if TYPE_CHECKING:
    from datetime import tzinfo

    from gateway.cli.opening import Reading
    from gateway.domain.explain import Explanation
    from gateway.spool.cases import Order


def explain(
    *,
    aet: Annotated[str, typer.Option("--aet", metavar="AE", help="The AE title that the scanner calls with.")],
    accession: Annotated[str, typer.Option("--accession", metavar="NUMBER", help="The accession number.")] = "",
    patient: Annotated[str, typer.Option("--patient", metavar="ID", help="The Patient ID.")] = "",
    study: Annotated[str, typer.Option("--study", metavar="UID", help="The Study Instance UID.")] = "",
    as_json: AsJson = False,
    config: ConfigPath = DEFAULT_CONFIG,
) -> None:
    """Say which stage keeps an order from a scanner, and the next step.

    Ends with status 0 only if the scanner is shown every row of the order.
    """
    from gateway.cli.opening import reading
    from gateway.spool.cases import Order

    order = Order(AccessionNumber=accession, PatientID=patient, StudyInstanceUID=study)
    if not order.known or not aet.strip():
        raise CommandFailed(
            "worklist explain: name the scanner with --aet and the order with --accession, --patient or --study"
        )
    with reading(config) as books:
        explained = _explained(books, order, aet.strip())
        if as_json:
            show_json({"aet": aet.strip(), "at": books.now, "rows": [_as_json(one) for one in explained]})
        else:
            _show(explained, books.config.site.timezone)
    raise typer.Exit(DOES_NOT_HOLD if any(one.reasons for one in explained) else 0)


def _explained(books: Reading, order: Order, aet: str) -> list[Explanation]:
    from gateway.cli.profile import profile_of
    from gateway.config import WorklistMode, WorklistPolicy
    from gateway.domain.admission import same_ae
    from gateway.domain.explain import explain as explain_case
    from gateway.domain.model import SourceName
    from gateway.spool.cases import AskedBy, gather

    configured = next((one for one in books.config.scanner if same_ae(one.ae, aet)), None)
    policy = configured.worklist if configured is not None else WorklistPolicy()
    scanner = AskedBy(
        calling_ae=aet,
        admitted=configured is not None,
        live=policy.mode is WorklistMode.LIVE,
        max_stale=policy.max_stale,
        hide_performed=policy.hide_performed,
        romanised=profile_of(books, aet).romanised,
    )
    places = [SourceName(ris.name) for ris in books.config.ris]
    return explain_case(gather(books.c, order, scanner, places=places, now=books.now))


def _as_json(one: Explanation) -> dict[str, object]:
    return {
        "source": one.source,
        "stage": one.stage,
        "shown_at": one.shown_at,
        "asked_at": one.asked_at,
        "reasons": [asdict(reason) for reason in one.reasons],
    }


def _show(explained: list[Explanation], zone: tzinfo) -> None:
    screen = console()
    for one in explained:
        if one.source:
            shown = f"shown last {moment(one.shown_at, zone)}" if one.shown_at else "never shown"
            asked = f", explained by the question of {moment(one.asked_at, zone)}" if one.asked_at else ""
            say(screen, f"A row of {one.source}: {shown}{asked}.")
        if not one.reasons:
            say(screen, "The scanner is shown it.")
        lines = ((reason.stage, reason.cause, reason.next_step) for reason in one.reasons)
        show_table(screen, "", ("Stage", "Cause", "Next step"), lines)
