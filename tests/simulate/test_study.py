"""Studies made from a worklist entry are read back by pydicom and by DCMTK."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import pydicom
import pytest

from gateway.simulate.keywords import text
from gateway.simulate.ris import sample_row
from gateway.simulate.study import EXPLICIT_VR_LITTLE_ENDIAN, Modality, make_study
from tests.peers.processes import run

AT = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
IMPLICIT_VR_LITTLE_ENDIAN = "1.2.840.10008.1.2"


@pytest.mark.parametrize("modality", Modality)
@pytest.mark.parametrize("number", range(6))
def test_header_is_that_of_the_entry(tmp_path: Path, modality: Modality, number: int) -> None:
    entry = sample_row(date(2026, 3, 2), "CT", "CT1", number)
    (path,) = make_study(entry, modality, tmp_path, at=AT, rows=16, columns=16, frames=2)
    made = pydicom.dcmread(path)
    for keyword in (
        "PatientName",
        "PatientID",
        "PatientBirthDate",
        "PatientSex",
        "AccessionNumber",
        "StudyInstanceUID",
    ):
        assert str(made[keyword].value) == text(entry, keyword)
    request = made.RequestAttributesSequence[0]
    for keyword in ("RequestedProcedureID", "ScheduledProcedureStepID", "AccessionNumber"):
        assert str(request[keyword].value) == text(entry, keyword)
    assert made.Modality == modality
    assert made.file_meta.MediaStorageSOPInstanceUID == made.SOPInstanceUID


@pytest.mark.parametrize("modality", [Modality.CT, Modality.MR, Modality.US, Modality.DX])
def test_pixels_have_the_shape_asked_for(tmp_path: Path, modality: Modality) -> None:
    (path,) = make_study({}, modality, tmp_path, at=AT, rows=17, columns=31, frames=3)
    shape: tuple[int, ...] = (3, 17, 31, 3) if modality is Modality.US else (3, 17, 31)
    pixels = pydicom.dcmread(path).pixel_array
    assert pixels.shape == shape
    assert np.unique(pixels).size > 16


@pytest.mark.parametrize("syntax", [EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN])
def test_dcmtk_reads_every_modality(tmp_path: Path, syntax: str) -> None:
    for modality in Modality:
        entry = sample_row(date(2026, 3, 2), "CT", "CT1", 2)
        for path in make_study(entry, modality, tmp_path, at=AT, rows=16, columns=16, frames=2, transfer_syntax=syntax):
            read = run(["/usr/bin/dcmdump", "-q", "+E", path])
            assert read.returncode == 0, read.output
            assert "ERROR" not in read.output


def test_equal_arguments_make_equal_files_and_other_seeds_other_instances(tmp_path: Path) -> None:
    def study(folder: str, seed: int) -> list[bytes]:
        files = make_study({}, Modality.CT, tmp_path / folder, at=AT, instances=2, rows=16, columns=16, seed=seed)
        return [path.read_bytes() for path in files]

    assert study("a", 1) == study("b", 1)
    assert not set(study("c", 2)) & set(study("a", 1))
    instances = {pydicom.dcmread(path).SOPInstanceUID for path in tmp_path.rglob("*.dcm")}
    assert len(instances) == 4
