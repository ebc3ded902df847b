"""The `[update]` section: where releases come from, and how many must have signed one."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Final

from pydantic import BeforeValidator, Field

from gateway.config.section import Section, spelled
from gateway.config.values import Count, Flag, OptionalPath, invalid, shape

_SOURCE: Final = re.compile(r"(https://[A-Za-z0-9.\-\[\]:]+(/[A-Za-z0-9._~/-]*)?|/[A-Za-z0-9._/-]*)?")


def parse_source(value: object) -> str:
    """An https address or an absolute path; empty for none."""
    if not isinstance(value, str) or not _SOURCE.fullmatch(value):
        raise invalid(f"is {shape(value)}", 'write the mirror\'s folder, "https://mirror.example/gateway/", or a path')
    return value


class UpdateSection(Section):
    source: Annotated[str, BeforeValidator(parse_source)] = spelled("")
    """The folder of a mirror (https) or a path where releases appear; empty: updates come by hand alone."""
    ca: OptionalPath = spelled("")
    """Certificates that may have signed the mirror's; empty: those of the system."""
    signatures: Annotated[Count, Field(le=2)] = spelled(1)
    """Keys of the image that must have signed a release; 2: no one person can."""
    install: Flag = spelled(False)
    """Install what appears there, and restart when the room is free; else it is only told of."""


RELEASE_KEYS: Final = Path("/usr/share/gateway-box/release-keys")
"""Part of the read-only root: who may sign the next release is decided by the one before."""
