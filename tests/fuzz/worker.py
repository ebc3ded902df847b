"""One target in a process of its own: `python -m tests.fuzz.worker plain|guided TARGET INPUTS SEED FOLDER`.

Started by the campaign (`__main__`), which watches it. Nothing of the gateway is imported before libFuzzer can
instrument it.
"""

from __future__ import annotations

import sys
from pathlib import Path

from tests.fuzz import engine
from tests.fuzz.trial import bound_memory


def main() -> None:
    way, target, inputs, seed, folder = sys.argv[1:]
    bound_memory()
    run = engine.run_guided if way == "guided" else engine.run_plain
    run(target, inputs=int(inputs), seed=int(seed), folder=Path(folder))


if __name__ == "__main__":
    main()
