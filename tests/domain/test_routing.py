"""Rules, lanes and default routes."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.conditions import Condition, Facts, Pattern
from gateway.domain.model import DestinationName, Lane
from gateway.domain.routing import (
    DEFAULTS,
    Looked,
    Missed,
    Route,
    Rule,
    base_lane,
    default_routes,
    explain,
    lane_for,
    route,
)

PACS, ARCHIVE, AI = DestinationName("pacs"), DestinationName("archive"), DestinationName("ai")
CT: Facts = {"Modality": ("CT",), "calling_ae": ("CT1",), "size": ("525000",), "ImageType": ("ORIGINAL", "PRIMARY")}


def when(**conditions: str | list[str]) -> tuple[Condition, ...]:
    return tuple(
        Condition(key=key, patterns=tuple(map(Pattern, [wanted] if isinstance(wanted, str) else wanted)))
        for key, wanted in conditions.items()
    )


def rule(name: str, conditions: tuple[Condition, ...], **settings: Any) -> Rule:
    return Rule(id=name, when=conditions, **settings)


@pytest.mark.parametrize(
    ("priority", "lane"),
    [(1, Lane.STAT), (0, Lane.ROUTINE), (2, Lane.BULK), (3, Lane.ROUTINE), (-1, Lane.ROUTINE), (0xFFFF, Lane.ROUTINE)],
)
def test_lane_for(priority: int, lane: Lane) -> None:
    assert lane_for(priority) is lane


@pytest.mark.parametrize(
    ("sent", "ordered", "scanner", "lane"),
    [
        (0, (), None, Lane.ROUTINE),
        (1, (), None, Lane.STAT),
        (2, ("ROUTINE", "STAT "), Lane.BULK, Lane.STAT),
        (1, ("HIGH",), Lane.BULK, Lane.BULK),
        (2, ("",), None, Lane.BULK),
    ],
)
def test_a_stat_order_goes_before_what_is_said_of_the_scanner(
    sent: int, ordered: tuple[str, ...], scanner: Lane | None, lane: Lane
) -> None:
    assert base_lane(sent=sent, ordered=ordered, scanner=scanner) is lane


def test_default_routes_go_once_to_each_destination_in_order() -> None:
    assert default_routes(lane=Lane.STAT, destinations=[PACS, ARCHIVE, PACS]) == (
        Route(destination=PACS, lane=Lane.STAT),
        Route(destination=ARCHIVE, lane=Lane.STAT),
    )
    assert default_routes(lane=Lane.STAT, destinations=[]) == ()


@pytest.mark.parametrize(
    ("wanted", "values", "fits"),
    [
        ("CT", ["ct"], True),
        ("CT", ["CTA"], False),
        ("*stroke*", ["CT Head STROKE protocol"], True),
        ("CT?", ["CT1"], True),
        ("PRIMARY", ["ORIGINAL", "PRIMARY"], True),
        ("", [], True),
        ("", [""], True),
        ("", ["CT"], False),
        ("*", [], False),
        ("*", [""], False),
        ("*", ["anything"], True),
        ("a.c", ["abc"], False),
        ("*M\u00fcnchen", ["Klinikum M\u00dcNCHEN"], True),
        (">= 100MB", ["100000000"], True),
        (">= 100MiB", ["100000000"], False),
        ("< 5", ["4.9"], True),
        ("<= 5", ["5"], True),
        ("> 5", ["5", "6"], True),
        ("> 5", ["NaN", "many", "inf"], False),
        (">", ["5"], False),
    ],
)
def test_patterns(wanted: str, values: list[str], fits: bool) -> None:
    assert Pattern(wanted).fits(values) is fits


def test_without_a_rule_that_fires_the_defaults_are_the_destinations() -> None:
    rules = [rule("mr", when(Modality="MR"), to=("ai",))]
    routed = route(rules, CT, lane=Lane.ROUTINE, default=[PACS])
    assert routed.routes == (Route(destination=PACS, lane=Lane.ROUTINE),)
    assert routed.fired == ()


def test_all_rules_that_fire_name_destinations_and_the_first_to_name_one_says_how() -> None:
    rules = [
        rule("ct", when(Modality="CT"), to=(DEFAULTS, "ai"), compression="lossless"),
        rule("urgent", when(calling_ae=["CT1", "CT2"]), priority=Lane.STAT),
        rule("archive", when(size="> 500KB"), to=("archive", "ai"), priority=Lane.BULK, compression="none"),
    ]
    routed = route(rules, CT, lane=Lane.ROUTINE, default=[PACS])
    assert routed.fired == ("ct", "urgent", "archive")
    assert routed.routes == (
        Route(destination=PACS, lane=Lane.STAT, compression="lossless", rule="ct"),
        Route(destination=AI, lane=Lane.BULK, compression="lossless", rule="ct"),
        Route(destination=ARCHIVE, lane=Lane.BULK, compression="none", rule="archive"),
    )


def test_a_rule_that_only_says_how_urgent_it_is_leaves_the_default_destinations() -> None:
    rules = [rule("urgent", when(Modality="CT"), priority=Lane.STAT)]
    assert route(rules, CT, lane=Lane.BULK, default=[PACS]).routes == (Route(destination=PACS, lane=Lane.STAT),)


def test_stop_ends_the_look_and_unless_keeps_a_rule_back() -> None:
    rules = [
        rule("not-original", when(Modality="CT"), unless=when(ImageType="ORIGINAL"), to=("archive",), stop=True),
        rule("first", when(Modality="CT"), to=("ai",), stop=True),
        rule("second", when(Modality="CT"), to=("archive",)),
    ]
    assert route(rules, CT, lane=Lane.ROUTINE, default=[PACS]).fired == ("first",)
    assert explain(rules, CT) == (
        Looked(
            rule="not-original",
            fired=False,
            missed=(Missed(key="ImageType", wanted=("ORIGINAL",), found=("ORIGINAL", "PRIMARY"), unwanted=True),),
        ),
        Looked(rule="first", fired=True),
        Looked(rule="second", fired=False, stopped_by="first"),
    )


TEXT = st.text(max_size=12)
CONDITIONS = st.lists(
    st.builds(Condition, key=st.sampled_from(["Modality", "size", "a"]), patterns=st.tuples(st.builds(Pattern, TEXT))),
    max_size=3,
).map(tuple)
RULE = st.builds(
    Rule,
    id=st.sampled_from("abc"),
    when=CONDITIONS,
    unless=CONDITIONS,
    to=st.lists(st.sampled_from([DEFAULTS, "ai", "archive"]), max_size=3).map(tuple),
    priority=st.none() | st.sampled_from(Lane),
    stop=st.booleans(),
)


@given(
    rules=st.lists(RULE, max_size=5),
    facts=st.dictionaries(st.sampled_from(["Modality", "size", "a"]), st.lists(TEXT, max_size=2)),
    lane=st.sampled_from(Lane),
)
def test_every_image_goes_somewhere_and_the_explanation_says_the_same(
    rules: list[Rule], facts: dict[str, list[str]], lane: Lane
) -> None:
    routed = route(rules, facts, lane=lane, default=[PACS])
    names = [one.destination for one in routed.routes]
    assert names
    assert len(set(names)) == len(names)
    assert tuple(one.rule for one in explain(rules, facts) if one.fired) == routed.fired
