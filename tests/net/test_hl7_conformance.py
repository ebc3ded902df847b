"""The structure check runs apart: its limits hold, and what it can't do is told."""

from __future__ import annotations

from datetime import timedelta

import pytest

from gateway.net.hl7_conformance import MESSAGE_MAX, findings
from tests.hl7_messages import message


@pytest.mark.slow
def test_what_is_outside_the_structure_is_told() -> None:
    assert "Segment ZDS is not in the structure ORM_O01" in findings(message("01").decode())


@pytest.mark.slow
@pytest.mark.parametrize("text", ["", "MSH", "MSH|^~\\&|A\rXX|1", "MSH|^~\\&|A|B|C|D|2026||ORM^O01|1|P|9.9"])
def test_what_is_no_message_is_told_too(text: str) -> None:
    assert findings(text)


def test_its_limits_hold() -> None:
    assert findings("x" * (MESSAGE_MAX + 1)) == [f"not checked: {MESSAGE_MAX + 1} bytes are more than {MESSAGE_MAX}"]
    assert findings(message("01").decode(), limit=timedelta(milliseconds=1)) == [
        "not checked: it took more than 0.001 s"
    ]
