"""Who is in which ring of a rollout."""

from __future__ import annotations

import pytest

from gateway.domain.fleet import BoxId, Key, SiteName
from gateway.domain.rings import Candidate, LeftOut, RingRule, draw, ring_of

RULES = [
    RingRule(name="lab", boxes=("north/ct1-room", "lab/*")),
    RingRule(name="early", share=0.1),
    RingRule(name="all", boxes=("south/mr?",), share=0.5),
]


def key(spelled: str) -> Key:
    site, box = spelled.split("/")
    return SiteName(site), BoxId(box)


@pytest.mark.parametrize(
    ("box", "reported", "ring"),
    [
        ("north/ct1-room", None, 0),
        ("north/ct1-room", "all", 0),
        ("lab/anything", None, 0),
        ("south/mr1", None, 2),
        ("south/mr1", "lab", 2),
        ("south/mr10", "lab", 0),
        ("south/mr10", "gone", None),
    ],
)
def test_who_is_named_goes_before_who_says_so(box: str, reported: str | None, ring: int | None) -> None:
    rules = [RingRule(name=one.name, boxes=one.boxes) for one in RULES]
    assert ring_of(rules, key(box), reported) == ring


def test_a_share_is_that_share_always_the_same_and_holds_the_smaller_ones() -> None:
    fleet = [key(f"site{number % 7}/b{number}") for number in range(5000)]
    rings = [ring_of(RULES, one, None) for one in fleet]
    assert 400 < rings.count(1) < 600
    assert 1800 < rings.count(2) < 2200, "half of all, less those that are in before"
    wider = [RULES[0], RingRule(name="early", share=0.2), RULES[2]]
    for one, ring in zip(fleet, rings, strict=True):
        assert ring != 1 or ring_of(wider, one, None) == 1


def test_what_is_left_out_is_left_out_for_a_reason() -> None:
    fleet = {
        key("lab/a"): Candidate(ring=None, version=7),
        key("lab/b"): Candidate(ring=None, version=8),
        key("lab/c"): Candidate(ring=None, version=9),
        key("lab/d"): Candidate(ring=None, version=0, able=False),
        key("west/e"): Candidate(ring=None, version=0),
    }
    drawn = draw(RULES[:1], fleet, version=8)
    assert drawn.rings == {key("lab/a"): 0, key("lab/b"): 0}
    assert drawn.left == {
        key("lab/c"): LeftOut.LATER,
        key("lab/d"): LeftOut.NOT_ABLE,
        key("west/e"): LeftOut.NO_RING,
    }
