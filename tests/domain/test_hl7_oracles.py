"""Every value that python's hl7 and hl7apy read in the messages of the tests, our reader reads too.

They know no MSH-18 and no escapes, and hl7apy wants five known separators and a version of its tables; in what
is left they must agree with us to the last subcomponent. Ours is the only one that must find every segment.
"""

from __future__ import annotations

import hl7
import pytest
from hl7apy.core import Message as Hl7apyMessage
from hl7apy.parser import parse_message

from gateway.domain.hl7 import Message
from tests.hl7_messages import messages

NAMES = sorted(messages())


def by_hand(name: str) -> tuple[Message, list[str]]:
    """The message by our reader, and its segments as a plain split of the decoded text has them."""
    raw = messages()[name]
    ours = Message.parse(raw)
    lines = raw.decode(ours.codec).replace("\r\n", "\r").replace("\n", "\r").split("\r")
    return ours, [line.strip(" ") for line in lines if line.strip(" ")]


@pytest.mark.parametrize("name", NAMES)
def test_no_segment_is_missing(name: str) -> None:
    ours, lines = by_hand(name)
    assert [segment.text.strip(" ") for segment in ours.segments] == lines


@pytest.mark.parametrize("name", NAMES)
def test_python_hl7_reads_the_same(name: str) -> None:
    ours, lines = by_hand(name)
    theirs = hl7.parse("\r".join(lines))
    compared = 0
    for segment, other in zip(ours.segments, theirs, strict=True):
        escape = segment.separators.escape
        for number, field in enumerate(other):
            if number == 0 or (segment.name == "MSH" and number < 3):
                continue
            for rep, repetition in enumerate(field if isinstance(field, hl7.Field) else [field]):
                components = repetition if isinstance(repetition, hl7.Repetition) else [repetition]
                for place, component in enumerate(components, 1):
                    parts = component if isinstance(component, hl7.Component) else [component]
                    for sub, value in enumerate(parts, 1):
                        path = f"{number}.{place}.{sub}"
                        if str(value) == '""':
                            assert segment.is_null(path, rep)
                        elif escape not in str(value):
                            assert segment.get(path, rep) == str(value), f"{segment.name}-{path}"
                        compared += 1
    assert compared > 10


def leaves(message: Hl7apyMessage) -> list[tuple[str, int, str, int, str]]:
    """Segment, its number, path, repetition and value of every leaf that hl7apy found."""
    found = []
    for at, segment in enumerate(message.children):
        for field_name in {child.name for child in segment.children if child.name}:
            fields = [child for child in segment.children if child.name == field_name]
            for rep, field in enumerate(fields):
                number = field_name.rpartition("_")[2]
                for place, component in enumerate(field.children, 1):
                    for part, sub in enumerate(component.children, 1):
                        path = f"{number}.{_number(component.name, place)}.{_number(sub.name, part)}"
                        found.append((segment.name, at, path, rep, sub.to_er7()))
    return found


def _number(name: str | None, position: int) -> str:
    """The number in a name like CX_4; what has no such name is told by its position."""
    number = (name or "").rpartition("_")[2]
    return number if number.isdigit() else str(position)


@pytest.mark.parametrize("name", [name for name in NAMES if not name.startswith(("34", "40"))])
def test_hl7apy_reads_the_same(name: str) -> None:
    """Without its groups, which lose what is in no structure (ZDS); not the message of dirt, nor other separators."""
    ours, lines = by_hand(name)
    theirs = parse_message("\r".join(lines), find_groups=False)
    assert [child.name for child in theirs.children] == [segment.name for segment in ours.segments]
    found = leaves(theirs)
    assert found
    for segment_name, at, path, rep, value in found:
        segment = ours.segments[at]
        if segment_name == "MSH" and path.startswith(("1.", "2.")):
            continue
        if value == '""':
            assert segment.is_null(path, rep)
        elif value and segment.separators.escape not in value:
            assert segment.get(path, rep) == value, f"{segment_name}-{path}"
