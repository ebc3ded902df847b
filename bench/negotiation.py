"""What 128 presentation contexts cost the codec that answers them, in CPU time, without a network."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from pynetdicom import AllStoragePresentationContexts
from pynetdicom.pdu import A_ASSOCIATE_RQ

from bench.measure import Cell, Column, Sample, Table, Target
from gateway.dicom.associate import AssociateRequest, ProposedContext, UserInformation, decode_request
from gateway.dicom.negotiation import (
    EXPLICIT_VR_BIG_ENDIAN,
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
    answer,
    choose_transfer_syntax,
)
from gateway.dicom.part10 import IMPLEMENTATION_CLASS_UID

CONTEXTS: Final = 128
REPEATS: Final = 60
_PDU_HEADER: Final = 6
_SYNTAXES: Final = (
    EXPLICIT_VR_LITTLE_ENDIAN,
    EXPLICIT_VR_BIG_ENDIAN,
    "1.2.840.10008.1.2.4.70",
    IMPLICIT_VR_LITTLE_ENDIAN,
)
_US: Final = UserInformation(max_pdu=131072, implementation_class_uid=IMPLEMENTATION_CLASS_UID)


def _request() -> bytes:
    classes = [str(context.abstract_syntax) for context in AllStoragePresentationContexts][:CONTEXTS]
    classes += [f"1.2.826.0.1.3680043.9.9999.{number}" for number in range(CONTEXTS - len(classes))]
    contexts = tuple(ProposedContext(2 * number + 1, name, _SYNTAXES) for number, name in enumerate(classes))
    return AssociateRequest(called_ae="GATEWAY", calling_ae="BENCH", contexts=contexts, user=_US).encode()


def _ours(pdu: bytes) -> None:
    answer(decode_request(pdu[_PDU_HEADER:]), lambda _: choose_transfer_syntax, us=_US).encode()


def _theirs(pdu: bytes) -> None:
    request = A_ASSOCIATE_RQ()
    request.decode(pdu)
    request.to_primitive()


def _cell(variant: str, work: Callable[[bytes], None]) -> Cell:
    def run(_folder: Path) -> Sample:
        pdu = _request()
        work(pdu)
        taken = []
        for _ in range(REPEATS):
            began = time.perf_counter()
            work(pdu)
            taken.append((time.perf_counter() - began) * 1000)
        return {"ms": statistics.median(taken)}

    return Cell(case=f"{CONTEXTS} contexts", variant=variant, run=run)


def negotiation() -> Table:
    """Ours: decode, choose, encode. pynetdicom: decode alone."""
    return Table(
        name="negotiation",
        environment="",
        title=f"Negotiating {CONTEXTS} presentation contexts of {len(_SYNTAXES)} transfer syntaxes, the codec alone",
        note="Ours decodes, chooses and encodes the answer; pynetdicom only decodes.",
        columns=(Column(metric="ms", title="ms", digits=2),),
        cells=[_cell("gateway", _ours), _cell("pynetdicom", _theirs)],
        targets=[
            Target(clause="negotiation", case=f"{CONTEXTS} contexts", metric="ms", at_most=2.0, unit="ms"),
        ],
        lower_is_better=True,
    )
