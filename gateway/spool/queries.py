"""The named statements of a `queries.sql`: that of the spool, or of another package that keeps books.

A block starts with a line `-- name --`; comment lines that follow say what it promises. `sql(name)`
returns its text. A misspelt name is a KeyError at the first call, and a test prepares every block
against the real schema and checks that each is used.
"""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files
from typing import Final

_HEADING: Final = re.compile(r"^-- (\w+) --$", re.MULTILINE)


@cache
def statements(package: str = "gateway.spool") -> dict[str, str]:
    """Every named block of the package's `queries.sql`."""
    parts = _HEADING.split(files(package).joinpath("queries.sql").read_text(encoding="utf-8"))
    named = dict(zip(parts[1::2], parts[2::2], strict=True))
    if len(named) != len(parts) // 2:
        raise ValueError("queries.sql names a block twice: give each block a name of its own")
    return {name: text.strip() for name, text in named.items()}


def sql(name: str) -> str:
    """The statement of that name."""
    return statements()[name]
