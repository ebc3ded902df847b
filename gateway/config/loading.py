"""From the text of `gateway.toml` to a `Config`, or to every fault of it at once.

Each fault is one line: the path of the key, what is wrong with it as a shape, and what to do. Faults of
single values, unknown keys and names that point nowhere are all found in one reading, so an operator
corrects a file once. Nothing is guessed and nothing is partly loaded.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, get_args

from pydantic import BaseModel, ValidationError

from gateway.config.sections import Config
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
    "string_pattern_mismatch": "write a host name or an IP address: letters, digits, dot, dash, colon",
    "model_type": "write it as a section of keys",
}
_NAMED_BY: Final = {"scanner": "ae", "ris": "name", "sender": "name", "destination": "name", "listen": "port"}


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


def load(path: Path) -> Config:
    """Read the configuration file. Paths in it are relative to its folder. Raises ConfigError with every fault."""
    try:
        text = path.read_bytes().decode("utf-8")
    except FileNotFoundError:
        remedy = "copy gateway.sample.toml there, or name the file with --config"
        raise ConfigError([Problem(key=str(path), wrong="there is no such file", remedy=remedy)]) from None
    except OSError as error:
        wrong = f"can't be read ({error.strerror})"
        raise ConfigError([Problem(key=str(path), wrong=wrong, remedy="check its owner and mode")]) from None
    except UnicodeDecodeError as error:
        wrong = f"is not UTF-8 from byte {error.start} on"
        raise ConfigError([Problem(key=str(path), wrong=wrong, remedy="save it as UTF-8 text")]) from None
    return parse(text, base=path.absolute().parent, origin=path.name)


def parse(text: str, *, base: Path, origin: str = "gateway.toml") -> Config:
    """Parse the text of a configuration whose relative paths start at `base`. Raises ConfigError with every fault."""
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        remedy = "correct that line; text needs quotes, and a section is written once"
        raise ConfigError([Problem(key=origin, wrong=f"is not TOML: {error}", remedy=remedy)]) from None
    problems: list[Problem] = []
    config = None
    try:
        config = Config.model_validate(raw, context={"base": base})
    except ValidationError as error:
        problems += [_problem(dict(detail), raw) for detail in error.errors(include_url=False)]
    problems += _names_twice(raw)
    problems += _names_of_two(raw)
    problems += _names_nowhere(raw)
    if problems or config is None:
        raise ConfigError(problems)
    return config


def _problem(detail: dict[str, Any], raw: dict[str, Any]) -> Problem:
    """Put one finding of pydantic into our words."""
    loc: tuple[int | str, ...] = detail["loc"]
    key, kind, context = _path(loc, raw), detail["type"], detail.get("ctx", {})
    if kind == "gateway":
        return Problem(key=key, wrong=context["wrong"], remedy=context["remedy"])
    section = _section(loc[:-1])
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
    if kind == "tuple_type" and len(loc) == 1:
        remedy = f"write its name in double brackets: [[{key}]]"
    return Problem(key=key, wrong=f"is {shape(detail['input'])}", remedy=remedy)


def _as_remedy(documentation: str | None) -> str:
    return " ".join((documentation or "write it").split()).removesuffix(".").replace("Write", "write", 1)


def _path(loc: tuple[int | str, ...], raw: dict[str, Any]) -> str:
    """Spell a location as `destination[pacs].retry.base`; a nameless section is told by its number from 1."""
    text, here = "", raw
    for step in loc:
        here = _step(here, step)
        if isinstance(step, str):
            text += f".{step}" if text else step
            continue
        name = here.get(_NAMED_BY.get(text, "")) if isinstance(here, dict) else None
        plain = isinstance(name, str | int) and len(str(name)) <= 64 and str(name).isprintable()
        text += f"[{name}]" if plain else f"[{step + 1}]"
    return text


def _step(here: Any, step: int | str) -> Any:
    try:
        return here[step]
    except (KeyError, IndexError, TypeError):
        return None


def _section(loc: tuple[int | str, ...]) -> type[BaseModel]:
    """Find the section class at a location."""
    section: type[BaseModel] = Config
    for step in loc:
        if isinstance(step, str):
            section = next(_sections_of(section.model_fields[step].annotation), section)
    return section


def _sections_of(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _sections_of(argument)


def _tables(raw: dict[str, Any], section: str) -> list[dict[str, Any]]:
    tables = raw.get(section, [])
    return [table for table in tables if isinstance(table, dict)] if isinstance(tables, list) else []


def _names_twice(raw: dict[str, Any]) -> Iterator[Problem]:
    for section, named_by in _NAMED_BY.items():
        places = [table.get("address", "") for table in _tables(raw, section)] if section == "listen" else []
        names = [table.get(named_by) for table in _tables(raw, section)]
        pairs = list(zip(names, places or [""] * len(names), strict=True))
        twice = [name for name, place in pairs if isinstance(name, str | int) and pairs.count((name, place)) > 1]
        for name in dict.fromkeys(twice):
            remedy = f"give each [[{section}]] a {named_by} of its own"
            yield Problem(key=f"{section}[{name}].{named_by}", wrong="is there more than once", remedy=remedy)


def _names_of_two(raw: dict[str, Any]) -> Iterator[Problem]:
    """Find senders that are named as a RIS: the rows of one must not be taken for those of the other."""
    known = [table.get("name") for table in _tables(raw, "ris")]
    for name in (table.get("name") for table in _tables(raw, "sender")):
        if isinstance(name, str) and name in known:
            remedy = 'give it another, such as the same with "-hl7"'
            yield Problem(key=f"sender[{name}].name", wrong="is also the name of a [[ris]]", remedy=remedy)


def _names_nowhere(raw: dict[str, Any]) -> Iterator[Problem]:
    """Find routing to destinations that are not configured; a box without any destination has no routing."""
    known = [table["name"] for table in _tables(raw, "destination") if isinstance(table.get("name"), str)]
    routing = raw.get("routing", {})
    if not isinstance(routing, dict) or not (known or routing):
        return
    remedy = f"name one of: {', '.join(dict.fromkeys(known))}" if known else "write a [[destination]] section first"
    named = {"default": routing.get("default", ["pacs"]), "unverified": [routing.get("unverified", "pacs")]}
    for key, names in named.items():
        for name in names if isinstance(names, list) else []:
            if isinstance(name, str) and name not in known:
                wrong = f'names "{name}", which is no destination' if len(name) <= 64 else "names no destination"
                yield Problem(key=f"routing.{key}", wrong=wrong, remedy=f"{suggestion(name, known)}{remedy}")
