"""Destinations that speak DICOMweb (PS3.18): STOW-RS, one instance in each request, and proof by QIDO-RS.

One instance in a request, so that each has an outcome of its own; the connection stays. An answer that does not say
whether the instance was stored (202, 200 with words that don't name it, or 409 for one that may be there already) is
verified by a query at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from gateway.dicom.convert import Segment
from gateway.dicom.dimse import Status
from gateway.domain.model import UID, Instance
from gateway.domain.retry import Outcome, classify_stow, is_in_question
from gateway.net.dicomweb import DicomWeb, Server
from gateway.roles.forward.target import FileLine, Held, by_series

UIDS_PER_QUERY = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Stow:
    """A DICOMweb service (`Way`)."""

    server: Server
    accepts: frozenset[str]
    """Transfer syntaxes that it takes beside those that objects came in: STOW-RS has no question for it."""

    def open(self, _found: Sequence[Instance], *, allow: Callable[[int], int], offered: frozenset[str]) -> FileLine:
        """Raises `TemporaryFailure`."""
        web = DicomWeb(self.server)

        def put(
            instance: Instance, header: bytes, segments: Sequence[Segment], source: int, *, attempts: int
        ) -> Outcome:
            answer = web.store(instance.SOPInstanceUID, header, segments, source, allow=allow)
            asked = is_in_question(answer.status, answer.reason, named=answer.named, silent=answer.silent)
            if asked and instance.SOPInstanceUID in _held(web, [instance]):
                return classify_stow(answer.status, Status.DUPLICATE_SOP_INSTANCE, None, named=False, attempts=attempts)
            return classify_stow(
                answer.status,
                answer.reason,
                answer.warning,
                named=answer.named,
                silent=answer.silent,
                attempts=attempts,
            )

        return FileLine(put, web.close, accepts=self.accepts & offered)

    def held(self, wanted: Sequence[Instance]) -> Iterator[Held]:
        """By QIDO-RS at instance level. Raises `TemporaryFailure`."""
        with DicomWeb(self.server) as web:
            for asked in by_series(wanted, at_most=UIDS_PER_QUERY):
                yield Held(asked, _held(web, asked))


def _held(web: DicomWeb, asked: Sequence[Instance]) -> set[UID]:
    one = asked[0]
    found = web.held(one.StudyInstanceUID, one.SeriesInstanceUID, [each.SOPInstanceUID for each in asked])
    return {UID(uid) for uid in found}
