"""The simulators as programs, for `gateway simulate ris|pacs|scanner`.

What is promised: each returns an exit status, 0 only if what it stands for was done; RIS and PACS run until
Ctrl-C or SIGTERM. A port that can't be had is said in one line, with status 1.
"""

from __future__ import annotations

import asyncio
import signal
import tempfile
from collections.abc import Collection, Mapping
from datetime import UTC, date, datetime
from functools import lru_cache
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from gateway.dicom.elements import DataSet
from gateway.domain.model import GatewayError
from gateway.simulate.acceptor import Simulator, quiet
from gateway.simulate.keywords import text
from gateway.simulate.pacs import PacsBehaviour, PacsSimulator, ReportTo
from gateway.simulate.ris import STATIONS, RisBehaviour, RisSimulator, sample_rows
from gateway.simulate.scanner import Scanner, Sent
from gateway.simulate.study import Modality, make_study


def run_ris(
    *,
    console: Console,
    host: str = "127.0.0.1",
    port: int = 11113,
    ae: str = "RIS",
    per_modality: int = 3,
    stations: Mapping[str, str] = STATIONS,
    behaviour: RisBehaviour = RisBehaviour.ANSWER,
) -> int:
    """Serve `per_modality` scheduled steps of today (UTC) for each station."""

    @lru_cache(maxsize=1)
    def rows_of(day: date) -> list[DataSet]:
        return sample_rows(day, per_modality=per_modality, stations=stations)

    ris = RisSimulator(rows=lambda: rows_of(datetime.now(UTC).date()), ae=ae, host=host, port=port, behaviour=behaviour)
    return asyncio.run(_until_stopped(ris, f"RIS {ae} at {host}:{port}, {behaviour}", console))


def run_pacs(
    *,
    console: Console,
    host: str = "127.0.0.1",
    port: int = 11114,
    ae: str = "PACS",
    folder: Path | None = None,
    transfer_syntaxes: Collection[str] | None = None,
    behaviour: PacsBehaviour = PacsBehaviour.UP,
    seed: int = 0,
    report_to: ReportTo | None = None,
) -> int:
    """Keep what is sent, in `folder` if there is one."""
    pacs = PacsSimulator(
        ae=ae,
        host=host,
        port=port,
        folder=folder,
        transfer_syntaxes=transfer_syntaxes,
        behaviour=behaviour,
        seed=seed,
        report_to=report_to,
    )
    held = f", {len(pacs.held)} objects held" if folder else ""
    return asyncio.run(_until_stopped(pacs, f"PACS {ae} at {host}:{port}, {behaviour}{held}", console))


async def _until_stopped(simulator: Simulator, words: str, console: Console) -> int:
    stop = asyncio.Event()
    for one in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(one, stop.set)
    with quiet():
        try:
            await simulator.start()
        except OSError as error:
            console.print(f"[red]not started[/]: {escape(error.strerror or type(error).__name__)}; choose another port")
            return 1
        try:
            console.print(escape(words))
            await stop.wait()
        finally:
            await simulator.stop()
    return 0


def run_scanner(
    *,
    console: Console,
    port: int,
    host: str = "127.0.0.1",
    called_ae: str = "GATEWAY",
    worklist_ae: str = "",
    calling_ae: str = "CT1",
    modality: Modality = Modality.CT,
    instances: int = 20,
    give_up_after: float = 60.0,
    commitment_wait: float | None = 10.0,
) -> int:
    """Ask for the worklist, make a study from its first entry, send it, and ask for its commitment.

    A report (SR) belongs to the first entry of any modality. `commitment_wait` None: don't ask. Status 0
    only if every instance was accepted, and committed if that was asked for.
    """
    scanner = Scanner(host=host, port=port, called_ae=called_ae, worklist_ae=worklist_ae, calling_ae=calling_ae)
    try:
        entries = scanner.query() if modality is Modality.SR else scanner.query(Modality=modality.value)
        console.print(f"worklist: {len(entries)} entries for {modality}")
        if not entries:
            return 1
        with tempfile.TemporaryDirectory(prefix="gateway-scanner-") as folder:
            files = make_study(entries[0], modality, Path(folder), at=datetime.now(UTC), instances=instances)
            console.print(f"study: {text(entries[0], 'StudyInstanceUID')}")
            sent = scanner.send_until_accepted(files, give_up_after=give_up_after)
        accepted = sum(one.accepted for one in sent)
        console.print(f"accepted: {accepted}/{len(sent)}")
        if accepted < len(sent):
            return 1
        return 0 if commitment_wait is None else _committed(scanner, sent, commitment_wait, console)
    except GatewayError as error:
        console.print(f"[red]failed[/]: {escape(str(error))}")
        return 1


def _committed(scanner: Scanner, sent: list[Sent], wait: float, console: Console) -> int:
    result = scanner.commit([one.reference for one in sent], wait=wait)
    if result is None:
        console.print(f"commitment: no result within {wait:g} s")
        return 1
    console.print(f"committed: {len(result.committed)}/{len(sent)}")
    return 0 if len(result.committed) == len(sent) else 1
