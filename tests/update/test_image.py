"""The recipe of the image, without building it: the traps, the driver of the emulated machine, the list of parts."""

from __future__ import annotations

import json
import py_compile
import re
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from image import checks, packages, sbom
from image.slots import COMMAND_LINE
from image.test import machine as machine_of_test
from image.test.machine import CPU, Machine, Serial
from image.tree import RELEASE, Release


@pytest.fixture
def planted(tmp_path: Path) -> Path:
    """A tree that has what the checks look at, all of it as it must be."""
    tree = tmp_path / "tree"
    package = tree / "usr/lib/gateway/lib/python3.11/site-packages/gateway"
    package.mkdir(parents=True)
    (package / "app.py").write_text("x = 1\n")
    _compile(package / "app.py", py_compile.PycInvalidationMode.UNCHECKED_HASH)
    for name, text in {
        "etc/passwd": "root:x:0:0:root:/root:/usr/sbin/nologin\n",
        "etc/shadow": "root:*:20454:0:99999:7:::\n",
        "etc/systemd/system.conf.d/box.conf": "[Manager]\nRuntimeWatchdogSec=60s\n",
        "usr/lib/systemd/system/gateway-.service.d/10-common.conf": "[Service]\nTimeoutStartSec=300\n",
        "usr/lib/modules/6.1/modules.dep": "",
        "boot/vmlinuz-6.1": "",
        "boot/initrd.img": "",
        RELEASE: "{}",
    }.items():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text(text)
    for unit in ("getty@.service", "serial-getty@.service"):
        (tree / "etc/systemd/system").mkdir(exist_ok=True)
        (tree / "etc/systemd/system" / unit).symlink_to("/dev/null")
    (tree / "var").mkdir()
    return tree


def _compile(source: Path, mode: py_compile.PycInvalidationMode) -> None:
    py_compile.compile(str(source), invalidation_mode=mode, doraise=True)


def test_a_tree_as_it_must_be_has_no_fault(planted: Path) -> None:
    assert checks.faults(planted, released=True) == []


def _stale(tree: Path) -> None:
    _compile(next(tree.rglob("app.py")), py_compile.PycInvalidationMode.TIMESTAMP)


def _uncompiled(tree: Path) -> None:
    for path in tree.rglob("*.pyc"):
        path.unlink()


def _write(name: str, text: str = "") -> object:
    def fault(tree: Path) -> None:
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text(text)

    return fault


def _setuid(tree: Path) -> None:
    path = tree / "usr/bin/shell"
    path.parent.mkdir(exist_ok=True)
    path.write_text("")
    path.chmod(0o4755)


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (_stale, "1: .*is checked against its source"),
        (_uncompiled, "1: 1 modules of the gateway have no bytecode"),
        (_write("etc/systemd/system.conf.d/box.conf"), "3: PID 1 feeds no watchdog"),
        (_write("usr/lib/systemd/system/gateway-.service.d/10-common.conf"), "4: .*TimeoutStartSec"),
        (_write("usr/lib/systemd/system/box-test-shell.service"), "5: the test's shell"),
        (_write("boot/initrd.img-6.1"), "initrd: there are 2 initrds"),
        (_write("usr/sbin/mkinitramfs"), "initrd: initramfs-tools"),
        (_write("etc/apt/sources.list", "deb http://mirror.example/ bookworm main\n"), "leak: .*package source"),
        (_write("etc/pip.conf"), "leak: etc/pip.conf"),
        (_write("var/log/dpkg.log"), "leak: /var is not empty"),
        (_write("etc/passwd", "root:x:0:0:root:/root:/bin/sh\n"), "root has a shell"),
        (_write("etc/shadow", "root::20454::::::\n"), "root may have a password"),
        (_setuid, "usr/bin/shell is setuid"),
    ],
)
def test_each_fault_is_named(planted: Path, fault: object, said: str) -> None:
    assert callable(fault)
    fault(planted)
    found = checks.faults(planted, released=True)
    assert len(found) == 1
    assert re.match(said, found[0])


def test_a_released_image_is_told_nothing_that_is_for_the_test() -> None:
    assert "mitigations" not in COMMAND_LINE
    assert "panic-on-corruption" in COMMAND_LINE


def test_the_emulated_machine_never_meets_kvm_nor_the_slow_processor(tmp_path: Path) -> None:
    words = Machine(folder=tmp_path, base=tmp_path / "disk.raw")._command(tmp_path / "disk", tmp_path / "vars")
    assert words[words.index("-accel") + 1] == "tcg,thread=multi"
    assert not any("kvm" in word for word in words)
    assert words[words.index("-cpu") + 1] == CPU == "Nehalem"


@pytest.fixture
def wired(tmp_path: Path) -> Iterator[tuple[Machine, socket.socket]]:
    """A machine that is on, and the guest's end of its serial port."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "port"))
        listener.listen()
        serial = Serial(tmp_path / "port", tmp_path / "log")
        with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as alive:
            serial.connect(alive)
            guest, _ = listener.accept()
            box = Machine(folder=tmp_path, base=None)
            box.console = box.shell = serial
            box._qemu = alive
            with guest:
                yield box, guest
            alive.communicate(b"\n")
        serial.close()


def test_what_the_loader_prints_twice_is_met_once(wired: tuple[Machine, socket.socket]) -> None:
    """GRUB has two terminals under OVMF that are one. What came in time is met by who was not let run until later."""
    box, guest = wired
    guest.sendall(b"\x1b[1;1Hgateway: slot a\x1b[0mgateway: slot a\r\n")
    box.wait("gateway: slot ([ab])", seconds=0)
    assert b"\x1b" not in box.console.seen


def test_the_reset_button_is_pressed_for_the_firmwares_sake_alone(
    wired: tuple[Machine, socket.socket], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nothing came after the kernel's last word: a restart that takes its time, or a loader's fault, is ours."""
    monkeypatch.setattr(machine_of_test, "SILENCE", 0.1)
    box, guest = wired
    pressed: list[str] = []

    def asked(_: Path, execute: str, **__: object) -> str:
        pressed.append(execute)
        if execute == "system_reset":
            guest.sendall(b"gateway: slot b\r\n")
        return "CPU#0"

    monkeypatch.setattr(machine_of_test, "ask", asked)
    guest.sendall(b"Stopping the gateway ...\r\n")
    with pytest.raises(TimeoutError):
        box.starts("gateway: slot b", seconds=0.3)
    assert pressed == []
    guest.sendall(b"[ 1.5] reboot: Restarting system\r\n")
    box.starts("gateway: slot b", seconds=30)
    assert (pressed, box.stuck) == (["human-monitor-command", "system_reset"], 1)
    assert (tmp_path / "stuck-1.log").read_text() == "CPU#0"


def test_nothing_of_the_builder_reaches_a_program_of_the_build(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_FIND_LINKS", "elsewhere")
    assert not any(name.startswith("PIP_") for name in packages.clean())
    assert packages.run("env").count("PIP_") == 0


def test_both_machines_come_of_one_recipe() -> None:
    one, other = packages.machine("amd64"), packages.machine("arm64")
    assert {*one.packages} ^ {*other.packages} == {"linux-image-amd64", "linux-image-arm64"}
    assert (one.loader, other.loader) == ("BOOTX64.EFI", "BOOTAA64.EFI")
    assert "initramfs-tools" not in one.packages


def test_the_list_of_parts_has_every_package_once(planted: Path, tmp_path: Path) -> None:
    for name in ("Pydicom", "pydicom_seg"):
        place = planted / f"usr/lib/gateway/lib/{name}.dist-info"
        place.mkdir()
        (place / "METADATA").write_text(f"Name: {name}\nVersion: 3.0\nLicense-Expression: MIT\n\nText\n")
    debian = [{"Package": "libc6", "Version": "1:2.36+deb12", "Architecture": "amd64", "Source": "glibc (2.36)"}]
    sbom.write(planted, debian, Release(version="1.0.0", sequence=1, arch="amd64"), "ab" * 32, tmp_path / "sbom.json")
    said = json.loads((tmp_path / "sbom.json").read_text())
    assert [one["purl"] for one in said["components"]] == [
        "pkg:deb/debian/libc6@1%3A2.36%2Bdeb12?arch=amd64", "pkg:pypi/pydicom@3.0", "pkg:pypi/pydicom-seg@3.0",
    ]  # fmt: skip
    assert said["dependencies"][0]["dependsOn"] == [one["bom-ref"] for one in said["components"]]


def test_a_bytecode_header_is_read_as_python_writes_it(planted: Path) -> None:
    """PEP 552: the second word has the flags."""
    compiled = next(planted.rglob("*.pyc"))
    assert struct.unpack("<I", compiled.read_bytes()[4:8])[0] == 1
