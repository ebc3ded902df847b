"""docs/operations/install.md as it is read at the box: what is typed, and what the screen says in between.

What is promised: nothing is typed that is not on the page. A step of the page is a list of what the screen says, in
quotation marks, and of fields, each a numbered line of a table that has the field's words as the screen has them. A
field of the page that nobody has a value for, or one that the screen never asks, ends the test.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from image.packages import HERE
from image.test.machine import Machine

PAGE: Final = HERE.parent / "docs" / "operations" / "install.md"
_STEP: Final = re.compile(r"^\d+\. (.*\n(?:\n?(?: .*)\n)*)", re.MULTILINE)
_SAID: Final = re.compile(r'^ *\| (?P<number>\d+) \| (?P<field>[^|]+?) *\||"(?P<screen>[^"]+)"', re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """Something that is typed, or left as it is."""

    number: int
    text: str


def steps() -> list[list[Field | str]]:
    """The steps of the appliance, the first at 0: fields, and words that the screen shows."""
    _, _, chapter = PAGE.read_text().partition("\n## The appliance")
    chapter = chapter.partition("\n## ")[0]
    return [list(_read(found[1])) for found in _STEP.finditer(chapter)]


def _read(step: str) -> Iterator[Field | str]:
    for found in _SAID.finditer(re.sub(r"\n +(?=[^ |])", " ", step)):
        if found["number"]:
            yield Field(number=int(found["number"]), text=found["field"])
        else:
            yield found["screen"]


def follow(box: Machine, number: int, value: Callable[[str], str], *, seconds: float) -> list[str]:
    """Do a step of the page at the serial port, and say what was typed. `value`: what that is, by the field's text,
    asked for before the field is there; each wait is of `seconds`."""
    typed = []
    for one in steps()[number - 1]:
        if isinstance(one, str):
            box.wait(re.escape(one), seconds=seconds)
        else:
            typed.append(value(one.text))
            box.wait(rf"{re.escape(one.text)}[^\n]*: ", seconds=seconds)
            box.console.type(f"{typed[-1]}\r")
    return typed
