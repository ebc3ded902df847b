"""The options that many commands share, so that they are spelled and explained alike everywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer

MOST: Final = 2**63 - 1
"""The greatest number that the books give to anything."""
DEFAULT_CONFIG: Final = Path("/etc/gateway/gateway.toml")

ConfigPath = Annotated[
    Path, typer.Option("--config", envvar="GATEWAY_CONFIG", metavar="PATH", help="The configuration file.")
]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object for programs; times are UTC.")]
DestinationOption = Annotated[
    str, typer.Option("--destination", metavar="NAME", help="Only this destination, by its configured name.")
]
