"""image/files/usr/lib/gateway-box/data: a start makes the data partition anew only where there is certainly nothing.

The script runs as it is but for two paths, with blkid(8) itself; what would write to a disk only notes its name.
"""

from __future__ import annotations

import os
import struct
import subprocess
from pathlib import Path

import pytest

from gateway.domain.boot import BootState, Slot, to_block

SCRIPT = Path(__file__).parents[2] / "image/files/usr/lib/gateway-box/data"
READ = 16 << 20
"""Bytes in which there may be a header."""
WRITERS = ("cryptsetup", "systemd-repart", "udevadm", "modprobe", "mkfs.ext4", "lsblk", "systemd-cryptenroll")


class Room:
    def __init__(self, folder: Path) -> None:
        self.part = folder / "data"
        self.noted = folder / "noted"
        self.noted.touch()
        self._tools = folder / "bin"
        self._tools.mkdir()
        keep = folder / "run"
        keep.mkdir()
        (keep / "recovery-key").write_text("of this start")
        for name in WRITERS:
            self.tool(name)
        self.recovery_key = keep / "recovery-key"
        self.tokens = folder / "tokens"
        self.esp = folder / "ESP"
        self.esp.write_bytes(bytes(4096))
        self.command_line = folder / "cmdline"
        self.command_line.write_text("quiet\n")
        text = SCRIPT.read_text()
        for ours, here in (
            ("part=/dev/disk/by-partlabel/data", self.part),
            ("keep=/run/gateway-box", keep),
            ("esp=/dev/disk/by-partlabel/ESP", self.esp),
            ("command_line=/proc/cmdline", self.command_line),
            ("trial_seconds=1800", 0),
        ):
            assert text.count(f"{ours}\n") == 1
            text = text.replace(f"{ours}\n", f"{ours.partition('=')[0]}={here}\n")
        self._script = folder / "script"
        self._script.write_text(text)

    def tool(self, name: str, does: str = "") -> None:
        """A program that notes how it was called, and does so much."""
        path = self._tools / name
        path.write_text(f'#!/bin/sh\necho "{name} $1" >> {self.noted}\n{does}\n')
        path.chmod(0o755)

    def opened(self) -> int:
        """The exit status of a start."""
        path = f"{self._tools}:/usr/sbin:/usr/bin:/sbin:/bin"
        return subprocess.run(
            ["/bin/sh", self._script, "open"],
            env={**os.environ, "PATH": path},
            check=False,
            stdin=subprocess.DEVNULL,
            timeout=60,
        ).returncode

    @property
    def made(self) -> bool:
        return "cryptsetup luksFormat" in self.noted.read_text()

    @property
    def unlocked(self) -> bool:
        return "cryptsetup open" in self.noted.read_text()


@pytest.fixture
def room(tmp_path: Path) -> Room:
    return Room(tmp_path)


def header(label: str) -> bytes:
    """A LUKS2 header as far as blkid looks at it."""
    begin = b"LUKS\xba\xbe" + struct.pack(">HQQ", 2, 16384, 1) + label.encode().ljust(48, b"\0")
    begin += b"sha256".ljust(32, b"\0") + bytes(64) + b"12345678-1234-1234-1234-123456789012".ljust(40, b"\0")
    return begin.ljust(READ, b"\0")


def test_what_is_in_use_is_opened(room: Room) -> None:
    room.part.write_bytes(header("gateway-data"))
    assert (room.opened(), room.unlocked, room.made) == (0, True, False)


@pytest.mark.parametrize("content", [header("gateway-new"), bytes(READ)], ids=["says-so-itself", "never-used"])
def test_what_nobody_needs_is_made(room: Room, content: bytes) -> None:
    room.part.write_bytes(content)
    assert (room.opened(), room.made) == (0, True)


TOLD_OF_A_PARTITION = """\
/usr/sbin/blkid "$@" || status=$?
case "$*" in *"-s "*) ;; *) echo PART_ENTRY_SCHEME=gpt; echo PART_ENTRY_NAME=data;; esac
[ "${status:-0}" = 2 ] || exit "${status:-0}"
"""
"""What blkid says of what is in a table of partitions: with nothing on it, too, it has found something (status 0)."""


@pytest.mark.parametrize("there", [True, False], ids=["never-used", "new"])
def test_a_partition_with_nothing_on_it_is_made(room: Room, there: bool) -> None:
    room.tool("blkid", TOLD_OF_A_PARTITION)
    if there:
        room.part.write_bytes(bytes(READ))
    room.tool("systemd-repart", f"truncate -s {READ} {room.part}")
    assert (room.opened(), room.made) == (0, True)


@pytest.mark.parametrize(("label", "unlocked"), [("gateway-data", True), ("another", False), ("", False)])
def test_a_partition_with_something_on_it_stays(room: Room, label: str, unlocked: bool) -> None:
    room.tool("blkid", TOLD_OF_A_PARTITION)
    room.part.write_bytes(header(label))
    assert (room.opened() == 0, room.unlocked, room.made) == (unlocked, unlocked, False)


def test_what_is_another_s_stays(room: Room) -> None:
    room.part.write_bytes(header("another"))
    assert room.opened() != 0
    assert not room.made


def test_a_partition_that_is_not_there_is_made(room: Room) -> None:
    room.tool("systemd-repart", f"truncate -s {READ} {room.part}")
    assert (room.opened(), room.made) == (0, True)


def test_a_partition_whose_name_comes_late_stays(room: Room) -> None:
    """systemd-repart(8) makes none where there is one; that its link was not there yet is no reason to format it."""
    (room.part.parent / "disk").write_bytes(header("gateway-data"))
    room.tool("systemd-repart", f"ln -s {room.part.parent}/disk {room.part}")
    assert (room.opened(), room.unlocked, room.made) == (0, True, False)


def test_a_partition_that_can_t_be_read_stays(room: Room) -> None:
    """blkid says of it what it says of an empty one: status 2."""
    room.part.mkdir()
    assert room.opened() != 0
    assert not room.made


def test_a_partition_that_never_comes_is_not_written_to(room: Room) -> None:
    assert room.opened() != 0
    assert not room.made


@pytest.fixture
def locked(room: Room) -> Room:
    """In use, and its TPM does not open it: the recovery key is asked for, and typed at the fourth time."""
    room.part.write_bytes(header("gateway-data"))
    room.recovery_key.unlink()
    room.tool("cryptsetup", f'if [ "$1" = luksDump ]; then cat {room.tokens}; else [ "$(cat)" = abc ]; fi')
    room.tokens.write_text("Tokens:\n  0: systemd-tpm2\n")
    room.tool("systemd-ask-password", f"[ $(grep -c ask-password {room.noted}) -lt 4 ] || echo ABC")
    return room


GOOD = BootState(good=Slot.B, spare=True)
TRIED_IN_VAIN = BootState(good=Slot.B, trial=Slot.A, tries=0)
ON_TRIAL = BootState(good=Slot.A, trial=Slot.B, tries=1)


@pytest.mark.parametrize("state", [GOOD, TRIED_IN_VAIN, None], ids=["good", "fell-back", "no-boot-state"])
def test_a_good_version_waits_for_the_recovery_key_as_long_as_it_takes(locked: Room, state: BootState | None) -> None:
    locked.command_line.write_text("quiet gateway.slot=b panic=10\n")
    if state is not None:
        locked.esp.write_bytes(b"\0\xff# GRUB Environment Block\n\0" + bytes(4096) + to_block(state) + bytes(4096))
    assert (locked.opened(), locked.noted.read_text().count("ask-password")) == (0, 4)


def test_a_version_on_trial_does_not_wait_for_ever(locked: Room) -> None:
    """It may be this version that can't speak to the TPM: the unit restarts, and the one before opens what it has."""
    locked.command_line.write_text("quiet gateway.slot=b panic=10\n")
    locked.esp.write_bytes(bytes(4096) + to_block(ON_TRIAL) + bytes(4096))
    assert locked.opened() != 0
    assert not locked.made


def test_a_box_without_a_tpm_waits_on_trial_too(locked: Room) -> None:
    """There a person types the key at each start."""
    locked.tokens.write_text("Tokens:\n")
    locked.command_line.write_text("quiet gateway.slot=b panic=10\n")
    locked.esp.write_bytes(to_block(ON_TRIAL))
    assert locked.opened() == 0
