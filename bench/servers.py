"""The programs that take objects, each fresh in a folder of its own, as a site would start it.

`Server.cpu` counts the process and all its children; `Server.stored` counts what is in its store.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

from bench.places import BUILD, environment, python
from tests.peers.orthanc import Orthanc
from tests.peers.processes import HOST, Program, free_port, program, wait_until_connected

SCANNER: Final = "BENCH"
"""The AE title we call with."""
END_SECONDS: Final = 30
DCMTK: Final = Path("/usr/bin")
ORTHANC: Final = Path("/usr/sbin/Orthanc")
WORKLIST_PLUGIN: Final = Path("/usr/share/orthanc/plugins/libModalityWorklists.so")

_TOML: Final = """\
[site]
name = "bench"
timezone = "UTC"
[box]
id = "bench"
state = "state"
[[listen]]
address = "127.0.0.1"
port = {port}
ae = ["GATEWAY"]
services = ["echo", "worklist", "storage"]
{tls}
[mllp]
address = "127.0.0.1"
port = {mllp}
[[scanner]]
ae = "{scanner}"
worklist = {{ mode = "copy" }}
[console]
address = "127.0.0.1"
port = {console}
"""
_SENDER: Final = """\
[[sender]]
name = "feed"
"""
_DESTINATION: Final = """\
[[destination]]
name = "{name}"
host = "{host}"
port = {port}
ae = "STORESCP"
confirm = "status"
compression = "{compression}"
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A running peer."""

    ae: str
    port: int
    pid: int
    stored: Callable[[], int]

    def cpu(self) -> float:
        """CPU seconds so far."""
        return cpu_of(self.pid)


Start = Callable[[Path, bool], AbstractContextManager[Server]]
"""(folder, tuned) -> the server, listening."""


def cpu_of(pid: int) -> float:
    """CPU seconds of a process and its children, those that ended included."""
    seconds = 0.0
    with contextlib.suppress(psutil.NoSuchProcess):
        parent = psutil.Process(pid)
        for process in (parent, *parent.children(recursive=True)):
            with contextlib.suppress(psutil.NoSuchProcess):
                times = process.cpu_times()
                seconds += times.user + times.system + times.children_user + times.children_system
    return seconds


def end(server: Server) -> None:
    """Ask a server to stop and wait until it has written what it holds."""
    process = psutil.Process(server.pid)
    process.terminate()
    process.wait(END_SECONDS)


def key_and_certificate() -> tuple[Path, Path]:
    """A key and a self-signed certificate for loopback, made once."""
    key, certificate = BUILD / "tls" / "key.pem", BUILD / "tls" / "certificate.pem"
    if not certificate.exists():
        key.parent.mkdir(parents=True, exist_ok=True)
        subject = ["-subj", "/CN=localhost", "-days", "3650", "-addext", "subjectAltName=IP:127.0.0.1"]
        made = ["-newkey", "rsa:2048", "-nodes", "-keyout", str(key), "-out", str(certificate)]
        subprocess.run(["openssl", "req", "-x509", *made, *subject], check=True, capture_output=True)
        key.chmod(0o600)
    return key, certificate


# -- ours --


def write_config(folder: Path, *, port: int, tls: bool = False, destination: int = 0, mllp: int = 0) -> Path:
    """A gateway.toml; `destination` is the port of a peer to forward to, `mllp` that for orders, 0 for none."""
    secure = ""
    if tls:
        key, certificate = key_and_certificate()
        secure = f'tls = true\ncertificate = "{certificate}"\nkey = "{key}"'
    text = _TOML.format(port=port, tls=secure, scanner=SCANNER, console=free_port(), mllp=mllp)
    path = folder / "gateway.toml"
    text += destination_section(destination) if destination else ""
    path.write_text(text + (_SENDER if mllp else ""), "utf-8")
    return path


def destination_section(port: int, *, name: str = "pacs", host: str = HOST, compression: str = "none") -> str:
    """Lines of a gateway.toml."""
    return _DESTINATION.format(port=port, name=name, host=host, compression=compression)


def objects_in(state: Path) -> int:
    """Objects that a gateway's spool holds."""
    return sum(1 for _ in (state / "spool" / "objects").glob("*/*.dcm"))


@contextmanager
def gateway(folder: Path, tuned: bool, *, tls: bool = False, mllp: int = 0) -> Iterator[Server]:
    """The edge process: `gateway serve worklist storage`. A state folder that is there already is used."""
    port = free_port()
    config = write_config(folder, port=port, tls=tls, mllp=mllp)
    command = python("gateway", "serve", "worklist", "storage", "--config", config)
    with program(command, port=port, folder=folder, env=environment(tuned=tuned)) as running:
        if mllp:
            wait_until_connected(mllp, program=running)
        yield Server(ae="GATEWAY", port=port, pid=running.process.pid, stored=lambda: objects_in(folder / "state"))


def gateway_tls(folder: Path, tuned: bool) -> AbstractContextManager[Server]:
    return gateway(folder, tuned, tls=True)


@contextmanager
def background(command: list[str], folder: Path, *, tuned: bool) -> Iterator[subprocess.Popen[bytes]]:
    """A process without a port, killed at the end; what it prints is in `output.log`."""
    with (folder / "output.log").open("wb") as output:
        process = subprocess.Popen(
            command, cwd=folder, env={**os.environ, **environment(tuned=tuned)}, stdout=output, stderr=output
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


# -- theirs --


@contextmanager
def storescp(folder: Path, tuned: bool, *, options: tuple[str, ...] = ("--fork", "+xa")) -> Iterator[Server]:
    """DCMTK's receiver with its defaults: it parses, writes a file again and syncs nothing."""
    received = folder / "received"
    received.mkdir()
    port = free_port()
    command = [str(DCMTK / "storescp"), *options, "-aet", "STORESCP", "-od", str(received), str(port)]
    with program(command, port=port, folder=folder, env=environment(tuned=tuned)) as running:
        yield Server(
            ae="STORESCP",
            port=port,
            pid=running.process.pid,
            stored=lambda: sum(1 for _ in received.iterdir()),
        )


def storescp_tls(folder: Path, tuned: bool) -> AbstractContextManager[Server]:
    key, certificate = key_and_certificate()
    return storescp(folder, tuned, options=("--fork", "+xa", "+tls", str(key), str(certificate), "-ic"))


def sink(folder: Path, tuned: bool) -> AbstractContextManager[Server]:
    """A receiver that throws everything away, for measuring senders."""
    return storescp(folder, tuned, options=("--ignore", "-pdu", "131072"))


@contextmanager
def pynetdicom(folder: Path, tuned: bool) -> Iterator[Server]:
    """pynetdicom as its documentation shows it: `event.dataset.save_as`."""
    received = folder / "received"
    received.mkdir()
    port = free_port()
    command = python("bench.pynetdicom_peer", "serve", port, received)
    with program(command, port=port, folder=folder, env=environment(tuned=tuned)) as running:
        yield Server(
            ae="ANY-SCP", port=port, pid=running.process.pid, stored=lambda: sum(1 for _ in received.iterdir())
        )


@contextmanager
def orthanc(folder: Path, tuned: bool) -> Iterator[Server]:
    """Orthanc with its defaults; SyncStorageArea is one of them, so it syncs its files."""
    with orthanc_rest(folder, tuned) as running:
        yield Server(
            ae=running.ae,
            port=running.port,
            pid=running.program.process.pid,
            stored=lambda: int(running.rest("/statistics")["CountInstances"]),
        )


@contextmanager
def orthanc_rest(folder: Path, tuned: bool, *, config: Mapping[str, object] | None = None) -> Iterator[Orthanc]:
    """The same with its REST interface; `config` adds to the settings."""
    port, http = free_port(), free_port()
    settings = {
        "StorageDirectory": str(folder / "storage"),
        "IndexDirectory": str(folder / "index"),
        "HttpPort": http,
        "DicomAet": "ORTHANC",
        "DicomPort": port,
        **(config or {}),
    }
    file = folder / "orthanc.json"
    file.write_text(json.dumps(settings), "utf-8")
    with program([ORTHANC, file], port=http, folder=folder, env=environment(tuned=tuned)) as running:
        wait_until_connected(port, program=running)
        yield Orthanc(program=running, ae="ORTHANC", port=port, http_port=http)


@contextmanager
def wlmscpfs(worklist: Path, folder: Path, tuned: bool) -> Iterator[Program]:
    """DCMTK's worklist server over the folder whose subfolder RIS holds the entries."""
    port = free_port()
    command = [str(DCMTK / "wlmscpfs"), "-dfr", "-csk", "-dfp", str(worklist), str(port)]
    with program(command, port=port, folder=folder, env=environment(tuned=tuned)) as running:
        yield running
