"""File meta: what is built is read again, whatever the identifiers hold; foreign files are read as far as they go."""

from __future__ import annotations

import contextlib
import io
import struct
from datetime import UTC, datetime, timedelta, timezone

import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dicom import part10
from gateway.dicom.elements import EXPLICIT_LITTLE, Element, ElementError, encode
from gateway.dicom.part10 import FileMeta

CT = "1.2.840.10008.5.1.4.1.1.2"
RECEIVED = datetime(2024, 5, 6, 7, 8, 9, 123456, tzinfo=UTC)
HASH = b"0123456789abcdef" * 2
LONGEST_UID, LONGEST_NAME = 1024, 64


def built(**changes: str | int | datetime) -> FileMeta:
    fields: dict[str, str | int | datetime] = {
        "SOPClassUID": CT,
        "SOPInstanceUID": "1.2.3",
        "TransferSyntaxUID": EXPLICIT_LITTLE,
        "calling_ae": "SCANNER",
        "called_ae": "GATEWAY",
        "address": "192.0.2.7",
        "association": "a1",
        "received_at": RECEIVED,
        "priority": 1,
    }
    return part10.build(**fields | changes)  # type: ignore[arg-type]


def completed(meta: FileMeta) -> bytes:
    header = bytearray(meta.header)
    header[meta.hash_offset : meta.hash_offset + len(HASH)] = HASH
    return bytes(header)


def test_everything_about_the_receipt_is_read_again() -> None:
    meta = built()
    content = completed(meta)
    assert len(content) == len(meta.header)
    assert part10.read(content + b"\x08\0\x05\0") == part10.FileMetaRead(
        SOPClassUID=CT,
        SOPInstanceUID="1.2.3",
        TransferSyntaxUID=EXPLICIT_LITTLE,
        ImplementationClassUID=part10.IMPLEMENTATION_CLASS_UID,
        ImplementationVersionName=part10.IMPLEMENTATION_VERSION_NAME,
        data_offset=len(content),
        calling_ae="SCANNER",
        called_ae="GATEWAY",
        ours=True,
        address="192.0.2.7",
        association="a1",
        received_at=RECEIVED,
        priority=1,
        content_hash=HASH.decode(),
    )


def test_a_file_whose_hash_was_not_written_is_not_complete() -> None:
    meta = built()
    assert meta.header[meta.hash_offset :].startswith(b"0" * 32 + b'"')
    read = part10.read(meta.header)
    assert (read.ours, read.content_hash) == (True, "")


def test_a_half_written_hash_is_not_one() -> None:
    meta = built()
    torn = meta.header[: meta.hash_offset] + HASH[:16] + bytes(16) + meta.header[meta.hash_offset + 32 :]
    assert part10.read(torn).content_hash == ""


def test_pydicom_reads_our_file() -> None:
    data_set = encode({0x00100020: Element("LO", b"ID")}, EXPLICIT_LITTLE)
    read = pydicom.dcmread(io.BytesIO(completed(built()) + data_set))
    assert read.PatientID == "ID"
    meta = read.file_meta
    assert meta.FileMetaInformationVersion == b"\0\1"
    assert meta.MediaStorageSOPInstanceUID == "1.2.3"
    assert meta.ImplementationVersionName == part10.IMPLEMENTATION_VERSION_NAME
    assert (meta.SourceApplicationEntityTitle, meta.SendingApplicationEntityTitle) == ("SCANNER", "SCANNER")
    assert meta.ReceivingApplicationEntityTitle == "GATEWAY"
    assert meta.PrivateInformationCreatorUID == part10.PRIVATE_INFORMATION_CREATOR_UID
    group_length = len(built().header) - 132 - 12
    assert meta.FileMetaInformationGroupLength == group_length


def test_the_constants_are_valid() -> None:
    for uid in (part10.IMPLEMENTATION_CLASS_UID, part10.PRIVATE_INFORMATION_CREATOR_UID):
        assert pydicom.uid.UID(uid).is_valid
    longest_version_name = 16
    assert len(part10.IMPLEMENTATION_VERSION_NAME) <= longest_version_name


odd_text = st.one_of(
    st.text(max_size=40),
    st.binary(max_size=40).map(lambda value: value.decode("ascii", "surrogateescape")),
    st.binary(max_size=40).map(lambda value: value.decode("latin-1")),
    st.sampled_from(["../../etc/passwd", "1.2\0.3", "9" * 200, "\0", "x" * 70_000, "\U0001f600" * 9_000, '"}', "\\"]),
)


# pydicom, the second reader here, warns of values that break the rules of their VR: that is the point of them
@pytest.mark.filterwarnings("ignore::UserWarning")
@given(odd_text, odd_text, odd_text, odd_text, st.integers(-(2**70), 2**70))
def test_no_content_is_refused_and_the_meta_stays_valid(
    uid: str, syntax: str, ae: str, note: str, priority: int
) -> None:
    meta = built(
        SOPClassUID=uid,
        SOPInstanceUID=uid,
        TransferSyntaxUID=syntax,
        calling_ae=ae,
        called_ae=ae,
        address=note,
        association=note,
        priority=priority,
    )
    assert len(meta.header) <= part10.LONGEST_HEADER
    read = part10.read(completed(meta) + b"\x08\0")
    assert (read.data_offset, read.content_hash) == (len(meta.header), HASH.decode())
    assert (read.association, read.address, read.received_at) == (note[:64], note[:64], RECEIVED)
    assert pydicom.dcmread(io.BytesIO(meta.header)).file_meta.ImplementationVersionName


def test_long_texts_are_cut() -> None:
    meta = built(SOPInstanceUID="1" * 70_000, called_ae="A" * 70_000, association="a" * 70_000)
    assert len(meta.header) <= part10.LONGEST_HEADER
    read = part10.read(meta.header)
    assert (len(read.SOPInstanceUID), len(read.called_ae)) == (LONGEST_UID, LONGEST_NAME)
    assert len(read.association) == LONGEST_NAME


@given(st.binary(max_size=80).map(lambda value: value.decode("latin-1")))
def test_identifiers_come_back_as_the_bytes_they_were(text: str) -> None:
    read = part10.read(built(SOPInstanceUID=text, calling_ae=text).header)
    assert read.SOPInstanceUID == text.strip(" \0")[:LONGEST_UID]
    assert read.calling_ae == text.strip(" \0")[:LONGEST_NAME].strip(" \0")
    undecodable = text.encode("latin-1").decode("ascii", "surrogateescape")
    assert part10.read(built(SOPInstanceUID=undecodable).header).SOPInstanceUID == read.SOPInstanceUID


def test_the_moment_is_kept_in_utc_and_must_be_aware() -> None:
    local = RECEIVED.astimezone(timezone(timedelta(hours=9)))
    assert built(received_at=local) == built()
    with pytest.raises(ValueError, match="time zone"):
        built(received_at=RECEIVED.replace(tzinfo=None))


def foreign(*parts: bytes) -> bytes:
    return bytes(128) + b"DICM" + b"".join(parts)


def ui(element: int, value: bytes) -> bytes:
    return struct.pack("<HH2sH", 2, element, b"UI", len(value)) + value


def test_a_foreign_file_without_group_length_and_in_the_wrong_order_is_read() -> None:
    content = foreign(ui(0x10, EXPLICIT_LITTLE.encode() + b"\0"), ui(0x03, b"1.2.3\0"))
    read = part10.read(content + b"\x08\0\x05\0CS\0\0")
    assert (read.TransferSyntaxUID, read.SOPInstanceUID, read.SOPClassUID) == (EXPLICIT_LITTLE, "1.2.3", "")
    assert (read.data_offset, read.ours, read.received_at, read.content_hash) == (len(content), False, None, "")
    assert part10.read(foreign()).data_offset == len(foreign())


@pytest.mark.parametrize(
    "note",
    [
        *(b"", b"[]  ", b"{}", b"[" * 5_000, b'{"hash":1,"at":1}', b"\xff\xfe", b"9" * 6_000),
        b'{"hash":"x","at":"2024-05-06T07:08:09","peer":"","assoc":"","priority":0}',
        b'{"hash":"x","at":"2024-05-06T07:08:09.000000+00:00","peer":"","assoc":"","priority":1e999}',
    ],
)
def test_private_information_that_is_not_what_we_write_is_not_ours(note: bytes) -> None:
    creator = part10.PRIVATE_INFORMATION_CREATOR_UID.encode()
    meta = {0x00020100: Element("UI", creator), 0x00020102: Element("OB", note)}
    assert not part10.read(foreign(encode(meta, EXPLICIT_LITTLE))).ours


def test_the_private_information_of_another_creator_is_left_alone() -> None:
    ours = part10.PRIVATE_INFORMATION_CREATOR_UID.encode()
    content = completed(built()).replace(ours, ours[::-1])
    assert not part10.read(content).ours


@pytest.mark.parametrize(
    ("content", "shape"),
    [
        (b"", "no DICM prefix"),
        (bytes(200), "no DICM prefix"),
        (foreign(ui(0x10, b"1.2")[:-1]), "declares 3 bytes where 2 are left"),
        (foreign(b"\x02\0\x10"), "3 bytes where an element begins"),
    ],
)
def test_what_is_not_file_meta_is_an_element_error(content: bytes, shape: str) -> None:
    with pytest.raises(ElementError, match=shape):
        part10.read(content)


@given(st.binary(max_size=100))
def test_noise_raises_nothing_but_element_errors(noise: bytes) -> None:
    with contextlib.suppress(ElementError):
        part10.read(noise)
    with contextlib.suppress(ElementError):
        part10.read(foreign(b"\x02\0" + noise))


@given(st.data())
def test_every_cut_of_our_header_is_read_or_refused(data: st.DataObject) -> None:
    content = completed(built())
    cut = data.draw(st.integers(0, len(content) - 1))
    with contextlib.suppress(ElementError):
        assert not part10.read(content[:cut]).ours
