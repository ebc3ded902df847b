"""`gateway worklist erase`: a patient out of the worklist's books."""

from __future__ import annotations

from functools import partial
from typing import Annotated

import typer

from gateway.cli.failures import CommandFailed
from gateway.cli.options import DEFAULT_CONFIG, ConfigPath
from gateway.cli.showing import console, say


def erase(
    *,
    patient: Annotated[str, typer.Option("--patient", metavar="ID", help="The Patient ID, as the RIS writes it.")],
    config: ConfigPath = DEFAULT_CONFIG,
) -> None:
    """Erase one patient's rows, what scanners were shown of them, the questions that name the patient, and the
    performed steps that every RIS has taken.

    Images and their deliveries are not touched. Erase the patient in the RIS first: it would send the rows again.
    """
    from gateway.cli.opening import writing
    from gateway.spool.erasing import erase_patient

    if not patient.strip():
        raise CommandFailed("worklist erase: --patient is empty; write the Patient ID of one patient")
    with writing(config) as books:
        erased = books.write(partial(erase_patient, PatientID=patient, now=books.now, by=books.by))
    say(
        console(),
        f"Erased: {erased.rows:,} in the copy, {erased.snapshots:,} as shown, {erased.queries:,} of questions,"
        f" {erased.entries:,} of the desk, {erased.orders:,} of orders, {erased.steps:,} performed steps,"
        f" {erased.studies:,} studies checked.",
    )
