"""The units: systemd understands them, and they leave next to nothing to whoever gets in."""

from __future__ import annotations

import re
import shutil
import subprocess
from datetime import timedelta
from pathlib import Path

import pytest

from gateway import app
from gateway.cli.serve import chosen
from gateway.domain.parts import SILENT_AFTER, STARTED_WITHIN

ROOT = Path(__file__).parents[2]
UNITS = ROOT / "systemd"
SERVICES = sorted(path.name for path in UNITS.glob("*.service"))
EXPOSURE = 15
"""Tenths of what `systemd-analyze security` counts: 100 is a service without any of it."""


def analyze(*words: str | Path) -> subprocess.CompletedProcess[str]:
    command = ["systemd-analyze", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


@pytest.fixture
def units(tmp_path: Path) -> Path:
    """As they are installed, but for the program, which this machine does not have in that place."""
    copied = tmp_path / "units"
    shutil.copytree(UNITS, copied)
    for name in SERVICES:
        text = (copied / name).read_text()
        (copied / name).write_text(text.replace("/usr/lib/gateway/bin/gateway", "/bin/true"))
    return copied


def test_systemd_finds_no_fault(units: Path) -> None:
    checked = analyze("verify", "--man=no", *(units / name for name in SERVICES), units / "gateway.target")
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")


@pytest.mark.parametrize("name", SERVICES)
def test_little_is_left_to_an_intruder(units: Path, name: str) -> None:
    rated = analyze("security", "--offline=true", f"--threshold={EXPOSURE}", units / name)
    assert rated.returncode == 0, rated.stdout


def test_without_the_shared_lines_the_rating_is_another(units: Path) -> None:
    """That the drop-in counts is what the test above stands on."""
    (units / "gateway-.service.d" / "20-hardening.conf").unlink()
    assert analyze("security", "--offline=true", f"--threshold={EXPOSURE}", units / SERVICES[0]).returncode == 1


@pytest.mark.parametrize("name", SERVICES)
def test_each_unit_serves_roles_that_there_are(name: str) -> None:
    line = re.search(r"^ExecStart=/usr/lib/gateway/bin/gateway serve (.*)$", (UNITS / name).read_text(), re.MULTILINE)
    assert line is not None
    assert chosen(line[1].split(), known=frozenset(app.ROLES)) == set(line[1].split())


def test_the_units_serve_every_role_once() -> None:
    served = [
        role
        for name in SERVICES
        for role in re.findall(r"^ExecStart=\S+ serve (.*)$", (UNITS / name).read_text(), re.MULTILINE)[0].split()
    ]
    assert sorted(served) == sorted(app.ROLES)


def test_a_unit_that_hangs_is_begun_anew_before_others_call_it_silent() -> None:
    """`SILENT_AFTER` is what /healthz and `gateway status` go by; a proof comes every quarter of WatchdogSec."""
    for name in SERVICES:
        (seconds,) = re.findall(r"^WatchdogSec=(\d+)$", (UNITS / name).read_text(), re.MULTILINE)
        assert timedelta(seconds=int(seconds)) <= SILENT_AFTER
        assert timedelta(seconds=int(seconds) / 4) < STARTED_WITHIN


def test_every_line_of_the_hardening_says_what_it_takes_away() -> None:
    """A comment stands over each setting, or over the group of those that do one thing."""
    lines = (UNITS / "gateway-.service.d" / "20-hardening.conf").read_text().splitlines()
    bare = [
        line
        for before, line in zip(["", *lines], lines, strict=False)
        if re.match(r"[A-Z]\w+=", line) and not re.match(r"#|[A-Z]\w+=", before)
    ]
    assert bare == []


def test_forwarding_gives_way_to_the_worklist() -> None:
    weights = {
        name: {key: int(value) for key, value in re.findall(r"^(\w+Weight)=(\d+)$", (UNITS / name).read_text(), re.M)}
        for name in SERVICES
    }
    edge = weights["gateway-edge.service"]
    assert set(edge) == {"CPUWeight", "IOWeight"}
    for name, weight in weights.items():
        if name != "gateway-edge.service":
            assert all(weight[key] * 5 <= edge[key] for key in edge), name
