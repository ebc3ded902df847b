"""What the scenarios of the image share: what was built, a box that is set up, and the times that were taken."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest

from gateway.cli.panel import END_OF_KEY
from image import packages, slots
from image.__main__ import BUILD, TEST_WORDS, key, publish
from image.test import page
from image.test.machine import Machine
from image.test.site import HOST, Site
from image.tree import RELEASE, Release

TIMES: Final = BUILD / "times.json"
BOOT: Final = 600.0
"""Seconds that a start may take where two processors are emulated beside everything else."""


@pytest.fixture(scope="session")
def taken() -> Callable[[str, float], None]:
    """Write down how long something took, for docs/operations/image.md."""
    times = json.loads(TIMES.read_text()) if TIMES.exists() else {}

    def note(name: str, seconds: float) -> None:
        times[name] = round(seconds, 1)
        TIMES.write_text(json.dumps(times, indent=1) + "\n")
        print(f"image-test: {name}: {seconds:.1f} s", flush=True)

    return note


@pytest.fixture(scope="session")
def built() -> Path:
    """The test's variant, as `make image-test` built it: the released tree, a shell and a patient watchdog."""
    folder = BUILD / "test"
    if not (folder / "disk.raw").exists():
        pytest.fail("there is no image to test: make image-test builds it")
    return folder


@pytest.fixture(scope="session")
def stick(built: Path) -> Path:
    """An ext4 stick with four releases: good, one byte changed, signed by a stranger, and one that can't start."""
    image = BUILD / "stick.img"
    stamp = (built / "slot/boot.img").stat().st_mtime
    if image.exists() and image.stat().st_mtime > stamp:
        return image
    work = BUILD / "stick"
    shutil.rmtree(work, ignore_errors=True)
    owner = [key(BUILD / "keys/development.pem")]
    machine, release = packages.machine("amd64"), Release(version="0.2.0", sequence=2, arch="amd64")
    tree = built / "tree"
    was = (tree / RELEASE).read_text()
    (tree / RELEASE).write_text(json.dumps({"version": "0.2.0", "sequence": 2, "arch": "amd64"}))
    try:
        root_hash = slots.make(tree, work / "slot", machine, more=TEST_WORDS)
    finally:
        (tree / RELEASE).write_text(was)
    publish(work / "slot", work / "files/good", release, root_hash, owner)
    publish(work / "slot", work / "files/stranger", release, root_hash, [key(BUILD / "keys/stranger.pem")])
    (work / "files/stranger" / "gateway-0.2.0-amd64.release").unlink()  # the pointer alone is refused
    shutil.copytree(work / "files/good", work / "files/tampered")
    with (work / "files/tampered" / "gateway-0.2.0-amd64.release").open("r+b") as file:
        file.seek(200_000_000)
        byte = file.read(1)
        file.seek(-1, 1)
        file.write(bytes([byte[0] ^ 1]))
    # Signed, whole, and its kernel looks for a root that is not there
    (work / "wrong").mkdir()
    for name in ("root", "hash"):
        (work / f"wrong/{name}.img").symlink_to(work / f"slot/{name}.img")
    wrong = root_hash[:-1] + ("0" if root_hash[-1] != "0" else "1")
    slots.boot(tree, work / "wrong/boot.img", slots.command_line(machine, wrong, more=TEST_WORDS))
    broken = replace(release, version="0.3.0", sequence=3)
    publish(work / "wrong", work / "files/broken", broken, wrong, owner)
    image.unlink(missing_ok=True)
    packages.run("truncate", "--size=1500M", image)
    packages.run("mkfs.ext4", "-q", "-L", "GATEWAY", "-d", work / "files", image)
    shutil.rmtree(work)
    return image


def install(box: Machine, taken: Callable[[str, float], None]) -> list[str]:
    """Step 2 of install.md: from the stick onto the disk, until the machine is off and the stick pulled out. What was
    typed."""
    begun = time.monotonic()

    def first(_: str) -> str:
        taken("stick: switch to the disks of the machine", time.monotonic() - begun)
        return "1"

    box.on()
    box.starts("gateway: stick", seconds=BOOT)
    box.wait_for_shell(seconds=BOOT)
    # What is on a disk that happens to be there is nobody's business yet
    assert box.sh("systemctl is-active box-data.service var.mount", check=False).split() == ["inactive", "inactive"]
    typed = page.follow(box, 2, first, seconds=BOOT)
    taken("stick: switch to all written and read back", time.monotonic() - begun)
    box.console.type("\r")
    box.until_off(seconds=BOOT)
    box.extra = ()
    return typed


def fill_in(box: Machine, site: Site) -> list[str]:
    """Step 3 of install.md: the form of the first start, as a person at the serial port fills it in. What was typed;
    what the person is to note is in the machine's folder then, as `recovery` and `code`."""
    answers = {
        "Name of the site": "north",
        "Time zone": "",
        'Address of this box, or "dhcp"': "",
        "Router (with an address of its own only)": "",
        "Time server": "",
        "AE title of the scanner": "CT1",
        "Address of the scanner": HOST,
        "Worklist of the RIS, AE@host:port": f"RIS@{HOST}:{site.ris_port}",
        "PACS, AE@host:port": f"PACS@{HOST}:{site.pacs_port}",
    }

    def value(field: str) -> str:
        if field in answers:
            return answers[field]
        assert field == END_OF_KEY
        recovery = box.wait(r"recovery key  ([0-9a-f-]{39})", seconds=BOOT)[1].decode()
        (box.folder / "recovery").write_text(recovery)
        (box.folder / "code").write_bytes(box.wait(r"service code  (\d{10})", seconds=60)[1])
        return recovery[-4:]

    return page.follow(box, 3, value, seconds=BOOT)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    opened = Site(folder=tmp_path)
    opened.open()
    yield opened
    opened.close()


@pytest.fixture
def box(built: Path, stick: Path, site: Site, taken: Callable[[str, float], None]) -> Iterator[Machine]:
    """A box that was switched on and set up."""
    machine = Machine(
        folder=site.folder / "box",
        base=built / "disk.raw",
        extra=(
            "-drive", f"if=none,id=stick,file={stick.resolve()},format=raw,readonly=on",
            "-device", "qemu-xhci", "-device", "usb-storage,drive=stick",
        ),
    )  # fmt: skip
    begun = time.monotonic()
    machine.on()
    try:
        machine.starts("gateway: slot a", seconds=BOOT)
        fill_in(machine, site)
        taken("first start from disk.raw, switch to the end of setup", time.monotonic() - begun)
        machine.wait_for_shell(seconds=BOOT)
        yield machine
    finally:
        machine.off()


@pytest.fixture
def bare(built: Path, site: Site) -> Iterator[Machine]:
    """A machine that is off, with an empty disk and the stick in it."""
    machine = Machine(
        folder=site.folder / "box",
        base=None,
        disk="nvme",
        extra=(
            "-drive", f"if=none,id=stick,file={(built / 'stick.raw').resolve()},format=raw,readonly=on",
            "-device", "qemu-xhci", "-device", "usb-storage,drive=stick,bootindex=0",
        ),
    )  # fmt: skip
    yield machine
    machine.off()
