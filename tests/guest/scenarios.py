"""What is planted in the emulated machine, and which lines of the report it must turn.

What is promised: each scenario names every line that it turns, red or blocked; a line that is not named must be as it
was on the whole machine. So a fault that shows nowhere, or in the wrong place, fails its scenario.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from gateway.simulate.acceptor import hosted, quiet
from gateway.simulate.pacs import PacsSimulator
from gateway.simulate.ris import RisSimulator, sample_rows
from tests.guest.machine import Machine, Parts
from tests.peers.time_server import time_server

PASSED, FAILED, ABSENT, BLOCKED = "passed", "failed", "not present", "blocked"
WHOLE: Final = {
    "network.interface": PASSED,
    "network.link eth0": PASSED,
    "network.speed eth0": PASSED,
    "network.address eth0": PASSED,
    "network.path ris/ris": PASSED,
    "network.path destination/pacs": PASSED,
    "disk.device": PASSED,
    "disk.space": PASSED,
    "disk.power-loss": PASSED,
    "disk.smart": PASSED,
    "disk.fsync": PASSED,
    "disk.rate": PASSED,
    "clock.ntp 10.0.2.2": PASSED,
    "clock.disciplined": "not asked",
    "clock.rtc": PASSED,
    "memory.size": PASSED,
    "memory.errors": ABSENT,
    "memory.pattern": PASSED,
    "tpm.present": PASSED,
    "tpm.answers": PASSED,
    "watchdog.present": PASSED,
    "watchdog.armed": "not asked",
    "heat.sensors": ABSENT,
    "ups.present": ABSENT,
    "ups.battery": ABSENT,
    "peer.reach ris/ris": PASSED,
    "peer.reach destination/pacs": PASSED,
    "peer.worklist ris/ris": PASSED,
    "peer.store destination/pacs": PASSED,
    "gateway.selftest": PASSED,
    "heat.load": ABSENT,
    "throughput.box": PASSED,
    "network.errors eth0": PASSED,
    "watchdog.fires": "not asked",
}
NO_LINK: Final = {
    "network.link eth0": FAILED,
    **dict.fromkeys(
        (
            "network.speed eth0",
            "network.address eth0",
            "network.path ris/ris",
            "network.path destination/pacs",
            "peer.reach ris/ris",
            "peer.reach destination/pacs",
            "peer.worklist ris/ris",
            "peer.store destination/pacs",
            "network.errors eth0",
        ),
        BLOCKED,
    ),
}
FULL: Final = {"disk.space": FAILED, "disk.fsync": BLOCKED, "disk.rate": BLOCKED, "throughput.box": BLOCKED}
NO_NVME: Final = {
    "disk.device": FAILED,
    **dict.fromkeys(("disk.power-loss", "disk.smart", "disk.fsync", "disk.rate", "throughput.box"), BLOCKED),
}
NO_TPM: Final = {"tpm.present": FAILED, "tpm.answers": BLOCKED}
NO_WATCHDOG: Final = {"watchdog.present": FAILED, "watchdog.armed": BLOCKED, "watchdog.fires": BLOCKED}
CLOCK_OFF: Final = {"clock.ntp 10.0.2.2": FAILED, "clock.rtc": BLOCKED}
REFUSING: Final = {"peer.reach destination/pacs": FAILED, "peer.store destination/pacs": BLOCKED}

_CONFIG: Final = """\
[site]
name = "guest"
timezone = "UTC"
[box]
id = "guest"
state = "/data/state"
[[ris]]
name = "ris"
host = "10.0.2.2"
port = {ris}
ae = "RIS"
[[destination]]
name = "pacs"
host = "10.0.2.2"
port = {pacs}
ae = "{ae}"
confirm = "status"
compression = "none"
"""
_PROFILE: Final = """\
base = "qemu"
description = "the guest of make hwtest-qemu"
[clock]
ntp = ["10.0.2.2"]
ntp_port = {ntp}
"""
COMMISSION: Final = "/venv/bin/python -m gateway commission"


@dataclass(slots=True)
class Stage:
    """A guest with its peers, and what came of the scenarios so far."""

    guest: Machine
    wrong: list[str]
    folder: Path
    """Where reports are kept to be looked at."""

    def commission(self, *, only: str = "", words: str = "") -> dict[str, str]:
        """Run the hardware tests in the guest: what became of each line."""
        options = "".join(f" --only {one}" for one in only.split())
        self.guest.sh(
            f"{COMMISSION} --profile /data/guest.toml --report /data/reports --config /data/gateway.toml"
            f"{options} {words} --json > /data/said.json 2> /data/said.err",
            seconds=900,
        )
        return self.lines()

    def lines(self) -> dict[str, str]:
        """Of what the last command said."""
        said = self.guest.sh("cat /data/said.json").out
        try:
            report = json.loads(said)
        except ValueError:
            raise RuntimeError(self.guest.sh("tail -n 30 /data/said.err").out) from None
        for line in report["lines"]:
            print(f"    {_id(line):32} {_became(line):12} {line['why'][:110]}", flush=True)
        return {_id(line): _became(line) for line in report["lines"]}

    def check(self, name: str, found: Mapping[str, str], turned: Mapping[str, str], seconds: float) -> None:
        """Compare with the whole machine, but for what must have turned. A line that was not asked for is let alone."""
        wanted = {line: turned.get(line, state) for line, state in WHOLE.items() if line in found}
        odd = {line: f"{state}, not {wanted.get(line)}" for line, state in found.items() if state != wanted.get(line)}
        odd |= {line: "not tested at all" for line in turned if line not in found}
        self.wrong += [f"{name}: {line} is {what}" for line, what in odd.items()]
        print(f"{'ok  ' if not odd else 'ODD '} {name} ({seconds:.0f} s)", *odd.items(), flush=True)


def _id(line: Mapping[str, Any]) -> str:
    return f"{line['name']} {line['subject']}".rstrip()


def _became(line: Mapping[str, Any]) -> str:
    if line["state"] != "not tested":
        return str(line["state"])
    if not line["asked"]:
        return "not asked"
    return BLOCKED if str(line["why"]).startswith("blocked by") else "not tested"


def run(tree: Path, log: Path, chosen: str = "") -> list[str]:
    """All scenarios, or that boot alone whose name is given; what was not as it must be."""
    wrong: list[str] = []
    boots: dict[str, tuple[Parts, Callable[[Stage], None]]] = {
        "whole": (Parts(), _whole),
        "no-nvme": (Parts(nvme=False), lambda stage: _without(stage, "no NVMe", NO_NVME)),
        "no-tpm": (Parts(tpm=False), lambda stage: _without(stage, "no TPM", NO_TPM)),
        "no-watchdog": (Parts(watchdog=False), lambda stage: _without(stage, "no watchdog", NO_WATCHDOG)),
    }
    ris, pacs = RisSimulator(rows=sample_rows(datetime.now(UTC).date())), PacsSimulator()
    with quiet(), hosted(ris), hosted(pacs), time_server() as ntp:
        for name, (parts, play) in boots.items():
            if chosen not in {"", name}:
                continue
            began = time.monotonic()
            with Machine(tree, parts, log) as guest:
                print(f"boot {name}: {time.monotonic() - began:.0f} s", flush=True)
                guest.put("/data/guest.toml", _PROFILE.format(ntp=ntp))
                for ae, file in (("PACS", "gateway"), ("STRANGER", "refusing")):
                    guest.put(f"/data/{file}.toml", _CONFIG.format(ris=ris.port, pacs=pacs.port, ae=ae))
                play(Stage(guest, wrong, tree))
    return wrong


def _timed(stage: Stage, name: str, turned: Mapping[str, str], *, only: str = "", words: str = "") -> None:
    began = time.monotonic()
    found = stage.commission(only=only, words=words)
    stage.check(name, found, turned, time.monotonic() - began)


def _without(stage: Stage, name: str, turned: Mapping[str, str]) -> None:
    kinds = "network.link disk tpm watchdog throughput"
    _timed(stage, name, turned, only=kinds)


def _whole(stage: Stage) -> None:
    guest = stage.guest
    guest.sh("/venv/bin/python -m gateway serve all --config /data/gateway.toml > /data/gateway.log 2>&1 & sleep 60")
    _timed(stage, "whole machine", {})
    guest.sh("kill %1; wait")
    (stage.folder / "whole.html").write_text(guest.sh("cat /data/reports/*.html").out, "utf-8")
    genuine = guest.sh(f"{COMMISSION} verify $(ls /data/reports/*.html) --config /data/gateway.toml")
    if genuine.status:
        stage.wrong.append(f"the report is not genuine: {genuine.out}")
    guest.ask("set_link", name="nic", up=False)
    guest.sh("for i in 1 2 3 4 5 6 7 8 9 10; do [ $(cat /sys/class/net/eth0/carrier) = 0 ] && break; sleep 1; done")
    _timed(stage, "no link", NO_LINK, only="network peer")
    guest.ask("set_link", name="nic", up=True)
    guest.sh("for i in 1 2 3 4 5 6 7 8 9 10; do [ $(cat /sys/class/net/eth0/carrier) = 1 ] && break; sleep 1; done")
    guest.sh("fallocate -l $(($(stat -f -c '%a*%S' /data) - 20000000)) /data/full || true")
    _timed(stage, "full disk", FULL, only="disk throughput")
    guest.sh("rm /data/full; date -s @$(($(date +%s) + 3600))")
    _timed(stage, "clock off", CLOCK_OFF, only="clock")
    guest.sh("date -s @$(($(date +%s) - 3600))")
    guest.sh("mv /data/gateway.toml /data/right.toml; cp /data/refusing.toml /data/gateway.toml")
    _timed(stage, "peer refusing", REFUSING, only="network.link peer")
    guest.sh("mv /data/right.toml /data/gateway.toml")
    guest.ask("watchdog-set-action", action="none")
    _timed(stage, "dead watchdog", {"watchdog.fires": FAILED}, only="watchdog", words="--watchdog")
    guest.ask("watchdog-set-action", action="reset")
    _fires(stage, "watchdog fires", before="")
    _fires(stage, "watchdog fires, held by another program", before=_HELD)


_HELD: Final = "(exec 3>/dev/watchdog0; while :; do echo . >&3; sleep 5; done) & sleep 2; "


def _fires(stage: Stage, name: str, *, before: str) -> None:
    """The guest is restarted by its watchdog, and completes its report."""
    began = time.monotonic()
    stage.guest.begin(
        f"{before}{COMMISSION} --profile /data/guest.toml --report /data/reports --config /data/gateway.toml "
        "--only watchdog --watchdog"
    )
    stage.guest.until_ready()
    stage.guest.sh(
        f"{COMMISSION} resume --report /data/reports --config /data/gateway.toml --json"
        " > /data/said.json 2> /data/said.err"
    )
    stage.check(name, stage.lines(), {"watchdog.fires": PASSED}, time.monotonic() - began)
