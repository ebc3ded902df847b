"""What a kind of box must have and reach, and what is attached to it: `hwtests/*.toml`, or a file of the site.

What is promised: a profile is read whole or refused with every fault of it, each with its remedy. `base` names the
profile it begins with, so that a site's file holds what differs. Every limit is here; none is in a test.
"""

from __future__ import annotations

import tomllib
from datetime import timedelta
from enum import StrEnum
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import Field, ValidationError

from gateway.config.problems import ConfigError, Problem, problem_of
from gateway.config.section import Section, spelled
from gateway.config.values import Count, Duration, Flag, FreeSpace, Host, OptionalWait, Size, suggestion

_MOST_BASES: Final = 4
Rate = Annotated[float, Field(ge=0)]


class Part(StrEnum):
    """What a box may have, or lack."""

    INTERFACE = "interface"
    DISK = "disk"
    SMART = "smart"
    WATCHDOG = "watchdog"
    RTC = "rtc"
    TPM = "tpm"
    TEMPERATURE = "temperature"
    ECC = "ecc"
    UPS = "ups"


class Network(Section):
    interfaces: tuple[Host, ...] = spelled([])
    """The wired interfaces that carry a cable; empty: every one that there is."""
    speed: Count = spelled(1000)
    """The least speed of a link, in Mbit/s."""
    errors: Annotated[int, Field(ge=0)] = spelled(0)
    """Frames that may be lost or broken on one interface during the tests."""
    path: Annotated[int, Field(ge=576, le=9216)] = spelled(1500)
    """The largest IPv4 packet that must reach every peer whole, in bytes."""


class Disk(Section):
    kind: Literal["any", "nvme", "sata", "virtio"] = spelled("any")
    """What the folder of the spool must be on."""
    fsyncs: Count = spelled(500)
    """How often a small file is written and forced to the disk, as for an image."""
    fsync_p99: Duration = spelled("20ms")
    """In which time 99 of 100 of these must be done."""
    rate: Rate = spelled(100)
    """The least rate of writing to the disk itself, in MB/s."""
    sample: Size = spelled("256MiB")
    """How much is written to find that out."""
    reserve: FreeSpace = spelled("10%")
    """How much of the file system must be free."""
    power_loss_protection: Annotated[str, Field(max_length=200)] = spelled("")
    """What the maker promises of a disk with a cache: type and where it is written; empty: no promise."""
    worn: Annotated[int, Field(ge=0, le=100)] = spelled(80)
    """How much of its endurance may be used, in percent."""


class Watchdog(Section):
    armed: Flag = spelled(True)
    """A program (systemd) must hold it."""
    timeout: Duration = spelled("60s")
    """What it is set to when it is let fire."""
    margin: Duration = spelled("10s")
    """How much later than that it may come."""
    restart: Duration = spelled("5m")
    """How long the box may take from the last sign of life to the start of the kernel."""


class Clock(Section):
    ntp: tuple[Host, ...] = spelled([])
    """The time servers of the site."""
    ntp_port: Annotated[int, Field(ge=1, le=65535)] = spelled(123)
    """Their port."""
    offset: Duration = spelled("500ms")
    """How far our clock may be from theirs."""
    rtc: Duration = spelled("2s")
    """How far the clock that runs without power may be from ours."""
    disciplined: Flag = spelled(True)
    """chrony must hold the clock."""


class Heat(Section):
    load: OptionalWait = spelled("60s")
    """How long every processor is loaded; "0s": not at all."""
    most: Rate = spelled(85)
    """The highest temperature that may be reached, in degrees Celsius."""


class Memory(Section):
    total: Size = spelled("4GB")
    """The least memory."""
    sample: Size = spelled("256MiB")
    """How much is filled with patterns and read back."""


class Ups(Section):
    name: Annotated[str, Field(max_length=64, pattern=r"^[A-Za-z0-9._:@-]*$")] = spelled("")
    """As NUT knows it, such as "ups@localhost"; empty: there is none."""
    charge: Annotated[int, Field(ge=0, le=100)] = spelled(80)
    """The least charge of its battery, in percent."""
    runtime: OptionalWait = spelled("5m")
    """How long it must last at the present load."""


class Throughput(Section):
    images: Count = spelled(100)
    """Images of 0.5 MB that a simulated scanner sends to a gateway of its own on this box."""
    accepted: Rate = spelled(20)
    """The least rate at which they are accepted, durably, in MB/s."""
    delivered: Rate = spelled(10)
    """The least rate from the first image sent to the last one held by a simulated PACS, in MB/s."""
    peer_images: Count = spelled(10)
    """Images of no patient that are stored at each destination, if that is asked for."""
    peer: Rate = spelled(1)
    """The least rate of that, in MB/s."""


class Selftest(Section):
    patience: Annotated[Duration, Field(le=timedelta(minutes=5))] = spelled("20s")
    """How long each hop of the synthetic patient may take."""


class Profile(Section):
    """A whole profile."""

    description: Annotated[str, Field(max_length=200)]
    """Write what kind of box this is."""
    base: str = spelled("")
    """The profile it begins with: a shipped one, or a file beside it."""
    expects: tuple[Part, ...] = spelled(["interface", "disk", "smart", "rtc", "temperature"])
    """What must be there; what is not is a failure, all else that is missing is told as not present."""
    network: Network = spelled({})
    disk: Disk = spelled({})
    watchdog: Watchdog = spelled({})
    clock: Clock = spelled({})
    heat: Heat = spelled({})
    memory: Memory = spelled({})
    ups: Ups = spelled({})
    throughput: Throughput = spelled({})
    selftest: Selftest = spelled({})


def shipped() -> dict[str, Path]:
    """The profiles that come with the gateway, by name."""
    folder = Path(str(files("hwtests")))
    return {path.stem: path for path in sorted(folder.glob("*.toml"))}


def load_profile(named: str) -> Profile:
    """A shipped profile by its name, or a file by its path. Raises ConfigError with every fault."""
    raw = _merged(named, Path.cwd(), depth=0)
    try:
        return Profile.model_validate(raw)
    except ValidationError as error:
        details = error.errors(include_url=False)
        raise ConfigError([problem_of(dict(detail), raw, root=Profile) for detail in details]) from None


def milliseconds(length: timedelta) -> float:
    """A duration as figures show it."""
    return length / timedelta(milliseconds=1)


def _merged(named: str, beside: Path, *, depth: int) -> dict[str, Any]:
    known = shipped()
    path = known.get(named, beside / named)
    try:
        raw = tomllib.loads(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError):
        remedy = f"{suggestion(named, [*known])}name a file, or one of: {', '.join(known)}"
        raise ConfigError([Problem(key="profile", wrong="can't be read", remedy=remedy)]) from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError([Problem(key="profile", wrong=f"is not TOML: {error}", remedy="correct that line")]) from None
    base = raw.get("base")
    if not isinstance(base, str) or not base:
        return raw
    if depth == _MOST_BASES:
        raise ConfigError([Problem(key="base", wrong="goes in a circle", remedy="begin with a shipped profile")])
    return _over(_merged(base, path.parent, depth=depth + 1), raw)


def _over(base: dict[str, Any], raw: dict[str, Any]) -> dict[str, Any]:
    """The tables of the one over those of the other; a list is replaced whole."""
    both = {key: _over(base[key], raw[key]) for key in raw if isinstance(raw[key], dict) and key in base}
    return {**base, **raw, **both}
