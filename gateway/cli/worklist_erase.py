"""`gateway worklist erase`: a patient out of the books of worklist, orders and check, and out of the orders' folder."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import Annotated, Final

import typer

from gateway.cli.failures import DOES_NOT_HOLD, CommandFailed
from gateway.cli.options import DEFAULT_CONFIG, ConfigPath
from gateway.cli.showing import console, say

LONGEST_FILE: Final = 256 * 2**20
"""Bytes of a file of orders that is looked through."""


def erase(
    *,
    patient: Annotated[str, typer.Option("--patient", metavar="ID", help="The Patient ID, as the RIS writes it.")],
    config: ConfigPath = DEFAULT_CONFIG,
) -> None:
    """Erase one patient's rows, orders and messages, what scanners were shown, the questions that name the patient,
    and of performed steps and messages to a RIS those that it has taken.

    Images and their deliveries are not touched. Erase the patient in the RIS first: it would send the rows again. Ends
    with status 0 only if every file of the orders' folder could be looked at.
    """
    from gateway.cli.opening import writing
    from gateway.domain.hl7_naming import names_patient
    from gateway.spool.erasing import erase_patient
    from gateway.spool.watched import WatchedFolder

    if not patient.strip():
        raise CommandFailed("worklist erase: --patient is empty; write the Patient ID of one patient")
    files = unread = 0
    with writing(config) as books:
        if books.config.orders.folder is not None:
            folder = WatchedFolder(books.config.orders.folder, size_max=LONGEST_FILE)
            with suppress(FileNotFoundError):  # nothing was ever read from it
                files, unread = folder.erase_if(partial(names_patient, PatientID=patient.strip()))
        erased = books.write(partial(erase_patient, PatientID=patient, now=books.now, by=books.by))
    say(
        console(),
        f"Erased: {erased.rows:,} in the copy, {erased.snapshots:,} as shown, {erased.queries:,} of questions,"
        f" {erased.entries:,} of the desk, {erased.orders:,} of orders, {erased.steps:,} performed steps,"
        f" {erased.studies:,} studies checked, {erased.messages:,} messages received and {erased.told:,} told,"
        f" {files:,} files of orders.",
    )
    if unread:
        raise CommandFailed(
            f"worklist erase: {unread:,} files in done and failed of orders.folder can't be read, or are too many at"
            " once; look at them, erase what names the patient, and run this again",
            status=DOES_NOT_HOLD,
        )
