"""What it costs to check one object against its order and to make its new header, in CPU time, without the send.

Beside it, what others do to the same end: pydicom reads an object and saves it changed, DCMTK's dcmodify changes a
file. Both write the whole object again; we hand the pixels to `sendfile`.
"""

from __future__ import annotations

import resource
import shutil
import subprocess
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import pydicom

from bench.measure import Cell, CellFailed, Column, Sample, Table, Target
from bench.objects import objects
from bench.sizes import Size
from gateway.dicom import charset, part10
from gateway.dicom.convert import length_of
from gateway.domain.coercion import edits_for
from gateway.domain.edits import Patch
from gateway.domain.identity import decide
from gateway.domain.identity_model import Candidate, CheckPolicy, Decision, Header, Study
from gateway.domain.merge import Kind
from gateway.domain.model import UID, AETitle, Instance, InstanceId, Origin, SourceName
from gateway.domain.order_model import Identifier, Patient, PatientKey, Procedure, Status, Step
from gateway.roles.forward.excerpts import excerpt_of, fault_of
from gateway.roles.forward.patching import patched
from gateway.spool.checks import Excerpt
from gateway.spool.mapping import mapped

NOW: Final = datetime(2026, 1, 2, 13, tzinfo=UTC)
POLICY: Final = CheckPolicy(test_patients=())
_FEW: Final = {"ct": 40, "dx": 4, "ct, deflated": 8}
_LEAST: Final = 4
"""Edits that are to be made: the birth date, the description, and the ids of the request."""
_DCMODIFY: Final = "/usr/bin/dcmodify"
_DEFLATED: Final = "1.2.840.10008.1.2.1.99"


def _order(found: Header) -> Candidate:
    """The order of the object, which has another digit in the birth date and the ids that the object lacks."""
    number = found.PatientID.value
    return Candidate(
        id="order",
        source=SourceName("ris"),
        kind=Kind.HL7,
        key=PatientKey("", number),
        patient=Patient(
            identifiers=(Identifier(value=number),),
            PatientName=found.PatientName,
            PatientBirthDate="19710101",
            PatientSex=found.PatientSex,
        ),
        procedure=Procedure(
            StudyInstanceUID=found.StudyInstanceUID,
            RequestedProcedureID="RP1",
            accession=Identifier(value=found.accession.value),
            RequestedProcedureDescription="CT THORAX",
            steps=(Step(ScheduledProcedureStepID="S1", Modality=found.Modality, start=NOW),),
        ),
        status=Status.SCHEDULED,
        confirmed_at=NOW,
    )


def _ours(paths: list[Path], _folder: Path) -> float:
    """Milliseconds of CPU an object of a study: read each header, decide on each that differs, try and make each patch.

    The objects of a series have one header as far as the check reads it, so they share a verdict, as in the box.
    """
    received = [(_received(path), path) for path in paths]
    patches: dict[str, Patch] = {}
    began = time.process_time()
    for instance, path in received:
        excerpt = excerpt_of(instance, path)
        digest = excerpt.digest
        if digest not in patches:
            patches[digest] = _patch(excerpt)
        refused = fault_of(instance, path, patches[digest])
        with mapped(path) as view, view[len(view) - instance.size :] as dataset:
            segments = patched(dataset, instance.TransferSyntaxUID, patches[digest])
        if refused or not length_of(segments):
            raise CellFailed(f"not patched: {refused}")
    return (time.process_time() - began) * 1000 / len(paths)


def _patch(excerpt: Excerpt) -> Patch:
    found = excerpt.header()
    study = Study(
        StudyInstanceUID=UID(found.StudyInstanceUID),
        headers=(found,),
        calling_aes=frozenset({AETitle("CT1")}),
        first_received=NOW,
        last_received=NOW,
    )
    verdict = decide(study, [_order(found)], POLICY, NOW)
    patch = edits_for(verdict, excerpt.dataset(), charset, at=NOW, system="BENCH")
    if verdict.decision is not Decision.CORRECT or len(patch.edits) < _LEAST:
        raise CellFailed(f"{verdict.decision} ({verdict.because}), {len(patch.edits)} edits")
    return patch


def _received(path: Path) -> Instance:
    with path.open("rb") as file:
        meta = part10.read(file.read(part10.LONGEST_HEADER))
    return Instance(
        id=InstanceId("0" * 22),
        SOPClassUID=UID(meta.SOPClassUID),
        SOPInstanceUID=UID(meta.SOPInstanceUID),
        TransferSyntaxUID=UID(meta.TransferSyntaxUID),
        StudyInstanceUID=UID(""),
        SeriesInstanceUID=UID(""),
        content_hash="",
        size=path.stat().st_size - meta.data_offset,
        origin=Origin(
            calling_ae=AETitle("CT1"), called_ae=AETitle("GATEWAY"), address="", association="", received_at=NOW
        ),
    )


def _pydicom(paths: list[Path], folder: Path) -> float:
    began = time.process_time()
    for path in paths:
        ds = pydicom.dcmread(path)
        ds.PatientBirthDate, ds.StudyDescription = "19710101", "CT THORAX"
        item = pydicom.Dataset()
        item.RequestedProcedureID, item.ScheduledProcedureStepID = "RP1", "S1"
        ds.RequestAttributesSequence = pydicom.Sequence([item])
        ds.save_as(folder / "saved.dcm")
    return (time.process_time() - began) * 1000 / len(paths)


def _dcmodify(paths: list[Path], folder: Path) -> float:
    copies = [folder / path.name for path in paths]
    for path, copy in zip(paths, copies, strict=True):
        shutil.copyfile(path, copy)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    ids = ["-i", "(0040,0275)[0].(0040,1001)=RP1", "-i", "(0040,0275)[0].(0040,0009)=S1"]
    change = ["-i", "PatientBirthDate=19710101", "-i", "StudyDescription=CT THORAX", *ids]
    subprocess.run([_DCMODIFY, "-nb", "-ie", *change, *copies], check=True, capture_output=True, timeout=300)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return spent * 1000 / len(paths)


def _deflated(path: Path) -> Path:
    made = path.with_suffix(".deflated")
    if not made.exists():
        ds = pydicom.dcmread(path)
        ds.file_meta.TransferSyntaxUID = pydicom.uid.UID(_DEFLATED)
        ds.save_as(made)
    return made


def _files(case: str, size: Size) -> list[Path]:
    if case == "multiframe":
        return objects(size.multiframe, 1)
    found = size.files(case.partition(",")[0])[: _FEW[case]]
    return [_deflated(path) for path in found] if case.endswith("deflated") else found


def _cell(case: str, variant: str, work: Callable[[list[Path], Path], float], size: Size) -> Cell:
    def run(folder: Path) -> Sample:
        files = _files(case, size)
        work(files[:1], folder)
        return {"ms": work(files, folder)}

    return Cell(case=case, variant=variant, run=run)


def checking(size: Size) -> Table:
    """CPU milliseconds an object; the pixels of the cases differ by a factor of six hundred."""
    variants = {"gateway": _ours, "pydicom, read and save": _pydicom, "dcmodify": _dcmodify}
    cases = ["ct", "dx", "multiframe", "ct, deflated"]
    return Table(
        name="check",
        environment="",
        title="Checking one object against its order and making its new header",
        note="CPU milliseconds an object of a study: 40 CT of 0.5 MB, 4 DX of 42 MB, a multi-frame of 300 MB, 8 CT "
        "deflated. The gateway reads each header, decides on the study, makes the edits and tries them, and makes the "
        "header that leaves in front of the untouched pixels; books and send are apart. The others read and write each "
        "object; dcmodify does all in one process.",
        columns=(Column(metric="ms", title="CPU ms", digits=2),),
        cells=[_cell(case, variant, work, size) for case in cases for variant, work in variants.items()],
        targets=[
            Target(clause="check", case="ct", metric="ms", at_most=1.0, unit="ms"),
            Target(clause="check", case="multiframe", metric="ms", at_most=10.0, unit="ms"),
        ],
        lower_is_better=True,
    )
