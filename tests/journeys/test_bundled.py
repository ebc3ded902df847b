"""Every file that pydicom carries and that can be sent makes the journey, in each transfer syntax the PACS takes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset, dcmread
from pydicom.dataset import FileMetaDataset
from pydicom.filereader import read_dataset
from pydicom.pixels import pixel_array
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from tests.journeys.gateway_process import Gateway, To, gateway
from tests.peers import pynetdicom_scu
from tests.peers.bundled import BundledFile, sendable_pydicom_files
from tests.peers.pynetdicom_scp import STANDARD_STORAGE, Received, StorageSCP, storage_scp

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

NATIVE = {ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian}
MOST_LOST = 3
NOT_DECODED = {
    "JPEG2000-embedded-sequence-delimiter.dcm",  # a code stream that OpenJPEG refuses
    "SC_rgb_jpeg.dcm",  # elements out of order
    "UN_sequence.dcm",  # fragments without pixels
    "rtdose_rle.dcm",  # 32 bits
}
NOT_READ = {
    "badVR.dcm",  # rows and columns that are no numbers
    "JPEG-lossy.dcm",  # pydicom reads these with decoders that are not ours to install
    "SC_rgb_jpeg_gdcm.dcm",
    "GDCMJ2K_TextGBR.dcm",  # bytes before its code stream
}
ALL = sendable_pydicom_files()
FIRST = {one.SOPInstanceUID: one for one in ALL if not one.duplicate}


@contextmanager
def journey(folder: Path, *, transfer_syntaxes: list[str]) -> Iterator[tuple[Gateway, StorageSCP]]:
    """All files sent to a gateway before a PACS that takes every class, in these transfer syntaxes."""
    private = {one.SOPClassUID for one in ALL} - set(STANDARD_STORAGE)
    with (
        storage_scp(transfer_syntaxes=transfer_syntaxes, private=sorted(private)) as pacs,
        gateway(folder / "gw", to=[To(port=pacs.port)]) as box,
    ):
        sent = pynetdicom_scu.send_verbatim(box.port, [one.path for one in ALL], called="GATEWAY")
        # pynetdicom's own reactor sometimes takes an answer away from its sender: ask for those once more
        lost = [one.path for one in sent if one.status is None]
        assert len(lost) <= MOST_LOST
        again = pynetdicom_scu.send_verbatim(box.port, lost, called="GATEWAY") if lost else []
        assert {str(one.path): one.status for one in (*sent, *again) if one.status not in (0, None)} == {}
        assert all(one.status == 0 for one in again)
        yield box, pacs


def test_every_file_arrives_with_the_bytes_it_had(tmp_path: Path) -> None:
    with journey(tmp_path, transfer_syntaxes=sorted({one.TransferSyntaxUID for one in ALL})) as (box, pacs):
        box.until_confirmed(FIRST)
        assert len(pacs.received) == len(FIRST)
        for uid, file in FIRST.items():
            (got,) = pacs.stored(uid)
            padding = b"\0" * (len(file.dataset) % 2)  # PS3.5 A.5: a fragment is even, so a data set is
            assert (got.TransferSyntaxUID, got.SOPClassUID) == (file.TransferSyntaxUID, file.SOPClassUID)
            assert got.dataset == file.dataset + padding, file.path.name
        differing = [one for one in ALL if one.duplicate and not one.same_bytes]
        assert differing
        aside = [row["SOPInstanceUID"] for row in box.instances() if row["quarantine"]]
        assert set(aside) == {one.SOPInstanceUID for one in differing}
        assert box.alarms() == {"duplicate-differs"}


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian], ids=["implicit", "explicit"])
def test_a_pacs_with_one_native_syntax_gets_everything_native_and_nothing_blocks(tmp_path: Path, syntax: str) -> None:
    """What is encapsulated arrives decoded, where its header tells its frames apart; the rest waits for a person."""
    sent = {uid: one for uid, one in FIRST.items() if one.path.name not in NOT_DECODED}
    with journey(tmp_path, transfer_syntaxes=[syntax]) as (box, pacs):
        box.until_confirmed(sent)
        box.until_state(FIRST.keys() - sent.keys(), "refused")
        assert "delivery-refused" in box.alarms()
        assert len(pacs.received) == len(sent)
        for uid, file in sent.items():
            (got,) = pacs.stored(uid)
            assert got.TransferSyntaxUID == syntax
            _assert_same(file, got)


def _assert_same(file: BundledFile, got: Received) -> None:
    """The same elements, and the same pixels."""
    before, after = dcmread(file.path), _parsed(got)
    kept = [element.tag for element in before if element.tag.element != 0]  # retired group lengths (PS3.5 7.2)
    assert [element.tag for element in after if element.tag.element != 0] == kept, file.path.name
    if "PixelData" in before and file.path.name not in NOT_READ:
        transformed = before.PhotometricInterpretation == "YBR_RCT"
        pixels = before.pixel_array if transformed else pixel_array(before, raw=True)
        assert np.array_equal(pixels, pixel_array(after, raw=True)), file.path.name


def _parsed(got: Received) -> Dataset:
    implicit = got.TransferSyntaxUID == ImplicitVRLittleEndian
    data_set = read_dataset(BytesIO(got.dataset), implicit, is_little_endian=True)
    data_set.file_meta = FileMetaDataset()
    data_set.file_meta.TransferSyntaxUID = UID(got.TransferSyntaxUID)
    return data_set
