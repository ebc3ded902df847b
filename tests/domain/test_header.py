"""What the check reads of an image, from data sets as pydicom writes them."""

from __future__ import annotations

from io import BytesIO
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.filebase import DicomIO
from pydicom.filewriter import write_dataset
from pydicom.sequence import Sequence

from gateway.dicom import charset
from gateway.dicom.elements import EXPLICIT_LITTLE, DataSet, Element, encode, parse
from gateway.domain.header import KEPT, excerpt, marks, read
from gateway.domain.identity_model import Header, Request
from gateway.domain.order_model import Code, Identifier
from gateway.spool.datasets import character_sets, decoder

CT = "1.2.840.10008.5.1.4.1.1.2"


def seen(dataset: DataSet, *, sop_class: str = CT, sop_instance: str = "2.25.1") -> Header:
    names = character_sets(dataset)
    return read(
        excerpt(dataset),
        decoder(dataset),
        lambda value, vr: charset.decode_checked(value, vr, names).faithful,
        marks(dataset, sop_class=sop_class, sop_instance=sop_instance),
    )


def elements_of(dataset: Dataset) -> DataSet:
    written = BytesIO()
    stream = DicomIO(written)
    stream.is_little_endian, stream.is_implicit_VR = True, False
    write_dataset(stream, dataset)
    return parse(written.getvalue(), EXPLICIT_LITTLE)


def image() -> Dataset:
    whole = Dataset()
    whole.SpecificCharacterSet = "ISO_IR 100"
    whole.SOPClassUID, whole.SOPInstanceUID = CT, "2.25.1"
    whole.StudyInstanceUID, whole.SeriesInstanceUID, whole.Modality = "2.25.2", "2.25.3", "CT"
    whole.PatientName, whole.PatientID, whole.PatientBirthDate, whole.PatientSex = "Müller^Änne", " P1", "19800229", "F"
    whole.IssuerOfPatientID = "HOSP"
    whole.AccessionNumber = "ACC1"
    issuer = Dataset()
    issuer.LocalNamespaceEntityID = "RIS"
    whole.IssuerOfAccessionNumberSequence = Sequence([issuer])
    other = Dataset()
    other.PatientID, other.IssuerOfPatientID = "OLD7", "HOSP"
    whole.OtherPatientIDsSequence = Sequence([other])
    asked = Dataset()
    asked.RequestedProcedureID, asked.ScheduledProcedureStepID, asked.AccessionNumber = "RP1", "SPS1", "ACC1"
    whole.RequestAttributesSequence = Sequence([asked])
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "CTHEAD", "LOCAL", "CT head"
    whole.ProcedureCodeSequence = Sequence([code])
    whole.InstanceNumber = 7
    return whole


def test_a_whole_header() -> None:
    header = seen(elements_of(image()))
    assert header.PatientName == "Müller^Änne"
    assert header.PatientID == Identifier(value="P1", authority="HOSP")
    assert header.OtherPatientIDs == (Identifier(value="OLD7", authority="HOSP"),)
    assert header.accession == Identifier(value="ACC1", authority="RIS")
    request = Request(accession=Identifier(value="ACC1"), RequestedProcedureID="RP1", ScheduledProcedureStepID="SPS1")
    assert header.requests == (request,)
    assert header.ProcedureCodeSequence == (
        Code(CodeValue="CTHEAD", CodingSchemeDesignator="LOCAL", CodeMeaning="CT head"),
    )
    assert (header.missing, header.invalid, header.undecodable) == ((), (), ())
    flags = (header.is_signed, header.is_deidentified, header.has_burned_in_text, header.has_private_copy)
    assert not any((*flags, header.uids_disagree))


def test_images_of_a_series_share_a_header_and_its_excerpt() -> None:
    one, other = image(), image()
    other.InstanceNumber, other.SOPInstanceUID, other.AcquisitionTime, other.ContentTime = 8, "2.25.9", "101010", "11"
    assert seen(elements_of(one)) == seen(elements_of(other), sop_instance="2.25.9")
    assert excerpt(elements_of(one)) == excerpt(elements_of(other))


def test_an_excerpt_is_written_and_read_again_whole() -> None:
    kept = cast(DataSet, excerpt(elements_of(image())))
    assert parse(encode(kept, EXPLICIT_LITTLE), EXPLICIT_LITTLE) == kept


@pytest.mark.parametrize(
    ("tag", "vr", "value", "keyword"),
    [
        (0x00100030, "DA", b"1980.02.29", "PatientBirthDate"),
        (0x00100040, "CS", b"f ", "PatientSex"),
        (0x0020000D, "UI", b"1.02.3\0", "StudyInstanceUID"),
        (0x0020000D, "UI", b"1." + b"2" * 70, "StudyInstanceUID"),
        (0x00080050, "SH", b"A" * 18, "AccessionNumber"),
        (0x00101030, "DS", b"heavy ", "PatientWeight"),
        (0x00101010, "AS", b"45 ", "PatientAge"),
    ],
)
def test_values_that_break_their_vr_are_named(tag: int, vr: str, value: bytes, keyword: str) -> None:
    assert seen(elements_of(image()) | {tag: Element(vr, value)}).invalid == (keyword,)


def test_text_that_the_declared_set_does_not_explain_is_named() -> None:
    without = elements_of(image())
    del without[0x00080005]
    assert seen(without).undecodable == ("PatientName",)


def test_what_hides_an_identity() -> None:
    private = elements_of(image()) | {
        0x00091010: Element("LO", b"GEMS"),
        0x00091011: Element("UN", b"xxM\xfcller^\xc4nnexx"),
    }
    assert seen(private).has_private_copy
    assert seen(elements_of(image()) | {0x60003000: Element("OW", b"\1\0")}).has_burned_in_text
    assert seen(elements_of(image()) | {0x00280301: Element("CS", b"YES ")}).has_burned_in_text
    assert seen(elements_of(image()) | {0x4FFE0001: Element("SQ", [])}).is_signed
    assert seen(elements_of(image()) | {0x00120062: Element("CS", b"YES ")}).is_deidentified


def test_uids_of_command_and_data_set() -> None:
    assert seen(elements_of(image()), sop_instance="2.25.77").uids_disagree
    bare = elements_of(image())
    del bare[0x00080018]
    header = seen(bare)
    assert not header.uids_disagree
    assert header.missing == ("SOPInstanceUID",)


values: st.SearchStrategy[bytes | list[dict[int, Any]]] = st.one_of(
    st.binary(max_size=40), st.lists(st.just({}), max_size=2)
)
tags = st.sampled_from(sorted(KEPT))


@given(st.dictionaries(tags, st.tuples(st.sampled_from(["LO", "PN", "SQ", "UI", "DA", "UN", "CS", "SH"]), values)))
def test_nothing_raises(dataset: dict[int, tuple[str, Any]]) -> None:
    seen({tag: Element(vr, value) for tag, (vr, value) in dataset.items()})
