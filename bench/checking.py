"""What it costs to check one object against its order and to make its new header, in CPU time, without the send.

Beside it, what others do to the same end: pydicom reads an object and saves it changed, DCMTK's dcmodify changes a
file. Both write the whole object again; we hand the pixels to `sendfile`.
"""

from __future__ import annotations

import mmap
import resource
import shutil
import statistics
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
from gateway.dicom.patching import Head
from gateway.domain import header
from gateway.domain.coercion import edits_for
from gateway.domain.edits import Patch
from gateway.domain.identity import decide
from gateway.domain.identity_model import Candidate, CheckPolicy, Decision, Header, Study
from gateway.domain.merge import Kind
from gateway.domain.model import UID, AETitle, SourceName
from gateway.domain.order_model import Identifier, Patient, PatientKey, Procedure, Status, Step
from gateway.roles.forward.patching import patched
from gateway.spool import datasets

NOW: Final = datetime(2026, 1, 2, 13, tzinfo=UTC)
POLICY: Final = CheckPolicy(test_patients=())
NAME: Final = "RIGHT^NAME"
_FEW: Final = 40
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


def _ours(path: Path) -> float:
    """Milliseconds of CPU for one object: read its header, decide, make the edits, make the new header."""
    began = time.process_time()
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as mapped:
        meta = part10.read(mapped[: part10.LONGEST_HEADER])
        with memoryview(mapped) as view, view[meta.data_offset :] as dataset:
            patch = _checked(dataset, meta)
            segments = patched(dataset, meta.TransferSyntaxUID, patch)
    taken = (time.process_time() - began) * 1000
    if len(patch.edits) < 4 or length_of(segments) <= 0:
        raise CellFailed(f"{len(patch.edits)} edits where at least four were to be made")
    return taken


def _checked(dataset: memoryview, meta: part10.FileMetaRead) -> Patch:
    with Head(dataset, meta.TransferSyntaxUID) as head:
        excerpt = header.excerpt(head)
        marks = header.marks(head, sop_class=meta.SOPClassUID, sop_instance=meta.SOPInstanceUID)
    sets = datasets.character_sets(excerpt)

    def readable(value: bytes, vr: str) -> bool:
        return charset.decode_checked(value, vr, sets).faithful

    found = header.read(excerpt, datasets.decoder(excerpt), readable, marks)
    study = Study(
        StudyInstanceUID=UID(found.StudyInstanceUID),
        headers=(found,),
        calling_aes=frozenset({AETitle("CT1")}),
        first_received=NOW,
        last_received=NOW,
    )
    verdict = decide(study, [_order(found)], POLICY, NOW)
    if verdict.decision is not Decision.CORRECT:
        raise CellFailed(f"the verdict was {verdict.decision} ({verdict.because})")
    return edits_for(verdict, excerpt, charset, at=NOW, system="BENCH")


def _pydicom(path: Path, folder: Path) -> float:
    began = time.process_time()
    ds = pydicom.dcmread(path)
    ds.PatientName = NAME
    item = pydicom.Dataset()
    item.RequestedProcedureID, item.ScheduledProcedureStepID = "RP1", "S1"
    ds.RequestAttributesSequence = pydicom.Sequence([item])
    ds.save_as(folder / "saved.dcm")
    return (time.process_time() - began) * 1000


def _dcmodify(path: Path, folder: Path) -> float:
    copy = folder / "copy.dcm"
    shutil.copyfile(path, copy)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    change = [
        "-i",
        f"PatientName={NAME}",
        "-i",
        "(0040,0275)[0].(0040,1001)=RP1",
        "-i",
        "(0040,0275)[0].(0040,0009)=S1",
    ]
    subprocess.run([_DCMODIFY, "-nb", "-ie", *change, copy], check=True, capture_output=True, timeout=300)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) * 1000


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
    found = size.files(case.partition(",")[0])[:_FEW]
    return [_deflated(path) for path in found[:4]] if case.endswith("deflated") else found


def _cell(case: str, variant: str, work: Callable[[Path, Path], float], size: Size) -> Cell:
    def run(folder: Path) -> Sample:
        files = _files(case, size)
        work(files[0], folder)
        few = files if variant == "gateway" else files[:4]
        return {"ms": statistics.median(work(path, folder) for path in [*few, *few])}

    return Cell(case=case, variant=variant, run=run)


def checking(size: Size) -> Table:
    """CPU milliseconds an object; the pixels of the cases differ by a factor of six hundred."""
    variants: dict[str, Callable[[Path, Path], float]] = {
        "gateway": lambda path, _: _ours(path),
        "pydicom, read and save": _pydicom,
        "dcmodify": _dcmodify,
    }
    cases = ["ct", "dx", "multiframe", "ct, deflated"]
    return Table(
        name="check",
        environment="",
        title="Checking one object against its order and making its new header",
        note="CPU milliseconds an object: CT 0.5 MB, DX 42 MB, multi-frame 300 MB, a CT deflated. The gateway reads "
        "the header, decides, and makes the header that leaves in front of the untouched pixels; books and send are "
        "apart. The others read and write the object; dcmodify's start of a process is in its figure.",
        columns=(Column(metric="ms", title="CPU ms", digits=2),),
        cells=[_cell(case, variant, work, size) for case in cases for variant, work in variants.items()],
        targets=[
            Target(clause="check", case="ct", metric="ms", at_most=1.0, unit="ms"),
            Target(clause="check", case="multiframe", metric="ms", at_most=10.0, unit="ms"),
        ],
        lower_is_better=True,
    )
