"""The kinds of value the configuration is made of, each parsed once from the way an operator writes it.

    duration   "1.5s" "30s" "10m" "24h" "7d"         -> timedelta
    size       "0" "64KiB" "8GiB" "500MB"            -> int, bytes
    reserve    "5%" or a size                        -> Reserve, asked with the size of the file system
    AE title   1-16 characters (PS3.5 6.2, VR AE)    -> AETitle
    network    "10.1.1.20" or "10.1.1.0/24"          -> IPv4Network | IPv6Network
    host       a name that a name server can be asked for (RFC 1035 2.3.4), or an IP address -> str
    path       relative to the folder of the configuration file -> Path

A value that does not fit raises `invalid(wrong, remedy)`: `wrong` tells the shape of the value and never
repeats it, since a password may have been pasted into the wrong line. A value that is already of its type
passes, so that programs and tests can build sections without spelling.
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from difflib import get_close_matches
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Final
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, available_timezones

from pydantic import AfterValidator, BeforeValidator, Field, Strict, ValidationInfo
from pydantic_core import PydanticCustomError

from gateway.domain.model import UID, AETitle
from gateway.domain.window import Window, parse_window

_DURATION: Final = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)", re.ASCII)
_SECONDS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_LONGEST: Final = timedelta(days=36500)
_SIZE: Final = re.compile(r"(\d{1,15}(?:\.\d{1,15})?) ?([KMGT]i?B|B)?", re.ASCII)
_FACTOR: Final = {
    "": 1, "B": 1,
    "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12,
    "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40,
}  # fmt: skip
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", re.ASCII)
_UID: Final = re.compile(r"(?=.{1,64}\Z)(0|[1-9]\d*)(\.(0|[1-9]\d*))+", re.ASCII)
_HOST: Final = re.compile(r"[A-Za-z0-9._:-]{1,253}", re.ASCII)
_URL: Final = re.compile(r"https?://[^/?#@\s]+(/[^?#\s]*)?", re.ASCII)
_LABEL_MAX: Final = 63
_URL_MAX: Final = 1024
_OTHERS_MAY_READ: Final = 0o004


def invalid(wrong: str, remedy: str) -> PydanticCustomError:
    """Make the error of one value: what is wrong with it, as a shape, and what to write instead."""
    return PydanticCustomError("gateway", "{wrong}; {remedy}", {"wrong": wrong, "remedy": remedy})


def shape(value: object) -> str:
    """Describe a value without repeating it."""
    match value:
        case bool():
            return "true or false"
        case int() | float():
            return "a number"
        case "":
            return "empty text"
        case str():
            return f"text of {len(value)} character{'s' if len(value) != 1 else ''}"
        case list() | tuple():
            return f"a list of {len(value)}"
        case dict():
            return "a table"
        case _:
            return f"a {type(value).__name__}"


def suggestion(word: str, known: list[str]) -> str:
    """Return `did you mean "..."? ` for a near miss, else nothing."""
    near = get_close_matches(word, known, n=1, cutoff=0.6)
    return f'did you mean "{near[0]}"? ' if near else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reserve:
    """Disk space that stays free: a share of the file system or a fixed size."""

    share: float = 0.0
    """0.05 for "5%"; counts only where `size` is 0."""
    size: int = 0
    """Bytes."""

    def bytes(self, total: int) -> int:
        """Return the bytes to keep free on a file system of `total` bytes."""
        return self.size or int(total * self.share)


def parse_duration(value: object) -> timedelta:
    """Parse "1.5s"; a timedelta passes as it is."""
    if isinstance(value, timedelta):
        return value
    remedy = 'write a number and a unit: "500ms", "1.5s", "10m", "24h" or "7d"'
    found = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        raise invalid(f"is {shape(value)}, not a duration", remedy)
    seconds = float(found[1]) * _SECONDS[found[2]]
    if seconds > _LONGEST.total_seconds():
        raise invalid("is a duration of more than a century", remedy)
    return timedelta(seconds=seconds)


def parse_size(value: object) -> int:
    """Parse "64KiB" into bytes; a whole number passes as bytes."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    found = _SIZE.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        raise invalid(f"is {shape(value)}, not a size", 'write a number and a unit: "64KiB", "500MB", "8GiB" or "0"')
    return int(float(found[1]) * _FACTOR[found[2] or ""])


def parse_reserve(value: object) -> Reserve:
    """Parse "5%" or a size."""
    if isinstance(value, Reserve):
        return value
    if isinstance(value, str) and (found := re.fullmatch(r"(\d{1,2}(?:\.\d+)?)%", value, re.ASCII)):
        return Reserve(share=float(found[1]) / 100)
    try:
        return Reserve(size=parse_size(value))
    except PydanticCustomError:
        remedy = 'write a share below 100% such as "5%", or a size such as "20GiB"'
        raise invalid(f"is {shape(value)}, neither a share nor a size", remedy) from None


def parse_ae(value: object) -> AETitle:
    """Check an AE title as PS3.5 6.2 has it; padding is refused rather than stripped, a file has no need of it."""
    if isinstance(value, str) and 1 <= len(value) <= 16 and value == value.strip():
        if value.isascii() and value.isprintable() and "\\" not in value:
            return AETitle(value)
        remedy = "write it in ASCII, without backslash and control characters"
        raise invalid("has a character that no AE title may have", remedy)
    remedy = "write 1 to 16 characters without spaces at either end, as the peer has it, capitals included"
    raise invalid(f"is {shape(value)}, not an AE title", remedy)


def is_host(text: str) -> bool:
    """Whether it can be called: for a name with a part that is empty or too long Python raises UnicodeError, no OSError
    as for one that is not known."""
    labels = text.removesuffix(".").split(".")
    return _HOST.fullmatch(text) is not None and all(0 < len(label) <= _LABEL_MAX for label in labels)


def parse_host(value: object) -> str:
    """Check a host name or an IP address."""
    if isinstance(value, str) and is_host(value):
        return value
    remedy = 'write letters, digits, dot, dash, colon, as in "pacs.example" or "10.1.1.20"'
    raise invalid(f"is {shape(value)}, not a host name or an IP address", remedy)


def names_a_host(url: str) -> bool:
    """Whether a URL has a host that can be called, and a port that there is."""
    try:
        parts = urlsplit(url)
        return is_host(parts.hostname or "") and parts.port != 0
    except ValueError:
        return False


def parse_url(value: object) -> str:
    """Check the base of a web service's resources."""
    if isinstance(value, str) and len(value) <= _URL_MAX and _URL.fullmatch(value) and names_a_host(value):
        return value
    remedy = 'write it as "https://pacs.example/dicom-web", without user, "?" and "#"'
    raise invalid(f"is {shape(value)}, not the address of a web service", remedy)


def parse_network(value: object) -> IPv4Network | IPv6Network:
    """Parse one address or a network in CIDR notation."""
    if isinstance(value, IPv4Network | IPv6Network):
        return value
    remedy = 'write an IP address, "10.1.1.20", or a network, "10.1.1.0/24"; host names are not looked up here'
    if not isinstance(value, str):
        raise invalid(f"is {shape(value)}, not an IP address", remedy)
    try:
        return ip_network(value)
    except ValueError:
        pass
    try:
        whole = ip_network(value, strict=False)
    except ValueError:
        raise invalid(f"is {shape(value)}, not an IP address", remedy) from None
    raise invalid("is an address inside a network", f'write the network itself, "{whole}", or the address alone')


def parse_timezone(value: object) -> ZoneInfo:
    """Look a time zone up in the tz database of the system."""
    if isinstance(value, ZoneInfo):
        return value
    zones = available_timezones()
    if isinstance(value, str) and value in zones:
        return ZoneInfo(value)
    near = suggestion(value, sorted(zones)) if isinstance(value, str) else ""
    raise invalid(f"is {shape(value)}, not a time zone", f'{near}write a name of the tz database, "Europe/Berlin"')


def parse_window_of_day(value: object) -> Window:
    """Read times of day."""
    if isinstance(value, Window):
        return value
    remedy = 'write times of day at the site, "22:00-06:00", with commas between several, or "always"'
    if not isinstance(value, str):
        raise invalid(f"is {shape(value)}, not times of day", remedy)
    try:
        return parse_window(value)
    except ValueError as error:
        raise invalid(str(error), remedy) from None


def parse_uid(value: object) -> UID:
    """Check a UID as PS3.5 9.1 has it."""
    if isinstance(value, str) and _UID.fullmatch(value):
        return UID(value)
    raise invalid(f"is {shape(value)}, not a UID", 'write numbers and dots, "1.2.840.10008.5.1.4.1.1.2"')


def parse_name(value: object) -> str:
    """Check a name of ours: it appears in logs, metrics and MQTT topics, so it is short and plain."""
    if isinstance(value, str) and _NAME.fullmatch(value):
        return value
    remedy = "use letters, digits, dot, dash and underscore, at most 64, beginning with a letter or digit"
    raise invalid(f"is {shape(value)}, not a name", remedy)


def parse_hold(value: object) -> timedelta | None:
    """Parse "off" or a duration."""
    return None if value is None or value == "off" else parse_duration(value)


def _optional_duration(value: object) -> timedelta | None:
    return None if value is None or value == "" else parse_duration(value)


def _optional_hold(value: object) -> timedelta | None:
    if value is None or value == "":
        return None
    return parse_hold(value) or timedelta(0)


def _optional_path(value: object) -> object:
    return None if value == "" else value


def _from_base(path: Path | None, info: ValidationInfo) -> Path | None:
    """Paths begin at the folder of the file. What lies in its folder SECRETS is read from the copy that systemd made
    for this unit, if it made one (LoadCredential=, systemd.exec(5)): we need no right to the original."""
    context = info.context or {}
    base: Path | None = context.get("base")
    if path is None or base is None:
        return path
    credentials: Path | None = context.get("credentials")
    if credentials is not None and (base / path).parent == base / SECRETS:
        copy = credentials / f"{SECRETS}_{path.name}"
        return copy if copy.is_file() else base / path
    return base / path


def _private(path: Path | None) -> Path | None:
    """Refuse a secret that everyone on the box may read; one that does not exist yet, or is in a folder that we may not
    look into, is met when it is used."""
    mode = 0
    with suppress(OSError):
        mode = path.stat().st_mode if path is not None and path.is_file() else 0
    if mode & _OTHERS_MAY_READ:
        raise invalid("names a secret that every user may read", f"run: chmod o-rwx {path}")
    return path


def _optional_host(value: object) -> str:
    return "" if value == "" else parse_host(value)


def _positive(value: timedelta) -> timedelta:
    if value <= timedelta(0):
        raise invalid("is no time at all", 'write a duration above zero, "10s"')
    return value


SECRETS: Final = "secrets"
"""The folder beside the configuration, and the name under which the units load it."""
OTHER_DOORS: Final = frozenset({"api", "folder"})
"""The names of our own sources of orders: programs, and the watched folder."""
NOBODY: Final = "unknown"
"""The sender in the books of messages of nobody that is known."""


def _not_reserved(name: str) -> str:
    """Refuse the names of our own sources of rows: the desk, the orders of programs, the watched folder;
    and of who is none."""
    if name in {"desk", NOBODY} or name in OTHER_DOORS:
        raise invalid(f'is the name "{name}", which is taken here', "write another name")
    return name


Flag = Annotated[bool, Strict()]
Port = Annotated[int, Strict(), Field(ge=1, le=65535)]
OptionalPort = Annotated[int, Strict(), Field(ge=0, le=65535)]
"""0 means none."""
Count = Annotated[int, Strict(), Field(ge=1, le=1_000_000)]
Name = Annotated[str, BeforeValidator(parse_name)]
SourceName = Annotated[Name, AfterValidator(_not_reserved)]
"""Where rows of the worklist come from."""
Host = Annotated[str, BeforeValidator(parse_host)]
"""A host name or an IP address."""
OptionalHost = Annotated[str, BeforeValidator(_optional_host)]
"""Empty means off."""
Duration = Annotated[timedelta, BeforeValidator(parse_duration), AfterValidator(_positive)]
OptionalDuration = Annotated[timedelta | None, BeforeValidator(_optional_duration)]
"""Empty means: as the general setting says."""
OptionalWait = Annotated[timedelta, BeforeValidator(parse_duration)]
""" "0s" means never."""
Hold = Annotated[timedelta | None, BeforeValidator(parse_hold)]
""" "off" means None."""
OptionalHold = Annotated[timedelta | None, BeforeValidator(_optional_hold)]
"""Empty means None: as the general setting says; "off" means no time."""
Size = Annotated[int, BeforeValidator(parse_size)]
FreeSpace = Annotated[Reserve, BeforeValidator(parse_reserve)]
AE = Annotated[AETitle, BeforeValidator(parse_ae)]
Network = Annotated[IPv4Network | IPv6Network, BeforeValidator(parse_network)]
TimesOfDay = Annotated[Window, BeforeValidator(parse_window_of_day)]
Timezone = Annotated[ZoneInfo, BeforeValidator(parse_timezone)]
SOPClass = Annotated[UID, BeforeValidator(parse_uid)]
Folder = Annotated[Path, AfterValidator(_from_base)]
OptionalPath = Annotated[Path | None, BeforeValidator(_optional_path), AfterValidator(_from_base)]
"""Empty means none."""
SecretPath = Annotated[
    Path | None, BeforeValidator(_optional_path), AfterValidator(_from_base), AfterValidator(_private)
]
"""A file with a secret, never the secret itself; empty means none."""
