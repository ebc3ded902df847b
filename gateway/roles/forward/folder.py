"""Destinations that are a folder or a mounted share: a Part 10 file for each instance, `<study>/<our id>.dcm`.

The study's folder is a digest and the file our own id, so that no value of DICOM is a path and a repetition takes the
place of what it repeats. Proof is by reading back: a file counts only if it reads as what was written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from gateway.dicom import part10
from gateway.domain.compression import UNASKED
from gateway.domain.model import Confirm, Instance, TemporaryFailure
from gateway.domain.retry import Outcome, OutcomeKind
from gateway.net.share import Share, group_of
from gateway.roles.forward.sending import Opened, segments_of
from gateway.roles.forward.target import Held


@dataclass(frozen=True, slots=True, kw_only=True)
class Folder:
    """A prepared folder (`Way`)."""

    path: Path
    owner: str
    """The destination's name, that the folder is marked with."""
    confirm: Confirm

    def open(self, _found: Sequence[Instance], *, allow: Callable[[int], int], offered: frozenset[str]) -> FolderLine:
        """Raises `TemporaryFailure`."""
        read_back = self.confirm is Confirm.HASH
        return FolderLine(Share(self.path, self.owner), allow, read_back=read_back, offered=offered)

    def held(self, wanted: Sequence[Instance]) -> Iterator[Held]:
        """Nothing waits for proof here: what is stored was read back."""
        yield Held(wanted, ())


class FolderLine:
    """The folder, held open (`Line`)."""

    def __init__(self, share: Share, allow: Callable[[int], int], *, read_back: bool, offered: frozenset[str]) -> None:
        self._share = share
        self._offered = offered & UNASKED
        self._allow = allow
        self._read_back = read_back

    def fits(self, _instance: Instance) -> bool:
        """Any does."""
        return True

    def accepts(self, instance: Instance) -> frozenset[str]:
        """Nothing is negotiated: what it came in, and what most can read."""
        return self._offered | {instance.TransferSyntaxUID}

    def store(
        self, instance: Instance, opening: Callable[[Instance], Opened], *, attempts: int, meanwhile: Callable[[], None]
    ) -> Outcome:
        """Written as a file in the syntax it is opened in, and read back."""
        group = group_of(instance.StudyInstanceUID)
        with opening(instance) as opened:
            syntax = opened.instance.TransferSyntaxUID
            header = part10.meta(
                SOPClassUID=instance.SOPClassUID, SOPInstanceUID=instance.SOPInstanceUID, TransferSyntaxUID=syntax
            )
            segments = [header, *segments_of(opened, syntax)]
            written = self._share.store(group, instance.id, segments, opened.descriptor, allow=self._allow)
        meanwhile()
        if self._read_back and self._share.hash_of(group, instance.id) != written:
            raise TemporaryFailure("what was written reads back differently", code="read-back")
        return Outcome(kind=OutcomeKind.STORED, code="0000", reason="stored", sent_as=syntax)

    def release(self) -> None:
        self._share.close()

    def abort(self) -> None:
        self._share.close()
