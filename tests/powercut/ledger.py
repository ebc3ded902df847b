"""What a writer was promised, kept outside the disk under test, and what became of it.

A ledger is a text file of lines "name hash"; a line is written whole by one O_APPEND write, after the promise.
"""

import hashlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


class Ledger:
    """Appends promises; safe for several threads and processes on one file."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def promised(self, name: str, hashed: str) -> None:
        os.write(self._fd, f"{name} {hashed}\n".encode())


def promises(path: Path) -> dict[str, str]:
    """Name -> hash of every whole line; none when the ledger does not exist yet."""
    if not path.exists():
        return {}
    whole, _, _ = path.read_text().rpartition("\n")
    return dict(line.split() for line in whole.splitlines())


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """Promised objects by what was found after the cut; each name is in exactly one."""

    whole: frozenset[str]
    lost: frozenset[str]
    torn: frozenset[str]

    @property
    def kept_every_promise(self) -> bool:
        return not self.lost and not self.torn


def survey(promised: Mapping[str, str], find: Callable[[str], bytes | None]) -> Survey:
    """Compare promises with the survivors; `find` gives the content of a name, or None when it is gone."""
    whole, lost, torn = set(), set(), set()
    for name, hashed in promised.items():
        content = find(name)
        place = lost if content is None else whole if digest(content) == hashed else torn
        place.add(name)
    return Survey(whole=frozenset(whole), lost=frozenset(lost), torn=frozenset(torn))


def files_in(folder: Path) -> Callable[[str], bytes | None]:
    """`find` for one file per name, directly in `folder`."""

    def find(name: str) -> bytes | None:
        path = folder / name
        return path.read_bytes() if path.is_file() else None

    return find
