"""Destinations that speak DICOMweb (PS3.18): STOW-RS, one instance in each request, and proof by QIDO-RS.

One instance in a request, so that each has an outcome of its own; the connection stays. An answer that does not say
whether the instance was stored (202, or 409 for one that may be there already) is verified by a query at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from gateway.dicom import part10
from gateway.domain.compression import UNASKED
from gateway.domain.model import UID, Instance
from gateway.domain.retry import Outcome, classify_stow, is_in_question
from gateway.net.dicomweb import DicomWeb, Server
from gateway.roles.forward.sending import Opened, segments_of
from gateway.roles.forward.target import Held, by_series

UIDS_PER_QUERY = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Stow:
    """A DICOMweb service (`Way`)."""

    server: Server

    def open(self, _found: Sequence[Instance], *, allow: Callable[[int], int], offered: frozenset[str]) -> StowLine:
        """Raises `TemporaryFailure`."""
        return StowLine(DicomWeb(self.server), allow, offered=offered)

    def held(self, wanted: Sequence[Instance]) -> Iterator[Held]:
        """By QIDO-RS at instance level. Raises `TemporaryFailure`."""
        with DicomWeb(self.server) as web:
            for asked in by_series(wanted, at_most=UIDS_PER_QUERY):
                yield Held(asked, _held(web, asked))


class StowLine:
    """A connection for STOW-RS (`Line`)."""

    def __init__(self, web: DicomWeb, allow: Callable[[int], int], *, offered: frozenset[str]) -> None:
        self._web = web
        self._offered = offered & UNASKED
        self._allow = allow

    def fits(self, _instance: Instance) -> bool:
        """Nothing is negotiated."""
        return True

    def accepts(self, instance: Instance) -> frozenset[str]:
        """Nothing is negotiated: what it came in, and what most can read."""
        return self._offered | {instance.TransferSyntaxUID}

    def store(
        self, instance: Instance, opening: Callable[[Instance], Opened], *, attempts: int, meanwhile: Callable[[], None]
    ) -> Outcome:
        """STOW-RS in the syntax it is opened in; what the status and the Failure Reason mean."""
        with opening(instance) as opened:
            syntax = opened.instance.TransferSyntaxUID
            header = part10.meta(
                SOPClassUID=instance.SOPClassUID, SOPInstanceUID=instance.SOPInstanceUID, TransferSyntaxUID=syntax
            )
            segments = segments_of(opened, syntax)
            answer = self._web.store(instance.SOPInstanceUID, header, segments, opened.descriptor, allow=self._allow)
        meanwhile()
        outcome = classify_stow(answer.status, answer.reason, answer.warning, named=answer.named, attempts=attempts)
        if is_in_question(answer.status, answer.reason, named=answer.named):
            there = instance.SOPInstanceUID in _held(self._web, [instance])
            outcome = classify_stow(answer.status, 0x0111, None, named=False, attempts=attempts) if there else outcome
        return replace(outcome, sent_as=syntax)

    def release(self) -> None:
        self._web.close()

    def abort(self) -> None:
        self._web.close()


def _held(web: DicomWeb, asked: Sequence[Instance]) -> set[UID]:
    one = asked[0]
    found = web.held(one.StudyInstanceUID, one.SeriesInstanceUID, [each.SOPInstanceUID for each in asked])
    return {UID(uid) for uid in found}
