"""docs/operations/install.md: the fields that are typed at an appliance are those of its form, and they are few."""

from __future__ import annotations

import re
from pathlib import Path

from gateway.app.first_start import QUESTIONS

PAGE = (Path(__file__).parents[2] / "docs" / "operations" / "install.md").read_text()
MOST = 12


def test_the_fields_of_the_form_are_on_the_page_and_few() -> None:
    fields = dict(re.findall(r"^ *\| (\d+) \| ([^|]+?) \|", PAGE, re.MULTILINE))
    assert [fields[str(number)] for number in range(1, len(QUESTIONS) + 1)] == [one.text for one in QUESTIONS]
    commands = [int(number) for number in re.findall(r"\((\d+)\)", PAGE)]
    numbers = [*map(int, fields), *commands]
    assert numbers == list(range(1, len(numbers) + 1))
    assert len(numbers) <= MOST
