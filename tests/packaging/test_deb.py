"""The Debian package in a fresh Debian: installed, configured, upgraded while scanners send, removed, purged.

`make deb-test` builds the package and the machine (build/deb-test, kept) and runs this; neither is for `make test`.
"""

from __future__ import annotations

import os
import re
import shutil
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gateway.dicom.negotiation import VERIFICATION, propose
from gateway.net.dicom_client import Peer, Requestor
from gateway.simulate.acceptor import free_port, hosted
from gateway.simulate.pacs import PacsBehaviour, PacsSimulator
from tests.net.wire import self_signed
from tests.packaging.machine import Machine, running
from tests.powercut.ledger import promises
from tests.safety.box import ROOT, audit, unfinished
from tests.safety.site import see_through, until, until_promised

pytestmark = [pytest.mark.package, pytest.mark.timeout(900)]
UNITS = ("gateway-edge.service", "gateway-forward.service", "gateway-console.service", "gateway-health.service")
WORK = ROOT / "build"
CONFIG = """\
[site]
name = "north"
timezone = "Europe/Berlin"
[box]
id = "ct1-room"
runtime = "/run/gateway"
[[listen]]
address = "127.0.0.1"
port = {port}
ae = ["GATEWAY"]
[[listen]]
address = "127.0.0.1"
port = {tls_port}
ae = ["GATEWAY"]
tls = true
certificate = "secrets/box.pem"
key = "secrets/box.key"
[mllp]
port = 0
[console]
port = {console_port}
[metrics]
port = 0
[[scanner]]
ae = "CT1"
address = ["127.0.0.1"]
[[destination]]
name = "pacs"
host = "127.0.0.1"
port = {pacs_port}
ae = "PACS"
confirm = "commitment"
compression = "lossless"
commitment_wait = "2s"
commitment_timeout = "4s"
retry = {{ base = "100ms", cap = "500ms" }}
"""


@pytest.fixture(scope="session")
def package() -> Path:
    """The one that was built last."""
    return max((WORK / "deb").glob("*.deb"), key=lambda path: path.stat().st_mtime)


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    with running(WORK / "deb-test" / "root.tar", tmp_path / "machine") as machine:
        yield machine


def newer(package: Path, folder: Path) -> Path:
    """The same with a version that is higher."""
    tree = folder / "newer"
    subprocess.run(["dpkg-deb", "--raw-extract", package, tree], check=True)
    control = tree / "DEBIAN" / "control"
    control.write_text(re.sub(r"(?m)^Version: (.*)$", r"Version: \1.1", control.read_text()))
    built = folder / "newer.deb"
    subprocess.run(
        ["dpkg-deb", "--root-owner-group", "-Znone", "--build", tree, built], check=True, capture_output=True
    )
    shutil.rmtree(tree)
    return built


def dpkg(machine: Machine, *words: str | Path) -> str:
    done = machine.run("dpkg", *map(str, words))
    assert done.returncode == 0, done.stdout
    return done.stdout


def bring(machine: Machine, package: Path) -> str:
    """Into the machine, as from a stick; its place there."""
    shutil.copyfile(package, machine.path("/root") / package.name)
    return f"/root/{package.name}"


def echo(port: int, tls: ssl.SSLContext | None = None) -> int:
    peer = Peer(
        host="localhost" if tls else "127.0.0.1",
        port=port,
        called_ae="GATEWAY",
        calling_ae="CT1",
        connect_timeout=5,
        timeout=20,
        tls=(lambda: tls) if tls else None,
    )
    with Requestor.connect(peer, propose({VERIFICATION: []})) as association:
        return association.echo()


def mode(machine: Machine, path: str) -> str:
    return machine.run("stat", "-c", "%U:%G %a", path).stdout.strip()


def steps() -> list[str]:
    """The commands of docs/operations/install.md for a Debian machine, as a person types them."""
    page = (ROOT / "docs" / "operations" / "install.md").read_text()
    _, _, rest = page.partition("\n## On a Debian machine\n")
    return [line.strip() for line in rest.partition("As root:\n\n")[2].partition("\n\n")[0].splitlines()]


@contextmanager
def ended(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """It goes when the test goes, else its images fill the disk."""
    try:
        yield
    finally:
        process.kill()


def typed(machine: Machine, command: str) -> None:
    done = machine.run("sh", "-c", f"cd /root && {command}", env={"DEBIAN_FRONTEND": "noninteractive"})
    assert done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout}"


def test_a_life_of_the_package(
    tmp_path: Path, machine: Machine, package: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # Installed by the page: nothing runs, everything is there for the person who configures it
    install, copy, edit, *rest = steps()
    assert (install, edit) == ("apt install ./modality-gateway_*.deb", "editor /etc/gateway/gateway.toml")
    bring(machine, package)
    began = time.monotonic()
    typed(machine, install)
    installed = time.monotonic() - began
    assert [line for line in machine.asked if not re.search("preset|daemon-reload|try-restart", line)] == []
    assert machine.services == {}
    assert not any(machine.start(unit) for unit in UNITS)
    wanted = machine.path("/etc/systemd/system/gateway.target.wants")
    assert sorted(path.name for path in wanted.iterdir()) == sorted(UNITS)
    assert mode(machine, "/etc/gateway") == "root:gateway 750"
    assert mode(machine, "/var/lib/gateway") == "gateway:gateway 700"
    missing = machine.run("gateway", "check-config")
    assert missing.returncode == 1
    assert "copy gateway.sample.toml there" in missing.stdout

    # Configured: the units answer, feed their watchdogs, and a study goes in and out
    pacs = PacsSimulator(port=free_port(), seed=1)
    port, tls_port = free_port(), free_port()
    typed(machine, copy)
    text = CONFIG.format(port=port, tls_port=tls_port, console_port=free_port(), pacs_port=pacs.port)
    machine.path("/etc/gateway/gateway.toml").write_text(text)
    certificate = self_signed(tmp_path, days=400)  # one that ends soon is an alarm
    shutil.copyfile(certificate.path, machine.path("/etc/gateway/secrets/box.pem"))
    shutil.copyfile(certificate.key, machine.path("/etc/gateway/secrets/box.key"))
    machine.path("/etc/gateway/secrets/box.key").chmod(0o600)  # root's alone: the unit has it from systemd
    machine.path("/etc/gateway/secrets/box.pem").chmod(0o600)
    state = machine.path("/var/lib/gateway")
    ledgers = tmp_path / "ledgers"
    ledgers.mkdir()
    sender = [sys.executable, "-m", "tests.safety.sender", "--port", str(port), "--ledgers", str(ledgers)]
    with hosted(pacs) as host:
        for command in rest:
            typed(machine, command)
        assert set(machine.services) == set(UNITS)
        assert echo(port) == 0
        trusting = ssl.create_default_context(cafile=certificate.path)
        assert echo(tls_port, trusting) == 0
        for unit in UNITS:
            machine.fed(unit)
        subprocess.run([*sender, "--count", "5", "--associations", "1"], cwd=ROOT, check=True, timeout=120)
        until(lambda: not unfinished(state), limit=120)
        assert len(promises(ledgers / "stored")) == len(pacs.held) == 5
        assert machine.run("gateway", "status").returncode == 0

        # Upgraded while four scanners send and the PACS is away: edge answers but for its restart, nothing is lost
        host.call(pacs.behave(PacsBehaviour.DOWN))
        before = {unit: machine.services[unit].process.pid for unit in UNITS}
        with subprocess.Popen([*sender, "--seed", "7", "--pause", "0.02"], cwd=ROOT) as scanners, ended(scanners):
            until_promised(ledgers / "stored", 50)
            machine.asked.clear()
            began = time.monotonic()
            dpkg(machine, "--install", bring(machine, newer(package, tmp_path)))
            upgraded = time.monotonic() - began
            told = len(promises(ledgers / "stored"))
            until_promised(ledgers / "stored", told + 20)
            host.call(pacs.behave(PacsBehaviour.UP))
            see_through(scanners)
        assert set(machine.services) == set(UNITS)
        assert all(machine.services[unit].process.pid != before[unit] for unit in UNITS)
        assert machine.asked.index("try-restart gateway-edge.service") > machine.asked.index(
            "stop gateway-forward.service"
        )
        until(lambda: not unfinished(state), limit=300)
        promised, held = promises(ledgers / "stored"), pacs.held
        lost = [uid for uid, hashed in promised.items() if uid not in held or held[uid].content_hash != hashed]
        breaks = len((ledgers / "broken").read_text().splitlines()) if (ledgers / "broken").exists() else 0
        assert lost == []
        assert audit(state) == []

        # Removed: nothing runs and nothing is left but configuration and images; purged: but the images
        dpkg(machine, "--remove", "modality-gateway")
        assert machine.services == {}
        assert not machine.path("/usr/lib/gateway").exists()
        assert not machine.path("/usr/bin/gateway").exists()
        assert machine.path("/etc/gateway/gateway.toml").exists()
        said = dpkg(machine, "--purge", "modality-gateway")
        assert "/var/lib/gateway is kept" in said
        assert not machine.path("/etc/gateway").exists()
        assert not list(machine.path("/etc/systemd/system").rglob("gateway*"))
        assert len(list(machine.path("/var/lib/gateway/spool/objects").glob("*/*.dcm"))) >= len(promised)
    with capsys.disabled():
        print(
            f"\npackage {package.stat().st_size / 1e6:.0f} MB, installed in {installed:.0f} s, upgraded in"
            f" {upgraded:.0f} s; {len(promised)} acknowledged, {len(lost)} lost, {breaks} associations broken off"
        )


def test_a_package_that_was_never_used_leaves_nothing(machine: Machine, package: Path) -> None:
    dpkg(machine, "--install", bring(machine, package))
    dpkg(machine, "--purge", "modality-gateway")
    assert not machine.path("/var/lib/gateway").exists()
    assert not machine.path("/etc/gateway").exists()
    assert "gateway" not in machine.path("/etc/passwd").read_text()


def test_the_byte_code_is_never_stale(package: Path, tmp_path: Path) -> None:
    """An image gives every file one time; byte code that looked at it would be made again at each start."""
    subprocess.run(["dpkg-deb", "--extract", package, tmp_path], check=True)
    library = tmp_path / "usr/lib/gateway/lib"
    codes = list(library.rglob("*.pyc"))
    assert len(codes) > 1000
    assert [path for path in codes if path.read_bytes()[4:8] != b"\1\0\0\0"] == []  # PEP 552: hashed, unchecked
    sources = {path for path in library.rglob("*.py") if "site-packages" in path.parts}
    assert os.fspath(tmp_path) not in "".join(code.read_bytes().decode("latin-1") for code in codes[:50])
    assert len(codes) >= 0.95 * len(sources)
