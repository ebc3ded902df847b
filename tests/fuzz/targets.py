"""What is fuzzed: each target with its check, its seeds and the format of its inputs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random

from tests.fuzz import datasets, mutate, orders, patches, seeds, wire

CORPUS = Path(__file__).parent / "corpus"
"""What was found once, one folder for each target; `make test` tries it all."""
_HEADER = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """`check` raises if the code under test breaks a promise, and names what kind of thing happened."""

    name: str
    check: Callable[[bytes], str]
    seeds: Callable[[], list[bytes]]
    form: mutate.Format | None
    prefix: int = 0
    """Bytes in front of the format that choose how the rest is used."""

    def mutated(self, data: bytes, random: Random, others: list[bytes]) -> bytes:
        chosen, rest = data[: self.prefix], data[self.prefix :]
        if chosen and random.random() < 0.1:
            chosen = random.randbytes(self.prefix)
        return chosen + mutate.mutate(rest, random, self.form, [one[self.prefix :] for one in others])

    def corpus(self) -> list[bytes]:
        return [path.read_bytes() for path in sorted((CORPUS / self.name).glob("*"))]


def _bodies(pdus: tuple[bytes, ...]) -> list[bytes]:
    return [pdu[_HEADER:] for pdu in pdus]


TARGETS = {
    target.name: target
    for target in (
        Target(name="pdus", check=wire.pdus, seeds=seeds.pdu_seeds, form=mutate.PDU, prefix=1),
        Target(name="association", check=wire.association, seeds=seeds.association_seeds, form=mutate.CALLS, prefix=1),
        Target(name="commands", check=wire.commands, seeds=lambda: list(seeds.command_sets()), form=mutate.IMPLICIT),
        Target(name="messages", check=wire.messages, seeds=seeds.message_seeds, form=mutate.IMPLICIT, prefix=1),
        Target(
            name="requests", check=wire.requests, seeds=lambda: _bodies(seeds.requests()), form=mutate.ITEM, prefix=68
        ),
        Target(name="accepts", check=wire.accepts, seeds=lambda: _bodies(seeds.accepts()), form=mutate.ITEM, prefix=68),
        Target(name="files", check=datasets.files, seeds=seeds.file_seeds, form=mutate.EXPLICIT, prefix=132),
        Target(name="walker", check=datasets.walker, seeds=seeds.data_set_seeds, form=mutate.EXPLICIT, prefix=1),
        Target(
            name="conversion", check=datasets.conversion, seeds=seeds.data_set_seeds, form=mutate.EXPLICIT, prefix=1
        ),
        Target(name="patching", check=patches.patching, seeds=seeds.data_set_seeds, form=mutate.EXPLICIT, prefix=1),
        Target(name="text", check=datasets.text, seeds=seeds.text_seeds, form=None, prefix=2),
        Target(
            name="commitments",
            check=datasets.commitments,
            seeds=seeds.commitment_seeds,
            form=mutate.EXPLICIT,
            prefix=1,
        ),
        Target(name="mllp", check=orders.frames, seeds=orders.frame_seeds, form=None, prefix=1),
        Target(name="hl7", check=orders.hl7, seeds=orders.hl7_seeds, form=None),
        Target(name="query", check=datasets.query, seeds=seeds.query_seeds, form=mutate.HALVES),
    )
}
