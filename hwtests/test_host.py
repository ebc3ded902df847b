"""Memory, security chip, watchdog at rest, sensors and battery."""

from __future__ import annotations

from hwtests import host, watchdog
from hwtests.machine import Machine
from hwtests.outcome import Fault, Measured, NotAsked
from hwtests.plugin import line
from hwtests.profile import Profile

_MEMORY = "replace the memory module"


@line("memory.size", "There is enough memory")
def test_size(machine: Machine, profile: Profile, measured: Measured) -> None:
    total = host.memory_total(machine) / 1e9
    # The firmware and the kernel keep some of what is on the label
    remedy = "look whether a module is missing or not recognised"
    measured.at_least("total", total, profile.memory.total / 1e9 * 0.9, "GB", remedy=remedy)


@line("memory.errors", "The memory has not failed")
def test_errors(machine: Machine, measured: Measured) -> None:
    corrected, uncorrected = host.memory_errors(machine)
    measured.at_most("uncorrected errors", uncorrected, 0, remedy=_MEMORY)
    measured.at_most("corrected errors", corrected, 0, remedy=_MEMORY)


@line("memory.pattern", "Memory gives back what was put in")
def test_pattern(profile: Profile, measured: Measured) -> None:
    measured.tell("filled four times", profile.memory.sample / 1e6, "MB")
    measured.at_most("blocks that differ", host.patterns_differ(profile.memory.sample), 0, remedy=_MEMORY)


@line("tpm.present", "There is a TPM 2")
def test_tpm(machine: Machine, measured: Measured) -> None:
    remedy = "switch the TPM to version 2 in the firmware"
    measured.at_least("version", host.tpm_version(machine), 2, remedy=remedy)


@line("tpm.answers", "The TPM answers", needs=["tpm.present"])
def test_tpm_answers(machine: Machine, measured: Measured) -> None:
    first, second = host.tpm_random(machine), host.tpm_random(machine)
    if first == second:
        raise Fault("the TPM gave the same random number twice; replace the board")
    measured.tell("random bytes", len(first) + len(second))


@line("watchdog.present", "There is a watchdog")
def test_watchdog(machine: Machine, measured: Measured) -> None:
    measured.tell("device", watchdog.identity(machine))


@line("watchdog.armed", "The system holds the watchdog", needs=["watchdog.present"])
def test_armed(machine: Machine, profile: Profile, measured: Measured) -> None:
    if not profile.watchdog.armed:
        raise NotAsked("not asked for by the profile")
    remedy = "set RuntimeWatchdogSec in the configuration of systemd, and restart"
    measured.equals("held", "yes" if watchdog.is_armed(machine) else "no", "yes", remedy=remedy)


@line("heat.sensors", "The box is no warmer than it may be")
def test_sensors(machine: Machine, profile: Profile, measured: Measured) -> None:
    remedy = "look at its fan, its place and what it stands on"
    for sensor, degrees in host.temperatures(machine).items():
        measured.at_most(sensor, degrees, profile.heat.most, "C", remedy=remedy)


@line("ups.present", "The UPS answers")
def test_ups(machine: Machine, profile: Profile, measured: Measured) -> None:
    measured.tell("status", host.ups(machine, profile.ups.name).status)


@line("ups.battery", "The UPS would carry the box", needs=["ups.present"])
def test_battery(machine: Machine, profile: Profile, measured: Measured) -> None:
    found = host.ups(machine, profile.ups.name)
    words = found.status.split()
    on_line = "on the line" if "OL" in words else "on its battery"
    measured.equals("power", on_line, "on the line", remedy="plug the UPS in")
    measured.equals("battery", "replace" if "RB" in words else "good", "good", remedy="replace the battery of the UPS")
    if found.charge is None or found.runtime is None:
        raise Fault("the UPS does not tell its charge; use one that NUT supports in full")
    measured.at_least("charge", found.charge, profile.ups.charge, "%", remedy="let it charge, then try again")
    least = profile.ups.runtime.total_seconds()
    measured.at_least(
        "runtime", found.runtime, least, "s", remedy="replace the battery of the UPS, or use a larger one"
    )
