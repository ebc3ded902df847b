"""What this box can do: a gateway of its own on the spool's disk, a simulated scanner before it, a PACS behind it.

What is promised: the gateway that is measured is the one that is installed, started as it is on every box, on
loopback and in a folder that is gone afterwards; an image counts once its success was answered, so once it is durable,
and as delivered once the simulated PACS holds the very bytes that the scanner sent.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from gateway.domain.model import GatewayError
from gateway.simulate.acceptor import quiet
from gateway.simulate.box import Box
from gateway.simulate.pacs import PacsSimulator
from gateway.simulate.ris import RisSimulator, sample_rows
from gateway.simulate.scanner import Scanner
from gateway.simulate.study import Modality, make_study
from gateway.simulate.trip import SCANNER_AE, byte_exact
from hwtests.outcome import Fault

DEADLINE = 600.0
_LOOK_SECONDS = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Throughput:
    """Of one study."""

    accepted: float
    """MB/s, from the first image to the last success."""
    delivered: float
    """MB/s, from the first image to the last one at the PACS."""
    images: int


def measure(folder: Path, images: int) -> Throughput:
    """Send a CT of so many images through a gateway of its own in `folder`. Raises Fault if one does not arrive."""
    with tempfile.TemporaryDirectory(prefix=".commission-", dir=folder) as scratch, quiet():
        try:
            return asyncio.run(asyncio.wait_for(_trip(Path(scratch), images), DEADLINE))
        except TimeoutError:
            raise Fault(f"the study did not arrive in {DEADLINE:.0f} s; look at the disk and the processor") from None
        except GatewayError as error:
            raise Fault(f"the gateway of the test failed: {error}") from None


async def _trip(folder: Path, images: int) -> Throughput:
    rows = sample_rows(datetime.now(UTC).date())
    async with (
        RisSimulator(rows=rows) as ris,
        PacsSimulator(folder=folder / "pacs") as pacs,
        Box(folder, ris_port=ris.port, pacs_port=pacs.port, scanner_ae=SCANNER_AE) as box,
    ):
        scanner = Scanner(host="127.0.0.1", port=box.port, called_ae="GATEWAY", calling_ae=SCANNER_AE)
        files = await asyncio.to_thread(
            make_study, rows[0], Modality.CT, folder / "scanner", at=datetime.now(UTC), instances=images
        )
        size = sum(path.stat().st_size for path in files) / 1e6
        await _answering(scanner, box)
        began = time.perf_counter()
        sent = await asyncio.to_thread(scanner.send, files)
        accepted = time.perf_counter() - began
        refused = [one for one in sent if not one.accepted]
        if refused:
            raise Fault(f"{len(refused)} of {images} images were not accepted; look at the free space of the disk")
        while any(one.SOPInstanceUID not in pacs.held for one in sent):
            await _pause(box)
        delivered = time.perf_counter() - began
        if await asyncio.to_thread(byte_exact, pacs, sent) < len(sent):
            raise Fault(
                "an image arrived with other bytes than were sent; replace memory and disk before anything else"
            )
    return Throughput(accepted=size / accepted, delivered=size / delivered, images=images)


async def _answering(scanner: Scanner, box: Box) -> None:
    while True:
        try:
            if await asyncio.to_thread(scanner.echo) == 0:
                return
        except GatewayError:
            pass  # it is still starting; the deadline ends this
        await _pause(box)


async def _pause(box: Box) -> None:
    if box.ended:
        raise Fault("the gateway of the test ended by itself; start one by hand: gateway simulate trip --once")
    await asyncio.sleep(_LOOK_SECONDS)
