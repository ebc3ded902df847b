"""The `[disk]` section: when room is made of what is confirmed, and when it is said that the disk gets short."""

from __future__ import annotations

import re
from typing import Annotated, Final

from pydantic import BeforeValidator, ValidationInfo, field_validator

from gateway.config.section import Section, spelled
from gateway.config.values import Duration, invalid, shape
from gateway.domain.disk import Watermarks

_SHARE: Final = re.compile(r"(\d{1,2}(?:\.\d+)?)%", re.ASCII)


def parse_share(value: object) -> float:
    """Parse "85%" into 0.85; a number passes as it is."""
    if isinstance(value, float):
        return value
    found = _SHARE.fullmatch(value) if isinstance(value, str) else None
    if found is None or float(found[1]) <= 0:
        raise invalid(f"is {shape(value)}, not a share", 'write a share above 0 and below 100, "85%"')
    return float(found[1]) / 100


Share = Annotated[float, BeforeValidator(parse_share)]


class DiskSection(Section):
    low: Share = spelled("75%")
    """When room is made, so much of the disk may stay in use."""
    high: Share = spelled("85%")
    """Above so much in use, images that every destination confirmed are let go before their retention is over."""
    keep: Duration = spelled("1h")
    """What was confirmed more lately than this is kept even then."""
    warning: Duration = spelled("24h")
    """An alarm says so when there is room for less than this, should no destination confirm any more."""

    @field_validator("high")
    @classmethod
    def _above(cls, high: float, info: ValidationInfo) -> float:
        if high <= info.data.get("low", 0.0):
            raise invalid("is not above low", 'write a greater share than that of low, "85%"')
        return high

    @property
    def watermarks(self) -> Watermarks:
        """The values as the role takes them."""
        return Watermarks(high=self.high, low=self.low, keep=self.keep, warning=self.warning)
