"""Clocks: the site's time servers, the program that follows them, and the clock that runs without power.

What is promised: the offset to a server is measured here by SNTP (RFC 4330), whatever the program on the box claims;
it is that of the answer with the shortest way there and back. Our own clock is not changed.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import time
from dataclasses import dataclass
from typing import Final

from hwtests.machine import Machine
from hwtests.outcome import Fault, NotPresent, NotTested
from hwtests.profile import Part

_SINCE_1900: Final = 2_208_988_800
_ERA: Final = 1 << 32
_PACKET: Final = struct.Struct("!BBbb11I")
_CLIENT: Final = 0x23
"""Version 4, mode 3."""
_ASKED: Final = 3
_UNSYNCHRONISED: Final = 3
_TRACKING: Final = 14
"""Fields of `chronyc -c tracking`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Offset:
    """What a time server said."""

    seconds: float
    """How far it is ahead of us."""
    stratum: int


def offset(host: str, port: int, *, wait: float = 2.0) -> Offset:
    """Ask a time server three times. Raises Fault if it does not answer, or has no time itself."""
    best: tuple[float, Offset] | None = None
    try:
        address = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
    except OSError:
        raise Fault("its name is not known; check the name and the name server of this box") from None
    for _ in range(_ASKED):
        with socket.socket(address[0], socket.SOCK_DGRAM) as wire, contextlib.suppress(OSError):
            wire.settimeout(wait)
            wire.connect(address[4])
            way, found = _asked(wire)
            if best is None or way < best[0]:
                best = way, found
    if best is None:
        raise Fault("it does not answer; check that UDP port 123 is open to it, and that it serves this box")
    return best[1]


def _asked(wire: socket.socket) -> tuple[float, Offset]:
    """The way there and back, and the offset. Raises OSError if no answer to this very question comes."""
    sent = time.time()
    seconds = sent + _SINCE_1900
    stamp = int(seconds) % _ERA, int(seconds % 1 * _ERA)
    wire.send(_PACKET.pack(_CLIENT, 0, 0, 0, *([0] * 9), *stamp))
    raw = wire.recv(512)
    came = time.time()
    if len(raw) < _PACKET.size:
        raise OSError("no NTP")
    fields = _PACKET.unpack_from(raw)
    if fields[9:11] != stamp:
        raise OSError("an answer to another question")
    if fields[0] >> 6 == _UNSYNCHRONISED or not 0 < fields[1] < 16:
        raise Fault("it has no time itself; look at that server, or name another")
    received, answered = (_seconds(fields[at], fields[at + 1], sent) for at in (11, 13))
    way = (came - sent) - (answered - received)
    return way, Offset(seconds=((received - sent) + (answered - came)) / 2, stratum=fields[1])


def _seconds(whole: int, fraction: int, near: float) -> float:
    """Seconds since 1970 in the era nearest to `near` (RFC 5905 6)."""
    value = whole - _SINCE_1900 + fraction / _ERA
    return value + round((near - value) / _ERA) * _ERA


def tracking(machine: Machine) -> tuple[int, float]:
    """The stratum and the offset in seconds of chrony. Raises NotTested without it, Fault if it follows nobody."""
    said = machine.run("chronyc", "-n", "-c", "tracking")
    fields = said.out.strip().split(",")
    if said.status or len(fields) != _TRACKING:
        raise Fault("chrony does not answer; start it: systemctl enable --now chrony")
    try:
        stratum, offset_now = int(fields[2]), float(fields[4])
    except ValueError:
        raise NotTested("the answer of chronyc can't be read") from None
    if fields[13] == "Not synchronised" or stratum == 0:
        raise Fault("chrony follows no server; look at `chronyc sources`, and at the servers in its configuration")
    return stratum, abs(offset_now)


def rtc_ahead(machine: Machine) -> float:
    """How far the clock that runs without power is ahead of ours, in seconds. Raises NotPresent if there is none."""
    folder = "/sys/class/rtc/rtc0"
    if machine.text(f"{folder}/name") is None:
        raise NotPresent(Part.RTC, "there is no clock that runs without power")
    seconds = machine.number(f"{folder}/since_epoch")
    if seconds is None:
        raise Fault(
            "the clock that runs without power has no valid time; replace its battery, then `hwclock --systohc`"
        )
    return seconds - time.time()
