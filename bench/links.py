"""A link of a given speed between two network namespaces, made for one measurement and removed after it.

What is promised: what is started `at` the near end reaches the far end at FAR and nothing else but its own loopback;
both directions are shaped by tc-tbf(8). It needs root and iproute2: without them the cell fails and says so. Nothing
of the machine's own network is touched.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench import servers
from bench.measure import CellFailed

NEAR: Final = "192.0.2.1"
FAR: Final = "192.0.2.2"
_START_SECONDS: Final = 30.0
_LOOK_SECONDS: Final = 0.02
_LISTENS: Final = "0A"
"""The state of a socket in /proc/net/tcp, proc(5)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """The names of its two namespaces."""

    near: str
    far: str

    def down(self) -> None:
        """The far end is gone: packets to it are lost and nothing answers for it."""
        _do(f"ip -n {self.far} link set far down")


@contextmanager
def link(megabits: float | None) -> Iterator[Link]:
    """Two namespaces and the link between them; None: as fast as the machine is."""
    made = Link(near=f"bench-{os.getpid()}-near", far=f"bench-{os.getpid()}-far")
    try:
        for name in (made.near, made.far):
            _do(f"ip netns add {name}")
        _do(f"ip -n {made.near} link add near type veth peer name far netns {made.far}")
        for name, device, address in ((made.near, "near", NEAR), (made.far, "far", FAR)):
            _do(f"ip -n {name} address add {address}/30 dev {device}")
            _do(f"ip -n {name} link set lo up")
            _do(f"ip -n {name} link set {device} up")
            if megabits is not None:
                _do(f"tc -n {name} qdisc add dev {device} root tbf rate {megabits:g}mbit burst 32kb latency 200ms")
        yield made
    finally:
        for name in (made.near, made.far):
            subprocess.run(["ip", "netns", "delete", name], stderr=subprocess.DEVNULL, check=False)


def at(namespace: str, command: Sequence[str]) -> list[str]:
    """The command that runs this one in a namespace, as the same process."""
    return ["ip", "netns", "exec", namespace, *command]


@contextmanager
def listening(namespace: str, command: Sequence[str], *, port: int, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A tuned program in a namespace, once it listens at `port`, which nothing else on the machine does."""
    folder.mkdir(exist_ok=True)
    with servers.background(at(namespace, command), folder, tuned=True) as process:
        end = time.monotonic() + _START_SECONDS
        while not _listens(process.pid, port):
            if process.poll() is not None or time.monotonic() > end:
                said = (folder / "output.log").read_text("utf-8", "replace")
                raise CellFailed(f"{Path(command[0]).name} does not listen: {said[-500:]}")
            time.sleep(_LOOK_SECONDS)
        yield process


def _listens(pid: int, port: int) -> bool:
    """Whether anything in the namespace of this process listens at the port: to connect would be an association."""
    sockets = (line.split() for line in Path(f"/proc/{pid}/net/tcp").read_text("ascii").splitlines()[1:])
    return any(one[3] == _LISTENS and int(one[1].rpartition(":")[2], 16) == port for one in sockets)


def _do(command: str) -> None:
    try:
        subprocess.run(command.split(), capture_output=True, text=True, check=True)
    except OSError as error:
        raise CellFailed(f"a shaped link needs iproute2: {error}") from error
    except subprocess.CalledProcessError as error:
        raise CellFailed(
            f"a shaped link could not be made, it needs root: {command}: {error.stderr.strip()}"
        ) from error
