"""A box in QEMU: its disk, its TPM, its two serial ports, and the power switch.

What is promised: the machine is emulated (`-accel tcg`; /dev/kvm of a rented host may be a trap that hangs at the first
instruction), everything it listens on is a free port of loopback, and it is gone when `off` returns. `off` is the hard
kill: what the guest had not yet handed to the disk is lost, what it had is not: a crash, not a power cut.
Raises `TimeoutError` with the last words of the console, `RuntimeError` if QEMU ended by itself.

The emulated firmware may stand still when a machine with two processors is restarted on a busy host: it calls the
second one and waits for it without end (tianocore/edk2, pull request 13164). `starts` presses the reset button then,
and only where the firmware has said nothing at all, so that nothing of ours is excused.
"""

from __future__ import annotations

import contextlib
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from image.test.monitor import ask

FIRMWARE: Final = Path("/usr/share/OVMF")
# x86-64-v2, which numpy's wheels need; `max` is slower under TCG and has no vendor the kernel knows (trap 5)
CPU: Final = "Nehalem"
DISK: Final = "6G"
"""More than disk.raw has, as on every box."""
SILENCE: Final = 60.0
"""Seconds in which the firmware says its first word after a restart, with much to spare: it takes 5."""
PROMPT: Final = "test>"
"""Of the test's shell (files/usr/lib/systemd/system/box-test-shell.service)."""
_REGISTERS: Final = "info registers -a"
_RESTARTED: Final = re.compile(rb"(reboot: Restarting system|Rebooting in \d+ seconds\.\.)\s*\Z")
"""The kernel's last words."""
_ESCAPES: Final = re.compile(rb"\x1b\[[0-9;?]*[A-Za-z]|\x1b[=>()][0-9A-Za-z]?")


def free_port() -> int:
    """A port of loopback that nobody has now."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


class Serial:
    """One serial port: what came out of it, and what is typed."""

    def __init__(self, path: Path, log: Path) -> None:
        self._path, self._log = path, log.open("ab")
        self._sock = socket.socket(socket.AF_UNIX)
        self.seen = b""

    def connect(self, alive: subprocess.Popen[bytes], *, seconds: float = 30) -> None:
        """As soon as QEMU has made it."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and alive.poll() is None:
            with contextlib.suppress(OSError):
                self._sock.connect(str(self._path))
                return
            select.select([], [], [], 0.05)
        raise RuntimeError(f"QEMU made no serial port; it ended with {alive.poll()}")

    def read(self, seconds: float) -> bool:
        """Take what comes within `seconds`; False at the end."""
        ready, _, _ = select.select([self._sock], [], [], seconds)
        if not ready:
            return True
        try:
            came = self._sock.recv(1 << 16)
        except OSError:
            came = b""
        self._log.write(came)
        self._log.flush()
        self.seen = (self.seen + _ESCAPES.sub(b"", came))[-(1 << 20) :]
        return bool(came)

    def type(self, text: str) -> None:
        """As at a keyboard: a UART of a guest that is slow holds 16 bytes."""
        for start in range(0, len(text), 12):
            self._sock.sendall(text[start : start + 12].encode())
            self.read(0.05)

    def close(self) -> None:
        self._sock.close()
        self._log.close()


@dataclass(slots=True, kw_only=True)
class Machine:
    """One box. `folder` keeps what survives a hard kill: disk, TPM state, firmware variables."""

    folder: Path
    base: Path | None
    """What the disk begins with, never written to; None: nothing."""
    disk: str = "virtio-blk-pci"
    """Its kind; QEMU's name of the device."""
    forwarded: Sequence[int] = (11112, 2575)
    """Ports of the guest; `ports` says where they are on loopback."""
    tpm: bool = True
    extra: Sequence[str] = ()
    memory: int = 1536
    ports: dict[int, int] = field(default_factory=dict)
    _qemu: subprocess.Popen[bytes] | None = None
    _swtpm: subprocess.Popen[bytes] | None = None
    console: Serial = field(init=False)
    shell: Serial = field(init=False)
    started: float = 0.0
    stuck: int = 0
    """How often the reset button was pressed for the firmware's sake."""

    def on(self) -> None:
        """Press the power switch."""
        self.folder.mkdir(parents=True, exist_ok=True)
        disk, variables = self.folder / "disk.qcow2", self.folder / "vars.fd"
        if not disk.exists():
            beneath = ["-F", "raw", "-b", str(self.base.resolve())] if self.base else []
            subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", *beneath, str(disk), DISK], check=True)
            shutil.copy(FIRMWARE / "OVMF_VARS_4M.fd", variables)
        self.ports = {port: free_port() for port in self.forwarded}
        self.console = Serial(self.folder / "console.sock", self.folder / "console.log")
        self.shell = Serial(self.folder / "shell.sock", self.folder / "shell.log")
        for name in ("console.sock", "shell.sock", "tpm.sock", "monitor.sock"):
            (self.folder / name).unlink(missing_ok=True)
        self.started = time.monotonic()
        with (self.folder / "qemu.log").open("ab") as log:
            if self.tpm:
                self._start_tpm(log)
            command = ["nice", "-n", "10", *self._command(disk, variables)]
            self._qemu = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.folder)
        self.console.connect(self._qemu)
        self.shell.connect(self._qemu)

    def _start_tpm(self, log: object) -> None:
        state = self.folder / "tpm"
        state.mkdir(exist_ok=True)
        self._swtpm = subprocess.Popen(
            ["swtpm", "socket", "--tpm2", "--tpmstate", f"dir={state}", "--ctrl", "type=unixio,path=tpm.sock"],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.folder,
        )  # fmt: skip

    def _command(self, disk: Path, variables: Path) -> list[str]:
        hostfwd = "".join(f",hostfwd=tcp:127.0.0.1:{here}-:{there}" for there, here in self.ports.items())
        tpm = "-chardev socket,id=tpm,path=tpm.sock -tpmdev emulator,id=t0,chardev=tpm -device tpm-tis,tpmdev=t0"
        return [
            "qemu-system-x86_64", "-accel", "tcg,thread=multi", "-cpu", CPU, "-smp", "2", "-machine", "q35",
            "-m", str(self.memory), "-nodefaults", "-display", "none", "-monitor", "none",
            "-drive", f"if=pflash,format=raw,readonly=on,file={FIRMWARE / 'OVMF_CODE_4M.fd'}",
            "-drive", f"if=pflash,format=raw,file={variables.name}",
            "-drive", f"if=none,id=d0,file={disk.name},format=qcow2,cache=writeback",
            "-device", f"{self.disk},drive=d0,serial=BOX1,bootindex=1",
            "-qmp", "unix:monitor.sock,server=on,wait=off",
            "-netdev", f"user,id=n0{hostfwd}", "-device", "e1000e,netdev=n0",
            "-device", "virtio-rng-pci", "-device", "i6300esb", "-action", "watchdog=reset",
            "-chardev", "socket,id=c0,path=console.sock,server=on,wait=off", "-serial", "chardev:c0",
            "-chardev", "socket,id=c1,path=shell.sock,server=on,wait=off", "-serial", "chardev:c1",
            *(tpm.split() if self.tpm else ()), *self.extra,
        ]  # fmt: skip

    @property
    def age(self) -> float:
        """Seconds since the power switch."""
        return time.monotonic() - self.started

    def wait(self, pattern: str, *, seconds: float, port: str = "console") -> re.Match[bytes]:
        """Until the port said something like `pattern`; what came before it is forgotten."""
        serial: Serial = getattr(self, port)
        wanted, end, over = re.compile(pattern.encode()), time.monotonic() + seconds, False
        while (found := wanted.search(serial.seen)) is None:
            if over:
                raise TimeoutError(f"{pattern!r} did not come in {seconds:.0f} s; last: {serial.seen[-1500:]!r}")
            over = time.monotonic() > end  # what came while we were not let run is read before we give up
            self.drain()
        serial.seen = serial.seen[found.end() :]
        return found

    def starts(self, said: str, *, seconds: float) -> None:
        """Until the loader said so on the console."""
        end = time.monotonic() + seconds
        while True:
            try:
                self.wait(re.escape(said), seconds=min(SILENCE, end - time.monotonic()))
            except TimeoutError:
                if time.monotonic() >= end:
                    raise
                if _RESTARTED.search(self.console.seen):
                    self.stuck += 1
                    state = ask(self.folder / "monitor.sock", "human-monitor-command", **{"command-line": _REGISTERS})
                    (self.folder / f"stuck-{self.stuck}.log").write_text(str(state))
                    print(f"image-test: the firmware stands still; reset for the {self.stuck}. time", flush=True)
                    ask(self.folder / "monitor.sock", "system_reset")
            else:
                return

    def until_off(self, *, seconds: float) -> None:
        """Until the machine has switched itself off."""
        end = time.monotonic() + seconds
        while self._qemu is not None and self._qemu.poll() is None:
            if time.monotonic() > end:
                raise TimeoutError(f"the machine is still on after {seconds:.0f} s: {self.console.seen[-500:]!r}")
            self.console.read(0.2)
        self.off()

    def drain(self, seconds: float = 0.2) -> None:
        """Take what both ports say, so that neither stops the guest."""
        if self._qemu is None or self._qemu.poll() is not None:
            raise RuntimeError(f"the machine is off: {self.console.seen[-500:]!r}")
        self.shell.read(seconds / 2)
        self.console.read(seconds / 2)

    def sh(self, command: str, *, seconds: float = 120, check: bool = True) -> str:
        """Run a command in the test's shell; what it said. Raises RuntimeError if it failed."""
        mark = os.urandom(4).hex()
        self.shell.seen = b""
        # The mark is put together by the shell, so that the echo of what is typed does not look like the end
        self.shell.type(f"{{ {command} ; }} 2>&1; echo FI''N{mark}:$?:\n")
        found = self.wait(rf"(?s)\A(.*?)FIN{mark}:(\d+):", seconds=seconds, port="shell")
        said = found[1].decode(errors="replace").replace("\r", "")
        # Where the terminal still echoes, and where the shell's prompt came late
        said = said.rpartition(f"N{mark}:$?:\n")[2].strip().removeprefix(PROMPT).strip()
        if check and found[2] != b"0":
            raise RuntimeError(f"{command} ended with {found[2].decode()}: {said[-1500:]}")
        return said

    def wait_for_shell(self, *, seconds: float = 300) -> None:
        """Until the test's shell answers, and has no more to say to what was asked before it was there."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            mark = os.urandom(4).hex()
            self.shell.type(f"stty -echo cols 500 2>/dev/null; echo RE''ADY{mark}\n")
            with contextlib.suppress(TimeoutError):
                self.wait(f"READY{mark}\r?\n", seconds=10, port="shell")
                return
        raise TimeoutError(f"no shell in {seconds} s; console: {self.console.seen[-1500:]!r}")

    def off(self) -> None:
        """Pull the plug: SIGKILL, nothing is written any more."""
        for process in (self._qemu, self._swtpm):
            if process is not None and process.poll() is None:
                process.send_signal(signal.SIGKILL)
                process.wait()
        self._qemu = self._swtpm = None
        self.console.close()
        self.shell.close()

    def pause(self, *, go_on: bool = False) -> None:
        """Stop the emulation, or let it go on: a measurement needs the processor."""
        if self._qemu is not None:
            self._qemu.send_signal(signal.SIGCONT if go_on else signal.SIGSTOP)


def opened(port: int) -> Mapping[str, object]:
    """Where a forwarded port is met from the host."""
    return {"host": "127.0.0.1", "port": port}
