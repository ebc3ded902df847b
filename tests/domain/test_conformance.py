"""What a header lacks of its IOD, compared with dciodvfy."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydicom.dataset import FileDataset

from gateway.config.iods import shipped_iods
from gateway.dicom import part10
from gateway.dicom.elements import DataSet, Element
from gateway.dicom.patching import Head
from gateway.domain.conformance import Code, Deviation, deviations
from tests.peers import dciodvfy, objects

THEIRS = re.compile(r"Missing attribute Type ([12]) Required Element=<(\w+)>")
EMPTY = re.compile(r"Empty attribute \(no value\) Type (1) Required Element=<(\w+)>")
BEYOND = {("2", "PositionerType")}
"""Of modules that are mandatory to dciodvfy, and optional in newer editions of PS3.3."""


def of_file(path: Path) -> list[Deviation]:
    content = path.read_bytes()
    meta = part10.read(content)
    with Head(content[meta.data_offset :], meta.TransferSyntaxUID) as head:
        return deviations(head, shipped_iods())


def ours(path: Path) -> set[tuple[str, str]]:
    found = [one for one in of_file(path) if one.code is not Code.VALUE_INVALID]
    return {(one.code.split("-")[1], one.attribute.rpartition(".")[2]) for one in found}


def theirs(path: Path) -> set[tuple[str, str]]:
    said = "\n".join(dciodvfy.errors(path))
    return {*THEIRS.findall(said), *EMPTY.findall(said)} - BEYOND


@pytest.mark.slow
@dciodvfy.needed
@pytest.mark.parametrize("kind", objects.KINDS)
def test_it_finds_what_dciodvfy_finds(kind: str, tmp_path: Path) -> None:
    """In an object, and without or with an empty one of each of its attributes in turn."""

    def made() -> FileDataset:
        return objects.KINDS[kind](1)

    whole = objects.write(tmp_path, made())
    assert ours(whole) == theirs(whole)
    # Without these dciodvfy knows no IOD, or they depend on others; what a report says is not looked at
    kept = {"SOPClassUID", "SOPInstanceUID", "Modality", "PixelData", "NumberOfFrames", "ImageType"}
    kept |= {"FrameIncrementPointer", "ContentSequence", "ContinuityOfContent", "ValueType"}
    for number, keyword in enumerate(sorted({element.keyword for element in made()} - kept)):
        ds = made()
        if number % 2:
            delattr(ds, keyword)
        else:
            setattr(ds, keyword, None if ds[keyword].VR != "SQ" else [])
        damaged = objects.write(tmp_path / keyword, ds)
        assert ours(damaged) == theirs(damaged), keyword


def test_attributes_in_items_are_named_by_their_place() -> None:
    header: DataSet = {
        0x00080016: Element("UI", b"1.2.840.10008.5.1.4.1.1.2\0"),
        0x00081140: Element("SQ", [{}]),
        0x00100040: Element("CS", b"m "),
    }
    found = {(one.code, one.attribute): one for one in deviations(header, shipped_iods())}
    assert (Code.TYPE_2_MISSING, "PatientName") in found
    invalid = found[Code.VALUE_INVALID, "PatientSex"]
    assert invalid.shape == "not the form of CS"


def test_an_unknown_class_is_looked_at_for_its_values_alone() -> None:
    header: DataSet = {0x00080016: Element("UI", b"1.9"), 0x00100030: Element("DA", b"1970.01.01")}
    assert [(one.code, one.attribute) for one in deviations(header, shipped_iods())] == [
        (Code.UNKNOWN_CLASS, "SOPClassUID"),
        (Code.VALUE_INVALID, "PatientBirthDate"),
    ]
