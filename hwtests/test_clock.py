"""The clocks."""

from __future__ import annotations

from hwtests import clock
from hwtests.machine import Machine
from hwtests.outcome import Measured, NotAsked, NotTested
from hwtests.plugin import NO_SERVER, line
from hwtests.profile import Profile


@line("clock.ntp", "Our time is that of the time server")
def test_ntp(server: str, profile: Profile, measured: Measured) -> None:
    if server == NO_SERVER:
        raise NotTested("no time server is named; write those of the site into [clock] ntp of its profile")
    found = clock.offset(server, profile.clock.ntp_port)
    measured.tell("stratum", found.stratum)
    limit = profile.clock.offset.total_seconds()
    remedy = "look at `chronyc tracking`; if the server is right, `chronyc makestep`"
    measured.at_most("offset", abs(found.seconds), limit, "s", remedy=remedy)


@line("clock.disciplined", "chrony holds the clock")
def test_disciplined(machine: Machine, profile: Profile, measured: Measured) -> None:
    if not profile.clock.disciplined:
        raise NotAsked("not asked for by the profile")
    stratum, offset = clock.tracking(machine)
    measured.tell("stratum", stratum)
    remedy = "wait until chrony has settled, then try again"
    measured.at_most("offset by its own account", offset, profile.clock.offset.total_seconds(), "s", remedy=remedy)


@line("clock.rtc", "The clock that runs without power is right", needs=["clock.ntp"])
def test_rtc(machine: Machine, profile: Profile, measured: Measured) -> None:
    limit = profile.clock.rtc.total_seconds()
    remedy = "run `hwclock --systohc`; if it goes wrong again without power, replace its battery"
    measured.at_most("offset", abs(clock.rtc_ahead(machine)), limit + 1, "s", remedy=remedy)
