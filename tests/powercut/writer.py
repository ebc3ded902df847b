"""Control writers for the rig: write objects, promise each, until ended. python writer.py HOW FOLDER LEDGER SEED

HOW is "durable" (fsync file, rename, fsync directory), "no-directory-fsync" (the rename may be lost) or "no-fsync"
(everything may be lost). The rig must show the first to lose nothing and the last to lose.
"""

import os
import random
import sys
from pathlib import Path

from tests.powercut.ledger import Ledger, digest

SIZE = 100_000


def write_one(folder: Path, name: str, content: bytes, how: str) -> None:
    part = folder / f"{name}.part"
    fd = os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    os.write(fd, content)
    if how != "no-fsync":
        os.fsync(fd)
    os.close(fd)
    part.rename(folder / name)
    if how == "durable":
        directory = os.open(folder, os.O_RDONLY)
        os.fsync(directory)
        os.close(directory)


def main(how: str, folder: str, ledger: str, seed: str) -> None:
    book, chance, number = Ledger(Path(ledger)), random.Random(int(seed)), 0
    while True:
        content = chance.randbytes(SIZE)
        name = f"{number:06d}"
        write_one(Path(folder), name, content, how)
        book.promised(name, digest(content))
        number += 1


if __name__ == "__main__":
    main(*sys.argv[1:])
