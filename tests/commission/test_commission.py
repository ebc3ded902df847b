"""Each planted fault turns its own line red, what rests on it is not tried, and nothing absent reads as passed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from gateway.net.share import prepare
from gateway.simulate.acceptor import hosted
from gateway.simulate.pacs import PacsBehaviour, PacsSimulator
from gateway.simulate.ris import RisBehaviour, RisSimulator, sample_rows
from hwtests.outcome import State
from tests.commission.described import Described, captured_json, described, states, tpm
from tests.journeys.gateway_process import To, gateway
from tests.peers.processes import HOST, free_port
from tests.peers.stow_server import Said, stow_server
from tests.peers.time_server import time_server

pytestmark = pytest.mark.slow

RIS = '[[ris]]\nname = "main"\nhost = "{host}"\nport = {port}\nae = "RIS"\ntimeout = "5s"\n'
PACS = (
    '[[destination]]\nname = "pacs"\nhost = "{host}"\nport = {port}\nae = "{ae}"\nconfirm = "status"\n'
    'compression = "none"\n'
)


@pytest.fixture
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Described]:
    made = described(tmp_path_factory.mktemp("c"))  # a short name: the path of a socket has 107 bytes
    with time_server() as ntp:
        made.ntp = ntp
        yield made


def captured_tpm() -> list[bytes]:
    """Two answers to TPM2_GetRandom, from swtpm."""
    head = bytes.fromhex("80010000001c000000000010")
    return [head + bytes(range(16)), head + bytes(range(16, 32))]


def test_a_whole_machine_passes_but_for_what_was_not_tried(machine: Described) -> None:
    ris, pacs = RisSimulator(rows=sample_rows(datetime.now(UTC).date())), PacsSimulator()
    with hosted(ris), hosted(pacs), tpm(machine, captured_tpm()):
        machine.peers = RIS.format(host=HOST, port=ris.port) + PACS.format(host=HOST, port=pacs.port, ae="PACS")
        lines = machine.commission()
    odd = {name: one.why for name, one in lines.items() if one.state is not State.PASSED}
    assert odd == {
        "network.address eth0": "a described machine has no wire",
        "gateway.selftest": "the gateway does not run here; start it, then try again",
        "watchdog.armed": "not asked for by the profile",
        "watchdog.fires": "not asked for: --watchdog, and the box restarts",
    }
    assert len(pacs.held) == 2
    assert [one.id for one in machine.told] == [*lines]
    assert all(one.measured for one in lines.values() if one.state is State.PASSED)


def test_no_link(machine: Described) -> None:
    machine.write("/sys/class/net/eth0/carrier", "0\n")
    machine.write("/sys/class/net/eth0/speed", "-1\n")
    machine.write("/sys/class/net/eth0/duplex", "unknown\n")
    machine.peers = RIS.format(host=HOST, port=1)
    assert states(machine.commission("network", "peer")) == {
        "network.interface": "passed",
        "network.link eth0": "failed",
        **dict.fromkeys(
            ("network.speed eth0", "network.address eth0", "network.path ris/main", "network.errors eth0"),
            "blocked by network.link eth0",
        ),
        "peer.reach ris/main": "blocked by network.link eth0",
        "peer.worklist ris/main": "blocked by peer.reach ris/main",
        "peer.store": "blocked by peer.reach ris/main",
    }


def test_no_nvme(machine: Described) -> None:
    machine.remove("/sys/dev/block")
    assert states(machine.commission("disk", "throughput")) == {
        "disk.device": "failed",
        "disk.space": "passed",
        **dict.fromkeys(
            ("disk.power-loss", "disk.smart", "disk.fsync", "disk.rate", "throughput.box"), "blocked by disk.device"
        ),
    }


def test_the_disk_is_found_below_encryption_partitions_and_btrfs(machine: Described) -> None:
    """As Linux shows LUKS on the third partition of an NVMe disk."""
    disk = "/sys/devices/pci0000:00/0000:00:03.0/nvme/nvme0/nvme0n1"
    machine.write(f"{disk}/nvme0n1p3/partition", "3\n")
    machine.write("/sys/devices/virtual/block/dm-0/dm/name", "data\n")
    machine.link("/sys/devices/virtual/block/dm-0/slaves/nvme0n1p3", f"../../../../..{disk[4:]}/nvme0n1p3")
    machine.link("/sys/dev/block/254:0", "../../devices/virtual/block/dm-0")
    machine.link("/sys/class/block/dm-0", "../../devices/virtual/block/dm-0")
    machine.write("/dev/dm-0", "")
    machine.link("/dev/mapper/data", "../dm-0")
    root = "25 1 0:2 / / rw - rootfs rootfs rw\n"
    for mount in (
        "26 1 254:0 / /var/lib/gateway rw,relatime shared:1 - ext4 /dev/mapper/data rw\n",
        "26 1 0:31 /@gateway /var/lib/gateway rw - btrfs /dev/mapper/data rw\n",
    ):
        machine.write("/proc/self/mountinfo", root + mount)
        assert machine.commission("disk.device")["disk.device"].measured[0].value == "nvme0n1 QEMU NVMe Ctrl"
    machine.write("/proc/self/mountinfo", root + "26 1 0:31 / /var/lib/gateway rw - nfs4 server:/gateway rw\n")
    assert "is on no disk" in machine.commission("disk.device")["disk.device"].why


def test_another_disk_than_the_profile_says(machine: Described) -> None:
    machine.profile = machine.profile.replace('kind = "nvme"', 'kind = "sata"')
    lines = machine.commission("disk.device")
    assert lines["disk.device"].why.startswith("kind is nvme, and must be sata")


def test_no_tpm_and_one_that_does_not_answer_as_it_must(machine: Described) -> None:
    fault = bytes.fromhex("80010000000a00000101")  # TPM_RC_FAILURE
    with tpm(machine, [fault]):
        assert states(machine.commission("tpm")) == {"tpm.present": "passed", "tpm.answers": "failed"}
    machine.remove("/sys/class/tpm")
    assert states(machine.commission("tpm")) == {"tpm.present": "failed", "tpm.answers": "blocked by tpm.present"}


def test_what_the_profile_does_not_expect_is_not_present_and_never_passed(machine: Described) -> None:
    machine.profile = machine.profile.replace('"tpm", "temperature", "ecc", "ups"', "").replace("ups@localhost", "")
    for name in ("/sys/class/tpm", "/sys/class/thermal", "/sys/devices/system/edac"):
        machine.remove(name)
    lines = machine.commission("tpm", "heat", "ups", "memory.errors", "network.path", "peer")
    assert {one.state for one in lines.values()} == {State.NOT_PRESENT}
    assert lines["tpm.answers"].why == "see tpm.present"


def test_a_clock_that_is_off(machine: Described) -> None:
    with time_server(ahead=3600) as ntp:
        machine.ntp = ntp
        lines = machine.commission("clock")
        assert states(lines) == {
            "clock.ntp 127.0.0.1": "failed",
            "clock.disciplined": "passed",
            "clock.rtc": "blocked by clock.ntp 127.0.0.1",
        }
        assert float(lines["clock.ntp 127.0.0.1"].measured[-1].value) == pytest.approx(3600, abs=30)
    with time_server(stratum=0, leap=3) as ntp:
        machine.ntp = ntp
        assert "has no time itself" in machine.commission("clock.ntp")["clock.ntp 127.0.0.1"].why


def test_no_time_server_is_named(machine: Described) -> None:
    machine.profile = machine.profile.replace('["127.0.0.1"]', "[]")
    lines = machine.commission("clock")
    assert lines["clock.ntp none named"].state is State.NOT_TESTED
    assert states(lines)["clock.rtc"] == "blocked by clock.ntp none named"


def test_a_clock_without_power_that_is_off_and_chrony_that_follows_nobody(machine: Described) -> None:
    machine.write("/sys/class/rtc/rtc0/since_epoch", "1000000000\n")
    machine.says("chronyc", "7F7F0101,,0,0.0,0.0,0.0,0.0,0.0,0.0,0.0,1.0,1.0,0.0,Not synchronised")
    assert states(machine.commission("clock")) == {
        "clock.ntp 127.0.0.1": "passed",
        "clock.disciplined": "failed",
        "clock.rtc": "failed",
    }


def test_a_full_disk(machine: Described) -> None:
    machine.profile = machine.profile.replace('reserve = "1MiB"', 'reserve = "900TiB"')
    assert states(machine.commission("disk", "throughput")) == {
        "disk.device": "passed",
        "disk.space": "failed",
        "disk.power-loss": "passed",
        "disk.smart": "passed",
        **dict.fromkeys(("disk.fsync", "disk.rate", "throughput.box"), "blocked by disk.space"),
    }


def test_a_disk_that_fails_is_worn_or_may_forget(machine: Described) -> None:
    said = captured_json("smartctl")
    machine.says("smartctl", json.dumps({**said, "smart_status": {"passed": False}}))
    assert "says that it is failing" in machine.commission("disk.smart")["disk.smart"].why
    health = {**dict(said["nvme_smart_health_information_log"]), "percentage_used": 97}  # type: ignore[call-overload]
    machine.says("smartctl", json.dumps({**said, "nvme_smart_health_information_log": health}))
    assert "worn is 97 %" in machine.commission("disk.smart")["disk.smart"].why
    machine.says("smartctl", "{}")
    assert "profile expects it" in machine.commission("disk.smart")["disk.smart"].why
    machine.remove("/usr/bin/smartctl")
    assert machine.commission("disk.smart")["disk.smart"].state is State.NOT_TESTED
    machine.profile = machine.profile.replace("capacitors, by its data sheet", "")
    assert "nobody says that it outlasts" in machine.commission("disk.power-loss")["disk.power-loss"].why


def test_no_watchdog_and_one_that_is_dead(machine: Described) -> None:
    held = machine.profile.replace("armed = false", "armed = true")
    machine.profile, free = held, machine.profile
    assert machine.commission("watchdog.armed")["watchdog.armed"].state is State.FAILED
    machine.write("/sys/class/watchdog/watchdog0/state", "active\n")
    assert machine.commission("watchdog.armed")["watchdog.armed"].state is State.PASSED
    machine.profile = free
    machine.write("/dev/watchdog0", "")
    lines = machine.commission("watchdog", fires=True)
    assert (lines["watchdog.present"].state, lines["watchdog.fires"].state) == (State.PASSED, State.FAILED)
    assert "it still runs" in lines["watchdog.fires"].why
    machine.remove("/dev/watchdog0")
    untried = machine.commission("watchdog", fires=True)["watchdog.fires"]
    assert (untried.state, untried.why[:33]) == (State.NOT_TESTED, "/dev/watchdog0 can't be opened (N")
    machine.remove("/sys/class/watchdog/watchdog0")
    assert states(machine.commission("watchdog", fires=True)) == {
        "watchdog.present": "failed",
        "watchdog.armed": "blocked by watchdog.present",
        "watchdog.fires": "blocked by watchdog.present",
    }


def test_peers_that_refuse_hang_up_or_are_away(machine: Described) -> None:
    ris, pacs = RisSimulator(rows=[], behaviour=RisBehaviour.FAIL), PacsSimulator()
    refusing = PacsSimulator(behaviour=PacsBehaviour.REFUSE)
    with hosted(ris), hosted(pacs), hosted(refusing):
        machine.peers = RIS.format(host=HOST, port=ris.port) + PACS.format(host=HOST, port=pacs.port, ae="NOBODY")
        lines = machine.commission("peer")
        assert states(lines) == {
            "peer.reach ris/main": "passed",
            "peer.reach destination/pacs": "failed",
            "peer.worklist ris/main": "failed",
            "peer.store destination/pacs": "blocked by peer.reach destination/pacs",
        }
        assert "reject" in lines["peer.reach destination/pacs"].why
        machine.peers = PACS.format(host=HOST, port=refusing.port, ae="PACS")
        assert machine.commission("peer.store")["peer.store destination/pacs"].why.startswith("it answered A700")
        assert machine.commission("peer.store", store=False)["peer.store destination/pacs"].asked is False
    machine.peers = RIS.format(host=HOST, port=free_port())
    assert "connect" in machine.commission("peer.reach")["peer.reach ris/main"].why


def test_heat_memory_and_battery(machine: Described) -> None:
    machine.write("/sys/class/thermal/thermal_zone0/temp", "96000\n")
    machine.write("/sys/devices/system/edac/mc/mc0/ue_count", "1\n")
    machine.says("upsc", "battery.charge: 100\nbattery.runtime: 2700\nups.status: OB DISCHRG")
    assert states(machine.commission("heat", "memory", "ups")) == {
        "memory.size": "passed",
        "memory.errors": "failed",
        "memory.pattern": "passed",
        "heat.sensors": "failed",
        "ups.present": "passed",
        "ups.battery": "failed",
        "heat.load": "blocked by heat.sensors",
    }


def test_destinations_of_other_kinds(machine: Described) -> None:
    share = machine.folder / "share"
    share.mkdir()
    prepare(share, "share")
    with stow_server(lambda _: Said(200)) as server:
        machine.peers = (
            f'[[destination]]\nname = "web"\nkind = "dicomweb"\nurl = "{server.url}"\nconfirm = "query"\n'
            'compression = "none"\n'
            f'[[destination]]\nname = "share"\nkind = "folder"\npath = "{share}"\nconfirm = "hash"\n'
            'compression = "none"\n[routing]\ndefault = ["web"]\nunverified = "web"\n'
        )
        lines = machine.commission("peer", "network.path")
        assert len(server.received) == 2
    assert {one.state for one in lines.values() if one.name in {"peer.reach", "peer.store"}} == {State.PASSED}
    assert len([*share.rglob("*.dcm")]) == 2
    assert "network.path destination/share" not in lines


def test_the_running_gateway_is_tried(machine: Described) -> None:
    with gateway(machine.folder, to=[To(port=free_port())]) as box:
        line = machine.commission("gateway")["gateway.selftest"]
        assert line.state is State.PASSED, line.why
        assert [one.what for one in line.measured][-1] == "confirm"
        box.stop()
        machine.profile += '[selftest]\npatience = "1s"\n'
        assert machine.commission("gateway")["gateway.selftest"].state is not State.PASSED
