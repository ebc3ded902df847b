"""After a start: a boot state that can't be read or written costs the box neither its network nor restarts without end.

Restarting is what the unit does with status 1 (box-commit.service): the version before is tried. Where there is none to
go to, it would restart for ever, and with it every scanner's worklist.
"""

from __future__ import annotations

import configparser
import fcntl
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gateway.app import updating
from gateway.cli import update as commands
from gateway.cli.commands import app
from gateway.cli.failures import DOES_NOT_HOLD, HOLDS, NOT_ASKED
from gateway.domain.boot import STARTS, BootState, Slot
from tests.update.releases import Appliance, appliance

FILES = Path(__file__).parents[2] / "image/files/usr/lib"


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Appliance:
    """The programs of the image are at fixed places; here they are handed in."""
    found = appliance(tmp_path / "box")
    monkeypatch.setattr(commands, "_box", lambda: found.box)
    monkeypatch.setattr(commands, "_survey", lambda box: updating.survey(box, migrations=40))
    monkeypatch.setattr(commands, "_selftest", lambda _: True)
    return found


def commit() -> int:
    return CliRunner().invoke(app, ["update", "commit"]).exit_code


@pytest.fixture
def sealed(made: Appliance) -> Iterator[Appliance]:
    """What is kept can be read and not be written, by root neither: as where an error made a disk read-only."""
    block = made.root / "grubenv"
    number = os.memfd_create("grubenv", os.MFD_ALLOW_SEALING)
    os.write(number, block.read_bytes())
    fcntl.fcntl(number, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE)
    block.unlink()
    block.symlink_to(f"/proc/self/fd/{number}")
    yield made
    os.close(number)


def test_the_unit_restarts_the_box_only_where_a_start_may_mend_it() -> None:
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read(FILES / "systemd/system/box-commit.service")
    assert unit["Unit"]["StartLimitAction"] == "reboot"
    assert unit["Service"]["Restart"] == "on-failure"
    assert unit["Service"]["RestartPreventExitStatus"] == str(NOT_ASKED)
    assert DOES_NOT_HOLD not in {HOLDS, NOT_ASKED}


def test_a_good_version_that_can_t_say_so_stays_up(sealed: Appliance) -> None:
    assert commit() == NOT_ASKED


def test_a_boot_state_that_can_t_be_read_is_no_reason_to_start_again(made: Appliance) -> None:
    (made.root / "grubenv").write_bytes(b"\0" * 1024)
    assert commit() == NOT_ASKED


TRIAL = BootState(good=Slot.B, trial=Slot.A, tries=1)
STAND_IN = BootState(good=Slot.B, starts=STARTS, spare=True)


@pytest.mark.parametrize(
    ("state", "status"), [(TRIAL, DOES_NOT_HOLD), (STAND_IN, NOT_ASKED)], ids=["trial", "stand-in"]
)
def test_what_does_not_hold_makes_room_for_the_version_before_if_there_is_one(
    made: Appliance, monkeypatch: pytest.MonkeyPatch, state: BootState, status: int
) -> None:
    """The stand-in's good version did not come up: another start starts the stand-in."""
    made.box.slots().keep(state)
    monkeypatch.setattr(commands, "_selftest", lambda _: False)
    assert commit() == status
    assert made.state == state


def test_a_trial_that_can_t_be_kept_is_tried_again(made: Appliance, monkeypatch: pytest.MonkeyPatch) -> None:
    made.box.slots().keep(TRIAL)

    def pull(_: Path) -> bool:
        (made.root / "grubenv").unlink()
        return True

    monkeypatch.setattr(commands, "_selftest", pull)
    assert commit() == DOES_NOT_HOLD


def test_a_box_has_its_network_without_a_boot_state(tmp_path: Path) -> None:
    """The script runs as it is but for its folders, and `gateway update remember-machine` fails."""
    tools = tmp_path / "bin"
    tools.mkdir()
    for name, does in (("gateway", "exit 2"), ("chgrp", ""), ("sync", "")):
        (tools / name).write_text(f"#!/bin/sh\n{does}\n")
        (tools / name).chmod(0o755)
    text = (FILES / "gateway-box/identity").read_text()
    for folder in ("/var/lib/", "/var/etc/", "/usr/share/gateway-box/", "/run/", "/efi/", "/etc/machine-id"):
        assert folder in text
        text = text.replace(f" {folder}", f" {tmp_path}{folder}").replace(f"={folder}", f"={tmp_path}{folder}")
    for folder in ("usr/share/gateway-box/etc/secrets", "var/etc/network", "var/lib", "etc"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "etc/machine-id").write_text("0" * 32)
    (tmp_path / "var/etc/network/50-site.network").write_text("[Match]\n")
    path = f"{tools}:/usr/sbin:/usr/bin:/sbin:/bin"
    done = subprocess.run(["/bin/sh", "-c", text], env={**os.environ, "PATH": path}, check=False, capture_output=True)
    assert (tmp_path / "run/systemd/network/50-site.network").exists(), done.stderr
    assert done.returncode == 0, done.stderr
