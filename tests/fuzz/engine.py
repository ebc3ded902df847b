"""Making inputs for one target: by our own generator, or by libFuzzer with our mutations and its coverage.

Our generator is seeded and needs nothing installed: it mutates seeds and keeps what is answered in a new way.
libFuzzer (atheris) sees which edges of the gateway's code an input reached, and keeps what reached new ones.
"""

from __future__ import annotations

import importlib.util
import itertools
import os
import sys
from pathlib import Path
from random import Random

from tests.fuzz.trial import HANG_SECONDS, INSTRUMENTED, Trials

MOST_KEPT = 4000
LONGEST_GUIDED = 1 << 14
"""Bytes; the plain generator goes on to `mutate.LONGEST`, where counted edges would cost minutes."""
_OTHERS = 8
_OUR_SHARE = 0.7


def guided_available() -> bool:
    return importlib.util.find_spec("atheris") is not None


def run_plain(name: str, *, inputs: int, seed: int, folder: Path) -> Trials:
    """`inputs` inputs of the generator; the same every time for the same `seed`."""
    from tests.fuzz.targets import TARGETS  # not before libFuzzer may instrument it: see `run_guided`

    target = TARGETS[name]
    random = Random(f"{name} {seed}")
    trials = Trials(name, target.check, folder)
    pool = [*target.seeds(), *target.corpus()]
    first = len(pool)
    for data in itertools.islice(pool, inputs):
        trials.attempt(data)
    while trials.outcome.tried < inputs:
        data = target.mutated(random.choice(pool), random, random.choices(pool, k=_OTHERS))
        if trials.attempt(data):
            if len(pool) < first + MOST_KEPT:
                pool.append(data)
            else:
                pool[random.randrange(first, len(pool))] = data
    trials.report()
    return trials


def run_guided(name: str, *, inputs: int, seed: int, folder: Path) -> None:
    """Never returns: libFuzzer ends the process after `inputs` inputs. Its log goes to standard error."""
    import atheris

    with atheris.instrument_imports(include=["gateway"]):
        from tests.fuzz.targets import TARGETS

    target = TARGETS[name]
    trials = Trials(name, target.check, folder, limit=HANG_SECONDS * INSTRUMENTED)
    pool = [*target.seeds(), *target.corpus()]
    corpus = folder / "corpus" / name
    corpus.mkdir(parents=True, exist_ok=True)
    for number, data in enumerate(pool):
        (corpus / f"seed{number:04}").write_bytes(data)

    def one(data: bytes) -> None:
        if trials.outcome.tried < inputs:
            trials.attempt(data)
        if trials.outcome.tried == inputs:
            trials.report()
            os._exit(0)  # libFuzzer would say good bye at length and may take one more input

    def mutated(data: bytes, most: int, chance: int) -> bytes:
        random = Random(chance)
        if random.random() < _OUR_SHARE:
            return target.mutated(data, random, random.choices(pool, k=_OTHERS))[:most]
        return bytes(atheris.Mutate(data, most))

    # A trial has bounds of its own; libFuzzer's must never be met, as they end the process (0 would mean one second)
    bounds = ["-timeout=3600", "-rss_limit_mb=0", f"-max_len={LONGEST_GUIDED}", "-len_control=0"]
    options = [*bounds, f"-seed={seed + 1}", f"-artifact_prefix={folder}/{name}."]
    atheris.Setup([sys.argv[0], *options, str(corpus)], one, custom_mutator=mutated)
    atheris.Fuzz()
