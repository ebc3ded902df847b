"""The peers of the site."""

from __future__ import annotations

from hwtests.outcome import Measured, NotAsked
from hwtests.peers import Peers
from hwtests.plugin import Plan, line
from hwtests.profile import Profile


@line("peer.reach", "It answers us", needs=["network.link"])
def test_reach(peer: str, peers: Peers, measured: Measured) -> None:
    peers.reach(peer, measured)


@line("peer.worklist", "It answers a worklist query", needs=["peer.reach"])
def test_worklist(ris: str, peers: Peers, measured: Measured) -> None:
    peers.worklist(ris, measured)


@line("peer.store", "It stores images, fast enough", needs=["peer.reach"])
def test_store(destination: str, plan: Plan, peers: Peers, profile: Profile, measured: Measured) -> None:
    if not plan.store:
        raise NotAsked("not asked for: --no-store")
    limits = profile.throughput
    rate = peers.store(destination, limits.peer_images, measured)
    remedy = "look at the link to it, and at what else it does; set [throughput] peer to what the site needs"
    measured.at_least("rate", rate, limits.peer, "MB/s", remedy=remedy)
