"""What is asked of a codec process and what it answers, as values and as lines of JSON. Nothing here loads a codec."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gateway.domain.compression import Content, Preference


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One object to be made smaller, or native, into a file of its own."""

    source: Path
    size: int
    """Bytes of the data set, which is the end of the file."""
    TransferSyntaxUID: str
    content_hash: str
    """xxh3-128 over transfer syntax and data set: what was received."""
    target: Path
    """Where the whole data set is to be, in another transfer syntax; it is not there before it is whole."""
    preferred: Preference = ()
    """What to try; empty: it is to become native."""
    barred: tuple[str, ...] = ()
    """`ImagePixel.kind`s that failed before."""

    def line(self) -> bytes:
        fields = {**asdict(self), "source": str(self.source), "target": str(self.target)}
        return json.dumps(fields).encode("ascii") + b"\n"

    @classmethod
    def read(cls, line: bytes) -> Task:
        fields: dict[str, Any] = json.loads(line)
        return cls(
            **{
                **fields,
                "source": Path(fields["source"]),
                "target": Path(fields["target"]),
                "preferred": tuple((Content(one), tuple(syntaxes)) for one, syntaxes in fields["preferred"]),
                "barred": tuple(fields["barred"]),
            }
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """The file is there, and every frame in it was decoded and found to be what was received."""

    TransferSyntaxUID: str
    size: int
    """Bytes of the file: it is the data set and nothing else."""
    content_hash: str
    """Over the new transfer syntax and data set."""
    frames: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Left:
    """There is no file: the object goes out as it came."""

    why: str
    """A word for people and logs; never what was in it."""
    mismatch: str = ""
    """The `ImagePixel.kind` that did not come back as it went in; "" if all was well."""


Answer = Made | Left


def answer_line(answer: Answer) -> bytes:
    return json.dumps({"made": isinstance(answer, Made), **asdict(answer)}).encode("ascii") + b"\n"


def read_answer(line: bytes) -> Answer:
    """Raises ValueError for a line that is none."""
    fields: dict[str, Any] = json.loads(line)
    return Made(**fields) if fields.pop("made") else Left(**fields)
