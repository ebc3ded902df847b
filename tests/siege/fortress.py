"""The gateway in a folder of its own, watched from outside: memory, threads, descriptors, files, log and books.

`Fortress.levels` is what /proc says now; `watching` samples it until the block ends and keeps the most. `surroundings`
is every file in reach of a hostile name that is not the gateway's own to write, `strange` the names in its state folder
that it never gives. On leaving `fortress` nothing of the process is left.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.peers.processes import HOST, free_port
from tests.siege.attackers import LISTED

ROOT: Final = Path(__file__).parents[2]
START_LIMIT: Final = 60.0
_LOOK_EVERY: Final = 0.05
_ID: Final = r"[0-9a-z]{16,40}"
_OURS: Final = re.compile(
    rf"selftest|(selftest/)?(gateway\.db(-wal|-shm)?|\w+\.lock|run|run/\w+\.sock"
    rf"|spool(/(objects|incoming|derived|quarantine))?"
    rf"|spool/objects/[0-9a-z]{{2}}(/{_ID}\.dcm)?|spool/incoming/{_ID}\.part|spool/quarantine/{_ID}\.dcm)"
)
_TOML: Final = """\
[site]
name = "siege"
timezone = "UTC"
[box]
id = "siege"
state = "{state}"
runtime = "{runtime}"
[[listen]]
address = "{host}"
port = {port}
ae = ["GATEWAY"]
[mllp]
port = 0
[console]
port = 0
[[scanner]]
ae = "CT1"
address = ["{host}"]
[[scanner]]
ae = "BAD"
address = ["{listed}"]
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Levels:
    """What a process holds."""

    rss: int
    """Bytes."""
    threads: int
    descriptors: int

    def __str__(self) -> str:
        return f"RSS {self.rss / 1e6:.1f} MB, {self.descriptors} fds, {self.threads} threads"


class Fortress:
    """One gateway with the default limits."""

    def __init__(self, folder: Path, runtime: Path) -> None:
        self.folder = folder
        self.state = folder / "around" / "state"
        self.port = free_port()
        self._log = folder / "gateway.log"
        self._config = folder / "gateway.toml"
        self._config.write_text(
            _TOML.format(state=self.state, runtime=runtime, host=HOST, port=self.port, listed=LISTED), "utf-8"
        )
        places = {name: folder / "around" / name for name in ("cwd", "tmp", "home")}
        for place in places.values():
            place.mkdir(parents=True)
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "gateway", "serve", "worklist", "storage", "--config", str(self._config)],
                cwd=places["cwd"],
                env=os.environ
                | {"TMPDIR": str(places["tmp"]), "HOME": str(places["home"]), "PYTHONPATH": str(ROOT)}
                | {"PYTHONDONTWRITEBYTECODE": "1"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def until_ready(self) -> None:
        self.until(lambda: "event=ready" in self.log() or not self.running, what="it is ready", limit=START_LIMIT)
        assert self.running

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    def stop(self) -> int:
        """SIGTERM; its exit status."""
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(START_LIMIT)

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(START_LIMIT)

    def until(self, fact: Callable[[], object], *, what: str, limit: float) -> None:
        """Look again and again until `fact()`; AssertionError after `limit` seconds."""
        deadline = time.monotonic() + limit
        while not fact():
            assert time.monotonic() < deadline, f"not within {limit} s: {what}; {self.levels()}"
            time.sleep(_LOOK_EVERY)

    def log(self) -> str:
        return self._log.read_text("utf-8", "replace")

    # -- from outside --

    def levels(self) -> Levels:
        proc = Path(f"/proc/{self._process.pid}")
        return Levels(
            rss=int((proc / "statm").read_text("ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE"),
            threads=len(os.listdir(proc / "task")),  # noqa: PTH208 -- a count, of what vanishes while one looks
            descriptors=len(os.listdir(proc / "fd")),  # noqa: PTH208
        )

    def surroundings(self) -> dict[str, int]:
        """Every file around that is not in its state folder, and whatever a hostile name would have made above."""
        found = {
            str(path): path.lstat().st_size
            for path in (self.folder, *self.folder.rglob("*"))
            if self.state not in (path, *path.parents) and not path.is_dir() and path != self._log
        }
        above = (Path(tempfile.gettempdir()), ROOT, *self.state.parents)
        return found | {str(path): 0 for place in above for path in place.glob("*outside*")}

    def strange(self) -> list[str]:
        """What is in the state folder under a name that the gateway never gives."""
        names = [str(path.relative_to(self.state)) for path in self.state.rglob("*")]
        return [name for name in names if not _OURS.fullmatch(name)]


class Watch:
    """The most that was seen."""

    def __init__(self, fortress: Fortress) -> None:
        self._fortress = fortress
        self.most = fortress.levels()

    def look(self) -> None:
        now = self._fortress.levels()
        self.most = Levels(
            rss=max(now.rss, self.most.rss),
            threads=max(now.threads, self.most.threads),
            descriptors=max(now.descriptors, self.most.descriptors),
        )


@contextmanager
def watching(fortress: Fortress) -> Iterator[Watch]:
    """Sample until the block ends."""
    watch, over = Watch(fortress), threading.Event()

    def sample() -> None:
        while not over.wait(_LOOK_EVERY) and fortress.running:
            with suppress(FileNotFoundError):
                watch.look()

    thread = threading.Thread(target=sample, name="watch")
    thread.start()
    try:
        yield watch
    finally:
        over.set()
        thread.join()


@contextmanager
def fortress(folder: Path) -> Iterator[Fortress]:
    """A gateway that is ready; afterwards it is gone."""
    # Paths of Unix sockets end at 107 characters, and pytest's folders are long
    runtime = Path(tempfile.mkdtemp(prefix="gw-"))
    made = Fortress(folder, runtime)
    try:
        made.until_ready()
        yield made
    except BaseException as failure:
        failure.add_note(f"--- log of the gateway:\n{made.log()[-6000:]}")
        raise
    finally:
        made.kill()
        shutil.rmtree(runtime, ignore_errors=True)
