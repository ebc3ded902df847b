"""nbdkit plug-in: a disk with a volatile write cache. Runs under nbdkit's own Python: standard library only.

Promise: reads see every write; a write is durable (in the backing file) only after FLUSH, or if it carries FUA.
SIGKILL of nbdkit is the power cut: what was not flushed is gone, because it was only in this process's memory.

Parameters of nbdkit: `file=PATH` the backing image; `leak=PERCENT` of written blocks that reach the medium unasked
and out of order, half of them torn at a 512-byte sector, as a real drive may do; `seed=N` for these choices;
`flush=lie` a drive that acknowledges FLUSH and does nothing (the mutant that every durable writer must fail on).

The backing file is not fsynced: the host stays up, so its page cache stands for the medium.
"""

import os
import random
import threading
from pathlib import Path

import nbdkit

API_VERSION = 2
BLOCK = 4096
SECTOR = 512


class Disk:
    """The backing image, and the blocks written since the last flush."""

    def __init__(self) -> None:
        self.path = ""
        self.leak = 0
        self.honest = True
        self.random = random.Random(0)
        self.medium = -1
        self.size = 0
        self.cache: dict[int, bytes] = {}
        self.lock = threading.Lock()
        self.flushes = 0

    def attach(self) -> None:
        self.medium = os.open(self.path, os.O_RDWR)
        self.size = os.fstat(self.medium).st_size

    def block(self, number: int) -> bytes:
        cached = self.cache.get(number)
        return cached if cached is not None else os.pread(self.medium, BLOCK, number * BLOCK)

    def read(self, length: int, offset: int) -> bytes:
        first, last = offset // BLOCK, (offset + length - 1) // BLOCK
        content = b"".join(self.block(number) for number in range(first, last + 1))
        return content[offset - first * BLOCK :][:length]

    def write(self, content: bytes, offset: int) -> None:
        position = 0
        while position < len(content):
            number, start = divmod(offset + position, BLOCK)
            part = content[position : position + BLOCK - start]
            if len(part) < BLOCK:
                whole = self.block(number)
                part_of_block = whole[:start] + part + whole[start + len(part) :]
            else:
                part_of_block = part
            self.cache[number] = part_of_block
            self.maybe_leak(number, part_of_block)
            position += len(part)

    def maybe_leak(self, number: int, content: bytes) -> None:
        if self.leak and self.random.randrange(100) < self.leak:
            sectors = self.random.randint(1, BLOCK // SECTOR) if self.random.random() < 0.5 else BLOCK // SECTOR
            os.pwrite(self.medium, content[: sectors * SECTOR], number * BLOCK)

    def flush(self) -> None:
        self.flushes += 1
        if self.honest:
            for number, content in self.cache.items():
                os.pwrite(self.medium, content, number * BLOCK)
            self.cache.clear()


disk = Disk()


def config(key: str, value: str) -> None:
    if key == "file":
        disk.path = str(Path(value).resolve())
    elif key == "leak":
        disk.leak = int(value)
    elif key == "seed":
        disk.random = random.Random(int(value))
    elif key == "flush" and value in ("honest", "lie"):
        disk.honest = value == "honest"
    else:
        raise RuntimeError(f"unknown parameter {key}={value}")


def config_complete() -> None:
    if not disk.path:
        raise RuntimeError("file=PATH is required")


def get_ready() -> None:
    disk.attach()


def thread_model() -> int:
    return nbdkit.THREAD_MODEL_SERIALIZE_ALL_REQUESTS


def open(readonly: bool) -> Disk:
    return disk


def get_size(handle: Disk) -> int:
    return handle.size


def can_flush(handle: Disk) -> bool:
    return True


def can_fua(handle: Disk) -> int:
    return nbdkit.FUA_NATIVE


def can_multi_conn(handle: Disk) -> bool:
    return True


def pread(handle: Disk, buf: bytearray, offset: int, flags: int) -> None:
    with handle.lock:
        buf[:] = handle.read(len(buf), offset)


def pwrite(handle: Disk, buf: bytearray, offset: int, flags: int) -> None:
    with handle.lock:
        handle.write(bytes(buf), offset)
        if flags & nbdkit.FLAG_FUA:
            handle.flush()


def flush(handle: Disk, flags: int) -> None:
    with handle.lock:
        handle.flush()
