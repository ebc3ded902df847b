"""An emulated machine (QEMU without acceleration) with a disk, a TPM, a watchdog and a network card of its own.

What is promised: everything it leaves is in its folder; its programs end with it. Each wait has an end.
"""

from __future__ import annotations

import contextlib
import re
import select
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from image.test.monitor import ask

READY = b"GUEST-READY"
BOOT_SECONDS = 400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What is built in."""

    nvme: bool = True
    tpm: bool = True
    watchdog: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What a command in the guest said."""

    status: int
    out: str


class Machine:
    """A guest of `tree.sh`'s folder. Use with `with`."""

    def __init__(self, tree: Path, parts: Parts, log: Path) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="guest-"))
        self._tree, self._parts, self._log = tree, parts, log
        self._programs: list[subprocess.Popen[bytes]] = []
        self._read = b""

    def __enter__(self) -> Self:
        try:
            if self._parts.tpm:
                self._start_tpm()
            self._start()
            self.until_ready()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None) -> None:
        for program in reversed(self._programs):
            program.kill()
            program.wait()
        shutil.rmtree(self._folder, ignore_errors=True)

    def until_ready(self) -> None:
        """Return once the guest has started. Raises TimeoutError."""
        self._until(lambda: READY in self._read, BOOT_SECONDS)
        self._read = self._read.partition(READY)[2]

    def sh(self, command: str, *, seconds: float = 300.0) -> Said:
        """Run a shell command in the guest. Raises TimeoutError."""
        self._read = b""
        self._serial.sendall(f"{command}\necho SAID''-$?-END\n".encode())
        found: list[re.Match[bytes]] = []

        def ended() -> bool:
            found[:] = re.finditer(rb"SAID-(\d+)-END", self._read)
            return bool(found)

        self._until(ended, seconds)
        out = self._read[: found[0].start()].decode("utf-8", "replace").replace("\r", "")
        return Said(status=int(found[0][1]), out=out)

    def begin(self, command: str) -> None:
        """Run a command in the guest that may not come to its end."""
        self._read = b""
        self._serial.sendall(f"{command}\n".encode())

    def put(self, name: str, text: str) -> None:
        """Write a small file."""
        self.sh(f"cat > {name} <<'END-OF-FILE'\n{text}\nEND-OF-FILE")

    def ask(self, execute: str, **arguments: Any) -> None:
        """Tell QEMU something (QMP). Raises RuntimeError if it refuses."""
        ask(self._folder / "qmp", execute, **arguments)

    def _start_tpm(self) -> None:
        state = self._folder / "tpm"
        state.mkdir()
        command = ["swtpm", "socket", "--tpm2", "--tpmstate", f"dir={state}", "--flags", "startup-clear"]
        command += ["--ctrl", f"type=unixio,path={self._folder}/tpm.sock"]
        self._programs.append(subprocess.Popen(command, stdin=subprocess.DEVNULL))
        self._until_there(self._folder / "tpm.sock")

    def _start(self) -> None:
        command = ["qemu-system-x86_64", "-accel", "tcg,thread=multi", "-cpu", "Nehalem", "-smp", "2", "-m", "2048"]
        command += ["-machine", "q35", "-nodefaults", "-display", "none", "-action", "watchdog=reset"]
        command += ["-kernel", str(self._tree / "vmlinuz"), "-initrd", str(self._tree / "initrd")]
        command += ["-append", "console=ttyS0 rdinit=/init quiet mitigations=off"]
        command += ["-netdev", "user,id=n0", "-device", "e1000e,netdev=n0,id=nic", "-device", "virtio-rng-pci"]
        command += ["-chardev", f"socket,id=c0,path={self._folder}/serial,server=on,wait=off", "-serial", "chardev:c0"]
        command += ["-qmp", f"unix:{self._folder}/qmp,server=on,wait=off"]
        if self._parts.nvme:
            disk = self._folder / "nvme.img"
            with disk.open("wb") as file:
                file.truncate(512 << 20)
            subprocess.run(["mkfs.ext4", "-q", str(disk)], check=True)
            command += ["-drive", f"file={disk},if=none,id=d0,format=raw", "-device", "nvme,drive=d0,serial=GUEST1"]
        if self._parts.tpm:
            command += ["-chardev", f"socket,id=tpm,path={self._folder}/tpm.sock"]
            command += ["-tpmdev", "emulator,id=tpm0,chardev=tpm", "-device", "tpm-tis,tpmdev=tpm0"]
        if self._parts.watchdog:
            command += ["-device", "i6300esb"]
        self._programs.append(subprocess.Popen(["nice", "-n", "10", *command], stdin=subprocess.DEVNULL))
        self._until_there(self._folder / "serial")
        self._serial = socket.socket(socket.AF_UNIX)
        self._serial.connect(str(self._folder / "serial"))

    def _until_there(self, path: Path) -> None:
        end = time.monotonic() + 30
        while not path.exists():
            if time.monotonic() > end:
                raise TimeoutError(f"{path.name} does not appear")
            time.sleep(0.05)

    def _until(self, condition: Callable[[], bool], seconds: float) -> None:
        end = time.monotonic() + seconds
        with self._log.open("ab") as log:
            while not condition():
                if time.monotonic() > end or self._programs[-1].poll() is not None:
                    tail = self._read[-2000:].decode("utf-8", "replace")
                    raise TimeoutError(f"the guest did not come so far in {seconds:.0f} s; its last words:\n{tail}")
                ready, _, _ = select.select([self._serial], [], [], 0.5)
                if ready:
                    with contextlib.suppress(BlockingIOError):
                        new = self._serial.recv(65536)
                        self._read += new
                        log.write(new)
