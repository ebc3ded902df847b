"""Wires: what the kernel knows of an interface, who else has its address, and which packets reach a peer whole.

What is promised: an address conflict is found as RFC 5227 2.1.1 asks for it (an ARP probe from 0.0.0.0 changes no
neighbour's table); the path is measured with the don't-fragment bit and without what the kernel remembers (RFC 1191).
Both need the right to open raw sockets, else they are NotTested. IPv4, as the imaging networks are.
"""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import json
import os
import socket
import struct
import time
from dataclasses import dataclass
from typing import Final

from hwtests.machine import AS_ROOT, Machine
from hwtests.outcome import NotTested

ETHERNET: Final = 1
"""ARPHRD_ETHER."""
_ARP: Final = 0x0806
_ARP_FORMAT: Final = struct.Struct("!HHBBH6s4s6s4s")
_PROBE, _REPLY = 1, 2
PROBES: Final = 3
_IP_MTU_DISCOVER: Final = 10
_PMTUDISC_PROBE: Final = 3
"""ip(7): set DF, and don't heed the path MTU that was learned."""
IP_AND_ICMP: Final = 28
SMALLEST: Final = 576
_ECHO: Final = struct.Struct("!BBHHH")


@dataclass(frozen=True, slots=True, kw_only=True)
class Interface:
    """What the kernel says of one interface; None where it says nothing."""

    name: str
    mac: str
    carrier: int | None
    speed: int | None
    """Mbit/s."""
    duplex: str | None


def wired(machine: Machine) -> list[str]:
    """The Ethernet interfaces that are hardware: no bridges, tunnels or radios."""
    return [
        name
        for name in machine.names("/sys/class/net")
        if machine.number(f"/sys/class/net/{name}/type") == ETHERNET
        and machine.path(f"/sys/class/net/{name}/device").exists()
        and not machine.path(f"/sys/class/net/{name}/wireless").exists()
    ]


def interface(machine: Machine, name: str) -> Interface:
    """What the kernel says of it."""
    folder = f"/sys/class/net/{name}"
    return Interface(
        name=name,
        mac=machine.text(f"{folder}/address") or "",
        carrier=machine.number(f"{folder}/carrier"),
        speed=machine.number(f"{folder}/speed"),
        duplex=machine.text(f"{folder}/duplex"),
    )


def broken_frames(machine: Machine, name: str) -> int:
    """Frames lost or broken on the wire since the start of the kernel; collisions tell of a half-duplex peer."""
    counters = ("rx_errors", "tx_errors", "collisions")
    return sum(machine.number(f"/sys/class/net/{name}/statistics/{counter}") or 0 for counter in counters)


def addresses(machine: Machine, name: str) -> list[str]:
    """Its IPv4 addresses. Raises NotTested if nothing can tell them."""
    said = machine.run("ip", "-json", "-4", "address", "show", "dev", name)
    try:
        return [str(one["local"]) for link in json.loads(said.out or "[]") for one in link.get("addr_info", [])]
    except (ValueError, KeyError, TypeError, AttributeError):
        raise NotTested("the answer of `ip address` can't be read") from None


def other_holders(name: str, mac: str, address: str, *, wait: float = 1.0) -> set[str]:
    """The hardware addresses of others that say they have `address`; `wait` seconds after each probe.
    Raises NotTested without the right to a raw socket, OSError if there is no such interface."""
    own, wanted = bytes.fromhex(mac.replace(":", "")), ipaddress.IPv4Address(address).packed
    probe = _ARP_FORMAT.pack(ETHERNET, 0x0800, 6, 4, _PROBE, own, bytes(4), bytes(6), wanted)
    found: set[str] = set()
    try:
        wire = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(_ARP))
    except PermissionError:
        raise NotTested(f"no raw socket may be opened; {AS_ROOT}") from None
    with wire:
        wire.bind((name, _ARP))
        for _ in range(PROBES):
            wire.sendto(probe, (name, _ARP, 0, 0, b"\xff" * 6))
            end, left = time.monotonic() + wait, wait
            while left > 0:
                left = end - time.monotonic()
                wire.settimeout(max(left, 0.0))  # what came while we were not let run is heard all the same
                with contextlib.suppress(TimeoutError, BlockingIOError):
                    found |= _holder(wire.recv(2048), own, wanted)
    return found


def _holder(packet: bytes, own: bytes, wanted: bytes) -> set[str]:
    if len(packet) < _ARP_FORMAT.size:
        return set()
    *_, operation, mac, address, _target, _asked = _ARP_FORMAT.unpack_from(packet)
    return {mac.hex(":")} if operation == _REPLY and address == wanted and mac != own else set()


def largest_packet(host: str, wanted: int, *, wait: float = 1.0) -> int:
    """The largest IPv4 packet, at most `wanted` bytes, that reaches the host whole and is answered.
    Raises NotTested if the host answers no echo at all, or without the right to a raw socket."""
    try:
        address = socket.gethostbyname(host)
    except OSError:
        raise NotTested("its name is not known") from None
    if not _answers(address, SMALLEST, wait):
        raise NotTested("it answers no ICMP echo; allow that, or look at the MTU of every switch and router by hand")
    if _answers(address, wanted, wait):
        return wanted
    goes, stays = SMALLEST, wanted
    while stays - goes > 1:
        middle = (goes + stays) // 2
        goes, stays = (middle, stays) if _answers(address, middle, wait) else (goes, middle)
    return goes


def _answers(address: str, size: int, wait: float) -> bool:
    """Whether an echo of `size` bytes, IP header included, comes back; asked twice."""
    try:
        wire = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
    except PermissionError:
        raise NotTested(f"no raw socket may be opened; {AS_ROOT}") from None
    with wire:
        wire.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, _PMTUDISC_PROBE)
        for number in (1, 2):
            request = _echo(os.getpid() & 0xFFFF, number, size - IP_AND_ICMP)
            try:
                wire.sendto(request, (address, 0))
            except OSError as error:
                if error.errno == errno.EMSGSIZE:
                    return False
                raise NotTested(f"nothing can be sent to it ({error.strerror})") from None
            if _heard(wire, request, time.monotonic() + wait):
                return True
    return False


def _heard(wire: socket.socket, request: bytes, end: float) -> bool:
    left = 1.0
    while left > 0:
        left = end - time.monotonic()
        wire.settimeout(max(left, 0.0))  # what came while we were not let run is heard all the same
        try:
            packet = wire.recv(65536)
        except OSError:
            return False
        reply = packet[(packet[0] & 15) * 4 :]
        if reply[:1] == b"\0" and reply[4:] == request[4:]:
            return True
    return False


def _echo(identifier: int, number: int, payload: int) -> bytes:
    """An ICMP echo request (RFC 792)."""
    body = _ECHO.pack(8, 0, 0, identifier, number) + b"\x55" * payload
    return body[:2] + _checksum(body).to_bytes(2, "big") + body[4:]


def _checksum(raw: bytes) -> int:
    """That of the Internet (RFC 1071)."""
    padded = raw + bytes(len(raw) % 2)
    total: int = sum(struct.unpack(f"!{len(padded) // 2}H", padded))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
