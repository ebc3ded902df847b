"""The machine under test: files and programs below one root, which is `/` or a described tree.

What is promised: what can't be read because it is not there, or because the driver has no answer, is None; what
needs more rights is `NotTested` with the remedy. A described tree brings its own programs: where the root is not
`/`, no program of this machine is run. Nothing is written below the root.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from hwtests.outcome import Fault, NotTested

PROGRAMS: Final = ("usr/sbin", "usr/bin", "sbin", "bin")
DESCRIBED_STATE: Final = Path("/var/lib/gateway")
MOST_READ: Final = 1 << 20
AS_ROOT: Final = "run the commissioning as root"


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What a program said."""

    status: int
    out: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """Where its files are."""

    root: Path = Path("/")
    state: Path
    """The folder of the spool, on the disk that matters; a real folder, whatever the root."""

    @property
    def described(self) -> bool:
        """Whether this is a described tree."""
        return self.root != Path("/")

    @property
    def mounted_at(self) -> Path:
        """The folder of the spool by its name in the machine's own tree of mounts."""
        return DESCRIBED_STATE if self.described else self.state.resolve()

    def path(self, name: str) -> Path:
        """A file of the machine by its absolute name."""
        return self.root / name.lstrip("/")

    def text(self, name: str) -> str | None:
        """The contents of a small file without blanks around; None if there are none to have."""
        try:
            with self.path(name).open("rb") as file:
                return file.read(MOST_READ).decode("utf-8", "replace").strip("\0 \t\r\n")
        except PermissionError:
            raise NotTested(f"{name} can't be read; {AS_ROOT}") from None
        except OSError:
            return None

    def number(self, name: str) -> int | None:
        """A file that holds one whole number; None if it does not."""
        try:
            return int(self.text(name) or "")
        except ValueError:
            return None

    def names(self, folder: str) -> list[str]:
        """What is in a folder, in order; nothing where there is none."""
        try:
            return sorted(path.name for path in self.path(folder).iterdir())
        except OSError:
            return []

    def run(self, program: str, *arguments: str, seconds: float = 30.0) -> Said:
        """Run one of its programs. Raises NotTested if it is not installed, Fault if it does not end in time."""
        found = next((path for place in PROGRAMS if os.access(path := self.root / place / program, os.X_OK)), None)
        if found is None:
            raise NotTested(f"the program {program} is not installed")
        environment = {"PATH": ":".join(f"/{place}" for place in PROGRAMS), "LC_ALL": "C"}
        command: Sequence[str] = [str(found), *arguments]
        try:
            done = subprocess.run(  # noqa: S603  the caller's own words, no shell
                command, capture_output=True, timeout=seconds, env=environment, stdin=subprocess.DEVNULL, check=False
            )
        except subprocess.TimeoutExpired:
            raise Fault(f"{program} gave no answer in {seconds:.0f} s") from None
        except OSError as error:
            raise NotTested(f"{program} can't be run ({error.strerror})") from None
        return Said(status=done.returncode, out=done.stdout.decode("utf-8", "replace"))
