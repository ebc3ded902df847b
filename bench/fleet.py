"""The tables of the fleet: ten thousand simulated boxes, one broker, collectors and PostgreSQL on the same cores."""

from __future__ import annotations

import json
import re
import resource
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bench.measure import Cell, CellFailed, Column, Sample, Table, Target
from bench.places import BUILD, environment, python
from bench.quota import limited
from bench.servers import cpu_of
from bench.sizes import Size
from tests.peers.mosquitto import mosquitto
from tests.peers.postgres import Postgres, postgres
from tests.peers.processes import HOST, Program, free_port, program

HEALTH_SECONDS: Final = 30
RAMP_SECONDS: Final = 20.0
FLOOD_SECONDS: Final = 20.0
FLOOD_CORES: Final = 0.3
"""Of each collector: boxes, broker and PostgreSQL need the rest of a small machine."""
_MS: Final = 1000.0
_SERIES: Final = re.compile(r'^gateway_fleet_messages_total\{kind="(\w+)"\} ([0-9.e+]+)$', re.MULTILINE)
_TOML: Final = """\
[broker]
host = ["{host}"]
port = {mqtt}
tls = false
client = "collector-{number}"
[database]
host = "{host}"
port = {port}
name = "{name}"
user = "gateway"
tls = false
[collector]
batch = 1000
port = {metrics}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Central:
    """Everything that runs but the boxes."""

    port: int
    tls_port: int
    broker: Program
    collectors: Sequence[Program]
    server: Postgres
    database: str

    def committed(self) -> dict[str, float]:
        """Messages by kind, of all collectors."""
        found: dict[str, float] = {}
        for one in self.collectors:
            with urllib.request.urlopen(f"http://{HOST}:{one.port}/metrics") as answer:
                for kind, number in _SERIES.findall(answer.read().decode()):
                    found[kind] = found.get(kind, 0.0) + float(number)
        return found

    def events(self) -> int:
        """Events in the books, each once."""
        return int(self.server.sql("SELECT count(*) FROM fleet.event", database=self.database))


def certificate() -> Path:
    """A key and a certificate that signed itself, for the broker and for every box."""
    both = BUILD / "tls" / "fleet.pem"
    if not both.exists():
        both.parent.mkdir(parents=True, exist_ok=True)
        key, made = both.with_suffix(".key"), both.with_suffix(".crt")
        kind = [
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-keyout",
            str(key),
            "-out",
            str(made),
        ]
        subject = ["-subj", "/CN=localhost", "-days", "3650", "-addext", f"subjectAltName=IP:{HOST}"]
        subprocess.run(["openssl", "req", "-x509", *kind, *subject], check=True, capture_output=True)
        both.write_bytes(made.read_bytes() + key.read_bytes())
        both.chmod(0o600)
    return both


@contextmanager
def central(folder: Path, *, collectors: int) -> Iterator[Central]:
    """A broker with a plain and an encrypted listener, PostgreSQL as it comes, and collectors."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    pem, tls = certificate(), free_port()
    lines = [
        "allow_anonymous true",
        f"listener {tls} {HOST}",
        f"cafile {pem.with_suffix('.crt')}",
        f"certfile {pem.with_suffix('.crt')}",
        f"keyfile {pem.with_suffix('.key')}",
        "require_certificate true",
        "allow_anonymous true",
        "per_listener_settings false",
        "user root",
    ]
    with ExitStack() as stack:
        broker = mosquitto(folder / "broker", lines=lines)
        running = stack.enter_context(broker.running())
        server = stack.enter_context(postgres(tuned=()))
        database = server.database()
        started = []
        for number in range(collectors):
            metrics = free_port()
            path = folder / f"fleet-{number}.toml"
            path.write_text(
                _TOML.format(
                    host=HOST, mqtt=broker.port, number=number, port=server.port, name=database, metrics=metrics
                )
            )
            command = python("gateway", "fleet", "collect", "--log-level", "warning", "--config", path)
            place = folder / f"collector-{number}"
            started.append(
                stack.enter_context(program(command, port=metrics, folder=place, env=environment(tuned=True)))
            )
        yield Central(
            port=broker.port,
            tls_port=tls,
            broker=running,
            collectors=started,
            server=server,
            database=database,
        )


def _boxes(whole: Central, *words: object, tls: bool = False) -> subprocess.Popen[bytes]:
    port = whole.tls_port if tls else whole.port
    secure = ["--ca", certificate().with_suffix(".crt"), "--certificates", certificate()] if tls else []
    command = python("gateway", "simulate", "fleet", "--json", "--broker", f"{HOST}:{port}", *secure, *words)
    return subprocess.Popen(command, stdout=subprocess.PIPE)


def _figures(process: subprocess.Popen[bytes]) -> dict[str, Any]:
    out, _ = process.communicate()
    if process.returncode not in {0, 1}:
        raise CellFailed("the simulator ended by a fault")
    found: dict[str, Any] = json.loads(out)
    return found


def _steady(boxes: int, seconds: float, *, storm: bool) -> Cell:
    """So many boxes at their usual rate; with a storm over TLS, and cut off together once."""

    def run(folder: Path) -> Sample:
        with central(folder, collectors=1) as whole:
            worked = cpu_of(whole.collectors[0].process.pid), cpu_of(whole.broker.process.pid)
            began = time.monotonic()
            words = ["--boxes", boxes, "--seconds", seconds, "--health", HEALTH_SECONDS, "--within", RAMP_SECONDS]
            if storm:
                words += ["--storm", seconds / 2]
            told = _figures(_boxes(whole, *words, tls=storm))
            took = time.monotonic() - began
            _settle(whole, told["health"])
            lost = max(told["events"] - whole.events(), told["owed"])
            lost += max(0.0, told["health"] - whole.committed()["health"]) if not storm else 0
            return {
                "p50": told["event_p50_s"] * _MS,
                "p99": told["event_p99_s"] * _MS,
                "lost": lost,
                "rate": sum(whole.committed().values()) / took,
                "collector": (cpu_of(whole.collectors[0].process.pid) - worked[0]) / took,
                "broker": (cpu_of(whole.broker.process.pid) - worked[1]) / took,
                "connections": told["connections"],
                **({"reconnected": told["reconnected_s"], "drained": told["drained_s"]} if storm else {}),
            }

    how = ", TLS, all cut off at once" if storm else f", one health message each {HEALTH_SECONDS} s"
    return Cell(case=f"{boxes:,} boxes{how}", variant="gateway", run=run, durability="events, commit synced")


def _settle(whole: Central, health: float) -> None:
    """What is on its way when the boxes leave arrives within seconds."""
    deadline = time.monotonic() + 10
    while whole.committed().get("health", 0.0) < health and time.monotonic() < deadline:
        time.sleep(0.2)


def _flood(boxes: int, every: float, *, collectors: int) -> Cell:
    """More than one collector can carry: what is committed while it lasts."""

    def run(folder: Path) -> Sample:
        with central(folder, collectors=collectors) as whole, ExitStack() as limits:
            for one in whole.collectors:
                limits.enter_context(limited(one.process.pid, cores=FLOOD_CORES))
            words = ["--boxes", boxes, "--seconds", 3 * FLOOD_SECONDS, "--health", every, "--events", 0, "--within", 2]
            process = _boxes(whole, *words)
            try:
                time.sleep(FLOOD_SECONDS / 2)
                before, worked = whole.committed()["health"], [cpu_of(one.process.pid) for one in whole.collectors]
                began = time.monotonic()
                time.sleep(FLOOD_SECONDS)
                committed, took = whole.committed()["health"] - before, time.monotonic() - began
                used = sum(cpu_of(one.process.pid) for one in whole.collectors) - sum(worked)
            finally:
                process.kill()
                process.wait()
            return {"rate": committed / took, "cpu_ms": used / committed * _MS, "collector": used / took}

    return Cell(case="flood", variant=_name(collectors), run=run, durability="health, committed")


def _name(collectors: int) -> str:
    return "one collector" if collectors == 1 else f"{collectors} collectors"


def fleet(size: Size) -> Table:
    """What issue 8 asks of ten thousand boxes."""
    boxes, seconds = size.boxes
    steady, storm = _steady(boxes, seconds, storm=False), _steady(boxes, seconds, storm=True)
    return Table(
        name="fleet",
        environment="",
        title="A fleet of boxes",
        note=(
            f"{boxes:,} simulated boxes for {seconds:.0f} s, a connection each, against mosquitto, one collector and "
            "PostgreSQL with its usual settings, all on the same cores. An event's time is from what happened at the "
            "box to central's acknowledgement there: through the broker, a synced commit and back. Lost: events that "
            "are not in the books at the end, and health messages that were said and not committed (without the "
            "storm). In the storm every connection is cut at once, each with an event to tell, and boxes connect "
            f"again within {RAMP_SECONDS:.0f} s with client certificates, one for all: connected, and drained (central "
            "has acknowledged all that was owed), from the cut."
        ),
        columns=(
            Column(metric="p99", title="event p99 ms", digits=1),
            Column(metric="p50", title="event p50 ms", digits=1),
            Column(metric="lost", title="lost"),
            Column(metric="rate", title="messages/s"),
            Column(metric="collector", title="collector, cores", digits=2),
            Column(metric="broker", title="broker, cores", digits=2),
            Column(metric="reconnected", title="connected after s", digits=1),
            Column(metric="drained", title="drained after s", digits=1),
        ),
        cells=[steady, storm],
        targets=[
            Target(clause="event p99", case=steady.case, metric="p99", at_most=1000.0, unit="ms"),
            Target(clause="steady, lost", case=steady.case, metric="lost", at_most=0.5, unit="messages"),
            Target(clause="storm, lost", case=storm.case, metric="lost", at_most=0.5, unit="events"),
            Target(clause="storm drained", case=storm.case, metric="drained", at_most=120.0, unit="s"),
        ],
        compared=False,
    )


def collectors(size: Size) -> Table:
    """Whether two collectors carry more than one."""
    boxes, every = size.flood
    return Table(
        name="collectors",
        environment="",
        title="Collectors side by side",
        note=(
            f"{boxes:,} simulated boxes say {boxes / every:,.0f} health messages a second in all, and what is "
            "committed is counted while they do. Boxes, broker, collectors and PostgreSQL share the same cores: each "
            f"collector has {FLOOD_CORES} of one, as a container's limit gives it, so that it is the collectors that "
            "are short of them."
        ),
        columns=(
            Column(metric="rate", title="committed/s"),
            Column(metric="cpu_ms", title="collector CPU ms a message", digits=3),
            Column(metric="collector", title="collectors, cores", digits=2),
        ),
        cells=[_flood(boxes, every, collectors=number) for number in (2, 1)],
        targets=[
            Target(
                clause="two beside one",
                case="flood",
                metric="rate",
                ours=_name(2),
                beside=_name(1),
                at_least=1.5,
            )
        ],
        ours=_name(2),
    )
