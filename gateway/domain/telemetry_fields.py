"""The kinds of value that may stand in a message to central IT, and how those of our own making are made.

What is promised: each is a number, a time, a word of a closed list, a name of the configuration, or an identifier made
here: no kind takes a text. Which names, codes and kinds are listed is the say of the writer (telemetry.py); a reader
takes any that has the form, so that it can read later minor versions.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Annotated, Final

from pydantic import AfterValidator, AwareDatetime, Field, PlainSerializer, ValidationInfo, WithJsonSchema

from gateway.domain.issue import BOX, alias

OTHER: Final = BOX
"""The instance of what is about no name of the configuration."""
_CROCKFORD: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_RFC3339: Final = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z$"
_FIRST: Final = datetime(1970, 1, 1, tzinfo=UTC)
_BEYOND: Final = datetime(3000, 1, 1, tzinfo=UTC)
_SID: Final = re.compile(r"(g[0-9a-f]{8})\.([0-9]{1,10})-([0-9]{1,10})", re.ASCII)


def to_rfc3339(when: datetime) -> str:
    """UTC with milliseconds: 2026-01-31T23:59:59.123Z."""
    return f"{when.astimezone(UTC):%Y-%m-%dT%H:%M:%S}.{when.microsecond // 1000:03}Z"


def _of_our_days(when: datetime) -> datetime:
    """Times at the ends of the calendar are in no other zone, and those before 1970 no number above zero: nobody can
    keep them."""
    if not _FIRST <= when < _BEYOND:
        raise ValueError("is no time of a box")
    return when


def _listed(what: str) -> AfterValidator:
    """The value must be in the writer's list of that name; a reader has none."""

    def check(value: str, info: ValidationInfo) -> str:
        if info.context is not None and value not in info.context[what]:
            raise ValueError("is not in the list")
        return value

    return AfterValidator(check)


Word = Annotated[str, Field(pattern=r"^[a-z][a-z0-9]{0,30}(-[a-z0-9]{1,30}){0,6}$", max_length=64)]
Code = Annotated[Word, _listed("codes")]
"""The stable code of an alarm (docs/operations/alarms.md)."""
EventKind = Annotated[Word, _listed("kinds")]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.:-]{1,64}$")]
Alias = Annotated[Name, _listed("names")]
"""A name of the configuration, or "box"."""
BoxName = Annotated[Name, _listed("box")]
Asked = Annotated[str, Field(pattern=r"^[a-z]{1,16}(_[a-z]{1,16}){0,3}$"), _listed("commands")]
Reply = Annotated[Word, _listed("replies")]
ConfigKey = Annotated[str, Field(pattern=r"^[A-Za-z_]{1,32}(\.[A-Za-z_]{1,32}){0,3}$")]
"""The path of a key that a configuration knows; "unknown" for any other."""
Nonce = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{16,64}$")]
"""Of a command that somebody whom the box trusts signed for it."""
Log = Annotated[str, Field(pattern=r"^g[0-9a-f]{8}$")]
Sid = Annotated[str, Field(pattern=r"^g[0-9a-f]{8}\.[0-9]{1,10}-[0-9]{1,10}$")]
Ulid = Annotated[str, Field(pattern=r"^[0-7][0-9A-HJKMNP-TV-Z]{25}$")]
Ref = Annotated[str, Field(pattern=r"^[0-9a-f]{12}$")]
"""An HMAC with a key that never leaves the box: the same study, the same value; no way back."""
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]
Version = Annotated[str, Field(pattern=r"^[0-9]{1,4}(\.[0-9]{1,4}){1,2}([a-z+.]{1,5}[0-9a-f]{0,12})?$", max_length=32)]
Count = Annotated[int, Field(ge=0, le=2**53 - 1)]
Amount = Annotated[float, Field(ge=0, le=1e15, allow_inf_nan=False), PlainSerializer(lambda value: round(value, 3))]
Signed = Annotated[float, Field(ge=-1e12, le=1e12, allow_inf_nan=False), PlainSerializer(lambda value: round(value, 3))]
Ratio = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False), PlainSerializer(lambda value: round(value, 4))]
Machine = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,11}$")]
Moment = Annotated[
    AwareDatetime,
    AfterValidator(_of_our_days),
    PlainSerializer(to_rfc3339, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "format": "date-time", "pattern": _RFC3339}),
]
"""UTC, RFC 3339, milliseconds."""


def aliases(names: Iterable[str]) -> dict[str, str]:
    """The name of each configured thing as it may stand in a topic."""
    return {name: alias(name) for name in names if name}


def eid(at: datetime, entropy: bytes) -> str:
    """A ULID: 48 bits of milliseconds and 80 of `entropy` (ten bytes), so it sorts by time and is met once."""
    if len(entropy) != 10:
        raise ValueError(f"{len(entropy)} bytes of entropy: hand in ten")
    number = max(0, int(at.timestamp() * 1000)) << 80 | int.from_bytes(entropy)
    return "".join(_CROCKFORD[number >> shift & 31] for shift in range(125, -1, -5))


def ref(key: bytes, StudyInstanceUID: str) -> str:
    """What stands for a study outside of the box."""
    return hmac.new(key, StudyInstanceUID.encode("utf-8", "surrogateescape"), hashlib.sha256).hexdigest()[:12]


def sid(log: str, start: int, connection: int) -> str:
    """The name of a connection: `start` counts the starts of the box's reporting, `connection` those since."""
    return f"{log}.{start}-{connection}"


def sid_order(text: str) -> tuple[str, int, int]:
    """The parts of a `sid`; of two with one `log` the greater is the later. Raises ValueError if it is none."""
    found = _SID.fullmatch(text)
    if found is None:
        raise ValueError(f"sid of {len(text)} characters: written as <log>.<start>-<connection>")
    return found[1], int(found[2]), int(found[3])
