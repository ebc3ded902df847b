"""The site's own folders of TOML files, such as profiles and rules: their texts and tables, or every fault at once.

What is promised: a folder need not exist; files are read in the order of their names, a bounded number of bounded
files; what can't be read is a Problem that names the file, and hides no other.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

from gateway.config.problems import Problem

Made = TypeVar("Made")

FILES: Final = 500
"""Files read from a folder."""
FILE_BYTES: Final = 64 << 10


def texts(folder: Path) -> tuple[dict[str, str], list[Problem]]:
    """The text of each file that ends in .toml, by its name without that."""
    found: dict[str, str] = {}
    problems: list[Problem] = []
    try:
        paths = sorted(path for path in folder.iterdir() if path.suffix == ".toml")[:FILES]
    except (FileNotFoundError, NotADirectoryError):
        paths = []
    except OSError as error:
        problems.append(_unreadable(str(folder), error))
        paths = []
    for path in paths:
        try:
            found[path.stem] = _text(path)
        except ValueError as error:
            problems.append(Problem(key=path.stem, wrong=str(error), remedy="save it as UTF-8 text of its keys alone"))
        except OSError as error:
            problems.append(_unreadable(path.stem, error))
    return found, problems


def tables(found: Mapping[str, str]) -> tuple[dict[str, dict[str, Any]], list[Problem]]:
    """The texts as TOML, by the same names."""
    raw: dict[str, dict[str, Any]] = {}
    problems: list[Problem] = []
    for name, text in found.items():
        try:
            raw[name] = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            remedy = "correct that line; text needs quotes, and a key is written once"
            problems.append(Problem(key=name, wrong=f"is not TOML: {error}", remedy=remedy))
    return raw, problems


def rules_in(
    folder: Path,
    faults: Callable[[dict[str, Any]], Iterable[Problem]],
    made: Callable[[dict[str, Any]], Iterable[Made]],
) -> tuple[tuple[Made, ...], list[Problem]]:
    """What `made` takes from the files in their order, and every fault; there is nothing of it if there is a fault."""
    found, problems = texts(folder)
    raw, unread = tables(found)
    problems += unread
    rules: list[Made] = []
    for name, table in raw.items():
        wrong = list(faults(table))
        problems += [Problem(key=f"{name}.toml {one.key}", wrong=one.wrong, remedy=one.remedy) for one in wrong]
        if not wrong:
            rules += made(table)
    return (() if problems else tuple(rules)), problems


def _unreadable(key: str, error: OSError) -> Problem:
    return Problem(key=key, wrong=f"can't be read ({error.strerror})", remedy="check its owner and mode")


def _text(path: Path) -> str:
    if path.stat().st_size > FILE_BYTES:
        raise ValueError(f"is longer than {FILE_BYTES} bytes")
    try:
        return path.read_text("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"is not UTF-8 from byte {error.start} on") from None
