"""The box under load."""

from __future__ import annotations

from hwtests import host, network, throughput
from hwtests.machine import Machine
from hwtests.outcome import Measured, NotAsked
from hwtests.plugin import Commissioning, line
from hwtests.profile import Profile

_COOL = "look at its fan, its place and what it stands on"


@line("heat.load", "Under full load it stays cool and fast", needs=["heat.sensors"])
def test_heat(machine: Machine, profile: Profile, measured: Measured) -> None:
    if not profile.heat.load:
        raise NotAsked("not asked for by the profile")
    highest: dict[str, float] = {}
    before = host.throttled(machine)

    def look() -> None:
        for sensor, degrees in host.temperatures(machine).items():
            highest[sensor] = max(degrees, highest.get(sensor, degrees))

    host.load(profile.heat.load.total_seconds(), look)
    after = host.throttled(machine)
    measured.tell("load", profile.heat.load.total_seconds(), "s")
    for sensor, degrees in highest.items():
        measured.at_most(f"highest {sensor}", degrees, profile.heat.most, "C", remedy=_COOL)
    if before is None or after is None:
        measured.tell("slowed down for heat", "not told by the processor")
    else:
        measured.at_most("slowed down for heat", after - before, 0, "times", remedy=_COOL)


@line("throughput.box", "The box takes and sends images fast enough", needs=["disk.device", "disk.space"])
def test_throughput(machine: Machine, profile: Profile, measured: Measured) -> None:
    limits = profile.throughput
    found = throughput.measure(machine.state, limits.images)
    remedy = "look at disk.fsync and heat.load above, and for another program that works on this box"
    measured.tell("images", found.images)
    measured.at_least("accepted", found.accepted, limits.accepted, "MB/s", remedy=remedy)
    measured.at_least("delivered", found.delivered, limits.delivered, "MB/s", remedy=remedy)


@line("network.errors", "No frame was broken during all this", needs=["network.link"])
def test_errors(nic: str, commissioning: Commissioning, machine: Machine, profile: Profile, measured: Measured) -> None:
    broken = network.broken_frames(machine, nic) - commissioning.frames.get(nic, 0)
    remedy = "replace the cable, then the switch port; half duplex on one side shows here too"
    measured.at_most("broken frames", broken, profile.network.errors, remedy=remedy)
