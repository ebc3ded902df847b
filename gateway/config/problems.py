"""A fault of a file that an operator wrote, in words: the path of its key, what is wrong as a shape, and what to do.

What is promised: the value itself is never repeated, for a password may have been pasted into the wrong line.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, get_args

from pydantic import BaseModel

from gateway.config.values import shape, suggestion
from gateway.domain import model

_REMEDIES: Final = {
    "bool_type": "write true or false, without quotes",
    "int_type": "write a whole number, without quotes",
    "string_type": "write text in quotes",
    "path_type": "write a path in quotes",
    "tuple_type": 'write a list: ["...", "..."]',
    "too_short": "write at least one",
    "greater_than_equal": "write {ge} or more",
    "less_than_equal": "write {le} or less",
    "string_too_short": "write at least {min_length} character",
    "string_too_long": "write at most {max_length} characters",
    "model_type": "write it as a section of keys",
}
NAMED_BY: Final = {
    "rule": "id",
    "scanner": "ae",
    "ris": "name",
    "sender": "name",
    "destination": "name",
    "group": "name",
    "listen": "port",
    "ring": "name",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One fault of the configuration."""

    key: str
    """The path of the key: `destination[pacs].confirm`."""
    wrong: str
    """What is wrong, without the value itself."""
    remedy: str
    """What to do about it."""

    def __str__(self) -> str:
        return f"{self.key}: {self.wrong}; {self.remedy}"


class ConfigError(model.ConfigError):
    """The configuration can't be used; `problems` holds every fault found, one line each as text."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = problems


def problem_of(detail: dict[str, Any], raw: dict[str, Any], *, root: type[BaseModel]) -> Problem:
    """Put one finding of pydantic about the table `raw`, a `root`, into our words."""
    loc: tuple[int | str, ...] = detail["loc"]
    key, kind, context = _path(loc, raw), detail["type"], detail.get("ctx", {})
    if kind == "gateway":
        return Problem(key=key, wrong=context["wrong"], remedy=context["remedy"])
    section = _section(loc[:-1], root)
    if kind == "missing":
        field = section.model_fields[str(loc[-1])]
        return Problem(key=key, wrong="is missing", remedy=_as_remedy(field.description))
    if kind == "extra_forbidden":
        known = list(section.model_fields)
        near = suggestion(str(loc[-1]), known)
        return Problem(key=key, wrong="is not a known key", remedy=f"{near}known here: {', '.join(known)}")
    if kind in {"enum", "literal_error"}:
        word = detail["input"] if isinstance(detail["input"], str) else ""
        near = suggestion(word, [choice for choice in context["expected"].split("'") if choice.isalnum()])
        remedy = f"{near}write {context['expected'].replace(chr(39), chr(34))}"
        return Problem(key=key, wrong=f"is {shape(detail['input'])}, not one of the choices", remedy=remedy)
    remedy = _REMEDIES[kind].format_map(context) if kind in _REMEDIES else detail["msg"]
    if kind == "tuple_type" and len(loc) == 1 and any(sections_of(section.model_fields[key].annotation)):
        remedy = f"write its name in double brackets: [[{key}]]"
    return Problem(key=key, wrong=f"is {shape(detail['input'])}", remedy=remedy)


def _as_remedy(documentation: str | None) -> str:
    return " ".join((documentation or "write it").split()).removesuffix(".").replace("Write", "write", 1)


def _path(loc: tuple[int | str, ...], raw: dict[str, Any]) -> str:
    """Spell a location as `destination[pacs].retry.base`; a nameless section is told by its number from 1."""
    text, here = "", raw
    for number, step in enumerate(loc):
        if is_tag(loc, number):
            continue
        here = _step(here, step)
        if isinstance(step, str):
            text += f".{step}" if text else step
            continue
        name = here.get(NAMED_BY.get(text, "")) if isinstance(here, dict) else None
        plain = isinstance(name, str | int) and len(str(name)) <= 64 and str(name).isprintable()
        text += f"[{name}]" if plain else f"[{step + 1}]"
    return text


def _step(here: Any, step: int | str) -> Any:
    try:
        return here[step]
    except (KeyError, IndexError, TypeError):
        return None


def _section(loc: tuple[int | str, ...], root: type[BaseModel]) -> type[BaseModel]:
    """Find the section class at a location."""
    section = root
    choices: list[type[BaseModel]] = []
    for number, step in enumerate(loc):
        if is_tag(loc, number):
            section = next(one for one in choices if one.model_fields["kind"].default == step)
        elif isinstance(step, str):
            choices = list(sections_of(section.model_fields[step].annotation))
            section = next(iter(choices), section)
    return section


def is_tag(loc: tuple[int | str, ...], number: int) -> bool:
    """Whether a step of a location is pydantic's word for the kind of a [[destination]], not a key."""
    return number == 2 and loc[0] == "destination"


def sections_of(annotation: Any) -> Iterator[type[BaseModel]]:
    """The section classes in the type of a key."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from sections_of(argument)
