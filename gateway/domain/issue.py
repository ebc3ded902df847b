"""What an issue is: one thing that is not as it should be, by a code of a closed vocabulary (`gateway.domain.issues`).

What is promised: a code is lower-case words with hyphens and never changes its meaning; each has a cause, a next step
and an owner. An issue that leaves the box names no more than its code and an instance that this module made: a
configured name or "box", never a number of an order, a peer's text or anything of a patient (invariant 9).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

BOX: Final = "box"
"""The instance of what is about the box as a whole, or about things that have no configured name."""
INSTANCE_MAX: Final = 64
_FOREIGN: Final = re.compile(r"[^A-Za-z0-9_.:-]")


class Severity(StrEnum):
    """How bad it is, the mildest first."""

    INFO = "info"
    """Worth knowing; nobody needs to act."""
    WARNING = "warning"
    """It gets worse, or costs somebody time, unless a person looks."""
    ERROR = "error"
    """Something does not work; images and orders wait, none is lost."""
    CRITICAL = "critical"
    """The box does not take in what comes, or an image is gone."""


class Owner(StrEnum):
    """Who can mend it."""

    PACS = "PACS administrator"
    RIS = "RIS administrator"
    MODALITY = "modality administrator"
    RADIOLOGY = "radiology office"
    BIOMED = "biomedical engineering"
    IT = "central IT"
    MAKER = "us"


class About(StrEnum):
    """What the subject of an issue is."""

    PEER = "peer"
    """The configured name of a destination, a RIS or a sender."""
    SCANNER = "scanner"
    """An AE title that may call us."""
    PART = "part"
    """A unit, a certificate or a hop, by a name of ours."""
    BOX = "box"
    """The box, or one of many things in it: an image, an order, a task."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """What a code means."""

    about: About
    severity: Severity
    owner: Owner
    cause: str
    """What is so, in one sentence."""
    step: str
    """What to do; `{subject}` is what it is about."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Issue:
    """One that stands."""

    code: str
    instance: str
    """A configured name as `instance_of` writes it, or "box"."""
    severity: Severity
    since: datetime
    last: datetime
    """When it was seen last."""


def instance_of(kind: Kind, subject: str) -> str:
    """What may leave the box of a subject: [A-Za-z0-9_.:-], 1 to 64 characters."""
    return (alias(subject) if kind.about is not About.BOX else "") or BOX


def alias(name: str) -> str:
    """A name of the configuration as it may stand in a topic: AE titles may hold spaces and more."""
    return _FOREIGN.sub("_", name)[:INSTANCE_MAX]


def together(*tables: Mapping[str, Kind]) -> dict[str, Kind]:
    """One table of several that share no code. Raises ValueError if they do."""
    whole: dict[str, Kind] = {}
    for table in tables:
        if twice := whole.keys() & table.keys():
            raise ValueError(f"{len(twice)} codes are in two tables: give each a meaning of its own")
        whole |= table
    return whole
