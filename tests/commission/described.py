"""A machine as files: `machine.toml` in a folder, with what a real kernel and real programs said, to plant faults in.

What is promised: a program of the described machine is a program, which says what was captured; its TPM is a terminal
with a chip's captured answers behind it. Nothing of this machine is read in their place.
"""

from __future__ import annotations

import json
import os
import pty
import shutil
import threading
import time
import tomllib
import tty
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from gateway.config import Config, parse
from hwtests.outcome import Line, State
from hwtests.run import Wanted, commission

CAPTURED = Path(__file__).parent / "machine.toml"
SITE = '[site]\nname = "test"\ntimezone = "UTC"\n[box]\nid = "box"\nstate = "state"\n'
PROFILE = """\
description = "a described machine"
base = "generic"
expects = ["interface", "disk", "smart", "watchdog", "rtc", "tpm", "temperature", "ecc", "ups"]
[disk]
kind = "nvme"
fsyncs = 20
fsync_p99 = "30s"
rate = 0
sample = "1MiB"
reserve = "1MiB"
power_loss_protection = "capacitors, by its data sheet"
[clock]
ntp = ["127.0.0.1"]
ntp_port = {ntp}
offset = "30s"
rtc = "1h"
[heat]
load = "500ms"
[memory]
total = "1GB"
sample = "8MiB"
[watchdog]
armed = false
timeout = "1s"
margin = "1s"
[ups]
name = "ups@localhost"
[throughput]
images = 3
accepted = 0.001
delivered = 0.001
peer_images = 2
peer = 0
"""


@dataclass(slots=True)
class Described:
    """The folder, and what is asked of it."""

    folder: Path
    peers: str = ""
    """The sections of RISs and destinations."""
    ntp: int = 9
    profile: str = PROFILE
    told: list[Line] = field(default_factory=list)

    @property
    def root(self) -> Path:
        return self.folder / "machine"

    def write(self, name: str, text: str) -> None:
        path = self.root / name.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def link(self, name: str, target: str) -> None:
        path = self.root / name.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(target)

    def remove(self, name: str) -> None:
        path = self.root / name.lstrip("/")
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()

    def says(self, program: str, words: str, status: int = 0) -> None:
        """Let one of its programs say this from now on."""
        path = self.root / "usr/bin" / program
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/bin/sh\ncat <<'END-OF-WORDS'\n{words}\nEND-OF-WORDS\nexit {status}\n")
        path.chmod(0o755)

    def commission(self, *only: str, fires: bool = False, store: bool = True) -> dict[str, Line]:
        """Run the tests; the lines by their ids."""
        (self.folder / "state").mkdir(exist_ok=True)
        (self.folder / "profile.toml").write_text(self.profile.format(ntp=self.ntp))
        settings = self.folder / "gateway.toml"
        if not settings.exists():
            settings.write_text(SITE + self.peers)
        wanted = Wanted(
            settings=settings,
            profile=str(self.folder / "profile.toml"),
            folder=self.folder / "reports",
            root=self.root,
            only=only,
            fires=fires,
            store=store,
        )
        written = commission(self.config(), wanted, tell=self.told.append, restarting=lambda _: None)
        return {line.id: line for line in map(Line.of_json, written.report["lines"])}

    def config(self) -> Config:
        return parse(SITE + self.peers, base=self.folder)


def described(folder: Path) -> Described:
    """A machine that is whole."""
    made = Described(folder)
    captured = tomllib.loads(CAPTURED.read_text())
    for name, text in captured["files"].items():
        made.write(name, text)
    for name, target in captured["links"].items():
        made.link(name, target)
    for program, words in captured["programs"].items():
        made.says(program, words)
    made.write("/sys/class/rtc/rtc0/since_epoch", str(int(time.time())))
    return made


@contextmanager
def tpm(made: Described, answers: list[bytes]) -> Iterator[None]:
    """Its TPM, which gives one of these answers after the other, and then none."""
    ours, theirs = pty.openpty()
    tty.setraw(theirs)
    (made.root / "dev").mkdir(parents=True, exist_ok=True)
    (made.root / "dev/tpmrm0").symlink_to(os.ttyname(theirs))

    def answer() -> None:
        for one in answers:
            os.read(ours, 4096)
            os.write(ours, one)

    chip = threading.Thread(target=answer, daemon=True)
    chip.start()
    try:
        yield
    finally:
        os.close(theirs)
        os.close(ours)


def states(lines: dict[str, Line]) -> dict[str, str]:
    """What became of each, with the line that blocked it."""
    return {
        name: line.why if line.state is State.NOT_TESTED and line.why.startswith("blocked") else str(line.state)
        for name, line in lines.items()
    }


def captured_json(program: str) -> dict[str, object]:
    """What a program of the captured machine said, to be changed."""
    return dict(json.loads(tomllib.loads(CAPTURED.read_text())["programs"][program]))
