"""What the disk allows: a bare loop that makes the same objects durable, with no network and no protocol.

For each object: create in one folder, write, fdatasync, rename into another, fsync of that folder. With
`group` above one the folder is synced once for so many objects, as a group commit may.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path

from bench.senders import Sent


def bare_loop(files: Sequence[Path], folder: Path, *, group: int) -> Sent:
    """One thread; the bytes are in memory before the clock starts."""
    contents = [path.read_bytes() for path in files]
    incoming, objects = folder / "incoming", folder / "objects"
    incoming.mkdir()
    objects.mkdir()
    directory = os.open(objects, os.O_RDONLY | os.O_DIRECTORY)
    os.sync()
    began, worked = time.monotonic(), time.thread_time()
    for number, content in enumerate(contents):
        part = incoming / f"{number}.part"
        _write_durably(part, content)
        part.rename(objects / f"{number}.dcm")
        if (number + 1) % group == 0:
            os.fsync(directory)
    os.fsync(directory)
    taken = Sent(seconds=time.monotonic() - began, cpu=time.thread_time() - worked)
    os.close(directory)
    return taken


def _write_durably(path: Path, content: bytes) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    view = memoryview(content)
    while view:
        view = view[os.write(fd, view) :]
    os.fdatasync(fd)
    os.close(fd)
