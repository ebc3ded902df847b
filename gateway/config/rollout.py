"""`rollout.toml`: a change for a fleet, in rings, as two people read and sign it. All faults at once.

What is promised: `{site}` and `{box}` in the name of a file, and in the file, are those of the box; what a file says is
TOML of that box. No more is known here: a box has the last word about a configuration.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import BeforeValidator, Field, ValidationError

from gateway.config.loading import tables_of, text_of
from gateway.config.problems import ConfigError, Problem, problem_of
from gateway.config.section import Section, spelled
from gateway.config.values import Duration, OptionalWait, invalid, shape
from gateway.domain.fleet import Key
from gateway.domain.model import PermanentFailure
from gateway.domain.rings import RingRule
from gateway.domain.rollout_model import Limits

_SHARE: Final = re.compile(r"(\d{1,3}(?:\.\d{1,3})?)%", re.ASCII)
_WORD: Final = r"^[a-z][a-z0-9]{0,30}(-[a-z0-9]{1,30}){0,6}$"
_PATTERN: Final = r"^[A-Za-z0-9_.:*?-]{1,64}/[A-Za-z0-9_.:*?-]{1,64}$"


def parse_share(value: object) -> float:
    """Parse "1%" or "2.5%" into a share of 1; a number passes."""
    if isinstance(value, float):
        return value
    found = _SHARE.fullmatch(value) if isinstance(value, str) else None
    if found is None or float(found[1]) > 100:
        raise invalid(f"is {shape(value)}, not a share", 'write "0%", "1%", "2.5%" or up to "100%"')
    return float(found[1]) / 100


def parse_pattern(value: object) -> str:
    """A pattern of site/box."""
    if not isinstance(value, str) or not re.fullmatch(_PATTERN, value):
        raise invalid(f"is {shape(value)}, not a box", 'write site and box, "north/ct1-room", or "north/*"')
    return value


def parse_word(value: object) -> str:
    """The name of a ring, as boxes report it."""
    if not isinstance(value, str) or not re.fullmatch(_WORD, value):
        raise invalid(f"is {shape(value)}, not a name of a ring", 'write small letters, digits and dashes, "lab"')
    return value


Share = Annotated[float, BeforeValidator(parse_share)]


class WishedConfiguration(Section):
    version: Annotated[int, Field(ge=1, le=2**53)]
    """Write a number above that of the configuration before."""
    file: Annotated[str, Field(min_length=1, max_length=1024)]
    """Write the file of each box: "boxes/{site}/{box}.toml"."""


class WishedRelease(Section):
    manifest: str
    """Write the path of the manifest.json that lies at the mirrors of the boxes."""


class RolloutLimits(Section):
    failures: Share = spelled("1%")
    """More of a ring that fail, and the rollout halts; "0%": one is too many."""
    soak: OptionalWait = spelled("48h")
    """How long a ring must stay healthy before the next one begins."""
    patience: Duration = spelled("24h")
    """How long a box may take from being asked to having proven the change."""
    absence: Duration = spelled("10m")
    """How long it may be away: longer than a restart, and than the 3 minutes after which it goes back by itself."""


class Ring(Section):
    name: Annotated[str, BeforeValidator(parse_word)]
    """Write the name of the ring, as boxes will report it: "lab"."""
    boxes: tuple[Annotated[str, BeforeValidator(parse_pattern)], ...] = spelled(())
    """Who is in it: "north/ct1-room", "north/*"; beside those who report that they are."""
    share: Share = spelled("0%")
    """And this share of the boxes that are in none by the rules before; it holds that of the rings before."""


class RolloutFile(Section):
    """The whole file."""

    configuration: WishedConfiguration | None = None
    """A configuration for the boxes; or"""
    release: WishedRelease | None = None
    """a release."""
    limits: RolloutLimits = spelled({})
    ring: Annotated[tuple[Ring, ...], Field(max_length=20)]
    """Write a [[ring]] section with name, one for each, the first to begin with first."""

    def rules(self) -> list[RingRule]:
        """Who is in which ring."""
        return [RingRule(name=one.name, boxes=one.boxes, share=one.share) for one in self.ring]

    def bounds(self) -> Limits:
        """When it halts, and how long it waits."""
        return Limits(**self.limits.model_dump())


def load_rollout(path: Path) -> RolloutFile:
    """Read such a file. Raises ConfigError with every fault."""
    text = text_of(path, remedy="copy fleet/rollout.sample.toml there, or name the file with --plan")
    raw = tables_of(text, origin=path.name)
    try:
        found = RolloutFile.model_validate(raw)
    except ValidationError as error:
        problems = [problem_of(dict(detail), raw, root=RolloutFile) for detail in error.errors(include_url=False)]
        raise ConfigError(problems) from None
    if problems := [*_contradictions(found)]:
        raise ConfigError(problems)
    return found


def _contradictions(found: RolloutFile) -> Iterator[Problem]:
    if (found.configuration is None) == (found.release is None):
        yield Problem(key="configuration", wrong="or release is needed, one of them", remedy="write one section")
    if not found.ring:
        yield Problem(key="ring", wrong="is an empty list", remedy="write a [[ring]] section with name")
    names = [one.name for one in found.ring]
    if len({*names}) < len(names):
        yield Problem(key="ring.name", wrong="is there more than once", remedy="give each [[ring]] a name of its own")


def text_for(file: str, base: Path, key: Key) -> str:
    """The configuration of a box. Raises ConfigError if it is not there, is no TOML or is another box's."""
    path = base / filled(file, key)
    text = filled(text_of(path, remedy="write it, or leave the box out of every ring"), key)
    raw = tables_of(text, origin=path.name)
    for section, name, own in (("site", "name", key[0]), ("box", "id", key[1])):
        found = raw.get(section)
        if not isinstance(found, dict) or found.get(name) != own:
            remedy = f'it is for {"/".join(key)}: write {name} = "{{{section}}}", or a file for each box'
            raise ConfigError([Problem(key=f"{path.name} {section}.{name}", wrong="is another's", remedy=remedy)])
    return text


def filled(text: str, key: Key) -> str:
    """With the names of the box for `{site}` and `{box}`."""
    return text.replace("{site}", key[0]).replace("{box}", key[1])


def manifest_of(path: Path) -> dict[str, str | int]:
    """What an `update` says of the release whose manifest this is. The boxes believe it for its signatures; here it is
    only named. Raises ConfigError or PermanentFailure."""
    raw = text_of(path, remedy="fetch manifest.json from the mirror of the boxes")
    try:
        said: Any = json.loads(raw)
        return {
            "version": str(said["version"]),
            "sequence": int(said["sequence"]),
            "sha256": hashlib.sha256(raw.encode()).hexdigest(),
        }
    except (ValueError, KeyError, TypeError):
        raise PermanentFailure(f"{path.name} is no manifest of a release: fetch it from the mirror again") from None
