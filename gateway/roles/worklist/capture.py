"""A query with the rows it found and the answer it got, in one file: what a profile is written from and tested by.

What is promised: `read(written(capture)) == capture` up to the padding of values. The file is TOML, with data sets
as `gateway.dicom.readable` writes them, so that a person can read, correct and write one.

Failure: ValueError that names the key and the remedy, never a value.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from gateway.dicom import elements
from gateway.dicom.readable import Table, data_set

_KEYS: Final[Mapping[str, type]] = {
    "profile": str,
    "calling": str,
    "at": datetime,
    "status": str,
    "question": dict,
    "row": list,
    "answer": list,
}
_INVISIBLE: Final = {code: f"\\u{code:04x}" for code in (0x7F, *range(0x80, 0xA0))}


@dataclass(frozen=True, slots=True, kw_only=True)
class Capture:
    """One query and its answer."""

    profile: str
    """The name of the profile it was answered by."""
    calling: str
    """The AE title of the scanner."""
    at: datetime
    """When, with the offset of the site's clock: it tells today, and which rows are near."""
    status: int
    """The final status."""
    question: Table
    """The identifier."""
    rows: tuple[Table, ...]
    """Rows as their RIS sent them."""
    answer: tuple[Table, ...]
    """The responses, in their order."""


def read(text: str) -> Capture:
    """Read a file. Raises ValueError for one that is no capture."""
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"capture: is not TOML: {error}; correct that line") from None
    found: dict[str, Any] = {"row": [], "answer": [], **raw}
    if wrong := [key for key, kind in _KEYS.items() if not isinstance(found.get(key), kind)]:
        raise ValueError(f"{wrong[0]}: missing, or not a {_KEYS[wrong[0]].__name__}; compare with another capture")
    if unknown := raw.keys() - _KEYS:
        raise ValueError(f"{min(unknown)}: not a key of a capture; known are {', '.join(_KEYS)}")
    if found["at"].tzinfo is None:
        raise ValueError("at: without an offset; write 2026-07-06T08:30:00+02:00")
    rows, answer = tuple(found["row"]), tuple(found["answer"])
    for table in (found["question"], *rows, *answer):
        data_set(table)  # whatever is wrong with one is told now
    return Capture(
        profile=found["profile"],
        calling=found["calling"],
        at=found["at"],
        status=_status(found["status"]),
        question=found["question"],
        rows=rows,
        answer=answer,
    )


def _status(text: str) -> int:
    try:
        return int(text, 16)
    except ValueError:
        raise ValueError('status: not four hexadecimal digits; write "0000"') from None


def encoded(table: Table) -> bytes:
    """A data set as the wire has it, in Explicit VR Little Endian."""
    return elements.encode(data_set(table), elements.EXPLICIT_LITTLE)


def written(capture: Capture, *, comment: Iterable[str] = ()) -> str:
    """The text of the file; each line of the comment stands above it."""
    lines = [f"# {line}".rstrip() for line in comment]
    lines += [
        f"profile = {_value(capture.profile)}",
        f"calling = {_value(capture.calling)}",
        f"at = {capture.at.isoformat(timespec='seconds')}",
        f'status = "{capture.status:04X}"',
        *("", "[question]", *_pairs(capture.question)),
    ]
    for name, tables in (("row", capture.rows), ("answer", capture.answer)):
        for table in tables:
            lines += ["", f"[[{name}]]", *_pairs(table)]
    return "\n".join(lines) + "\n"


def _pairs(table: Table) -> list[str]:
    return [f"{_key(key)} = {_value(value)}" for key, value in table.items()]


def _key(key: str) -> str:
    return key if key.isalnum() and key.isascii() else _value(key)


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{ " + ", ".join(_pairs(dict(value))) + " }" if value else "{}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_value, value)) + "]"
    return json.dumps(value, ensure_ascii=False).translate(_INVISIBLE)
