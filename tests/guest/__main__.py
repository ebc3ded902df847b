"""`python -m tests.guest FOLDER [BOOT]`: make the guest in FOLDER, then play every scenario, or those of one boot."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.guest.scenarios import run


def main() -> int:
    folder = Path(sys.argv[1]).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run([str(Path(__file__).parent / "tree.sh"), str(folder), sys.executable], check=True)
    wrong = run(folder, folder / "serial.log", *sys.argv[2:3])
    print(*wrong, sep="\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
