"""Making a box from a stick: which disks are offered, what is written, and in which order."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.app import installing, updating
from gateway.domain.boot import Slot
from gateway.domain.model import PermanentFailure
from gateway.domain.update import IMAGES
from gateway.net.disks import Disk, divided, listed
from gateway.net.releases import Releases
from image.disk import PARTITIONS
from tests.update.releases import KEY, TRUSTED, contents, manifest, publish

# As lsblk of util-linux 2.38 says it
LSBLK = """{"blockdevices": [
 {"path":"/dev/sdb", "type":"disk", "ro":false, "size":31016878080, "model":"USB Flash Disk"},
 {"path":"/dev/nvme0n1", "type":"disk", "ro":false, "size":480103981056, "model":"Model X"},
 {"path":"/dev/sda", "type":"disk", "ro":false, "size":1000204886016, "model":null},
 {"path":"/dev/sdc", "type":"disk", "ro":true, "size":31016878080, "model":"Card"},
 {"path":"/dev/sdd", "type":"disk", "ro":false, "size":0, "model":"Reader"},
 {"path":"/dev/sde", "type":"disk", "ro":false, "size":2003828736, "model":"Small"},
 {"path":"/dev/sr0", "type":"rom", "ro":false, "size":1073741312, "model":"DVD"}
]}"""
SFDISK = """{"partitiontable": {"label":"gpt", "partitions": [
 {"node":"/dev/nvme0n1p1", "start":2048, "size":81920, "name":"ESP"},
 {"node":"/dev/nvme0n1p2", "start":83968, "size":131072, "name":"boot-a"}
]}}"""


def test_the_stick_and_what_can_be_no_box_are_not_offered() -> None:
    found = installing.offered(listed(LSBLK), Path("/dev/sdb"))
    assert [(one.path.name, one.model) for one in found] == [("nvme0n1", "Model X"), ("sda", "no model")]


def test_partitions_are_known_by_their_names() -> None:
    assert divided(SFDISK) == {"ESP": Path("/dev/nvme0n1p1"), "boot-a": Path("/dev/nvme0n1p2")}


def test_a_disk_that_is_offered_has_room_for_the_partitions() -> None:
    slots = sum(int(line.partition("size=")[2].partition("M")[0]) for line in PARTITIONS.read_text().splitlines()[3:])
    assert slots << 20 < installing.LEAST
    assert installing.offered([Disk(path=Path("/dev/sda"), model="", size=installing.LEAST)], Path("/dev/sdb"))


@pytest.fixture
def places(tmp_path: Path) -> dict[str, Path]:
    """The partitions of a disk that had something else on it."""
    names = [line.rpartition('name="')[2].rstrip('"') for line in PARTITIONS.read_text().splitlines() if "name" in line]
    found = {name: tmp_path / name for name in names}
    for place in found.values():
        place.write_bytes(b"old" * 40_000)
    return found


def _install(stick: Path, places: dict[str, Path]) -> list[str]:
    (stick / "loader").write_bytes(b"loader" * 9_000)
    releases = Releases(str(stick))
    told: list[str] = []
    release = updating.check(releases, TRUSTED, signatures=1)
    installing.install(releases, release, places, stick / "loader", told=told.append)
    return told


def test_the_first_slot_and_the_boot_partition_are_filled(tmp_path: Path, places: dict[str, Path]) -> None:
    publish(tmp_path / "stick", manifest(), [KEY])
    told = _install(tmp_path / "stick", places)
    for name in IMAGES:
        wanted = contents(name, "1.1.0")
        assert places[f"{name}-{Slot.A}"].read_bytes()[: len(wanted)] == wanted
        assert places[f"{name}-{Slot.B}"].read_bytes() == b"old" * 40_000
    assert places["ESP"].read_bytes()[:54_000] == b"loader" * 9_000
    assert told == ["writing boot", "writing root", "writing hash", "writing the boot partition"]


def test_a_disk_with_an_image_that_nobody_signed_does_not_start(tmp_path: Path, places: dict[str, Path]) -> None:
    publish(tmp_path / "stick", manifest(), [KEY], hash=b"another" * 100)
    with pytest.raises(PermanentFailure, match=r"images\.hash"):
        _install(tmp_path / "stick", places)
    assert places["ESP"].read_bytes() == b"old" * 40_000
