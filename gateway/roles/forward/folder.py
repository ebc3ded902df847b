"""Destinations that are a folder or a mounted share: a Part 10 file for each instance, `<study>/<our id>.dcm`.

The study's folder is a digest and the file our own id, so that no value of DICOM is a path and a repetition takes the
place of what it repeats. Proof is by reading back: a file counts only if it reads as what was written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from gateway.dicom.convert import Segment
from gateway.domain.model import Confirm, Instance, TemporaryFailure
from gateway.domain.retry import Outcome, OutcomeKind
from gateway.net.share import Share, group_of
from gateway.roles.forward.target import FileLine, Held


@dataclass(frozen=True, slots=True, kw_only=True)
class Folder:
    """A prepared folder (`Way`)."""

    path: Path
    owner: str
    """The destination's name, that the folder is marked with."""
    confirm: Confirm
    accepts: frozenset[str]
    """Transfer syntaxes that whoever reads it takes beside those that objects came in."""

    def open(self, _found: Sequence[Instance], *, allow: Callable[[int], int], offered: frozenset[str]) -> FileLine:
        """Raises `TemporaryFailure`."""
        share = Share(self.path, self.owner)

        def put(
            instance: Instance, header: bytes, segments: Sequence[Segment], source: int, *, attempts: int
        ) -> Outcome:
            group = group_of(instance.StudyInstanceUID)
            written = share.store(group, instance.id, [header, *segments], source, allow=allow)
            if self.confirm is Confirm.HASH and share.hash_of(group, instance.id) != written:
                raise TemporaryFailure("what was written reads back differently", code="read-back")
            return Outcome(kind=OutcomeKind.STORED, code="0000", reason="stored")

        return FileLine(put, share.close, accepts=self.accepts & offered)

    def held(self, wanted: Sequence[Instance]) -> Iterator[Held]:
        """Nothing waits for proof here: what is stored was read back."""
        yield Held(wanted, ())
