"""A mounted ext4 whose disk forgets unflushed writes when the power is cut: nbdkit plug-in, nbdfuse, loop, ext4.

    with VolatileDisk(tmp_path) as disk:
        gateway = subprocess.Popen([..., disk.mount / "state"])   # acknowledgements are recorded OUTSIDE disk.mount
        ...
        disk.cut([gateway.pid])                 # frozen, power off, ended; acknowledgements so far are final
        with disk.recover() as recovered:       # journal replayed on a copy of what was durable
            ...recovered.path...
        disk.power_on()                         # or go on with the durable state, to be cut again

Promise: after `cut`, the durable image holds what was flushed, and what `leak` let through; no acknowledgement can
postdate the cut, because every thread of the writers has stopped before nbdkit dies. The given processes are ended.
Everything made on the host (mounts, loop device, processes) is undone on leaving, after any failure too.

Needs root, /dev/fuse and the programs in `TOOLS`; `missing` says in words what is absent.
Limits: until the kernel writes back, unsynced data is not even in the disk's cache, so a short run without fsync
loses by the kernel's cache alone; that the disk forgets too is shown by `flush="lie"`, a drive that acknowledges FLUSH
and does nothing. The kernel's own crash is not modelled.
"""

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

TOOLS = ("nbdkit", "nbdfuse", "losetup", "mount", "umount", "mkfs.ext4", "e2fsck", "prlimit")
PLUGIN = Path(__file__).with_name("disk.py")
_LIMIT = 60.0
_POLL = 0.005


def missing() -> str | None:
    """Why the rig cannot run here, or None."""
    if os.geteuid() != 0:
        return "the power-cut rig mounts file systems: it needs root"
    absent = [tool for tool in TOOLS if shutil.which(tool) is None]
    if absent:
        return f"the power-cut rig needs {', '.join(absent)} (apt: nbdkit nbdkit-plugin-python libnbd-bin fuse3)"
    if not Path("/dev/fuse").exists() or not Path("/dev/loop-control").exists():
        return "the power-cut rig needs /dev/fuse and /dev/loop-control"
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovered:
    """The file system after the cut, mounted read-write from a copy; `image` outlives the mount for `fsck`."""

    path: Path
    image: Path


class VolatileDisk:
    """See the module. `leak` percent of unflushed blocks survive, some torn; `flush="lie"` is a lying drive."""

    def __init__(
        self,
        folder: Path,
        *,
        size: int = 256 << 20,
        leak: int = 0,
        seed: int = 0,
        flush: Literal["honest", "lie"] = "honest",
    ) -> None:
        self.mount = folder / "disk"
        self.image = folder / "durable.img"
        self._folder, self._size = folder, size
        self._leak, self._seed, self._flush = leak, seed, flush
        self._fuse, self._socket = folder / "fuse", folder / "nbd.sock"
        self._nbdkit: subprocess.Popen[bytes] | None = None
        self._nbdfuse: subprocess.Popen[bytes] | None = None
        self._loop: str | None = None
        self._recoveries = 0

    def __enter__(self) -> Self:
        self._folder.mkdir(parents=True, exist_ok=True)
        with self.image.open("wb") as image:
            image.truncate(self._size)
        # No background initialisation by the kernel: its writes would differ from run to run.
        _call("mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0,nodiscard", self.image)
        self.power_on()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, failure: BaseException | None, trace: TracebackType | None
    ) -> None:
        if failure is not None:
            failure.add_note(f"--- nbdkit and nbdfuse:\n{self._log.read_text(errors='replace')[-2000:]}")
        self._tear_down()

    @property
    def _log(self) -> Path:
        return self._folder / "rig.log"

    def power_on(self, *, leak: int | None = None, seed: int | None = None) -> None:
        """Mount what is durable, on the volatile disk; after `cut`, or on entry. `leak` and `seed` may change."""
        self._leak = self._leak if leak is None else leak
        self._seed = self._seed if seed is None else seed
        for folder in (self.mount, self._fuse):
            folder.mkdir(exist_ok=True)
        self._socket.unlink(missing_ok=True)
        try:
            plugin = [f"file={self.image}", f"leak={self._leak}", f"seed={self._seed}", f"flush={self._flush}"]
            self._nbdkit = self._start("nbdkit", "-f", "-U", self._socket, "python", PLUGIN, *plugin)
            # A socket that exists may not listen yet, and nbdfuse tries once
            _until(lambda: _listens(self._socket), "nbdkit to listen", self._nbdkit)
            exported = self._fuse / "nbd"
            self._nbdfuse = self._start("nbdfuse", exported, "--unix", self._socket)
            _until(exported.exists, "nbdfuse's file", self._nbdfuse)
            self._loop = _call("losetup", "--find", "--show", exported)
            _call("mount", "-t", "ext4", "-o", "noatime", self._loop, self.mount)
        except BaseException:
            self._tear_down()
            raise

    def cut(self, writers: Sequence[int] = ()) -> None:
        """Freeze the processes `writers`, cut the power, end them; their parents still have to reap them.

        Name every process that works on the disk or acknowledges anything, children too.
        """
        gone = [pid for pid in writers if _ended(pid)]
        if gone:
            raise RuntimeError(f"processes {gone} had ended before the cut: nothing would be shown")
        for pid in writers:
            os.kill(pid, signal.SIGSTOP)
        for pid in writers:
            _until(lambda pid=pid: _stopped(pid), f"process {pid} to stop")
        assert self._nbdkit is not None
        self._nbdkit.kill()
        self._nbdkit.wait(_LIMIT)
        for pid in writers:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        # With the disk gone every pending I/O fails, so the writers can die and the mounts be undone.
        self._tear_down()
        for pid in writers:
            _until(lambda pid=pid: _ended(pid), f"process {pid} to end")

    @contextmanager
    def recover(self) -> Iterator[Recovered]:
        """Mount a copy of the durable image, read-write on an honest loop device; the journal is replayed."""
        self._recoveries += 1
        copy = self._folder / f"recovered-{self._recoveries}.img"
        path = self._folder / f"recovered-{self._recoveries}"
        path.mkdir()
        _call("cp", "--sparse=always", self.image, copy)
        _call("mount", "-t", "ext4", "-o", "loop,noatime", copy, path)
        try:
            yield Recovered(path=path, image=copy)
            _call("umount", path)
        except BaseException:
            # A failed body may hold files open; its failure is the one to show.
            _try("umount", "-l", path)
            raise

    def _start(self, *command: str | Path) -> subprocess.Popen[bytes]:
        # nbdfuse ends on an assertion when its server dies; that must not leave a core file.
        with self._log.open("ab") as log:
            return subprocess.Popen(
                ["prlimit", "--core=0", "--", *map(str, command)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _tear_down(self) -> None:
        """Undo what exists, in any state; a step that has nothing to undo is no failure."""
        if self._nbdkit is not None:
            self._nbdkit.kill()
            self._nbdkit.wait(_LIMIT)
        _try("umount", "-l", self.mount)
        if self._loop is not None:
            _try("losetup", "-d", self._loop)
        if self._nbdfuse is not None:
            self._nbdfuse.kill()
            self._nbdfuse.wait(_LIMIT)
        for place in (self._fuse / "nbd", self._fuse):
            _try("umount", "-l", place)
        self._nbdkit = self._nbdfuse = self._loop = None


def fsck(image: Path) -> int:
    """`e2fsck -fn`: 0 when the file system is consistent, 4 when it would have to be repaired."""
    return subprocess.run(["e2fsck", "-fn", str(image)], capture_output=True, check=False).returncode


def _stopped(pid: int) -> bool:
    """Every thread is stopped, or in a system call that it cannot leave for user space without stopping first."""
    states = [_state(task / "stat") for task in Path(f"/proc/{pid}/task").iterdir()]
    return all(state in "tTDZX" for state in states)


def _listens(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe, suppress(FileNotFoundError, ConnectionRefusedError):
        probe.connect(str(path))
        return True
    return False


def _ended(pid: int) -> bool:
    return _state(Path(f"/proc/{pid}/stat")) in "ZX"


def _state(stat: Path) -> str:
    try:
        return stat.read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return "X"


def _until(condition: Callable[[], bool], what: str, process: subprocess.Popen[bytes] | None = None) -> None:
    deadline = time.monotonic() + _LIMIT
    while not condition():
        if process is not None and process.poll() is not None:
            raise RuntimeError(f"{process.args} ended with {process.returncode} while waiting for {what}")
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {_LIMIT} s for {what}")
        time.sleep(_POLL)


def _call(*command: str | Path) -> str:
    ended = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    if ended.returncode:
        raise RuntimeError(f"{' '.join(map(str, command))} ended with {ended.returncode}: {ended.stderr.strip()}")
    return ended.stdout.strip()


def _try(*command: str | Path) -> None:
    subprocess.run([str(part) for part in command], capture_output=True, check=False)
