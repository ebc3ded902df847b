"""The disk under the spool."""

from __future__ import annotations

from hwtests import disk
from hwtests.disk import CRITICAL
from hwtests.machine import Machine
from hwtests.outcome import Fault, Measured
from hwtests.plugin import line
from hwtests.profile import Profile, milliseconds

_SLOW = (
    "look for another program that writes, at the type of the disk and at its temperature; replace it if it stays slow"
)


@line("disk.device", "The spool is on a disk of the right kind")
def test_device(machine: Machine, profile: Profile, measured: Measured) -> None:
    found = disk.disk_of(machine)
    measured.tell("disk", f"{found.name} {found.model}")
    measured.tell("serial", found.serial or "not told")
    if profile.disk.kind != "any":
        measured.equals("kind", found.kind, profile.disk.kind, remedy="mount the spool on the disk it is meant for")


@line("disk.space", "The spool has room")
def test_space(machine: Machine, profile: Profile, measured: Measured) -> None:
    free, total = disk.free_space(machine)
    measured.tell("size", total / 1e9, "GB")
    remedy = "bring the destinations back that are behind (`gateway queue`), or give the spool a larger disk"
    measured.at_least("free", free / 1e9, profile.disk.reserve.bytes(total) / 1e9, "GB", remedy=remedy)


@line(
    "disk.power-loss", "The disk has no cache, or its maker states that it outlasts a power cut", needs=["disk.device"]
)
def test_power_loss(machine: Machine, profile: Profile, measured: Measured) -> None:
    cache = disk.disk_of(machine).cache
    measured.tell("write cache", cache or "not told")
    stated = profile.disk.power_loss_protection
    measured.tell("stated by the profile, not measured", stated or "nothing")
    if cache != "write through" and not stated:
        raise Fault(
            "the disk has a cache, and nobody says that it outlasts a power cut; use one with power-loss protection,"
            " and write into [disk] power_loss_protection where its maker promises that"
        )


@line("disk.smart", "The disk calls itself healthy", needs=["disk.device"])
def test_smart(machine: Machine, profile: Profile, measured: Measured) -> None:
    found = disk.smart(machine, disk.disk_of(machine))
    measured.tell("health", "passed")
    replace = "replace the disk before any image is on it"
    limits = {"worn": profile.disk.worn, "media errors": 0, CRITICAL: 0}
    for what, value in found.items():
        if what in limits:
            measured.at_most(what, value, limits[what], "%" if what == "worn" else "", remedy=replace)
        else:
            measured.tell(what, value)


@line("disk.fsync", "Small writes reach the disk in time", needs=["disk.device", "disk.space"])
def test_fsync(machine: Machine, profile: Profile, measured: Measured) -> None:
    times = disk.fsync_times(machine.state, profile.disk.fsyncs)
    measured.tell("median", disk.percentile(times, 0.5), "ms")
    measured.tell("longest", times[-1], "ms")
    limit = milliseconds(profile.disk.fsync_p99)
    measured.at_most("99 of 100 within", disk.percentile(times, 0.99), limit, "ms", remedy=_SLOW)


@line("disk.rate", "Large writes reach the disk in time", needs=["disk.device", "disk.space"])
def test_rate(machine: Machine, profile: Profile, measured: Measured) -> None:
    found = disk.write_rate(machine.state, profile.disk.sample)
    measured.at_least("rate", found, profile.disk.rate, "MB/s", remedy=_SLOW)
