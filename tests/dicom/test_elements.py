"""Data sets as bytes: round trips, bombs, truncation, and agreement with pydicom on its own files."""

from __future__ import annotations

import contextlib
import io
import struct
import tracemalloc
import warnings
import zlib
from pathlib import Path

import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.dicom import part10
from gateway.dicom.elements import (
    DEFLATED,
    EXPLICIT_BIG,
    EXPLICIT_LITTLE,
    IMPLICIT_LITTLE,
    DataSet,
    Element,
    ElementError,
    encode,
    leading,
    parse,
    text_of,
)

PATIENT_ID = 0x00100020
STUDY = 0x0020000D
SEQUENCE = 0x00400100
ITEM = b"\xfe\xff\x00\xe0"
ITEM_END = b"\xfe\xff\x0d\xe0" + bytes(4)
SEQUENCE_END = b"\xfe\xff\xdd\xe0" + bytes(4)
ENDLESS = b"\xff\xff\xff\xff"

KNOWN_TAGS = {
    0x00080005: "CS",
    0x00080018: "UI",
    0x00081030: "LO",
    0x00100010: "PN",
    PATIENT_ID: "LO",
    0x00101030: "DS",
    0x00189087: "FD",
    STUDY: "UI",
    0x00280010: "US",
    0x00420011: "OB",
}
values = st.binary(max_size=40).map(lambda value: value[: len(value) // 2 * 2])
plain = st.sampled_from(sorted(KNOWN_TAGS)).flatmap(
    lambda tag: st.tuples(st.just(tag), values.map(lambda value: Element(KNOWN_TAGS[tag], value)))
)
private = st.tuples(st.integers(0x00091000, 0x000910FF), values.map(lambda value: Element("UN", value)))


def ordered(pairs: list[tuple[int, Element]]) -> DataSet:
    return dict(sorted(dict(pairs).items()))


def with_sequences(inner: st.SearchStrategy[DataSet]) -> st.SearchStrategy[DataSet]:
    sequence = st.tuples(
        st.sampled_from([SEQUENCE, 0x00081140, 0x00111001]),  # the last is private
        st.lists(inner, max_size=3).map(lambda items: Element("SQ", items)),
    )
    return st.lists(plain | private | sequence, max_size=6).map(ordered)


data_sets = st.recursive(st.lists(plain | private, max_size=4).map(ordered), with_sequences)


@given(data_sets, st.sampled_from([EXPLICIT_LITTLE, IMPLICIT_LITTLE]))
def test_what_is_encoded_is_parsed_again(data_set: DataSet, syntax: str) -> None:
    encoded = encode(data_set, syntax)
    assert len(encoded) % 2 == 0
    assert parse(encoded, syntax) == data_set
    assert list(parse(encoded, syntax)) == list(data_set)


@given(data_sets)
def test_a_deflated_data_set_is_the_explicit_one(data_set: DataSet) -> None:
    stream = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    deflated = stream.compress(encode(data_set, EXPLICIT_LITTLE)) + stream.flush()
    assert parse(deflated, DEFLATED) == data_set
    assert parse(deflated + b"\0", DEFLATED) == data_set


@given(data_sets, st.data())
def test_leading_returns_what_parse_returns_and_survives_every_cut(data_set: DataSet, data: st.DataObject) -> None:
    syntax = data.draw(st.sampled_from([EXPLICIT_LITTLE, IMPLICIT_LITTLE]))
    encoded = encode(data_set, syntax)
    expected = {tag: element.value for tag, element in data_set.items() if element.vr != "SQ"}
    assert leading(encoded, syntax, frozenset(data_set)) == expected
    cut = data.draw(st.integers(0, len(encoded)))
    partial = leading(memoryview(encoded)[:cut], syntax, frozenset(data_set))
    assert partial.items() <= expected.items()


@settings(max_examples=300)
@given(st.binary(max_size=300), st.sampled_from([EXPLICIT_LITTLE, IMPLICIT_LITTLE, EXPLICIT_BIG, DEFLATED]))
def test_noise_is_refused_or_read_but_nothing_else_is_raised(noise: bytes, syntax: str) -> None:
    leading(noise, syntax, frozenset({0xFFFFFFFF}))
    with contextlib.suppress(ElementError):
        parse(noise, syntax)


def nested(depth: int, *, ended: bool) -> bytes:
    """Sequences of undefined length in one another."""
    opened = (struct.pack("<HH2sH", 0x0040, 0x0100, b"SQ", 0) + ENDLESS + ITEM + ENDLESS) * depth
    return opened + (ITEM_END + SEQUENCE_END) * depth * ended


def test_undefined_lengths_are_read() -> None:
    data_set = parse(nested(3, ended=True), EXPLICIT_LITTLE)
    assert data_set == {SEQUENCE: Element("SQ", [{SEQUENCE: Element("SQ", [{SEQUENCE: Element("SQ", [{}])}])}])}


@pytest.mark.parametrize("ended", [True, False])
@pytest.mark.parametrize("depth", [33, 65, 10_000])
def test_a_depth_bomb_is_an_element_error(depth: int, ended: bool) -> None:
    bomb = nested(depth, ended=ended) + encode({STUDY + (1 << 24): Element("UN", b"")}, EXPLICIT_LITTLE)
    with pytest.raises(ElementError, match="nested deeper than 32"):
        parse(bomb, EXPLICIT_LITTLE, max_depth=1_000_000)
    assert leading(bomb, EXPLICIT_LITTLE, frozenset({0xFFFFFFFF})) == {}


def test_encoding_is_bounded_in_depth_too() -> None:
    data_set: DataSet = {}
    for _ in range(5_000):
        data_set = {SEQUENCE: Element("SQ", [data_set])}
    with pytest.raises(ElementError, match="nest less"):
        encode(data_set, EXPLICIT_LITTLE)


def test_a_sequence_under_a_tag_of_text_comes_back_from_implicit_vr() -> None:
    """Found by `make fuzz`: what we wrote with undefined length, our own reader refused for its dictionary's VR."""
    data_set: DataSet = {0x00400400: Element("SQ", [{PATIENT_ID: Element("LO", b"A ")}])}
    assert parse(encode(data_set, IMPLICIT_LITTLE), IMPLICIT_LITTLE) == data_set


def test_a_deflate_bomb_is_refused_before_it_is_held() -> None:
    """128 MiB in 128 KB; what is over the limit is counted, not kept."""
    stream = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    bomb = stream.compress(bytes(128 << 20)) + stream.flush()
    tracemalloc.start()
    try:
        with pytest.raises(ElementError, match="inflates to more than"):
            parse(bomb, DEFLATED, max_inflated=100 << 20)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 8 << 20


def test_a_bomb_of_empty_items_is_an_element_error() -> None:
    count = 60_000
    items = (ITEM + bytes(4)) * count
    bomb = struct.pack("<HHL", 0x0040, 0x0100, len(items)) + items
    with pytest.raises(ElementError, match="more elements than allowed"):
        parse(bomb, IMPLICIT_LITTLE)
    assert len(parse(bomb, IMPLICIT_LITTLE, max_elements=count + 1)[SEQUENCE].value) == count


def test_leading_gives_up_on_a_laborious_sequence() -> None:
    before = struct.pack("<HHL", 0x0008, 0x1140, 0xFFFFFFFF)
    data = before + (ITEM + bytes(4)) * 1_000 + SEQUENCE_END + encode({STUDY: Element("UI", b"1.2 ")}, IMPLICIT_LITTLE)
    assert leading(data, IMPLICIT_LITTLE, frozenset({STUDY})) == {STUDY: b"1.2 "}
    assert leading(data, IMPLICIT_LITTLE, frozenset({STUDY}), limit=1_000) == {}


def test_leading_leaves_out_values_that_are_too_long_and_stops_behind_the_last_wanted() -> None:
    data_set = {PATIENT_ID: Element("LO", b"A" * 100), STUDY: Element("UI", b"1.2 ")}
    damaged = encode(data_set, IMPLICIT_LITTLE) + b"\x20\0\x0e\0\xff"
    assert leading(damaged, IMPLICIT_LITTLE, frozenset({PATIENT_ID, STUDY}), longest=99) == {STUDY: b"1.2 "}
    assert leading(damaged, IMPLICIT_LITTLE, frozenset()) == {}


def test_an_inflating_bomb_is_bounded() -> None:
    stream = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    zeros = b"\x08\0\x18\0UI\0\0" + b"\x09\0\0\x10OB\0\0" + struct.pack("<L", 100 << 20) + bytes(100 << 20)
    bomb = stream.compress(zeros) + stream.flush()
    with pytest.raises(ElementError, match="inflates to more than"):
        parse(bomb, DEFLATED)
    assert leading(bomb, DEFLATED, frozenset({0x00080018, STUDY})) == {0x00080018: b""}


@pytest.mark.parametrize("vr", [b"OB", b"LT", b"UT"])
@pytest.mark.parametrize("length", [0xFFFE, 0xFFFFFFFE])
def test_a_length_behind_the_end_is_refused_without_its_value(vr: bytes, length: int) -> None:
    long = vr != b"LT"
    head = struct.pack("<HH2s", 0x0010, 0x4000, vr)
    head += struct.pack("<HL", 0, length) if long else struct.pack("<H", length & 0xFFFF)
    with pytest.raises(ElementError) as caught:
        parse(head + b"SECRET", EXPLICIT_LITTLE)
    assert "(0010,4000)" in str(caught.value)
    assert "SECRET" not in str(caught.value)


def test_un_of_undefined_length_is_a_sequence_in_implicit_vr() -> None:
    inner = encode({PATIENT_ID: Element("LO", b"ID")}, IMPLICIT_LITTLE)
    data = struct.pack("<HH2sH", 0x0009, 0x1001, b"UN", 0) + ENDLESS + ITEM + ENDLESS + inner + ITEM_END + SEQUENCE_END
    data += encode({STUDY: Element("UI", b"1.2 ")}, EXPLICIT_LITTLE)
    data_set = parse(data, EXPLICIT_LITTLE)
    assert data_set[0x00091001] == Element("SQ", [{PATIENT_ID: Element("LO", b"ID")}])
    assert leading(data, EXPLICIT_LITTLE, frozenset({STUDY})) == {STUDY: b"1.2 "}


def test_implicit_vr_declared_as_explicit_is_read() -> None:
    data_set = {PATIENT_ID: Element("LO", b"ID"), STUDY: Element("UI", b"1.2 ")}
    encoded = encode(data_set, IMPLICIT_LITTLE)
    assert parse(encoded, EXPLICIT_LITTLE) == data_set
    assert leading(encoded, EXPLICIT_LITTLE, frozenset({STUDY})) == {STUDY: b"1.2 "}


def test_odd_values_are_padded_and_long_ones_become_un() -> None:
    data_set = {
        PATIENT_ID: Element("LO", b"ABC"),
        STUDY: Element("UI", b"1.2"),
        0x00204000: Element("LT", b"x" * 70_001),
    }
    read = parse(encode(data_set, EXPLICIT_LITTLE), EXPLICIT_LITTLE)
    assert read[PATIENT_ID].value == b"ABC "
    assert read[STUDY].value == b"1.2\0"
    assert read[0x00204000] == Element("UN", b"x" * 70_001 + b" ")
    assert (text_of(read, PATIENT_ID), text_of(read, STUDY), text_of(read, 1)) == ("ABC", "1.2", "")


def opened(path: Path) -> tuple[bytes, part10.FileMetaRead] | None:
    content = path.read_bytes()
    try:
        meta = part10.read(content)
    except ElementError:
        return None
    return (content[meta.data_offset :], meta) if meta.TransferSyntaxUID else None


# By folder: pydicom.data.get_testdata_files would fetch more files from the network.
FOLDER = Path(pydicom.__file__).parent / "data" / "test_files"
BUNDLED = {path: found for path in sorted(FOLDER.rglob("*.dcm")) if (found := opened(path))}
BEFORE = 0x00210000


def shown(value: object) -> str:
    return repr(value.rstrip(b"\0") if isinstance(value, bytes) else value)


def differences(ours: pydicom.Dataset, theirs: pydicom.Dataset) -> list[str]:
    """Tags whose values differ, at any depth."""
    found = [str(tag) for tag in ours.keys() ^ theirs.keys()]
    for tag in ours.keys() & theirs.keys():
        mine, reference = ours[tag], theirs[tag]
        if reference.VR == "SQ" and mine.VR == "SQ" and len(mine.value) == len(reference.value):
            pairs = zip(mine.value, reference.value, strict=True)
            found += [f"{tag}/{inner}" for pair in pairs for inner in differences(*pair)]
        elif shown(mine.value) != shown(reference.value):
            found.append(str(tag))
    return found


def test_every_layout_is_among_the_bundled_files() -> None:
    assert {meta.TransferSyntaxUID for _, meta in BUNDLED.values()} > {
        IMPLICIT_LITTLE,
        EXPLICIT_LITTLE,
        EXPLICIT_BIG,
        DEFLATED,
    }


@pytest.mark.parametrize("path", BUNDLED, ids=lambda path: path.name)
def test_headers_of_bundled_files_are_what_pydicom_reads(path: Path) -> None:
    encoded, meta = BUNDLED[path]
    header = parse(encoded, meta.TransferSyntaxUID, before=0x00210000)
    again = io.BytesIO(encode(header, EXPLICIT_LITTLE))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ours = pydicom.filereader.read_dataset(again, is_implicit_VR=False, is_little_endian=True)
        theirs = pydicom.dcmread(path, stop_before_pixels=True)[:0x00210000]
        assert not differences(ours, pydicom.Dataset({e.tag: e for e in theirs if e.tag.element}))
