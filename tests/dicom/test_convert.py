"""Conversions of native objects, proven by pydicom reading both sides."""

from __future__ import annotations

import io
import mmap
import struct
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path

import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataelem import RawDataElement, convert_raw_data_element

from gateway.dicom import part10
from gateway.dicom.convert import (
    EXTENT_FROM,
    Extent,
    Segment,
    explicit_little_endian,
    implicit_little_endian,
    length_of,
)
from gateway.dicom.elements import (
    DEFLATED,
    EXPLICIT_BIG,
    EXPLICIT_LITTLE,
    IMPLICIT_LITTLE,
    Element,
    ElementError,
    encode,
    parse,
)

JPEG = "1.2.840.10008.1.2.4.50"
PIXEL_DATA = 0x7FE00010
WIDTH = {"OW": 2, "US": 2, "OF": 4, "OL": 4, "OD": 8, "OV": 8}


def data_set_of(path: Path) -> tuple[bytes, str] | None:
    content = path.read_bytes()
    try:
        meta = part10.read(content)
    except ElementError:
        return None
    return content[meta.data_offset :], meta.TransferSyntaxUID


# By folder: pydicom.data.get_testdata_files would fetch more files from the network.
FOLDER = Path(pydicom.__file__).parent / "data" / "test_files"
NATIVE = {
    path: found
    for path in sorted(FOLDER.rglob("*.dcm"))
    if (found := data_set_of(path)) and found[1] in {IMPLICIT_LITTLE, EXPLICIT_LITTLE, EXPLICIT_BIG, DEFLATED}
}
DAMAGED = {"rtplan_truncated.dcm", "MR_truncated.dcm"}
CONVERSIONS = {IMPLICIT_LITTLE: implicit_little_endian, EXPLICIT_LITTLE: explicit_little_endian}


def joined(source: bytes, segments: list[Segment]) -> bytes:
    parts = [source[s.offset : s.offset + s.length] if isinstance(s, Extent) else s for s in segments]
    assert length_of(segments) == sum(map(len, parts))
    return b"".join(parts)


def bytes_of(element: pydicom.DataElement, *, big: bool) -> str:
    """What an element says, comparable: bulk values as little endian bytes without a trailing pad."""
    value = element.value
    if not isinstance(value, bytes):
        return repr(value)
    width = WIDTH.get(element.VR, 1) if big else 1
    turned = b"".join(value[at : at + width][::-1] for at in range(0, len(value), width)) if width > 1 else value
    return repr(turned.rstrip(b"\0"))


def differences(ours: pydicom.Dataset, theirs: pydicom.Dataset, *, big: bool) -> list[str]:
    expected = {tag for tag in theirs.keys() if tag.element}  # noqa: SIM118 - a data set iterates over elements
    found = [str(tag) for tag in ours.keys() ^ expected]
    for tag in ours.keys() & expected:
        mine, reference = ours[tag], theirs[tag]
        if reference.VR == "SQ" and mine.VR == "SQ" and len(mine.value) == len(reference.value):
            pairs = zip(mine.value, reference.value, strict=True)
            found += [f"{tag}/{inner}" for pair in pairs for inner in differences(*pair, big=big)]
        elif mine.VR == "UN" != reference.VR:  # the VR is lost in Implicit VR, the bytes are not
            raw = RawDataElement(tag, reference.VR, len(mine.value or b""), mine.value or b"", 0, False, True)
            if repr(convert_raw_data_element(raw).value) != repr(reference.value):
                found.append(f"{tag} private")
        elif bytes_of(mine, big=False) != bytes_of(reference, big=big):
            found.append(f"{tag} {mine.VR} {reference.VR}")
    return found


def read(data_set: bytes, syntax: str) -> pydicom.Dataset:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pydicom.filereader.read_dataset(
            io.BytesIO(data_set), is_implicit_VR=syntax == IMPLICIT_LITTLE, is_little_endian=True
        )


def test_all_four_native_syntaxes_are_among_the_bundled_files() -> None:
    assert {syntax for _, syntax in NATIVE.values()} == {IMPLICIT_LITTLE, EXPLICIT_LITTLE, EXPLICIT_BIG, DEFLATED}


@pytest.mark.parametrize("target", CONVERSIONS)
@pytest.mark.parametrize("path", NATIVE, ids=lambda path: path.name)
def test_a_converted_object_is_the_original(path: Path, target: str) -> None:
    source, syntax = NATIVE[path]
    if path.name in DAMAGED and syntax != target:
        with pytest.raises(ElementError):
            CONVERSIONS[target](source, syntax)
        return
    converted = joined(source, CONVERSIONS[target](memoryview(source), syntax))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        original = pydicom.dcmread(path)
        if syntax == target:
            assert converted == source
        else:
            assert not differences(read(converted, target), original, big=syntax == EXPLICIT_BIG)


@pytest.mark.parametrize(
    ("big", "little"),
    [("MR_small_bigendian.dcm", "MR_small.dcm"), ("SC_rgb_small_odd_big_endian.dcm", "SC_rgb_small_odd.dcm")],
)
def test_pixels_of_a_big_endian_object_are_those_of_its_little_endian_twin(big: str, little: str) -> None:
    source, syntax = next(found for path, found in NATIVE.items() if path.name == big)
    twin, twin_syntax = next(found for path, found in NATIVE.items() if path.name == little)
    assert syntax == EXPLICIT_BIG
    converted = parse(joined(source, explicit_little_endian(source, syntax)), EXPLICIT_LITTLE)
    assert converted[PIXEL_DATA].value == parse(twin, twin_syntax)[PIXEL_DATA].value


@given(st.integers(EXTENT_FROM - 4, EXTENT_FROM + 4), st.sampled_from(["OW", "OB", "UT"]))
def test_only_large_values_stay_in_place(length: int, vr: str) -> None:
    source = encode({0x00100020: Element("LO", b"ID"), 0x00420011: Element(vr, b"x" * length)}, EXPLICIT_LITTLE)
    segments = implicit_little_endian(source, EXPLICIT_LITTLE)
    extents = [segment for segment in segments if isinstance(segment, Extent)]
    assert bool(extents) == (length + length % 2 >= EXTENT_FROM)
    assert sum(len(s) for s in segments if isinstance(s, bytes)) < EXTENT_FROM + 100
    assert joined(source, segments) == encode(parse(source, EXPLICIT_LITTLE), IMPLICIT_LITTLE)


def test_an_odd_large_value_is_padded_behind_its_extent() -> None:
    source = struct.pack("<HH2sHL", 0x7FE0, 0x0010, b"OB", 0, EXTENT_FROM + 1) + b"x" * (EXTENT_FROM + 1)
    segments = implicit_little_endian(source, EXPLICIT_LITTLE)
    assert segments[1:] == [Extent(offset=12, length=EXTENT_FROM + 1), b"\0"]
    assert parse(joined(source, segments), IMPLICIT_LITTLE)[PIXEL_DATA].value == b"x" * (EXTENT_FROM + 1) + b"\0"


def test_large_big_endian_numbers_are_turned_round_and_large_bytes_stay_in_place() -> None:
    def big(vr: bytes, value: bytes) -> bytes:
        return struct.pack(">HH2sHL", 0x7FE0, 0x0010, vr, 0, len(value)) + value

    words, octets = big(b"OW", b"\1\2" * EXTENT_FROM), big(b"OB", b"\1\2" * EXTENT_FROM)
    turned = joined(words, implicit_little_endian(words, EXPLICIT_BIG))
    assert parse(turned, IMPLICIT_LITTLE)[PIXEL_DATA].value == b"\2\1" * EXTENT_FROM
    assert implicit_little_endian(octets, EXPLICIT_BIG)[1:] == [Extent(offset=12, length=2 * EXTENT_FROM)]


def test_an_object_already_in_the_target_syntax_is_one_extent() -> None:
    source = encode({0x00100020: Element("LO", b"ID")}, EXPLICIT_LITTLE)
    assert explicit_little_endian(source, EXPLICIT_LITTLE) == [Extent(offset=0, length=len(source))]
    assert explicit_little_endian(b"", EXPLICIT_LITTLE) == implicit_little_endian(b"", EXPLICIT_LITTLE) == []


def test_large_values_inside_sequences_are_extents_too() -> None:
    inner = {0x00420011: Element("OB", bytes(EXTENT_FROM))}
    source = encode({0x00081140: Element("SQ", [inner, {}])}, EXPLICIT_LITTLE)
    segments = implicit_little_endian(source, EXPLICIT_LITTLE)
    assert [type(segment) for segment in segments] == [bytes, Extent, bytes]
    assert joined(source, segments) == encode(parse(source, EXPLICIT_LITTLE), IMPLICIT_LITTLE)


def test_pixel_representation_decides_between_signed_and_unsigned() -> None:
    def vrs(top: bytes, inner: bytes) -> tuple[str, str]:
        item = {0x00280103: Element("US", inner), 0x00280120: Element("US", b"\0\x80")} if inner else {}
        data_set = {
            0x00280071: Element("US", b"\0\x80"),
            0x00280103: Element("US", top),
            0x52009229: Element("SQ", [item]),
        }
        source = encode(data_set, IMPLICIT_LITTLE)
        found = parse(joined(source, explicit_little_endian(source, IMPLICIT_LITTLE)), EXPLICIT_LITTLE)
        items = found[0x52009229].value
        assert isinstance(items, list)
        assert isinstance(items[0], dict)
        return found[0x00280071].vr, items[0][0x00280120].vr if inner else ""

    assert vrs(b"\x01\0", b"\0\0") == ("SS", "US")
    assert vrs(b"\0\0", b"\x01\0") == ("US", "SS")
    assert vrs(b"\x01\0", b"") == ("SS", "")


def test_group_lengths_are_left_out() -> None:
    group_length = struct.pack("<HH2sHL", 0x0008, 0, b"UL", 4, 12)
    rest = encode({0x00080060: Element("CS", b"CT")}, EXPLICIT_LITTLE)
    converted = joined(b"", implicit_little_endian(group_length + rest, EXPLICIT_LITTLE))
    assert converted == encode({0x00080060: Element("CS", b"CT")}, IMPLICIT_LITTLE)


FRAGMENTS = struct.pack("<HH2sHL", 0x7FE0, 0x0010, b"OB", 0, 0xFFFFFFFF) + bytes.fromhex(
    "feff00e000000000feffdde000000000"
)
CUT = struct.pack("<HH2sHL", 0x7FE0, 0x0010, b"OW", 0, 0xFFFFFFFE) + b"xx"
DEEP = (struct.pack("<HH2sHL", 0x0040, 0x0100, b"SQ", 0, 0xFFFFFFFF) + b"\xfe\xff\x00\xe0\xff\xff\xff\xff") * 5_000


@pytest.mark.parametrize(
    ("source", "syntax", "shape"),
    [
        (FRAGMENTS, JPEG, "undefined length with VR OB"),
        (FRAGMENTS, EXPLICIT_LITTLE, "undefined length with VR OB"),
        (encode({PIXEL_DATA: Element("OB", b"jpeg")}, JPEG), JPEG, "encapsulated transfer syntax"),
        (CUT, EXPLICIT_LITTLE, "declares 4294967294 bytes where 2 are left"),
        (DEEP, EXPLICIT_LITTLE, "nested deeper than 32"),
        (b"\xff", EXPLICIT_BIG, "1 bytes where an element begins"),
        (b"\xff\xff", DEFLATED, "not a deflate stream"),
    ],
)
def test_what_cannot_be_converted_is_an_element_error(source: bytes, syntax: str, shape: str) -> None:
    with pytest.raises(ElementError, match=shape):
        implicit_little_endian(source, syntax)


def test_inflating_is_bounded() -> None:
    stream = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    bomb = stream.compress(bytes(1 << 20)) + stream.flush()
    with pytest.raises(ElementError, match="inflates to more than"):
        implicit_little_endian(bomb, DEFLATED, max_inflated=(1 << 20) - 1)


@pytest.mark.parametrize("convert", CONVERSIONS.values())
@given(st.binary(max_size=200), st.sampled_from([IMPLICIT_LITTLE, EXPLICIT_LITTLE, EXPLICIT_BIG, DEFLATED, JPEG]))
def test_noise_raises_nothing_but_element_errors(
    convert: Callable[[bytes, str], list[Segment]], noise: bytes, syntax: str
) -> None:
    try:
        segments = convert(noise, syntax)
    except ElementError:
        return
    assert length_of(segments) == len(joined(noise, segments))


@pytest.mark.parametrize(
    ("convert", "syntax"),
    [
        (implicit_little_endian, EXPLICIT_LITTLE),
        (implicit_little_endian, EXPLICIT_BIG),
        (explicit_little_endian, IMPLICIT_LITTLE),
        (explicit_little_endian, EXPLICIT_BIG),
    ],
)
def test_a_refusal_holds_no_view_of_the_source(convert: Callable[..., object], syntax: str) -> None:
    """Found by `tests/test_known_attacks.py`: a damaged object could not be unmapped while its error was in hand,
    and the lane that wanted to send it failed for ever."""
    damaged = mmap.mmap(-1, 4096)
    damaged.write(b"\0\x08\x08\0UI\xff\xff" * 20)
    with pytest.raises(ElementError), damaged, memoryview(damaged) as view, view[1:] as data_set:
        convert(data_set, syntax)
