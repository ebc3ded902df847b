"""Who may call us (DESIGN 4, invariant 6): called AE title, calling AE title and address together.

Case and padding of AE titles are tolerated, as consoles are set up by hand. A stranger is refused
with the reason of PS3.8 9.3.4 and named to a person, who can add it with one command.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Network, IPv6Network, ip_address


class Refusal(StrEnum):
    """Why a caller was turned away; shown to people as it is."""

    CALLED_AE = "called-ae-unknown"
    CALLING_AE = "calling-ae-unknown"
    ADDRESS = "address-not-listed"


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownCaller:
    """Somebody who may call."""

    ae: str
    networks: tuple[IPv4Network | IPv6Network, ...] = ()
    """Where it may call from; empty: anywhere."""
    called_ae: tuple[str, ...] = ()
    """Which of our AE titles it may call; empty: any."""


def same_ae(one: str, other: str) -> bool:
    """Whether two AE titles name the same application, as people write them."""
    return one.strip().casefold() == other.strip().casefold()


def admit(
    *, calling_ae: str, called_ae: str, address: str, ours: Sequence[str], known: Iterable[KnownCaller]
) -> KnownCaller | Refusal:
    """The caller that is admitted, or why it is not."""
    if not any(same_ae(called_ae, title) for title in ours):
        return Refusal.CALLED_AE
    named = [caller for caller in known if same_ae(caller.ae, calling_ae)]
    if not named:
        return Refusal.CALLING_AE
    for caller in named:
        if caller.called_ae and not any(same_ae(called_ae, title) for title in caller.called_ae):
            continue
        if not caller.networks or any(within(address, network) for network in caller.networks):
            return caller
    return Refusal.ADDRESS


def within(address: str, network: IPv4Network | IPv6Network) -> bool:
    """Whether an address, as a socket names its peer, is of `network`; False for what is no IP address."""
    try:
        return ip_address(address.removeprefix("::ffff:")) in network
    except ValueError:
        return False
