"""dcmjs-dimse, node-hl7-client and node-hl7-server under Node: a third, unrelated implementation, as an SCU, a sender
and a receiver of HL7.

`make setup` installs `node_modules` by `npm ci` from the lock file, which names no registry; else the first test does.
"""

import fcntl
import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.peers.processes import HOST, Program, free_port, program, run

HOME = Path(__file__).parent / "node"
available = shutil.which("node") is not None and shutil.which("npm") is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeAnswer:
    """What the script reported. `rows` are dcmjs' naturalised data sets; `problem` is a network failure in words."""

    returncode: int
    statuses: tuple[int, ...]
    rows: tuple[dict[str, Any], ...]
    problem: str | None


def install() -> None:
    """Install what the lock file says where `make setup` did not; raise with npm's words if that fails."""
    lock = HOME / "package-lock.json"
    with lock.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        if _listed(lock) == _listed(HOME / "node_modules" / ".package-lock.json"):
            return
        ended = run(["npm", "ci", "--no-audit", "--no-fund"], folder=HOME, limit=300)
        if ended.returncode:
            msg = f"npm ci failed in tests/peers/node: is the npm registry reachable?\n{ended.output}"
            raise RuntimeError(msg)


def _listed(lock: Path) -> dict[str, Any]:
    """The packages of a lock file, but for the one that it is of. npm writes such a file when all of them are there."""
    if not lock.exists():
        return {}
    return {name: package for name, package in json.loads(lock.read_bytes())["packages"].items() if name}


def find(
    port: int, *, called: str, calling: str = "NODE_FIND", keys: Sequence[str] = (), limit: float = 180
) -> NodeAnswer:
    """Query the worklist; `keys` such as "PatientName=TEST*" or "Modality=CT"."""
    return _script("find.js", port, called=called, calling=calling, arguments=keys, limit=limit)


def store(
    port: int, files: Sequence[Path], *, called: str, calling: str = "NODE_STORE", limit: float = 180
) -> NodeAnswer:
    """Send `files`; `returncode` is 0 only when each was answered 0000."""
    return _script(
        "store.js", port, called=called, calling=calling, arguments=[str(file) for file in files], limit=limit
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeAcknowledgements:
    """What the HL7 script reported."""

    answers: tuple[str, ...]
    problem: str | None


def send_hl7(
    port: int, files: Sequence[Path], *, certificate: Path | None = None, key: Path | None = None, limit: float = 180
) -> NodeAcknowledgements:
    """Send UTF-8 messages one after the other on one connection; with TLS where a certificate is given."""
    install()
    ended = run(["node", HOME / "hl7.js", HOST, str(port), certificate or "", key or "", *files], limit=limit)
    said = json.loads(ended.output.splitlines()[-1])
    return NodeAcknowledgements(answers=tuple(said["answers"]), problem=said["problem"])


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeReceiver:
    """A receiver of HL7 that answers AA."""

    port: int
    program: Program

    def told(self) -> list[str]:
        """The messages it read, in order, segments parted by CR."""
        lines = (line for line in self.program.text().splitlines() if line.startswith('"'))
        return [json.loads(line) for line in lines]


@contextmanager
def hl7_receiver(folder: Path, *, certificate: Path | None = None, key: Path | None = None) -> Iterator[NodeReceiver]:
    """A receiver on loopback; with TLS where a certificate is given, which who calls must show too."""
    install()
    port = free_port()
    command = ["node", HOME / "hl7_server.js", HOST, str(port), str(certificate or ""), str(key or "")]
    with program(command, port=port, folder=folder) as running:
        yield NodeReceiver(port=port, program=running)


def _script(name: str, port: int, *, called: str, calling: str, arguments: Sequence[str], limit: float) -> NodeAnswer:
    install()
    ended = run(["node", HOME / name, HOST, str(port), called, calling, *arguments], limit=limit)
    try:
        said = json.loads(ended.output.splitlines()[-1])
    except (IndexError, ValueError):
        msg = f"{name} ended with {ended.returncode} and no JSON:\n{ended.output}"
        raise RuntimeError(msg) from None
    return NodeAnswer(
        returncode=ended.returncode,
        statuses=tuple(said["statuses"]),
        rows=tuple(said.get("rows", ())),
        problem=said["problem"],
    )
