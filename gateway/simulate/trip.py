"""One whole trip, as `make run` shows it: worklist, study, acceptance, delivery, confirmation.

What is promised: status 0 only if the simulated PACS holds every instance with the bytes the scanner sent
(xxh3-128 over transfer syntax and data set), and the gateway's own books say that each is confirmed. Every
wait ends with the deadline; what was started is stopped in reverse order, also after Ctrl-C or SIGTERM.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.markup import escape

from gateway.dicom.elements import DataSet
from gateway.domain.model import GatewayError
from gateway.simulate.acceptor import quiet
from gateway.simulate.archive import read_file
from gateway.simulate.box import GATEWAY, Box
from gateway.simulate.keywords import text
from gateway.simulate.pacs import PacsSimulator
from gateway.simulate.ris import RisSimulator, sample_rows
from gateway.simulate.scanner import QueryFailed, Scanner, Sent
from gateway.simulate.study import Modality, make_study

SCANNER_AE: Final = "CT1"
COMMITMENT_SECONDS: Final = 10.0
LOOK_AGAIN_SECONDS: Final = 0.2
INTERRUPTED: Final = 130
"""The exit status of a program that Ctrl-C ended."""


class TripFailed(GatewayError):
    """A hop did not happen; the message says which and what to look at."""


@dataclass(slots=True, kw_only=True)
class _Stage:
    """Everything that runs, and what we are waiting for."""

    console: Console
    folder: Path
    ris: RisSimulator
    pacs: PacsSimulator
    box: Box
    scanner: Scanner
    end: float
    """On the loop's clock."""
    instances: int
    awaited: str = ""

    @contextlib.contextmanager
    def waits(self, awaited: str) -> Iterator[None]:
        """Show what we are waiting for now."""
        self.awaited = awaited
        with self.console.status(f"waiting for {awaited}"):
            yield

    def hop(self, name: str, what: str) -> None:
        self.console.print(f"  [green]ok[/]  {name:<11} {escape(what)}")

    async def look_again(self) -> None:
        """Pause before the next look. Raises TripFailed if the gateway is no more."""
        if self.box.ended:
            raise TripFailed(f"the gateway ended while we were waiting for {self.awaited}")
        await asyncio.sleep(LOOK_AGAIN_SECONDS)


async def trip(
    *,
    once: bool,
    folder: Path | None,
    console: Console,
    instances: int = 20,
    deadline: float = 60.0,
    command: Sequence[str] = GATEWAY,
) -> int:
    """Make the trip and, unless `once`, keep everything running until Ctrl-C. Returns the exit status.

    `folder` keeps configuration, state, log and objects (None: a temporary folder); `deadline` is in
    seconds for the trip; `command` is how the gateway is called.
    """
    show = asyncio.create_task(
        _show(once=once, folder=folder, console=console, instances=instances, deadline=deadline, command=command)
    )
    with quiet(), _cancelled_by_signals(show):
        try:
            await asyncio.wait({show})
        finally:
            show.cancel()  # only if we are cancelled ourselves; a task that is done ignores it
            await asyncio.wait({show})
    return INTERRUPTED if show.cancelled() else show.result()


@contextlib.contextmanager
def _cancelled_by_signals(task: asyncio.Task[int]) -> Iterator[None]:
    """The first Ctrl-C or SIGTERM ends the task in good order; more of them do not disturb its end."""
    loop = asyncio.get_running_loop()
    signals = (signal.SIGINT, signal.SIGTERM)
    asked: list[bool] = []

    def ask() -> None:
        if not asked:
            asked.append(task.cancel())

    try:
        for one in signals:
            loop.add_signal_handler(one, ask)
        yield
    finally:
        for one in signals:
            loop.remove_signal_handler(one)


async def _show(
    *, once: bool, folder: Path | None, console: Console, instances: int, deadline: float, command: Sequence[str]
) -> int:
    async with AsyncExitStack() as stack:
        if folder is None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gateway-trip-")))
        folder = folder.absolute()
        folder.mkdir(parents=True, exist_ok=True)
        rows = sample_rows(datetime.now(UTC).date())
        ris = await stack.enter_async_context(RisSimulator(rows=rows))
        pacs = await stack.enter_async_context(PacsSimulator(folder=folder / "pacs"))
        box = Box(folder, ris_port=ris.port, pacs_port=pacs.port, scanner_ae=SCANNER_AE, command=command)
        await stack.enter_async_context(box)
        scanner = Scanner(
            host="127.0.0.1", port=box.port, called_ae="GATEWAY", worklist_ae="GATEWAY_MWL", calling_ae=SCANNER_AE
        )
        stage = _Stage(
            console=console,
            folder=folder,
            ris=ris,
            pacs=pacs,
            box=box,
            scanner=scanner,
            end=asyncio.get_running_loop().time() + deadline,
            instances=instances,
        )
        try:
            async with asyncio.timeout(deadline):
                study = await _hops(stage)
        except (GatewayError, TimeoutError) as error:
            return _say_why(stage, str(error) or f"the deadline passed while we were waiting for {stage.awaited}")
        return 0 if once else await _keep_running(stage, study)


async def _hops(stage: _Stage) -> str:
    """The trip; returns the Study Instance UID. Raises TripFailed, TemporaryFailure."""
    with stage.waits("the gateway's first C-ECHO"):
        await _until_it_answers(stage)
    with stage.waits("the worklist"):
        entry = await _ask_worklist(stage)
    with stage.waits("the beginning of the step, told"):
        step = await asyncio.to_thread(stage.scanner.begin_step, entry, at=datetime.now(UTC))
    with stage.waits("the study, made and sent"):
        sent = await _send_study(stage, entry)
    with stage.waits("the end of the step, told and at the RIS"):
        await asyncio.to_thread(stage.scanner.end_step, step, sent, at=datetime.now(UTC))
        await _until_told(stage, step)
    with stage.waits("the commitment result for the scanner"):
        await _ask_commitment(stage, sent)
    study = text(entry, "StudyInstanceUID")
    with stage.waits("the delivery to the PACS"):
        await _until_held(stage, sent)
    with stage.waits("the confirmation in the gateway's books"):
        await _until_confirmed(stage, study, sent)
    return study


async def _until_it_answers(stage: _Stage) -> None:
    began = time.monotonic()
    while True:
        try:
            if await asyncio.to_thread(stage.scanner.echo) == 0:
                break
        except GatewayError:
            pass  # it is still starting; `look_again` ends this
        await stage.look_again()
    stage.hop("gateway", f"answers C-ECHO after {time.monotonic() - began:.1f} s")


async def _ask_worklist(stage: _Stage) -> DataSet:
    began = time.monotonic()
    while not (rows := await asyncio.to_thread(_entries, stage.scanner)):
        await stage.look_again()
    stage.hop("worklist", f"{len(rows)} rows in {(time.monotonic() - began) * 1000:.0f} ms, through the gateway")
    return rows[0]


def _entries(scanner: Scanner) -> list[DataSet]:
    """None where the gateway has not heard its RIS yet: it answers scanners before that."""
    try:
        return scanner.query(Modality="CT", ScheduledStationAETitle=SCANNER_AE)
    except QueryFailed:
        return []


async def _send_study(stage: _Stage, entry: DataSet) -> list[Sent]:
    now = datetime.now(UTC)
    files = await asyncio.to_thread(
        make_study, entry, Modality.CT, stage.folder / "scanner", at=now, instances=stage.instances
    )
    size = sum(path.stat().st_size for path in files)
    began = time.monotonic()
    sent = await asyncio.to_thread(
        stage.scanner.send_until_accepted, files, give_up_after=stage.end - asyncio.get_running_loop().time()
    )
    accepted = sum(one.accepted for one in sent)
    took = time.monotonic() - began
    if accepted < len(files):
        last = next(one for one in sent if not one.accepted)
        raise TripFailed(f"{accepted} of {len(files)} accepted; {last.reason or f'status {last.status:04X}'}")
    stage.hop("accepted", f"{accepted}/{len(files)} instances durable, {size / 1e6:.1f} MB in {took:.2f} s")
    return sent


async def _until_told(stage: _Stage, step: str) -> None:
    began = time.monotonic()
    while stage.ris.steps.get(step) != "COMPLETED":
        await stage.look_again()
    stage.hop("performed", f"begun and completed at the RIS too, {time.monotonic() - began:.2f} s later")


async def _ask_commitment(stage: _Stage, sent: list[Sent]) -> None:
    result = await asyncio.to_thread(stage.scanner.commit, [one.reference for one in sent], wait=COMMITMENT_SECONDS)
    if result is None:
        stage.console.print(f"  --  commitment  no result for the scanner within {COMMITMENT_SECONDS:.0f} s")
    else:
        stage.hop("commitment", f"{len(result.committed)}/{len(sent)} promised to the scanner")


async def _until_held(stage: _Stage, sent: list[Sent]) -> None:
    began = time.monotonic()
    while sum(one.SOPInstanceUID in stage.pacs.held for one in sent) < len(sent):
        await stage.look_again()
    took = time.monotonic() - began
    stage.hop("delivered", f"{len(sent)}/{len(sent)} instances at the PACS, {took:.2f} s later")


async def _until_confirmed(stage: _Stage, study: str, sent: list[Sent]) -> None:
    exact = await asyncio.to_thread(byte_exact, stage.pacs, sent)
    if exact < len(sent):
        raise TripFailed(f"only {exact} of {len(sent)} instances at the PACS have the bytes that were sent")
    while True:
        books = await stage.box.books(study)
        confirmed = sum(books is not None and one.SOPInstanceUID in books.confirmed for one in sent)
        if confirmed == len(sent):
            break
        await stage.look_again()
    stage.hop("confirmed", f"{confirmed}/{len(sent)} in the gateway's books, {exact}/{len(sent)} byte-exact")


def byte_exact(pacs: PacsSimulator, sent: Sequence[Sent]) -> int:
    """How many of the files the PACS holds with the same transfer syntax and data set."""
    held = pacs.held
    return sum(
        one.SOPInstanceUID in held and held[one.SOPInstanceUID].content_hash == read_file(one.path).content_hash
        for one in sent
    )


def _say_why(stage: _Stage, why: str) -> int:
    stage.console.print(f"  [red]failed[/]  {escape(why)}")
    stage.console.print("  The gateway's last words:")
    stage.console.print(escape(stage.box.log_end() or "(none)"))
    return 1


async def _keep_running(stage: _Stage, study: str) -> int:
    """Say what can be tried, and wait for Ctrl-C, which is how this ends well."""
    box, config = stage.box, stage.box.config
    stage.console.print(
        f"""
  gateway   GATEWAY, worklist GATEWAY_MWL   127.0.0.1:{box.port}, call as {SCANNER_AE}
  console   http://127.0.0.1:{box.console_port}/
  RIS       RIS                             127.0.0.1:{stage.ris.port}
  PACS      PACS                            127.0.0.1:{stage.pacs.port}

  Try:
    gateway status --config {config}
    gateway study {study} --config {config}
    findscu -W -aet {SCANNER_AE} -aec GATEWAY_MWL -k PatientName -k PatientID -k StudyInstanceUID \\
      127.0.0.1 {box.port}
    gateway simulate scanner --port {box.port} --called-ae GATEWAY --calling-ae {SCANNER_AE}

  Ctrl-C stops everything.""",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )
    try:
        await box.wait()
    except asyncio.CancelledError:
        return 0
    return _say_why(stage, "the gateway ended by itself")
