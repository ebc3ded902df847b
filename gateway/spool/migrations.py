"""The numbered steps of `schema/`, and which versions of the gateway can live with what they leave.

What is promised: a box may go back to the version before (`gateway update rollback`), with the database as the later
one left it. So a migration only adds: tables, indexes, columns that may be NULL or have a default. One that can't keep
to that ends with `PRAGMA user_version = N`, N being its own number: older gateways then refuse the database, and a
release with it is not installed beside a version that would have to take it back (`gateway.domain.update.admit`).
"""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files
from typing import Final

_LEAST: Final = re.compile(r"^PRAGMA user_version = (\d+);$", re.MULTILINE)


@cache
def scripts() -> dict[str, str]:
    """Their names and texts, in the order in which they are applied."""
    found = files("gateway.spool").joinpath("schema").iterdir()
    return {one.name: one.read_text(encoding="utf-8") for one in sorted(found, key=str) if one.name.endswith(".sql")}


def least() -> int:
    """Migrations that a gateway must know to work on a database as this one leaves it."""
    return max((int(number) for text in scripts().values() for number in _LEAST.findall(text)), default=1)
