"""image/files/usr/lib/gateway-box/data: a start makes the data partition anew only where there is certainly nothing.

The script runs as it is but for two paths, with blkid(8) itself; what would write to a disk only notes its name.
"""

from __future__ import annotations

import os
import struct
import subprocess
from pathlib import Path

import pytest

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
        text = SCRIPT.read_text()
        for ours, here in (("part=/dev/disk/by-partlabel/data", self.part), ("keep=/run/gateway-box", keep)):
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
            ["/bin/sh", self._script, "open"], env={**os.environ, "PATH": path}, check=False, stdin=subprocess.DEVNULL
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
