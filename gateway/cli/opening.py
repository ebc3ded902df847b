"""The configuration and the spool, opened for one command.

What is promised: `reading` makes and changes nothing of the gateway's and gives one moment's view of the whole
database; `writing` waits its turn among the running roles. Neither makes a spool where there is none. Failures
are CommandFailed with the remedy.
"""

from __future__ import annotations

import getpass
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, TypeVar

from gateway.cli.failures import CommandFailed
from gateway.config import Config, load
from gateway.domain.model import PermanentFailure
from gateway.net.wake import Bell
from gateway.spool.db import Connection, Database, DatabaseError, open_reader

T = TypeVar("T")

_DATABASE: Final = "gateway.db"
_PLAIN: Final = re.compile(r"[A-Za-z0-9._-]{1,32}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What a reading command looks at."""

    config: Config
    c: Connection
    now: datetime

    def anew(self) -> Reading:
        """The same books at this moment."""
        self.c.execute("COMMIT")
        self.c.execute("BEGIN")
        return replace(self, now=datetime.now(UTC))


@dataclass(frozen=True, slots=True, kw_only=True)
class Writing:
    """What a deciding command writes through."""

    config: Config
    c: Connection
    """For reading."""
    write: Callable[[Callable[[Connection], T]], T]
    """Runs a job and returns after its commit."""
    now: datetime
    by: str
    """Who decides, for the journal."""

    def wake_forward(self) -> None:
        """Tell forward that there is something to do; if it does not run it will find out by itself."""
        bell = Bell(self.config.box.runtime_folder / "forward.sock")
        bell.ring()
        bell.close()


@contextmanager
def reading(config_path: Path) -> Iterator[Reading]:
    """Open what the configuration names, for reading."""
    config = load(config_path)
    with told_plainly(config):
        c = open_reader(_existing(config))
        try:
            c.execute("BEGIN")  # one view for all questions, while the gateway writes on
            yield Reading(config=config, c=c, now=datetime.now(UTC))
        finally:
            c.close()


@contextmanager
def writing(config_path: Path) -> Iterator[Writing]:
    """Open what the configuration names, for a decision."""
    config = load(config_path)
    with told_plainly(config):
        database = Database(_existing(config), now=lambda: datetime.now(UTC))
        try:
            yield Writing(
                config=config,
                c=database.read(),
                write=lambda job: database.write(job).result(),
                now=datetime.now(UTC),
                by=_who(),
            )
        finally:
            database.close()


def _existing(config: Config) -> Path:
    path = config.box.state / _DATABASE
    try:
        path.stat()
    except FileNotFoundError:
        remedy = "start the gateway once (gateway serve all), or name another configuration with --config"
        raise CommandFailed(f"spool: there is none in {config.box.state}; {remedy}") from None
    return path


@contextmanager
def told_plainly(config: Config) -> Iterator[None]:
    """An error of the disk or the database says what it is, where, and what to do; never what was in it."""
    where = f"spool: {config.box.state / _DATABASE} can't be"
    remedy = "run this as the gateway's user or as root, and check the disk"
    try:
        yield
    except PermanentFailure as error:
        if error.code in {"missing", "schema"}:
            raise CommandFailed(f"{where} used: {error}") from None
        raise
    except OSError as error:
        raise CommandFailed(f"{where} opened ({error.strerror or type(error).__name__}); {remedy}") from None
    except DatabaseError as error:
        name = getattr(error, "sqlite_errorname", type(error).__name__)
        raise CommandFailed(f"{where} read ({name}); {remedy}") from None


def _who() -> str:
    """The person at the console, by the name of the account; a service account is named as such."""
    try:
        name = os.environ.get("SUDO_USER") or getpass.getuser()
    except (KeyError, OSError):
        name = ""
    return f"command:{name}" if _PLAIN.fullmatch(name) else "command"
