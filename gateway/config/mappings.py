"""The mappings from messages to orders: those that come with the gateway, and the site's own folder of TOML files.

A file of the site's goes before one of ours of the same name. Raises MappingError, with every fault of the file.
"""

from __future__ import annotations

import re
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Final

from gateway.config.sections import Config
from gateway.domain.model import SourceName
from gateway.domain.order_mapping import MappingError, OrderMapping, mapping
from gateway.domain.orders import Sender

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", re.ASCII)
MAPPINGS: Final = "mappings/"
"""The site's folder, where the configuration names no other."""
MAPPING_MAX: Final = 256 * 1024
"""Bytes of a file."""


def order_mapping(name: str, folder: Path) -> OrderMapping:
    """The mapping of that name, from the site's folder or from ours."""
    return mapping(name, lambda each: _text(each, folder))


def order_senders(config: Config) -> tuple[Sender, ...]:
    """The configured senders as reading their messages needs them, in the order of the file."""
    scanners = tuple(dict.fromkeys(scanner.ae for scanner in config.scanner))
    return tuple(
        Sender(
            name=SourceName(sender.name),
            mapping=order_mapping(sender.mapping, config.orders.mappings),
            zone=config.site.timezone,
            scanners=scanners,
            refuse_conflicts=sender.on_identity_conflict == "refuse",
            refuse_faults=sender.on_not_understood == "refuse",
        )
        for sender in config.sender
    )


def program_sender(config: Config) -> Sender:
    """The sender of the orders that programs enter: what is at fault is refused, as a program can read the answer."""
    return Sender(
        name=SourceName("api"),
        mapping=order_mapping(config.orders.mapping, config.orders.mappings),
        zone=config.site.timezone,
        scanners=tuple(dict.fromkeys(scanner.ae for scanner in config.scanner)),
        refuse_conflicts=True,
        refuse_faults=True,
    )


def shipped() -> tuple[str, ...]:
    """The names of our own mappings."""
    return tuple(sorted(entry.name.removesuffix(".toml") for entry in _ours().iterdir()))


def _text(name: str, folder: Path) -> str | None:
    if _NAME.fullmatch(name) is None:
        return None
    own = folder / f"{name}.toml"
    try:
        if own.is_file():
            return _bounded(own)
    except (OSError, UnicodeDecodeError) as error:
        raise MappingError(f"mapping {name}: {own} can't be read ({type(error).__name__}); check it") from None
    entry = _ours() / f"{name}.toml"
    return entry.read_text(encoding="utf-8") if entry.is_file() else None


def _bounded(path: Path) -> str:
    with path.open("rb") as file:
        content = file.read(MAPPING_MAX + 1)
    if len(content) > MAPPING_MAX:
        raise MappingError(f"mapping {path.stem}: more than {MAPPING_MAX} bytes; write a shorter file")
    return content.decode("utf-8")


def _ours() -> Traversable:
    return files("gateway") / "mappings"
