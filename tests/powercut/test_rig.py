"""The rig must tell a durable writer from one that only hopes; without that, a passed power cut means nothing."""

import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.powercut import rig
from tests.powercut.ledger import Survey, files_in, promises, survey

pytestmark = [
    pytest.mark.safety,
    pytest.mark.skipif(rig.missing() is not None, reason=str(rig.missing())),
]

ROOT = Path(__file__).parents[2]
PATIENCE = 100.0


@contextmanager
def writing(how: str, folder: Path, ledger: Path, seed: int) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "tests.powercut.writer", how, str(folder), str(ledger), str(seed)]
    with subprocess.Popen(command, cwd=ROOT) as process:
        try:
            yield process
        finally:
            process.kill()


def until_promised(ledger: Path, count: int) -> None:
    deadline = time.monotonic() + PATIENCE
    while len(promises(ledger)) < count:
        assert time.monotonic() < deadline, f"the writer made fewer than {count} promises in {PATIENCE} s"
        time.sleep(0.002)


def cut_once(tmp_path: Path, how: str, seed: int, **options: object) -> Survey:
    ledger = tmp_path / "ledger"
    count = random.Random(seed).randint(15, 60)
    with rig.VolatileDisk(tmp_path / "rig", size=128 << 20, seed=seed, **options) as disk:
        with writing(how, disk.mount, ledger, seed) as process:
            until_promised(ledger, count)
            disk.cut([process.pid])
        promised = promises(ledger)
        with disk.recover() as recovered:
            found = survey(promised, files_in(recovered.path))
        assert rig.fsck(recovered.image) == 0
    assert len(promised) >= count
    return found


@pytest.mark.parametrize("leak", [0, 50])
@pytest.mark.parametrize("seed", [1, 2])
def test_a_durable_writer_loses_nothing(tmp_path: Path, seed: int, leak: int) -> None:
    assert cut_once(tmp_path, "durable", seed, leak=leak).kept_every_promise


def test_a_writer_without_fsync_loses(tmp_path: Path) -> None:
    found = cut_once(tmp_path, "no-fsync", seed=3)
    assert found.lost | found.torn


def test_a_lying_drive_defeats_a_durable_writer(tmp_path: Path) -> None:
    found = cut_once(tmp_path, "durable", seed=4, flush="lie")
    assert found.lost | found.torn


def test_power_comes_back_and_goes_again(tmp_path: Path) -> None:
    with rig.VolatileDisk(tmp_path / "rig", size=128 << 20) as disk:
        for turn in range(2):
            ledger, folder = tmp_path / f"ledger-{turn}", disk.mount / f"turn-{turn}"
            folder.mkdir()
            with writing("durable", folder, ledger, turn) as process:
                until_promised(ledger, 5)
                disk.cut([process.pid])
            disk.power_on()
        for turn in range(2):
            found = survey(promises(tmp_path / f"ledger-{turn}"), files_in(disk.mount / f"turn-{turn}"))
            assert found.kept_every_promise


def test_a_writer_that_ended_before_the_cut_is_an_error(tmp_path: Path) -> None:
    with rig.VolatileDisk(tmp_path / "rig", size=64 << 20) as disk, subprocess.Popen(["/bin/true"]) as process:
        process.wait()
        with pytest.raises(RuntimeError, match="ended before the cut"):
            disk.cut([process.pid])


def fail_with_a_file_open(folder: Path) -> None:
    with (folder / "open").open("w"):
        raise ZeroDivisionError


def test_nothing_is_left_on_the_host_after_a_failure(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), rig.VolatileDisk(tmp_path / "rig", size=64 << 20) as disk:
        fail_with_a_file_open(disk.mount)
    with rig.VolatileDisk(tmp_path / "rig", size=64 << 20) as disk:
        disk.cut()
        with pytest.raises(ZeroDivisionError), disk.recover() as recovered:
            fail_with_a_file_open(recovered.path)
    assert str(tmp_path) not in Path("/proc/mounts").read_text()
    deadline = time.monotonic() + PATIENCE
    while str(tmp_path) in subprocess.run(["losetup", "-a"], capture_output=True, text=True, check=True).stdout:
        # The kernel keeps it for as long as anybody has it open, such as a host's udev that looks at every new disk
        assert time.monotonic() < deadline, "a loop device is left"
        time.sleep(0.05)
