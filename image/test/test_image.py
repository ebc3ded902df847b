"""The image in an emulated machine: first start, first patient, crashes, updates. `make image-test`; one by its name:

    make image-test ARGS="-k first_patient"

What each shows is a crash and not a power cut: what the guest handed to its disk stays (image/test/machine.py).
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from gateway.domain.boot import Slot
from gateway.simulate.scanner import Sent
from image.packages import run
from image.test import page
from image.test.conftest import BOOT, fill_in, install
from image.test.machine import Machine
from image.test.site import Site

pytestmark = pytest.mark.timeout(2700)

Note = Callable[[str, float], None]
UNITS: Final = ("gateway-edge.service", "gateway-forward.service", "gateway-health.service", "gateway-console.service")
MOST_FIELDS: Final = 12


def test_the_images_are_what_was_signed(built: Path) -> None:
    """Nothing is booted for this."""
    root_hash = (built / "root-hash").read_text().strip()
    run("veritysetup", "verify", built / "slot/root.img", built / "slot/hash.img", root_hash)


def test_first_patient_and_two_crashes(bare: Machine, site: Site, taken: Note) -> None:
    """From the stick to a study in the archive, as install.md says; then the machine is killed twice at work."""
    begun = time.monotonic()
    typed = install(bare, taken)
    bare.on()
    bare.starts("gateway: slot a", seconds=BOOT)
    typed += fill_in(bare, site)
    taken("first start, switch to the end of setup", bare.age)
    site.wait_for_echo(bare, seconds=BOOT)
    entries = site.scanner(bare).query(Modality="CT")
    assert len(entries) == 3
    for sent in site.scanner(bare).send(site.study(entries[0], instances=10, seed=1), acknowledged=site.took):
        assert sent.accepted
    _verified(bare, images=10)
    site.wait_for_archive(bare, seconds=BOOT)
    taken("stick in the machine to first verified study, machine time", time.monotonic() - begun)
    taken("fields of the page", len(typed))
    taken("fields that were not left empty", len([one for one in typed if one]))
    taken("characters typed", len("".join(typed)))
    assert len(typed) <= MOST_FIELDS
    bare.wait_for_shell(seconds=BOOT)
    _stands(bare)
    _service_mode(bare)
    for crash in (2, 3):
        _kill_while_receiving(bare, site, seed=crash)
        bare.on()
        bare.starts("gateway: slot a", seconds=BOOT)
        taken(f"crash {crash - 1}, switch to C-ECHO", site.wait_for_echo(bare, seconds=BOOT))
    site.wait_for_archive(bare, seconds=BOOT)
    taken("objects acknowledged, all archived", len(site.acknowledged))


def _verified(box: Machine, *, images: int) -> None:
    """Step 4 of install.md: Enter, until all images count as delivered."""
    (word,) = (one for one in page.steps()[3] if isinstance(one, str))
    delivered = -1
    while delivered < images:
        box.wait("Service code[^\n]*: ", seconds=BOOT)
        box.console.type("\r")
        delivered = int(box.wait(rf"{word} +(\d+)", seconds=BOOT)[1])
    assert delivered == images


def _stands(box: Machine) -> None:
    """What a box must be, seen from inside."""
    assert box.sh("systemctl --failed --no-legend --plain") == ""
    assert "verified" in box.sh("veritysetup status root")
    assert "Read-only" in box.sh("touch /usr/x", check=False)
    for place in ("/etc", "/usr", "/"):
        assert box.sh(f"findmnt --noheadings --output OPTIONS --target {place}").startswith("ro,")
    assert "crypto_LUKS" in box.sh("lsblk --noheadings --output FSTYPE /dev/disk/by-partlabel/data")
    assert "systemd-tpm2" in box.sh("cryptsetup luksDump /dev/disk/by-partlabel/data")
    assert "gateway-data" in box.sh("cryptsetup luksDump /dev/disk/by-partlabel/data")
    assert "active" in box.sh("cat /sys/class/watchdog/watchdog0/state")
    assert box.sh("nft list chain inet box input").count("drop") >= 3
    for unit in UNITS:
        assert box.sh(f"systemctl is-active {unit}") == "active"
        box.sh(f"systemd-analyze security --threshold=15 {unit}", seconds=300)
    # Trap 1: the first process compiles nothing
    said = box.sh(
        "/usr/lib/gateway/bin/python3 -v -c 'import gateway.cli' 2>&1 | grep -c 'wrote\\|could not create' || true"
    )
    assert said == "0"
    assert box.sh("openssl x509 -in /var/lib/gateway-box/box.crt -noout -subject").endswith(
        box.sh("cat /var/lib/gateway-box/serial")
    )
    assert box.sh("cat /etc/machine-id") == box.sh("sed -n 's/^machine=//p' /efi/grubenv")
    assert "good" in box.sh("gateway update status", seconds=300)


def _service_mode(box: Machine) -> None:
    """On the serial port: no command without the code, the gateway's with it, and no shell at all."""
    box.console.seen = b""
    box.console.type("\r")
    box.wait("Service code[^\n]*: ", seconds=BOOT)
    box.console.type("0000000000\r")
    box.wait("That is not the code", seconds=BOOT)
    _enter_service_mode(box)
    for typed, said in (
        ("selftest", "The synthetic patient came through"),
        ("update status", "runs from slot a: good"),
        ("sh", "No such command"),
        ("$(reboot)", "No such"),
    ):
        box.console.type(f"{typed}\r")
        box.wait(said, seconds=BOOT)
        box.wait("gateway> ", seconds=BOOT)
    box.console.type("exit\r")


def _enter_service_mode(box: Machine) -> None:
    box.wait("Service code[^\n]*: ", seconds=BOOT)
    box.console.type(f"{(box.folder / 'code').read_text()}\r")
    box.wait("gateway> ", seconds=BOOT)


def _kill_while_receiving(box: Machine, site: Site, *, seed: int) -> None:
    """SIGKILL of the machine after some of the study was acknowledged, and while more is sent."""
    files = site.study({}, instances=40, seed=seed)
    enough = threading.Event()
    before = len(site.acknowledged)

    def took(sent: Sent) -> None:
        site.took(sent)
        if len(site.acknowledged) >= before + 12:
            enough.set()

    sending = threading.Thread(target=lambda: site.scanner(box).send(files, acknowledged=took))
    sending.start()
    while not enough.is_set() and sending.is_alive():
        box.drain(0.05)
    box.off()
    sending.join()
    assert before + 12 <= len(site.acknowledged) < before + len(files)


def test_factory_reset_and_a_tpm_that_is_gone(box: Machine, site: Site, taken: Note) -> None:
    """A box that is given away forgets what it had. It is set up again; then, as after a new main board, its data
    partition asks for the new recovery key and gives back what it kept."""
    for sent in site.scanner(box).send(site.study({}, instances=3, seed=1), acknowledged=site.took):
        assert sent.accepted
    site.wait_for_archive(box, seconds=BOOT)
    serial, recovery = box.sh("cat /var/lib/gateway-box/serial"), (box.folder / "recovery").read_text()
    _reset(box, serial)
    begun = box.age
    box.starts("gateway: slot a", seconds=BOOT)
    fill_in(box, site)
    taken("factory reset to the end of the second setup", box.age - begun)
    taken("of these, restarts in which the emulated firmware stood still", box.stuck)
    box.wait_for_shell(seconds=BOOT)
    assert box.sh("cat /var/lib/gateway-box/serial") != serial
    assert box.sh("find /var/lib/gateway/spool/objects -name '*.dcm' | wc -l") == "0"
    # Not with the TPM, which would open it whatever the key
    opens = "cryptsetup open --test-passphrase --disable-external-tokens --key-file - /dev/disk/by-partlabel/data"
    again = (box.folder / "recovery").read_text()
    assert "No key available" in box.sh(f"printf %s {recovery} | {opens}", seconds=300, check=False)
    box.sh(f"printf %s {again} | {opens}", seconds=300)

    for sent in site.scanner(box).send(site.study({}, instances=3, seed=2), acknowledged=site.took):
        assert sent.accepted
    box.off()
    box.tpm = False
    box.on()
    box.wait("Recovery key of this box:", seconds=BOOT)
    box.console.type("0000-0000\r")
    box.wait("Recovery key of this box:", seconds=BOOT)
    box.console.type(f"{again.upper()}\r")
    taken("without its TPM, switch to C-ECHO", site.wait_for_echo(box, seconds=BOOT))
    site.wait_for_archive(box, seconds=BOOT)


def _reset(box: Machine, serial: str) -> None:
    """Factory reset, as in service mode; the wrong serial number resets nothing."""
    _enter_service_mode(box)
    for typed, said in (("wrong", "That is another. Nothing was changed"), (serial, "")):
        box.console.type("factory-reset\r")
        box.wait("Type its serial number: ", seconds=BOOT)
        box.console.type(f"{typed}\r")
        box.wait(said, seconds=BOOT)


def test_updates(box: Machine, site: Site, taken: Note) -> None:
    """Refused, killed half-way, installed, kept, and one that can't start taken back by itself; nothing is lost."""
    for sent in site.scanner(box).send(site.study({}, instances=5, seed=1), acknowledged=site.took):
        assert sent.accepted
    state = box.sh("sha256sum /efi/grubenv")
    for wrong, said in (("stranger", "not signed by whom this box trusts"), ("tampered", "images.root")):
        assert said in box.sh(f"gateway update install --source /run/stick/{wrong}", seconds=1200, check=False)
        assert _status(box)["slot"] == Slot.A
    assert box.sh("sha256sum /efi/grubenv") == state

    # A kill while the other slot is written
    box.shell.type("gateway update install --source /run/stick/good\n")
    box.wait("writing root into slot b", seconds=BOOT, port="shell")
    box.drain(10)
    box.off()
    box.on()
    box.starts("gateway: slot a", seconds=BOOT)
    site.wait_for_echo(box, seconds=BOOT)
    box.wait_for_shell(seconds=BOOT)

    begun = box.age
    assert "is installed" in box.sh("gateway update install --source /run/stick/good", seconds=1200)
    taken("install of a release", box.age - begun)
    # The simulated RIS may have somebody due at any time of the day
    box.sh('printf \'\\n[commands]\\nexam_ahead = "1s"\\nexam_behind = "1s"\\n\' >> /etc/gateway/gateway.toml')
    with site.connected(box):
        assert "an association is open" in box.sh("gateway update restart", seconds=300, check=False)
    begun = box.age
    # As the timer would
    box.sh("systemctl start --no-block box-update.service")
    box.starts("gateway: slot b (good a, trial b, tries 1", seconds=BOOT)
    taken("update, restart to C-ECHO", site.wait_for_echo(box, seconds=BOOT) - begun)
    box.wait_for_shell(seconds=BOOT)
    _until(box, lambda: _status(box)["standing"] == "good")
    assert _status(box)["version"] == "0.2.0"

    assert "is installed" in box.sh("gateway update install --source /run/stick/broken", seconds=1200)
    begun = box.age
    box.sh("gateway update restart --now", seconds=300, check=False)
    for tries in (1, 0):
        box.starts(f"gateway: slot a (good b, trial a, tries {tries}", seconds=BOOT)
    box.starts("gateway: slot b (good b, trial a, tries 0", seconds=BOOT)
    taken("broken update, restart to C-ECHO of the version before", site.wait_for_echo(box, seconds=BOOT) - begun)
    box.wait_for_shell(seconds=BOOT)
    assert (_status(box)["version"], _status(box)["standing"]) == ("0.2.0", "fell back")
    site.wait_for_archive(box, seconds=BOOT)


def _status(box: Machine) -> dict[str, object]:
    found: dict[str, object] = json.loads(box.sh("gateway update status --json", seconds=300))
    return found


def _until(box: Machine, holds: Callable[[], bool]) -> None:
    end = box.age + BOOT
    while not holds():
        assert box.age < end
        box.drain(5)
