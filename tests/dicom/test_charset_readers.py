"""What `charset.encode` writes is read by DCMTK and by pydicom as the same text, for every set that can be declared.

Known faults of the readers, each asserted so that it can't outlive its reason:

* DCMTK built with GNU iconv refuses to convert ISO 2022 IR 87 and 159, and ISO_IR 203 is unknown to it.
* pydicom 3.0 leaves the escape sequence of ISO 2022 IR 58 in the text, in the standard's own example (PS3.5 K.2) too.
* pydicom 3.0 doesn't know ISO_IR 203 and reads the bytes as Latin-1.
"""

# ruff: noqa: RUF001 -- letters of other alphabets are what this is about

from __future__ import annotations

import subprocess
import warnings
from pathlib import Path

import pytest
from pydicom import Dataset, dcmread

from gateway.dicom import charset, elements
from gateway.dicom.elements import Element
from tests.peers import needs

NAMES = {
    "german": "Müller^Änne",
    "polish": "Łukasiewicz^Żaneta",
    "turkish": "Çelik^Işıl",
    "russian": "Соколова^Вера",
    "greek": "Παπαδόπουλος^Γιώργος",
    "arabic": "حسن^محمد",
    "hebrew": "כהן^שרה",
    "thai": "สมชาย^ใจดี",
    "japanese": "Yamada^Tarou=山田^太郎=やまだ^たろう",
    "katakana": "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう",
    "half width": "ﾔﾏﾀﾞ^ﾀﾛｳ",
    "rare kanji": "Yamada=丂田^太郎",
    "korean": "Hong^Gildong=洪^吉洞=홍^길동",
    "chinese": "Zhang^XiaoDong=张^小东",
    "traditional": "Wang^XiaoDong=王^小東",
    "vietnamese": "Nguyễn^Đức",
    "two scripts": "Müller Вера",
}
ALL = " ".join(name.replace(" ", "_") for name in NAMES)
HELD = [
    ("ISO_IR 100", "german"),
    ("ISO_IR 101", "german polish"),
    ("ISO_IR 109", "german turkish"),
    ("ISO_IR 110", "german"),
    ("ISO_IR 144", "russian"),
    ("ISO_IR 127", "arabic"),
    ("ISO_IR 126", "greek"),
    ("ISO_IR 138", "hebrew"),
    ("ISO_IR 148", "german turkish"),
    ("ISO_IR 203", "german"),
    ("ISO_IR 166", "thai"),
    ("ISO_IR 13", "half_width"),
    ("ISO_IR 192", ALL),
    ("GB18030", ALL),
    ("GBK", "russian japanese rare_kanji chinese traditional two_scripts"),
    ("\\ISO 2022 IR 87", "russian japanese traditional"),
    ("ISO 2022 IR 13\\ISO 2022 IR 87", "russian japanese katakana half_width traditional"),
    (
        "\\ISO 2022 IR 87\\ISO 2022 IR 159",
        "german polish turkish russian greek japanese rare_kanji traditional two_scripts",
    ),
    ("\\ISO 2022 IR 149", "russian korean traditional"),
    ("\\ISO 2022 IR 58", "russian japanese chinese two_scripts"),
    ("ISO 2022 IR 100\\ISO 2022 IR 144", "german russian two_scripts"),
    ("\\ISO 2022 IR 126", "greek"),
    ("\\ISO 2022 IR 166", "thai"),
    ("ISO 2022 IR 6\\ISO 2022 IR 138\\ISO 2022 IR 127", "hebrew arabic"),
    ("ISO 2022 IR 101\\ISO 2022 IR 148\\ISO 2022 IR 110", "german polish turkish"),
    (
        "ISO 2022 IR 100\\ISO 2022 IR 87\\ISO 2022 IR 149",
        "german russian japanese korean traditional two_scripts",
    ),
]
"""Specific Character Set, and the names above that it holds; the others are refused."""
DCMTK_CANNOT = ("IR 87", "IR 159", "IR 203")
PYDICOM_LEAVES = "\x1b$)A"
declared = pytest.mark.parametrize(("sets", "held"), HELD, ids=[sets for sets, _ in HELD])


def written(sets: str) -> tuple[bytes, list[str]]:
    """A data set with an item for each name the sets hold, as name and in two lines of text; and those names."""
    names, items = charset.character_sets(sets.encode()), []
    held = []
    for text in NAMES.values():
        try:
            name = Element("PN", charset.encode(text, "PN", names))
        except charset.CharsetError:
            continue
        held.append(text)
        lines = charset.encode(f"{text}\r\n{text}", "LT", names)
        items.append({0x00100010: name, 0x00104000: Element("LT", lines)})
    dataset = {0x00080005: Element("CS", sets.encode()), 0x00101002: Element("SQ", items)}
    return elements.encode(dataset, elements.EXPLICIT_LITTLE), held


def texts(dataset: Dataset) -> list[tuple[str, str]]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return [(str(item.PatientName), str(item.PatientComments)) for item in dataset.OtherPatientIDsSequence]


@declared
def test_a_set_holds_what_it_should_and_nothing_is_lost(sets: str, held: str) -> None:
    _, names = written(sets)
    assert names == [NAMES[name.replace("_", " ")] for name in ALL.split() if name in held.split()]


@declared
def test_pydicom_reads_it(tmp_path: Path, sets: str, held: str) -> None:
    data, names = written(sets)
    (tmp_path / "names").write_bytes(data)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore" if "203" in sets else "error")
        found = texts(dcmread(tmp_path / "names", force=True))
    if "IR 58" in sets:
        assert all(PYDICOM_LEAVES in name for name, _ in found)
        found = [(name.replace(PYDICOM_LEAVES, ""), lines.replace(PYDICOM_LEAVES, "")) for name, lines in found]
    assert found == [(name, f"{name}\r\n{name}") for name in names]
    assert held


@needs.dcmtk
@declared
def test_dcmtk_reads_it(tmp_path: Path, sets: str, held: str) -> None:
    data, names = written(sets)
    (tmp_path / "names").write_bytes(data)
    command = ["/usr/bin/dcmconv", "+U8", "-f", str(tmp_path / "names"), str(tmp_path / "utf8")]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    if any(unable in sets for unable in DCMTK_CANNOT):
        assert "not supported" in ended.stderr
        return
    assert ended.returncode == 0, ended.stderr
    assert texts(dcmread(tmp_path / "utf8")) == [(name, f"{name}\r\n{name}") for name in names]
    assert held


def test_kana_of_both_widths_stand_in_one_text() -> None:
    """A Japanese description mixes them without a delimiter; each set takes its own part."""
    names = ["ISO 2022 IR 13", "ISO 2022 IR 87"]
    encoded = charset.encode("胸部ﾚﾝﾄｹﾞﾝ 2R", "LO", names)
    assert encoded == b"\x1b$B6;It\x1b(J\x1b)I\xda\xdd\xc4\xb9\xde\xdd 2R"
    assert charset.decode_checked(encoded, "LO", names) == ("胸部ﾚﾝﾄｹﾞﾝ 2R", True)
