"""A fresh Debian in a folder, and what systemd would do there with our units: no more than they say.

Promises: a command runs as root of that folder and of nothing else of this machine but its network. A unit is started
as its files say, drop-ins included (conditions, user, state and runtime folders, credentials, readiness, watchdog), and
stopped as they say. The maintainer scripts find a `systemctl` that asks us. On leaving nothing of it runs.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

IN_ITS_ROOT = 'mount -t proc proc "$0/proc" && exec chroot "$0" "$@"'
PLAIN = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"}
SHIM = """\
#!/bin/sh
exec 9>/run/systemctl.lock
flock 9
echo "$*" > /run/systemctl.request
read -r status < /run/systemctl.reply
exit "$status"
"""


@dataclass(slots=True)
class Service:
    """A unit that runs."""

    process: subprocess.Popen[bytes]
    notices: socket.socket
    stop_seconds: float


class Machine:
    """One root folder. Use with `running`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.asked: list[str] = []
        """What the maintainer scripts asked of systemctl."""
        self.services: dict[str, Service] = {}
        self._over = False

    # -- commands --

    def run(self, *command: str, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        """To its end; what it said in one text."""
        return subprocess.run(
            self._inside(command),
            env={**PLAIN, **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=300,
        )

    def _inside(self, command: Sequence[str]) -> list[str]:
        return ["unshare", "--mount", "--propagation", "private", "sh", "-c", IN_ITS_ROOT, str(self.root), *command]

    def path(self, inside: str) -> Path:
        return self.root / inside.lstrip("/")

    # -- units --

    def settings(self, unit: str) -> dict[str, list[str]]:
        """What the unit's file and its drop-ins say, in the order in which systemd reads them."""
        folder = self.path("/usr/lib/systemd/system")
        prefix = unit.partition("-")[0]
        drops = sorted(
            [*folder.glob(f"{prefix}-.service.d/*.conf"), *folder.glob(f"{unit}.d/*.conf")], key=lambda path: path.name
        )
        found: dict[str, list[str]] = defaultdict(list)
        for path in [folder / unit, *drops]:
            for key, value in re.findall(r"^(\w+)=(.*)$", path.read_text(), re.MULTILINE):
                found[key].append(value)
        return found

    def start(self, unit: str) -> bool:
        """Start it and return when it is ready; False if a condition does not hold."""
        said = self.settings(unit)
        if not all(self.path(path).exists() for path in said["ConditionPathExists"]):
            return False
        if unit in self.services:
            return True
        user = said["User"][0]
        for key, parent in (("StateDirectory", "/var/lib"), ("RuntimeDirectory", "/run")):
            self.run("install", "-d", "-o", user, "-g", user, "-m", said[f"{key}Mode"][0], f"{parent}/{said[key][0]}")
        address = f"gateway-{unit}-{os.getpid()}-{time.monotonic_ns()}"
        notices = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        notices.bind(f"\0{address}")
        environment = {
            **PLAIN,
            "NOTIFY_SOCKET": f"@{address}",
            "WATCHDOG_USEC": f"{int(said['WatchdogSec'][0]) * 1_000_000}",
            "CREDENTIALS_DIRECTORY": self._credentials(unit, user, said["LoadCredential"]),
        }
        drop = [
            "setpriv",
            f"--reuid={user}",
            f"--regid={user}",
            "--init-groups",
            "--bounding-set=-all",
            "--no-new-privs",
        ]
        with (self.root.parent / f"{unit}.log").open("ab") as log:
            process = subprocess.Popen(
                self._inside([*drop, *shlex.split(said["ExecStart"][0])]),
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.services[unit] = Service(process, notices, float(said["TimeoutStopSec"][0]))
        self._await(unit, b"READY=1", float(said["TimeoutStartSec"][0]))
        return True

    def _credentials(self, unit: str, user: str, loaded: Sequence[str]) -> str:
        place = f"/run/credentials/{unit}"
        shutil.rmtree(self.path(place), ignore_errors=True)
        self.path(place).mkdir(parents=True)
        for name, _, source in (one.partition(":") for one in loaded):
            for file in self.path(source).iterdir():
                shutil.copyfile(file, self.path(place) / f"{name}_{file.name}")
        self.run("chown", "-R", f"{user}:", place)
        self.run("chmod", "-R", "u=rX,go=", place)
        return place

    def _await(self, unit: str, notice: bytes, seconds: float) -> None:
        service = self.services[unit]
        deadline = time.monotonic() + seconds
        service.notices.settimeout(0.1)
        while True:
            with suppress(TimeoutError):
                if notice in service.notices.recv(4096):
                    return
            assert service.process.poll() is None, f"{unit} ended with {service.process.returncode}\n{self.log(unit)}"
            assert time.monotonic() < deadline, f"{unit}: no {notice!r} within {seconds} s\n{self.log(unit)}"

    def fed(self, unit: str) -> None:
        """Return once it feeds its watchdog."""
        self._await(unit, b"WATCHDOG=1", 60)

    def stop(self, unit: str) -> None:
        """SIGTERM, and SIGKILL when its time is over; what is left of its session goes with it."""
        service = self.services.pop(unit, None)
        if service is None:
            return
        service.process.send_signal(signal.SIGTERM)
        try:
            service.process.wait(service.stop_seconds)
        except subprocess.TimeoutExpired:
            service.process.kill()
            service.process.wait()
        with suppress(ProcessLookupError):
            os.killpg(service.process.pid, signal.SIGKILL)
        service.notices.close()

    def log(self, unit: str) -> str:
        return (self.root.parent / f"{unit}.log").read_text(errors="replace")[-4000:]

    # -- systemctl --

    def _answer(self) -> None:
        # Replies too stay open: who asks while the last reply is being closed would take its end for his own
        reply = os.open(self.path("/run/systemctl.reply"), os.O_RDWR)
        with os.fdopen(os.open(self.path("/run/systemctl.request"), os.O_RDWR)) as requests, os.fdopen(reply, "r+b", 0):
            for line in requests:
                if self._over:
                    return
                self.asked.append(line.strip())
                status = self._obey(line.split())
                os.write(reply, f"{status}\n".encode())

    def _obey(self, words: list[str]) -> int:
        verb, *units = [word for word in words if not word.startswith("-")]
        match verb:
            case "daemon-reload":
                return 0
            case "preset":
                for unit in units:
                    for target in self.settings(unit)["WantedBy"]:
                        link = self.path(f"/etc/systemd/system/{target}.wants") / unit
                        link.parent.mkdir(parents=True, exist_ok=True)
                        link.symlink_to(f"/usr/lib/systemd/system/{unit}")
                return 0
            case "is-active":
                return 0 if units[0] in self.services else 3
            case "start":
                wanted = self.path("/etc/systemd/system/gateway.target.wants")
                units = sorted(one.name for one in wanted.iterdir()) if units == ["gateway.target"] else units
                started = [self.start(unit) for unit in units]
                return 0 if all(started) else 1
            case "stop":
                for unit in [one for one in self.services if any(fnmatch(one, pattern) for pattern in units)]:
                    self.stop(unit)
                return 0
            case "try-restart":
                for unit in [unit for unit in units if unit in self.services]:
                    self.stop(unit)
                    self.start(unit)
                return 0
        return 1


@contextmanager
def running(archive: Path, folder: Path) -> Iterator[Machine]:
    """A machine made of the archive of a root folder."""
    root = folder / "root"
    root.mkdir(parents=True)
    subprocess.run(["tar", "--extract", "--numeric-owner", "--file", archive, "--directory", root], check=True)
    machine = Machine(root)
    (root / "run/systemd/system").mkdir(parents=True)
    (root / "usr/bin/systemctl").write_text(SHIM)
    (root / "usr/bin/systemctl").chmod(0o755)
    os.mkfifo(root / "run/systemctl.request")
    os.mkfifo(root / "run/systemctl.reply")
    answering = threading.Thread(target=machine._answer, name="systemctl", daemon=True)
    answering.start()
    try:
        yield machine
    finally:
        machine._over = True
        (root / "run/systemctl.request").write_text("over\n")
        answering.join(10)
        for unit in list(machine.services):
            machine.stop(unit)
