"""The table of the common IODs that is shipped with us, as a value of the domain."""

from __future__ import annotations

import tomllib
from functools import cache
from importlib.resources import files

from gateway.domain.conformance import Iods, iods_of


@cache
def shipped_iods() -> Iods:
    """The mandatory modules by SOP Class UID."""
    return iods_of(tomllib.loads(files("gateway").joinpath("iods.toml").read_text("utf-8")))
