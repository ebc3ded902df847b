"""The site around the box of the test: RIS, PACS and scanner on the host, as the simulators of the gateway play them.

The guest sees the host at 10.0.2.2 (QEMU's user network), the host sees the guest at forwarded ports of loopback.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Final

from pydicom import dcmread

from gateway.dicom.negotiation import VERIFICATION, propose
from gateway.domain.model import GatewayError
from gateway.net.dicom_client import Peer, Requestor
from gateway.simulate.scanner import Scanner, Sent
from gateway.simulate.study import Modality, make_study
from image.test.machine import Machine, free_port

HOST: Final = "10.0.2.2"
"""The host, as the guest sees it; and where its calls come from."""
DICOM: Final = 11112


@dataclass(slots=True, kw_only=True)
class Site:
    """Peers with free ports, for as long as the test lasts."""

    folder: Path
    ris_port: int = field(default_factory=free_port)
    pacs_port: int = field(default_factory=free_port)
    acknowledged: dict[str, Path] = field(default_factory=dict)
    """What the box said 0000 to: SOP Instance UID and file."""
    _running: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def open(self) -> None:
        """RIS and PACS begin to listen. Commitment comes back over the association that asked for it."""
        self.archive.mkdir(parents=True, exist_ok=True)
        ris = ["ris", "--port", str(self.ris_port), "--station", "CT=CT1"]
        pacs = ["pacs", "--port", str(self.pacs_port), "--folder", str(self.archive)]
        for words in (ris, pacs):
            with (self.folder / f"{words[0]}.log").open("ab") as log:
                command = [sys.executable, "-m", "gateway", "simulate", *words]
                self._running.append(subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log))

    def close(self) -> None:
        for process in self._running:
            process.terminate()
            process.wait()

    @property
    def archive(self) -> Path:
        """What the PACS holds."""
        return self.folder / "archive"

    def scanner(self, box: Machine) -> Scanner:
        """CT1, which calls the box through its forwarded port; an emulated box takes its time."""
        return Scanner(
            host="127.0.0.1", port=box.ports[DICOM], called_ae="GATEWAY", calling_ae="CT1",
            connect_timeout=20, timeout=120,
        )  # fmt: skip

    @contextmanager
    def connected(self, box: Machine) -> Iterator[None]:
        """An association of CT1's that is open and does nothing."""
        peer = Peer(
            host="127.0.0.1", port=box.ports[DICOM], called_ae="GATEWAY", calling_ae="CT1",
            connect_timeout=20, timeout=120,
        )  # fmt: skip
        with Requestor.connect(peer, propose({VERIFICATION: []})):
            yield

    def wait_for_echo(self, box: Machine, *, seconds: float) -> float:
        """C-ECHO until it is answered; the machine's age then."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            box.drain(1)
            try:
                if self.scanner(box).echo() == 0:
                    return box.age
            except (GatewayError, OSError):
                continue
        raise TimeoutError(f"no C-ECHO in {seconds:.0f} s; console: {box.console.seen[-800:]!r}")

    def study(self, entry: object, *, instances: int, seed: int) -> list[Path]:
        """CT slices of a worklist entry, or of nobody that was scheduled."""
        made = make_study(
            entry or {}, Modality.CT, self.folder / f"study-{seed}", at=datetime(2026, 1, 2, 3, 4, 5),  # type: ignore[arg-type]  # noqa: DTZ001
            instances=instances, seed=seed, station_ae="CT1",
        )  # fmt: skip
        return list(made)

    def took(self, sent: Sent) -> None:
        """Note what the box has answered for."""
        self.acknowledged[sent.SOPInstanceUID] = sent.path

    def archived(self) -> set[str]:
        """SOP Instance UIDs that the PACS holds."""
        return {str(dcmread(path, stop_before_pixels=True).SOPInstanceUID) for path in self.archive.rglob("*.dcm")}

    def wait_for_archive(self, box: Machine, *, seconds: float) -> None:
        """Until the PACS holds everything that was acknowledged, with the pixels as they were sent."""
        end = time.monotonic() + seconds
        while missing := self.acknowledged.keys() - self.archived():
            if time.monotonic() > end:
                raise TimeoutError(f"{len(missing)} of {len(self.acknowledged)} acknowledged objects are not archived")
            box.drain(1)
        held = {str(one.SOPInstanceUID): one for one in map(dcmread, self.archive.rglob("*.dcm"))}
        for uid, path in self.acknowledged.items():
            assert held[uid].PixelData == dcmread(path).PixelData
