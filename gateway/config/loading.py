"""From the text of `gateway.toml` to a `Config`, or to every fault of it at once.

Each fault is one line: the path of the key, what is wrong with it as a shape, and what to do. Faults of
single values, unknown keys and names that point nowhere are all found in one reading, so an operator
corrects a file once. Nothing is guessed and nothing is partly loaded.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, ValidationError

from gateway.config.check_rules import FOLDER as CHECK_RULES
from gateway.config.check_rules import read_check_rules
from gateway.config.commands import KEYS, read_keys
from gateway.config.mappings import MAPPINGS, order_mapping
from gateway.config.overlay import Overlay
from gateway.config.problems import NAMED_BY, ConfigError, Problem, problem_of, sections_of
from gateway.config.profiles import DEFAULT_FOLDER, read_profiles
from gateway.config.rules import RULES, read_rules
from gateway.config.sections import Config
from gateway.config.values import OTHER_DOORS, suggestion
from gateway.domain.order_mapping import MappingError
from gateway.domain.profile import GENERIC

_MOST: Final = 20
"""Keys that are named of a text with faults."""
_FOREIGN: Final = re.compile(r"\[[^\]]*\]| .*")
"""What a text brings into the path of a key: the names of its own."""


def load(path: Path) -> Config:
    """Read the configuration file, or what central wished for over it (`gateway.config.overlay`). Paths in it are
    relative to its folder. Raises ConfigError with every fault."""
    local = text_of(path, remedy="copy gateway.sample.toml there, or name the file with --config")
    config = _parsed(local, path)
    wish = Overlay(config.box.state).text(local)
    if wish is not None:
        with suppress(ConfigError):
            return _parsed(wish, path)
    return config


def faults_over(path: Path, wish: str) -> tuple[str, ...]:
    """The keys for which a text can't take the place of this file: it does not hold, is another box's, or ends what
    central hears of this one. Keys that no configuration has are "unknown"."""
    local = _parsed(text_of(path, remedy="put it back"), path)
    try:
        wished = _parsed(wish, path)
    except ConfigError as error:
        keys = [_FOREIGN.sub("", problem.key) for problem in error.problems]
        return tuple(dict.fromkeys(key if set(key.split(".")) <= _known_keys() else "unknown" for key in keys))[:_MOST]
    holds = {
        "site.name": wished.site.name == local.site.name,
        "box.id": wished.box.id == local.box.id,
        "box.state": wished.box.state == local.box.state,
        "mqtt.host": bool(wished.mqtt.host) or not local.mqtt.host,
    }
    return tuple(key for key, held in holds.items() if not held)


def _known_keys() -> frozenset[str]:
    """Every name of a section and of a key."""
    found, waiting = set[str](), list[type[BaseModel]]([Config])
    while waiting:
        for name, field in waiting.pop().model_fields.items():
            found.add(name)
            waiting += sections_of(field.annotation)
    return frozenset(found)


def _parsed(text: str, path: Path) -> Config:
    credentials = os.environ.get("CREDENTIALS_DIRECTORY")
    return parse(
        text,
        base=path.absolute().parent,
        origin=path.name,
        credentials=None if credentials is None else Path(credentials),
    )


def text_of(path: Path, *, remedy: str) -> str:
    """The text of a file; `remedy` is for one that is not there. Raises ConfigError."""
    try:
        return path.read_bytes().decode("utf-8")
    except FileNotFoundError:
        raise ConfigError([Problem(key=str(path), wrong="there is no such file", remedy=remedy)]) from None
    except OSError as error:
        wrong = f"can't be read ({error.strerror})"
        raise ConfigError([Problem(key=str(path), wrong=wrong, remedy="check its owner and mode")]) from None
    except UnicodeDecodeError as error:
        wrong = f"is not UTF-8 from byte {error.start} on"
        raise ConfigError([Problem(key=str(path), wrong=wrong, remedy="save it as UTF-8 text")]) from None


def tables_of(text: str, *, origin: str) -> dict[str, Any]:
    """The tables of a TOML text. Raises ConfigError."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        remedy = "correct that line; text needs quotes, and a section is written once"
        raise ConfigError([Problem(key=origin, wrong=f"is not TOML: {error}", remedy=remedy)]) from None


def parse(text: str, *, base: Path, origin: str = "gateway.toml", credentials: Path | None = None) -> Config:
    """Parse the text of a configuration whose relative paths start at `base`. `credentials`: the folder of what systemd
    loaded for this process. Raises ConfigError with every fault."""
    raw = tables_of(text, origin=origin)
    problems: list[Problem] = []
    config = None
    try:
        config = Config.model_validate(raw, context={"base": base, "credentials": credentials})
    except ValidationError as error:
        problems += [problem_of(dict(detail), raw, root=Config) for detail in error.errors(include_url=False)]
    problems += _names_twice(raw)
    problems += _names_of_two(raw)
    problems += _names_nowhere(raw)
    problems += _destinations_nowhere(raw)
    problems += _senders_nowhere(raw)
    problems += _peers_nowhere(raw)
    problems += _profiles_nowhere(raw, base)
    problems += _mapping_faults(raw, base)
    problems += _rule_faults(raw, base)
    problems += _check_rule_faults(raw, base)
    problems += _key_faults(raw, base)
    if problems or config is None:
        raise ConfigError(problems)
    return config


def _tables(raw: dict[str, Any], section: str) -> list[dict[str, Any]]:
    tables = raw.get(section, [])
    return [table for table in tables if isinstance(table, dict)] if isinstance(tables, list) else []


def _names_twice(raw: dict[str, Any]) -> Iterator[Problem]:
    for section, named_by in NAMED_BY.items():
        places = [table.get("address", "") for table in _tables(raw, section)] if section == "listen" else []
        names = [table.get(named_by) for table in _tables(raw, section)]
        pairs = list(zip(names, places or [""] * len(names), strict=True))
        twice = [name for name, place in pairs if isinstance(name, str | int) and pairs.count((name, place)) > 1]
        for name in dict.fromkeys(twice):
            remedy = f"give each [[{section}]] a {named_by} of its own"
            yield Problem(key=f"{section}[{name}].{named_by}", wrong="is there more than once", remedy=remedy)


def _names_of_two(raw: dict[str, Any]) -> Iterator[Problem]:
    """Find senders that are named as a RIS, as the rows of one must not be taken for those of the other, and
    destinations that take performed procedure steps under the name of a RIS, as they would share a queue."""
    known = [table.get("name") for table in _tables(raw, "ris")]
    for name in (table.get("name") for table in _tables(raw, "sender")):
        if isinstance(name, str) and name in known:
            remedy = 'give it another, such as the same with "-hl7"'
            yield Problem(key=f"sender[{name}].name", wrong="is also the name of a [[ris]]", remedy=remedy)
    for table in _tables(raw, "destination"):
        name = table.get("name")
        if table.get("mpps") is True and isinstance(name, str) and name in known:
            wrong = "is also the name of a [[ris]], and it takes performed procedure steps"
            yield Problem(
                key=f"destination[{name}].name", wrong=wrong, remedy="give it another, such as the PACS's own"
            )


def _names_nowhere(raw: dict[str, Any]) -> Iterator[Problem]:
    """Find routing to destinations and groups that are not configured; a box without any destination has no routing."""
    known = _named(raw, "destination") + _named(raw, "group")
    routing = raw.get("routing", {})
    if not isinstance(routing, dict) or not (known or routing):
        return
    remedy = f"name one of: {', '.join(dict.fromkeys(known))}" if known else "write a [[destination]] section first"
    named = {"default": routing.get("default", ["pacs"]), "unverified": [routing.get("unverified", "pacs")]}
    for key, names in named.items():
        for name in names if isinstance(names, list) else []:
            if isinstance(name, str) and name not in known:
                wrong = f'names "{name}", which is no destination' if len(name) <= 64 else "names no destination"
                yield Problem(key=f"routing.{key}", wrong=wrong, remedy=f"{suggestion(name, known)}{remedy}")


def _destinations_nowhere(raw: dict[str, Any]) -> Iterator[Problem]:
    """Find members of groups, and destinations to fail over to, that are not configured; and names of two things."""
    known = _named(raw, "destination")
    named = [("group", table, "members") for table in _tables(raw, "group")]
    named += [("destination", table, "failover") for table in _tables(raw, "destination")]
    for section, table, key in named:
        name, names = table.get("name"), table.get(key, [])
        where = f"{section}[{name}].{key}" if isinstance(name, str) and len(name) <= 64 else f"{section}.{key}"
        for one in names if isinstance(names, list) else []:
            if isinstance(one, str) and (one not in known or one == name):
                wrong = "names the destination itself" if one in known else "names no destination"
                others = ", ".join(other for other in dict.fromkeys(known) if other != name)
                yield Problem(key=where, wrong=wrong, remedy=f"{suggestion(one, known)}name one of: {others}")
    for name in _named(raw, "group"):
        if name in known:
            yield Problem(key=f"group[{name}].name", wrong="is also that of a [[destination]]", remedy="write another")


def _named(raw: dict[str, Any], section: str) -> list[str]:
    return [table["name"] for table in _tables(raw, section) if isinstance(table.get("name"), str)]


def _senders_nowhere(raw: dict[str, Any]) -> Iterator[Problem]:
    """Find RISs that are told of the orders of senders that are not configured."""
    known = _named(raw, "sender")
    for ris in _tables(raw, "ris"):
        out, name = ris.get("orders_out", {}), ris.get("name")
        named = out.get("senders", []) if isinstance(out, dict) else []
        for sender in named if isinstance(named, list) else []:
            if isinstance(sender, str) and sender not in {*known, *OTHER_DOORS}:
                key = f"ris[{name}].orders_out.senders" if isinstance(name, str) and len(name) <= 64 else "ris"
                remedy = f"name one of: {', '.join(known)}" if known else "write a [[sender]] section first"
                yield Problem(key=key, wrong="names no [[sender]]", remedy=f"{suggestion(sender, known)}{remedy}")


def _peers_nowhere(raw: dict[str, Any]) -> Iterator[Problem]:
    """Find peers whose association is to stay open that are not configured."""
    known = _named(raw, "destination") + _named(raw, "ris")
    section = raw.get("health", {})
    named = section.get("hold", []) if isinstance(section, dict) else []
    for name in named if isinstance(named, list) else []:
        if isinstance(name, str) and name not in known:
            others = f"name one of: {', '.join(dict.fromkeys(known))}" if known else "there is no peer yet"
            wrong = "names no [[ris]] and no [[destination]]"
            yield Problem(key="health.hold", wrong=wrong, remedy=f"{suggestion(name, known)}{others}")


def _profiles_nowhere(raw: dict[str, Any], base: Path) -> Iterator[Problem]:
    """Find the faults of the profiles, and scanners whose profile there is none of."""
    section = raw.get("worklist", {})
    folder = section.get("profiles", DEFAULT_FOLDER) if isinstance(section, dict) else DEFAULT_FOLDER
    if not isinstance(folder, str):
        return
    profiles, problems = read_profiles(base / folder)
    yield from problems
    known = sorted({*profiles, *(problem.key.partition(".")[0] for problem in problems)})
    for scanner in _tables(raw, "scanner"):
        name = scanner.get("profile", GENERIC)
        if isinstance(name, str) and name not in known:
            ae = scanner.get("ae")
            key = f"scanner[{ae}].profile" if isinstance(ae, str) and 0 < len(ae) <= 16 else "scanner.profile"
            remedy = f"{suggestion(name, known)}known here: {', '.join(known)}"
            yield Problem(key=key, wrong="names no profile", remedy=remedy)


def _mapping_faults(raw: dict[str, Any], base: Path) -> Iterator[Problem]:
    """Find senders, and programs, whose mapping there is none of, or that has faults."""
    section = raw.get("orders", {})
    folder = section.get("mappings", MAPPINGS) if isinstance(section, dict) else MAPPINGS
    if not isinstance(folder, str):
        return
    asked = [("orders.mapping", section.get("mapping", "generic") if isinstance(section, dict) else "generic")]
    for sender in _tables(raw, "sender"):
        named = sender.get("name")
        known = isinstance(named, str) and len(named) <= 64
        asked.append((f"sender[{named}].mapping" if known else "sender.mapping", sender.get("mapping", "generic")))
    for key, name in asked:
        if not isinstance(name, str):
            continue
        try:
            order_mapping(name, base / folder)
        except MappingError as error:
            for line in str(error).splitlines():
                wrong, _, remedy = line.rpartition("; ")
                yield Problem(key=key, wrong=wrong, remedy=remedy)


def _rule_faults(raw: dict[str, Any], base: Path) -> list[Problem]:
    """Find the faults of the routing rules."""
    section = raw.get("routing", {})
    folder = section.get("rules", RULES) if isinstance(section, dict) else RULES
    if not isinstance(folder, str):
        return []
    return read_rules(base / folder, _named(raw, "destination") + _named(raw, "group"))[1]


def _check_rule_faults(raw: dict[str, Any], base: Path) -> list[Problem]:
    """Find the faults of the rules for headers."""
    section = raw.get("check", {})
    folder = section.get("rules", CHECK_RULES) if isinstance(section, dict) else CHECK_RULES
    return read_check_rules(base / folder)[1] if isinstance(folder, str) else []


def _key_faults(raw: dict[str, Any], base: Path) -> list[Problem]:
    """Find the faults of the keys for commands."""
    section = raw.get("commands", {})
    folder = section.get("keys", KEYS) if isinstance(section, dict) else KEYS
    return read_keys(base / folder)[1] if isinstance(folder, str) else []
