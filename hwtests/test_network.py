"""The wires."""

from __future__ import annotations

from hwtests import network
from hwtests.machine import Machine
from hwtests.outcome import Fault, Measured, NotPresent, NotTested
from hwtests.peers import Peers
from hwtests.plugin import Plan, line
from hwtests.profile import Part, Profile

_PORT = "look at the settings of the switch port, and at the cable"


@line("network.interface", "There is a wired interface")
def test_interface(plan: Plan, measured: Measured) -> None:
    if not plan.interfaces:
        raise NotPresent(Part.INTERFACE, "the kernel knows no wired interface")
    measured.tell("wired", ", ".join(plan.interfaces))


@line("network.link", "The cable is plugged in, and the link is up", needs=["network.interface"])
def test_link(nic: str, machine: Machine, measured: Measured) -> None:
    found = network.interface(machine, nic)
    if not found.mac:
        raise NotPresent(Part.INTERFACE, "the kernel knows no interface of this name; name another in the profile")
    remedy = (
        "plug the cable in at both ends, and look whether the switch port is enabled; if none belongs here, name those"
        " that carry one in [network] interfaces"
    )
    measured.equals("link", "up" if found.carrier else "down", "up", remedy=remedy)


@line("network.speed", "The link runs at full speed, both ways at once", needs=["network.link"])
def test_speed(nic: str, machine: Machine, profile: Profile, measured: Measured) -> None:
    found = network.interface(machine, nic)
    if found.speed is None or found.speed <= 0:
        raise NotTested("the driver does not tell its speed; look at the switch")
    measured.equals("duplex", found.duplex or "unknown", "full", remedy=_PORT)
    measured.at_least("speed", found.speed, profile.network.speed, "Mbit/s", remedy=_PORT)


@line("network.address", "Nobody else has our address", needs=["network.link"])
def test_address(nic: str, machine: Machine, measured: Measured) -> None:
    if machine.described:
        raise NotTested("a described machine has no wire")
    held = network.addresses(machine, nic)
    if not held:
        raise Fault("the interface has no IPv4 address; give it one in the network's configuration")
    for address in held:
        others = network.other_holders(nic, network.interface(machine, nic).mac, address)
        remedy = "take the other device off the network, or change one of the two addresses"
        measured.equals(f"others with {address}", ", ".join(sorted(others)) or "none", "none", remedy=remedy)


@line("network.path", "Full-size packets reach the peer whole", needs=["network.link"])
def test_path(networked: str, peers: Peers, profile: Profile, measured: Measured) -> None:
    found = network.largest_packet(peers.hosts[networked], profile.network.path)
    remedy = "set the same MTU on every switch, router and tunnel on the way, or [network] path to what the site has"
    measured.at_least("largest packet", found, profile.network.path, "bytes", remedy=remedy)
