"""docs/operations/install.md: what is typed at an appliance is what its screens ask for, and it is little."""

from __future__ import annotations

from gateway.app.first_start import QUESTIONS
from gateway.cli import install, panel
from image.test.page import Field, steps

MOST = 12


def test_the_fields_on_the_page_are_those_of_the_screens_and_few() -> None:
    fields = [one for step in steps() for one in step if isinstance(one, Field)]
    assert [one.text for one in fields] == [
        install.WHICH, *(question.text for question in QUESTIONS), panel.END_OF_KEY
    ]  # fmt: skip
    assert [one.number for one in fields] == list(range(1, len(fields) + 1))
    assert len(fields) <= MOST


def test_each_step_at_the_box_says_what_the_screen_shows() -> None:
    _, stick, first_start, study = ([one for one in step if isinstance(one, str)] for step in steps())
    assert (len(stick), len(first_start), len(study)) == (2, 2, 1)
