"""New headers over untouched pixels: real files of every kind, odd objects, and what must never change."""

from __future__ import annotations

import mmap
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dicom import part10
from gateway.dicom.convert import EXTENT_FROM, Extent, Segment
from gateway.dicom.elements import (
    DEFLATED,
    EXPLICIT_BIG,
    EXPLICIT_LITTLE,
    IMPLICIT_LITTLE,
    DataSet,
    Element,
    ElementError,
    encode,
    parse,
)
from gateway.dicom.layout import inflate
from gateway.dicom.patching import TAIL, Head, is_denied
from tests.dicom.test_convert import FOLDER, data_set_of
from tests.peers import objects

PATIENT_ID, NAME, ORIGINAL = 0x00100020, 0x00100010, 0x04000561
RLE = "1.2.840.10008.1.2.5"
FILES = {
    path: found
    for path in sorted(FOLDER.rglob("*.dcm"))
    if (found := data_set_of(path)) and found[1] != EXPLICIT_BIG and len(found[0]) < 5_000_000
}
REFUSED = {"rtplan_truncated.dcm", "MR_truncated.dcm"}
CHANGES: dict[int, Element | None] = {
    NAME: Element("PN", b"NEW^NAME"),
    PATIENT_ID: Element("LO", b"A LONGER ID THAN BEFORE"),
    0x00101002: None,
    0x0040A370: None,
}


def joined(source: bytes, segments: list[Segment]) -> bytes:
    return b"".join(
        source[one.offset : one.offset + one.length] if isinstance(one, Extent) else one for one in segments
    )


def patched(source: bytes, syntax: str, changes: dict[int, Element | None], target: str = "") -> bytes:
    with Head(source, syntax) as head:
        return joined(source, head.patched(changes).segments(target or syntax))


def plain(source: bytes, syntax: str) -> bytes:
    return inflate(source, limit=1 << 30) if syntax == DEFLATED else source


def padded(element: Element | None) -> Element | None:
    if element is None or isinstance(element.value, list):
        return element
    return Element(element.vr, element.value + b" " * (len(element.value) % 2))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_real_files_change_in_what_was_asked_and_in_nothing_else(path: Path) -> None:
    source, syntax = FILES[path]
    try:
        with Head(source, syntax) as head:
            before = dict(head)
            end = head.end
            can_change = all(head[tag].vr in {"PN", "LO", "SQ"} for tag in CHANGES if tag in head)
            removed = head.get(0x0040A370)
    except ElementError:
        assert path.name in REFUSED or b"\xfe\x4f\x01\x00" in source or b"\xfa\xff\xfa\xff" in source
        return
    if not can_change:
        with pytest.raises(ElementError, match="VR UN"):
            patched(source, syntax, CHANGES)
        return
    # A request of a report holds the Study Instance UID: it can't be taken out
    changes = {tag: element for tag, element in CHANGES.items() if tag != 0x0040A370 or removed is None}
    made = patched(source, syntax, changes)
    with Head(made, syntax) as head:
        after = dict(head)
        assert plain(made, syntax)[head.end :] == plain(source, syntax)[end:]
    wanted = before | {tag: padded(element) for tag, element in changes.items()}
    wanted = {tag: element for tag, element in wanted.items() if element is not None and tag & 0xFFFF}
    assert {tag: element for tag, element in after.items() if tag & 0xFFFF} == wanted


def test_the_real_files_are_many() -> None:
    assert len(FILES) > 60
    assert {IMPLICIT_LITTLE, EXPLICIT_LITTLE, DEFLATED, RLE} <= {syntax for _, syntax in FILES.values()}


# -- the bytes that are not copied --


def ct(folder: Path, syntax: str = EXPLICIT_LITTLE, **values: object) -> tuple[bytes, str]:
    path = objects.write(folder, objects.ct(1, rows=256, columns=256, **values), transfer_syntax=syntax)
    content = path.read_bytes()
    return content[part10.read(content).data_offset :], syntax


@pytest.mark.parametrize("syntax", [EXPLICIT_LITTLE, IMPLICIT_LITTLE, RLE])
def test_pixels_are_an_extent_of_the_source(tmp_path: Path, syntax: str) -> None:
    source, _ = ct(tmp_path, syntax)
    with Head(source, syntax) as head:
        front, rest = head.patched(CHANGES).segments(syntax)
    assert isinstance(front, bytes)
    assert isinstance(rest, Extent)
    assert rest.offset + rest.length == len(source)
    assert source[rest.offset : rest.offset + 4] == b"\xe0\x7f\x10\x00"


def test_a_long_header_is_not_copied_either(tmp_path: Path) -> None:
    source, syntax = ct(tmp_path, ImageComments="x" * 10_000)
    long = encode({0x00091010: Element("OB", bytes(200_000))}, syntax)
    at = source.index(b"\x10\x00\x10\x00PN")
    source = source[:at] + long + source[at:]
    with Head(source, syntax) as head:
        segments = head.patched(CHANGES).segments(syntax)
        assert [isinstance(one, Extent) for one in segments] == [True, False, True]
        assert head.end > EXTENT_FROM
    assert joined(source, segments).startswith(source[:at])


def test_a_header_can_be_read_through_a_map_that_is_closed_behind_it(tmp_path: Path) -> None:
    source, syntax = ct(tmp_path)
    path = tmp_path / "object"
    path.write_bytes(source)
    with (
        path.open("rb") as file,
        mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as mapped,
        memoryview(mapped) as view,
        Head(view, syntax) as head,
    ):
        segments = head.patched(CHANGES).segments(IMPLICIT_LITTLE)
    assert parse(joined(source, segments), IMPLICIT_LITTLE)[NAME] == Element("PN", b"NEW^NAME")


@pytest.mark.parametrize(
    ("came", "leaves"),
    [
        (EXPLICIT_LITTLE, IMPLICIT_LITTLE),
        (IMPLICIT_LITTLE, EXPLICIT_LITTLE),
        (DEFLATED, EXPLICIT_LITTLE),
        (DEFLATED, IMPLICIT_LITTLE),
    ],
)
def test_a_patched_object_can_leave_in_another_syntax(tmp_path: Path, came: str, leaves: str) -> None:
    source, _ = ct(tmp_path, came, PixelRepresentation=1, SmallestImagePixelValue=-5)
    made = parse(patched(source, came, CHANGES, leaves), leaves)
    before = parse(source, came)
    assert {tag for tag in before if before[tag].value != made[tag].value} == {NAME, PATIENT_ID}
    assert made[0x00280106].vr == "SS" or leaves == IMPLICIT_LITTLE


# -- lengths and places --


def undefined(items: list[bytes], tag: int, *, ended: bool = True) -> bytes:
    """A sequence of undefined length with items of undefined length, Explicit VR LE."""
    mark = struct.pack("<HH2sHL", tag >> 16, tag & 0xFFFF, b"SQ", 0, 0xFFFFFFFF)
    inner = b"".join(
        struct.pack("<HHL", 0xFFFE, 0xE000, 0xFFFFFFFF) + item + struct.pack("<HHL", 0xFFFE, 0xE00D, 0)
        for item in items
    )
    return mark + inner + (struct.pack("<HHL", 0xFFFE, 0xE0DD, 0) if ended else b"")


def explicit(elements: DataSet) -> bytes:
    return encode(elements, EXPLICIT_LITTLE)


def test_sequences_of_undefined_length_stay_as_they_are() -> None:
    nested = undefined([explicit({0x0040A040: Element("CS", b"TEXT")}), undefined([b""], 0x0040A730)], 0x0040A730)
    before = explicit({PATIENT_ID: Element("LO", b"1 ")})
    made = patched(before + nested, EXPLICIT_LITTLE, {PATIENT_ID: Element("LO", b"22")})
    assert made == explicit({PATIENT_ID: Element("LO", b"22")}) + nested


def test_a_group_length_is_counted_anew() -> None:
    group = explicit({PATIENT_ID: Element("LO", b"1 ")})
    source = struct.pack("<HH2sHL", 0x10, 0, b"UL", 4, 999) + group + explicit({0x00200010: Element("SH", b"1 ")})
    made = patched(source, EXPLICIT_LITTLE, {PATIENT_ID: Element("LO", b"1234")})
    assert parse(made, EXPLICIT_LITTLE)[0x00100000] == Element("UL", (12).to_bytes(4, "little"))


@pytest.mark.parametrize("tag", [0x00080015, 0x00100021, 0x04000561])
def test_a_new_element_stands_in_its_place(tag: int) -> None:
    source = explicit({0x00080016: Element("UI", b"1.2\0"), PATIENT_ID: Element("LO", b"1 ")}) + undefined(
        [], 0x52009230
    )
    new = Element("SQ", []) if tag == ORIGINAL else Element("DT" if tag == 0x00080015 else "LO", b"20260102")
    made = patched(source, EXPLICIT_LITTLE, {tag: new})
    found = parse(made, EXPLICIT_LITTLE)
    assert list(found) == sorted(found)
    assert found[tag] == new


# -- what is refused --

ELEMENT = explicit({PATIENT_ID: Element("LO", b"1 ")})
EARLIER = explicit({0x00080050: Element("SH", b"1 ")})
PIXELS = explicit({0x7FE00010: Element("OW", b"12")})
ODD = {
    "a tag twice": ELEMENT + ELEMENT,
    "tags that decrease": ELEMENT + EARLIER,
    "a header element behind the pixels": ELEMENT + PIXELS + EARLIER,
    "a pixel element in front": PIXELS + ELEMENT,
    "a length behind the end": ELEMENT[:-2],
    "pixels cut short": ELEMENT + PIXELS[:-1],
    "no VR": ELEMENT + b"\x10\x00\x30\x00\x01\x02\x03\x04",
    "a stray delimiter": ELEMENT + struct.pack("<HHL", 0xFFFE, 0xE0DD, 0) + PIXELS,
    "a sequence that does not end": ELEMENT + undefined([], 0x00400275, ended=False),
    "a signature in the header": ELEMENT + explicit({0x4FFE0001: Element("SQ", [])}),
    "a signature behind the pixels": ELEMENT + PIXELS + explicit({0xFFFAFFFA: Element("SQ", [])}),
}


@pytest.mark.parametrize("source", ODD.values(), ids=ODD)
def test_an_odd_object_is_refused(source: bytes) -> None:
    with pytest.raises(ElementError):
        Head(source, EXPLICIT_LITTLE)


def test_big_endian_is_refused() -> None:
    with pytest.raises(ElementError, match="Big Endian"):
        Head(b"", EXPLICIT_BIG)


@given(st.binary(max_size=300))
def test_no_bytes_break_it(source: bytes) -> None:
    for syntax in (EXPLICIT_LITTLE, IMPLICIT_LITTLE, DEFLATED):
        try:
            patched(source, syntax, {PATIENT_ID: Element("LO", b"1")})
        except ElementError:
            continue


REQUEST: DataSet = {
    0x0020000D: Element("UI", b"1.2\0"),
    0x00081110: Element("SQ", [{0x00081155: Element("UI", b"1.3\0")}]),
    0x00400009: Element("SH", b"S1"),
}
HELD = {0x00400275: Element("SQ", [REQUEST]), ORIGINAL: Element("SQ", [{0x04000565: Element("CS", b"COERCE")}])}
FORBIDDEN: dict[str, dict[int, Element | None]] = {
    "SOPInstanceUID": {0x00080018: Element("UI", b"1.2.3")},
    "Modality": {0x00080060: Element("CS", b"MR")},
    "Laterality": {0x00200060: Element("CS", b"L")},
    "StudyDate": {0x00080020: Element("DA", b"20260101")},
    "DeviceSerialNumber": {0x00181000: Element("LO", b"1")},
    "a private element": {0x00091001: Element("LO", b"1")},
    "PatientIdentityRemoved": {0x00120062: Element("CS", b"NO")},
    "TextValue": {0x0040A160: Element("UT", b"x")},
    "PixelData": {0x7FE00010: Element("OW", b"")},
    "a UID in an item": {0x00400275: Element("SQ", [REQUEST | {0x0020000D: Element("UI", b"1.9\0")}])},
    "a UID deeper down": {0x00400275: Element("SQ", [REQUEST | {0x00081110: Element("SQ", [])}])},
    "an item with a UID taken out": {0x00400275: Element("SQ", [])},
    "the sequence taken out": {0x00400275: None},
    "a new UID in an item": {0x00400275: Element("SQ", [REQUEST | {0x00081155: Element("UI", b"1.9\0")}])},
    "a UID in a new item": {0x00400275: Element("SQ", [REQUEST, REQUEST])},
    "a lost Original Attributes item": {ORIGINAL: Element("SQ", [])},
    "a changed Original Attributes item": {ORIGINAL: Element("SQ", [{0x04000565: Element("CS", b"CORRECT ")}])},
    "a sequence made a text": {0x00400275: Element("LO", b"")},
}


@pytest.mark.parametrize("changes", FORBIDDEN.values(), ids=FORBIDDEN)
def test_what_must_never_change_is_refused(changes: dict[int, Element | None]) -> None:
    with pytest.raises(ElementError):
        patched(explicit(HELD) + PIXELS, EXPLICIT_LITTLE, changes)


def test_what_may_change_in_items_changes() -> None:
    new = Element("SQ", [REQUEST | {0x00400009: Element("SH", b"S22 ")}, {0x00401001: Element("SH", b"RP")}])
    assert parse(patched(explicit(HELD), EXPLICIT_LITTLE, {0x00400275: new}), EXPLICIT_LITTLE)[0x00400275] == new


def test_an_unknown_vr_is_left_alone() -> None:
    with pytest.raises(ElementError, match="VR UN"):
        patched(explicit({PATIENT_ID: Element("UN", b"1 ")}), EXPLICIT_LITTLE, CHANGES)


@pytest.mark.parametrize("tag", [0x00080018, 0x0020000D, 0x00080060, 0x00200060, 0x00181000, 0x00091001, 0x00120062])
def test_the_list_of_what_must_never_change(tag: int) -> None:
    assert is_denied(tag)


def test_nothing_behind_the_head_can_be_asked_for() -> None:
    assert all(is_denied(tag) for tag in range(TAIL, TAIL + 0x40))
