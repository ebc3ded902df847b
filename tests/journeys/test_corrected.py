"""Corrected objects at a foreign PACS: the pixels as they were, what was recorded and nothing else, no new error."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pydicom
import pytest
from pydicom.dataset import Dataset, FileDataset
from pydicom.filebase import DicomBytesIO
from pydicom.sequence import Sequence
from pydicom.uid import (
    UID as PydicomUID,
)
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGBaseline8Bit,
    RLELossless,
)

from gateway.dicom import part10
from gateway.dicom.negotiation import propose
from gateway.domain.edits import Edit, Patch
from gateway.domain.identity_model import Reason
from gateway.domain.model import UID, AETitle, Instance, InstanceId, Origin
from gateway.net.dicom_client import Peer, Requestor
from gateway.roles.forward.sending import Opened, context_of, send, wanted_contexts
from gateway.spool.files import content_hash
from tests.peers import dciodvfy, needs, objects
from tests.peers.orthanc import Orthanc, orthanc

pytestmark = [pytest.mark.slow, needs.orthanc, dciodvfy.needed]

AT = datetime(2026, 1, 2, 12, tzinfo=UTC)
ORIGINAL = 0x04000561
OURS = {"InstanceCoercionDateTime", "ContributingEquipmentSequence", "OriginalAttributesSequence"}


def edit(*path: int, value: str | None, reason: Reason = Reason.CORRECT) -> Edit:
    return Edit(path=path, value=value, reason=reason, rule="test@1")


EDITS = (
    edit(0x00100010, value="Müller^Änne"),
    edit(0x00100020, value="P-2"),
    edit(0x00100021, value="HOSPITAL"),
    edit(0x00100030, value="19800203"),
    edit(0x00080050, value="A-2"),
    edit(0x00101002, value=None),
    edit(0x00101002, 0, 0x00100020, value="OTHER"),
    edit(0x00101002, 0, 0x00100022, value="TEXT"),
    edit(0x00400275, 0, 0x00401001, value="RP2"),
    edit(0x00400275, 0, 0x00400009, value="S2"),
    edit(0x00080080, value="North", reason=Reason.COERCE),
)
CHANGED = {
    *("PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "AccessionNumber"),
    *("OtherPatientIDsSequence", "RequestAttributesSequence", "InstitutionName"),
}


def item(**values: object) -> Dataset:
    made = Dataset()
    for keyword, value in values.items():
        setattr(made, keyword, value)
    return made


def with_requests(ds: FileDataset) -> FileDataset:
    """Nested sequences beside and inside of those that change."""
    study = item(ReferencedSOPClassUID="1.2.840.10008.3.1.2.3.1", ReferencedSOPInstanceUID="1.2.3")
    ds.RequestAttributesSequence = Sequence([
        item(RequestedProcedureID="RP1", ScheduledProcedureStepID="S1", ReferencedStudySequence=Sequence([study]))
    ])  # fmt: skip
    ds.OtherPatientIDsSequence = Sequence([item(PatientID="OLD", TypeOfPatientID="TEXT")])
    ds.ReferencedStudySequence = Sequence([study])
    return ds


def undefined_lengths(ds: FileDataset) -> FileDataset:
    for element in with_requests(ds).iterall():
        if element.VR == "SQ":
            element.is_undefined_length = True
            for one in element.value:
                one.is_undefined_length_sequence_item = True
    return ds


def long_header(ds: FileDataset) -> FileDataset:
    block = ds.private_block(0x0019, "TEST VENDOR", create=True)
    block.add_new(0x01, "OB", bytes(range(256)) * 400)
    ds.ImageComments = "x" * 10_000
    return with_requests(ds)


def plain(ds: FileDataset) -> FileDataset:
    return ds


FORMS: dict[str, tuple[str, str, Callable[[FileDataset], FileDataset]]] = {
    "explicit": ("CT", ExplicitVRLittleEndian, with_requests),
    "implicit": ("CT", ImplicitVRLittleEndian, with_requests),
    "implicit, undefined lengths": ("MR", ImplicitVRLittleEndian, undefined_lengths),
    "explicit, undefined lengths": ("DX", ExplicitVRLittleEndian, undefined_lengths),
    "deflated": ("CT", DeflatedExplicitVRLittleEndian, with_requests),
    "encapsulated": ("US", RLELossless, with_requests),
    "long header": ("MR", ExplicitVRLittleEndian, long_header),
    "long header, implicit": ("CT", ImplicitVRLittleEndian, long_header),
    "nothing there before": ("DX", ExplicitVRLittleEndian, plain),
    "report": ("SR", ExplicitVRLittleEndian, plain),
}


@pytest.fixture(scope="module")
def pacs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    with orthanc(tmp_path_factory.mktemp("orthanc")) as running:
        yield running


def received(path: Path) -> Instance:
    """The file as an object that the box received."""
    with path.open("rb") as file:
        meta = part10.read(file.read(part10.LONGEST_HEADER))
        digest, size = content_hash(
            file.fileno(), seed=meta.TransferSyntaxUID.encode("latin-1"), start=meta.data_offset
        )
    origin = Origin(calling_ae=AETitle("CT1"), called_ae=AETitle("GATEWAY"), address="", association="", received_at=AT)
    return Instance(
        id=InstanceId("0" * 22),
        SOPClassUID=UID(meta.SOPClassUID),
        SOPInstanceUID=UID(meta.SOPInstanceUID),
        TransferSyntaxUID=UID(meta.TransferSyntaxUID),
        StudyInstanceUID=UID(""),
        SeriesInstanceUID=UID(""),
        content_hash=digest,
        size=size,
        origin=origin,
    )


def sent_to(pacs: Orthanc, path: Path, patch: Patch) -> bytes:
    """What the PACS holds of the file after it was sent with the patch."""
    instance = received(path)
    peer = Peer(
        host="127.0.0.1", port=pacs.port, called_ae="ORTHANC", calling_ae="GATEWAY", connect_timeout=10, timeout=30
    )
    with Requestor.connect(peer, propose(wanted_contexts([instance]))) as requestor:
        context = context_of(requestor, instance)
        assert context is not None
        assert context.transfer_syntax == instance.TransferSyntaxUID
        with Opened(instance, path, patch=patch) as opened:
            assert send(requestor, context, opened, meanwhile=lambda: None, allow=lambda count: count) == 0
    return pacs.file(pacs.by_sop_instance_uid()[instance.SOPInstanceUID])


@pytest.mark.parametrize("form", FORMS)
def test_a_corrected_object_differs_in_what_was_recorded_and_in_nothing_else(
    form: str, pacs: Orthanc, tmp_path: Path
) -> None:
    kind, syntax, prepare = FORMS[form]
    made = prepare(objects.KINDS[kind](7, study=f"corrected/{form}"))
    path = objects.write(tmp_path, made, transfer_syntax=syntax)
    before = path.read_bytes()
    edits = [one for one in EDITS if kind != "SR" or one.path[0] != 0x00400275]
    got = sent_to(pacs, path, Patch(edits=tuple(edits), at=AT, system="north-ct1"))
    assert path.read_bytes() == before
    old, new = pydicom.dcmread(DicomBytesIO(before)), pydicom.dcmread(DicomBytesIO(got))
    assert new.file_meta.TransferSyntaxUID == PydicomUID(syntax)
    assert new.get("PixelData") == old.get("PixelData")
    differ = {
        (new.get_item(tag) or old.get_item(tag)).tag
        for tag in {*old.keys(), *new.keys()}
        if tag not in old or tag not in new or old[tag] != new[tag]
    }
    expected = {pydicom.datadict.tag_for_keyword(one) for one in CHANGED | OURS}
    assert differ == (expected - {0x00400275} if kind == "SR" else expected)
    assert str(new.PatientName) == "Müller^Änne"
    recorded = {
        element.keyword for one in new.OriginalAttributesSequence for element in one.ModifiedAttributesSequence[0]
    }
    assert {pydicom.datadict.tag_for_keyword(one) for one in recorded} == differ - {
        pydicom.datadict.tag_for_keyword(one) for one in OURS
    }
    arrived = tmp_path / "arrived.dcm"
    arrived.write_bytes(got)
    assert dciodvfy.errors(arrived) <= dciodvfy.errors(path)


def test_a_nonconforming_value_is_recorded_as_the_standard_has_it(pacs: Orthanc, tmp_path: Path) -> None:
    path = objects.write(tmp_path, objects.ct(8, study="corrected/nonconforming"))
    content = path.read_bytes()
    dotted = content.replace(b"\x10\x00\x30\x00DA\x08\x0019700101", b"\x10\x00\x30\x00DA\x0a\x001970.01.01")
    path.write_bytes(dotted)
    got = tmp_path / "got.dcm"
    got.write_bytes(sent_to(pacs, path, Patch(edits=(edit(0x00100030, value="19700101"),), at=AT, system="n")))
    assert dciodvfy.errors(got) < dciodvfy.errors(path)


def test_jpeg_frames_arrive_as_they_were(pacs: Orthanc, tmp_path: Path) -> None:
    """Fragments and their table are not looked into: they may be anything."""
    ds = objects.us(3, study="corrected/jpeg")
    ds.PixelData = pydicom.encaps.encapsulate([bytes([255, 216, number, 255, 217, 0]) for number in range(4)])
    ds["PixelData"].VR = "OB"
    ds["PixelData"].is_undefined_length = True
    path = objects.write(tmp_path, ds, transfer_syntax=JPEGBaseline8Bit)
    got = sent_to(pacs, path, Patch(edits=EDITS, at=AT, system="n"))
    assert pydicom.dcmread(DicomBytesIO(got)).PixelData == ds.PixelData
